/**
 * The complete picture that a node is sent: the attempts wanted there and those that have ended. Start, cancel,
 * reconnect, restart and repair all go through here. A node is told nothing but a welcome before its first report on
 * the connection, so that it is asked what it holds before it is told what to hold. Called by reduce.ts after each event.
 */
import type { Accelerator, Desired, WantedAttempt } from "../../shared/agent-wire.ts";
import type { AttemptId, NodeName } from "../../shared/ids.ts";
import type { RankGrant, Shape } from "../../shared/job.ts";
import { type Context, isWanted } from "./jobs.ts";
import { isHeldAtStart } from "./leases.ts";
import { mayRun } from "./progress.ts";
import type { ActiveJob, NodeState, State } from "./state.ts";

/** Where ranks reach each other: as the admin says, else as the node says, else its name. */
function addressOf(state: State, node: NodeName): string {
  const configured = state.config.nodes.find((one) => one.name === node)?.address ?? null;
  return configured ?? state.nodes.get(node)?.inventory?.address ?? node;
}

/** `head` for the first configured node, `workerN` for the others. */
export function nodeLabel(index: number): string {
  return index === 0 ? "head" : `worker${index}`;
}

/** The granted devices as the node describes them; null where it no longer does. */
function devicesOf(node: NodeState, grant: RankGrant): (Accelerator | null)[] {
  return grant.devices.map((index) => node.inventory?.accelerators.find((one) => one.index === index) ?? null);
}

/** What the granted devices are, as the node spells it; null without devices, or when nobody knows. */
function kindOf(devices: readonly (Accelerator | null)[], shape: Shape): string | null {
  const asked = shape.accelerators;
  const named = asked === null || asked.memory !== undefined || shape.others !== undefined ? null : asked.kind;
  return devices.length === 0 ? null : (devices.find((one) => one !== null)?.kind ?? named);
}

/** CUDA takes numbers or uuids, not both in one list. */
function uuidOf(device: Accelerator | null): string | null {
  return device?.vendor === "NVIDIA" ? (device.uuid ?? null) : null;
}

/** How programs must name the devices, when their indices do not do for all of them. */
function visibleOf(devices: readonly (Accelerator | null)[], grant: RankGrant): string[] | null {
  if (devices.every((one) => one?.visible === undefined)) {
    return null;
  }
  return devices.map((one, at) => one?.visible ?? uuidOf(one) ?? String(grant.devices[at]));
}

function wantedOf(state: State, job: ActiveJob, node: NodeState): WantedAttempt | null {
  const { record } = job;
  const rank = record.attempt?.ranks.findIndex((one) => one.grant.node === node.name) ?? -1;
  const own = record.attempt?.ranks[rank];
  if (record.attempt === null || own === undefined) {
    return null;
  }
  const devices = devicesOf(node, own.grant);
  const visible = visibleOf(devices, own.grant);
  return {
    attempt: record.attempt.id,
    uid: job.uid,
    user: record.user,
    jobId: job.id,
    jobName: record.name,
    cluster: record.cluster,
    rank,
    grant: own.grant,
    acceleratorKind: kindOf(devices, record.shape),
    setup: own.setup,
    hasRun: record.hasRun,
    mayRun: mayRun(record),
    started: job.startedOn.includes(node.name),
    addresses: record.attempt.ranks.map((one) => addressOf(state, one.grant.node)),
    nodeLabel: nodeLabel(node.index),
    singleNodeCluster: state.config.nodes.length === 1,
    graceSeconds: record.attempt.lease?.graceSeconds ?? record.shape.graceSeconds ?? state.config.graceSeconds,
    submittedAt: record.submittedAt,
    ...(record.attempt.lease === undefined ? {} : { leaseSeconds: record.attempt.lease.seconds }),
    ...(record.shape.limits === undefined ? {} : { limits: record.shape.limits }),
    ...(visible === null ? {} : { visibleDevices: visible }),
    ...(job.warned && node.attempts.get(record.attempt.id)?.state === "running" ? { warned: true as const } : {}),
  };
}

/** The job of which this node is to run this attempt now; null when it is not wanted there. */
export function wantedJob(state: State, node: NodeName, attempt: AttemptId): ActiveJob | null {
  const key = state.attempts.get(attempt);
  const job = key === undefined ? undefined : state.jobs.get(key);
  if (job === undefined || !isWanted(job)) {
    return null;
  }
  return job.record.attempt?.ranks.some((rank) => rank.grant.node === node) === true ? job : null;
}

function desiredFor(state: State, node: NodeState): Desired {
  node.desiredSeq += 1;
  const wanted: WantedAttempt[] = [];
  for (const id of node.held) {
    const found = wantedJob(state, node.name, id);
    const mayStart = found !== null && (found.startedOn.includes(node.name) || !isHeldAtStart(state, found));
    const job = mayStart ? found : null;
    const entry = job === null ? null : wantedOf(state, job, node);
    if (entry !== null) {
      wanted.push(entry);
      if (!node.wantedSince.has(id)) {
        node.wantedSince.set(id, node.desiredSeq);
      }
    }
  }
  const { stateId, epoch } = state;
  return { type: "desired", stateId, epoch, seq: node.desiredSeq, wanted, ended: [...node.ended.keys()] };
}

/** Sends every node whose picture has changed its new one. */
export function tellStaleNodes(context: Context): void {
  for (const node of context.state.nodes.values()) {
    if (node.stale && node.connected && node.heard && node.refusal === null) {
      node.stale = false;
      context.effects.push({ type: "tellNode", node: node.name, message: desiredFor(context.state, node) });
    }
  }
}
