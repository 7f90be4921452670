/**
 * What nodes say of their accelerators besides having them: which are faulty and which do nothing. The job that holds a
 * device with a new fault is warned, so that it can save its work; nothing is ended, for only its owner can tell what it
 * still does. A device that is granted and shows no use is remembered with the time since which that is so. Called by
 * nodes.ts only.
 */
import type { Accelerator, Inventory } from "../../shared/agent-wire.ts";
import { addGrant, emptyUse } from "./fit.ts";
import type { Context } from "./jobs.ts";
import { jobsOn } from "./node-admin.ts";
import type { NodeState } from "./state.ts";
import { holdersOn } from "./usage.ts";

/** A device that is used less than this counts as idle, in per cent. */
const idleMost = 1;
/** So many lines about faults of one node in so many milliseconds: a node that was taken over can say that they come and go. */
const faultLinesMax = 32;
const faultLinesMs = 3_600_000;

function newFaults(before: Inventory | null, after: Inventory): Accelerator[] {
  const known = new Map((before?.accelerators ?? []).map((one) => [one.index, one.fault]));
  return after.accelerators.filter((one) => one.fault !== undefined && known.get(one.index) === undefined);
}

/** Whether a fault of this node may have another line; the last one says that no more come for a while. */
function mayLogFault(context: Context, node: NodeState): boolean {
  const { uptime } = context.state;
  if (uptime - node.faultLines.since >= faultLinesMs) {
    node.faultLines = { since: uptime, count: 0 };
  }
  node.faultLines.count += 1;
  if (node.faultLines.count === faultLinesMax) {
    const text = "Many faults of accelerators on one node; its next ones are not logged for up to an hour.";
    context.effects.push({ type: "log", level: "warn", text, fields: { node: node.name } });
  }
  return node.faultLines.count < faultLinesMax;
}

/** The node's inventory has changed from `before`: what is faulty now is logged, and its holders are told. */
export function noteFaults(context: Context, node: NodeState, before: Inventory | null): void {
  const faulty = node.inventory === null ? [] : newFaults(before, node.inventory);
  for (const { index, kind, uuid, pci, fault } of faulty) {
    const fields = { node: node.name, device: index, kind, uuid: uuid ?? null, pci: pci ?? null, fault: fault ?? null };
    const text = "An accelerator is faulty: nothing new is granted on it.";
    if (mayLogFault(context, node)) {
      context.effects.push({ type: "log", level: "warn", text, fields });
    }
  }
  const indices = new Set(faulty.map((one) => one.index));
  if (indices.size === 0) {
    return;
  }
  for (const job of jobsOn(context.state, node.name)) {
    const ranks = job.record.attempt?.ranks ?? [];
    const holds = ranks.some(({ grant }) => grant.node === node.name && grant.devices.some((at) => indices.has(at)));
    if (holds && !job.warned) {
      job.warned = true;
      for (const { grant } of ranks) {
        const place = context.state.nodes.get(grant.node);
        if (place !== undefined) {
          place.stale = true;
        }
      }
      const { uid, id } = job;
      const fields = { node: node.name, uid, job: id, attempt: job.record.attempt?.id ?? null };
      const text = "A job that holds a faulty accelerator is warned.";
      context.effects.push({ type: "log", level: "info", text, fields }, { type: "announceJob", uid, id });
    }
  }
}

/** Its devices that are granted and idle by its last vitals; what is not granted, busy or unknown is not. */
export function noteUse(context: Context, node: NodeState): void {
  const devices = node.vitals?.devices ?? [];
  const use = emptyUse();
  for (const { grant } of devices.length === 0 ? [] : holdersOn(context.state, node)) {
    addGrant(use, grant);
  }
  const idle = new Map<number, number>();
  for (const { index, utilization } of devices) {
    if (utilization !== null && utilization <= idleMost && (use.devices.get(index) ?? 0) > 0) {
      idle.set(index, node.idleSince.get(index) ?? context.state.uptime);
    }
  }
  node.idleSince = idle;
}
