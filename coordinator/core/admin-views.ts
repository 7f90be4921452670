/**
 * What admins are shown of the state: the nodes with everything that is known of them, and the attempts that nodes run
 * and this state does not know. Views are computed when asked for and change nothing. Times go out in seconds since 1970.
 */
import type { AdminNodeRow, JobThere, UnknownRow } from "../../shared/admin-api.ts";
import type { AttemptId, NodeName } from "../../shared/ids.ts";
import { statusOf } from "../../shared/job.ts";
import { emptyUse, type NodeUse } from "./fit.ts";
import { jobsOn } from "./node-admin.ts";
import type { NodeState, State } from "./state.ts";
import { holdersOf, usesOf } from "./usage.ts";
import { deviceRows, nodeRowOf } from "./views.ts";
import { windowsShownOf } from "./window-views.ts";
import { windowsByNode } from "./windows.ts";

function jobsThere(state: State, node: NodeName): JobThere[] {
  return jobsOn(state, node).map(({ id, record }) => ({
    user: record.user,
    job_id: id,
    name: record.name,
    status: statusOf(record),
    attempt: record.attempt?.id ?? "",
  }));
}

function unknownThere(node: NodeState): JobThere[] {
  return [...node.unknown].flatMap((id) => {
    const report = node.attempts.get(id);
    return report === undefined
      ? []
      : [{ user: report.user, job_id: report.jobId, name: report.jobName, status: null, attempt: id }];
  });
}

function adminDeviceRows(node: NodeState, use: NodeUse): AdminNodeRow["devices"] {
  const known = new Map((node.inventory?.accelerators ?? []).map((one) => [one.index, one]));
  return deviceRows(node, use).map((row) => {
    const { uuid = null, pci = null, visible = null } = known.get(row.index) ?? {};
    return { ...row, uuid, pci, visible };
  });
}

function keyText(node: NodeState): AdminNodeRow["key"] {
  const { key } = node.admin;
  return key === null ? "configured" : key.used ? "new" : "changing";
}

function rowOf(
  state: State,
  node: NodeState,
  there: { use: NodeUse; busy: boolean; windows: AdminNodeRow["windows"] },
  now: number,
): AdminNodeRow {
  const { vitals, inventory } = node;
  return {
    ...nodeRowOf(node, there.use, there.busy, now, there.windows),
    version: node.version,
    protocol: node.protocol,
    source: inventory?.source ?? null,
    load1: vitals?.load1 ?? null,
    memory_available_gb: vitals?.memoryAvailableGb ?? null,
    disk_free_gb: vitals?.diskFreeGb ?? null,
    uptime_seconds: vitals?.uptimeSeconds ?? null,
    clock_skew_seconds: vitals === null ? null : vitals.skewMs / 1000,
    skylets: vitals?.skylets ?? null,
    key: keyText(node),
    driver: inventory?.driver ?? null,
    os: inventory?.os ?? null,
    cpu_model: inventory?.cpuModel ?? null,
    disks: (inventory?.disks ?? []).map(({ mount, sizeGb }) => ({ mount, size_gb: sizeGb })),
    devices: adminDeviceRows(node, there.use),
    jobs: jobsThere(state, node.name),
    unknown: unknownThere(node),
  };
}

/** Every configured node in the config's order, removed ones included. `now` in ms since 1970. */
export function adminNodeRows(state: State, now: number): AdminNodeRow[] {
  const uses = usesOf(state);
  const busy = new Set(holdersOf(state).map((holder) => holder.node));
  const windows = windowsByNode(state, now);
  return [...state.nodes.values()].map((node) => {
    const use = uses.get(node.name) ?? emptyUse();
    const there = { use, busy: busy.has(node.name), windows: windowsShownOf(windows, node.name, now) };
    return rowOf(state, node, there, now);
  });
}

/** Attempts on nodes that this state does not know, each once. */
export function unknownRows(state: State): UnknownRow[] {
  const rows = new Map<AttemptId, UnknownRow>();
  for (const node of state.nodes.values()) {
    for (const id of node.unknown) {
      const report = node.attempts.get(id);
      const known = rows.get(id);
      if (report === undefined) {
        continue;
      }
      if (known !== undefined) {
        rows.set(id, { ...known, nodes: [...known.nodes, node.name], reachable: known.reachable && node.connected });
        continue;
      }
      rows.set(id, {
        attempt: id,
        nodes: [node.name],
        reachable: node.connected,
        user: report.user,
        uid: report.uid,
        job_id: report.jobId,
        name: report.jobName,
        state: report.state,
        submitted_at: report.submittedAt / 1000,
      });
    }
  }
  return [...rows.values()];
}
