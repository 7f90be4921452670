/**
 * What the API shows of the state: rows of the queue and of the nodes, and which jobs a cancel means. Views are computed
 * when asked for and change nothing. Times go out as SkyPilot has them: seconds since 1970.
 */
import type { DeviceRow, NodeRow, QueueRow } from "../../shared/api.ts";
import type { JobId, Uid } from "../../shared/ids.ts";
import { demandsOf, type Job, statusOf } from "../../shared/job.ts";
import { nodeLabel } from "./desired.ts";
import { nodesWithUnknown } from "./eligible.ts";
import { reasonOf } from "./explain.ts";
import { warningsOfJob } from "./explain-started.ts";
import { type Facts, factsOf } from "./facts.ts";
import { emptyUse, freeOf, type NodeUse } from "./fit.ts";
import { isHeldAtStart } from "./leases.ts";
import { warningsOf } from "./node-texts.ts";
import { classOf, compareJobs } from "./order.ts";
import { placesOverAll } from "./positions.ts";
import { type ActiveJob, jobKey, type NodeState, type State } from "./state.ts";
import { holdersOf, usesOf } from "./usage.ts";
import type { Viewer } from "./viewer.ts";
import { windowsShownOf } from "./window-views.ts";
import { windowsByNode } from "./windows.ts";

/** One row of the queue, for finished jobs (from the queue's history) as well as for those of the state. */
export function queueRowOf(job: Job, reason: string | null, position: number | null): QueueRow {
  const { record } = job;
  const seconds = (time: number | null): number | null => (time === null ? null : time / 1000);
  const logDir = record.attempt?.ranks[0]?.logDir ?? null;
  return {
    job_id: job.id,
    job_name: record.name,
    username: record.user,
    user_hash: record.uid.toString(16).padStart(8, "0"),
    submitted_at: record.submittedAt / 1000,
    start_at: seconds(record.startedAt),
    end_at: seconds(record.endedAt),
    resources: record.resourcesText,
    status: statusOf(record),
    log_path: logDir === null ? "" : `~/${logDir}`,
    metadata: {},
    reason,
    position,
    position_over_all: null,
    nodes: record.phase === "waiting" ? [] : (record.attempt?.ranks.map((rank) => rank.grant.node) ?? []),
  };
}

/** Places over all are looked for among so many turns; further back only the place among one's own is shown. */
const placesMax = 5_000;

/**
 * Ways times nodes that are looked at for the reasons of one answer, which nobody else's work may wait for much longer
 * than for a plan. Whoever has so many different demands waiting is told where to ask for the others'.
 */
const reasonWorkMax = 20_000;

/**
 * Rows of the unfinished jobs of one user (null: of all), newest first within a user, as `viewer` may see them. Jobs that
 * have ended belong to the queue's history, also while a node still cleans up after them.
 */
export function queueRows(state: State, uid: Uid | null, viewer: Viewer, now: number): QueueRow[] {
  const jobs = jobsOf(state, uid).sort(compareWithin);
  const waiting = jobs.filter((job) => job.record.phase === "waiting");
  const places = placesOverAll(state, new Set(waiting.map((job) => jobKey(job.uid, job.id))), now, placesMax);
  const facts = waiting.length === 0 ? null : factsOf(state, viewer, now);
  const positions = new Map<Uid, number>();
  const reasons = new Map<string, string | null>();
  const hasUnknown = nodesWithUnknown(state).length > 0;
  let work = 0;
  const rows: QueueRow[] = [];
  for (const job of jobs) {
    const own = jobKey(job.uid, job.id);
    const waits = job.record.phase === "waiting";
    const position = waits ? (positions.get(job.uid) ?? 0) + 1 : null;
    if (position !== null) {
      positions.set(job.uid, position);
    }
    // Equal demands of one user wait for the same reason, unless one is held.
    const { restoredFrom, givenUp, shape } = job.record;
    const isRead = job.readAtStart && (hasUnknown || isHeldAtStart(state, job));
    const isPlain = waits && restoredFrom === undefined && givenUp === undefined && !isRead;
    const key = isPlain ? `${job.uid} ${classOf(shape)}` : own;
    const known = reasons.get(key);
    const isTooMuch = waits && known === undefined && work > reasonWorkMax;
    if (known === undefined && !isTooMuch) {
      work += waits ? demandsOf(shape).length * state.nodes.size : 0;
      reasons.set(key, reasonFor(state, facts, viewer, job, now));
    }
    const reason = isTooMuch ? `see \`sky explain ${job.id}\`` : (reasons.get(key) ?? null);
    const place = places.get(own) ?? null;
    rows.push({ ...queueRowOf({ id: job.id, record: job.record }, reason, position), position_over_all: place });
  }
  return rows.reverse();
}

function reasonFor(state: State, facts: Facts | null, viewer: Viewer, job: ActiveJob, now: number): string | null {
  return facts === null ? (warningsOfJob(state, viewer, job, now)[0] ?? null) : reasonOf(facts, job);
}

function compareWithin(a: ActiveJob, b: ActiveJob): number {
  return a.uid === b.uid ? compareJobs(a, b) : a.uid - b.uid;
}

function jobsOf(state: State, uid: Uid | null): ActiveJob[] {
  return [...state.jobs.values()].filter((job) => (uid === null || job.uid === uid) && job.record.phase !== "ended");
}

/**
 * Which of the user's jobs a cancel means, ascending: all unfinished ones, the named ones that are unfinished, or (no
 * ids) the latest running one, else the latest unfinished one.
 */
export function jobsToCancel(state: State, uid: Uid, wish: { ids: JobId[] | null; all: boolean }): JobId[] {
  const jobs = jobsOf(state, uid).sort((a, b) => a.id - b.id);
  if (wish.all) {
    return jobs.map((job) => job.id);
  }
  const { ids } = wish;
  if (ids !== null) {
    return jobs.filter((job) => ids.includes(job.id)).map((job) => job.id);
  }
  const latest = jobs.findLast((job) => job.record.phase === "running") ?? jobs.at(-1);
  return latest === undefined ? [] : [latest.id];
}

/** Attempts on nodes that this state does not know, however many nodes they span. */
export function unknownAttempts(state: State): number {
  return new Set([...state.nodes.values()].flatMap((node) => [...node.unknown])).size;
}

function nodeStateText(node: NodeState): NodeRow["state"] {
  if (node.refusal !== null) {
    return "REFUSED";
  }
  if (node.lastReportAt === null) {
    return "NEVER_SEEN";
  }
  return node.connected ? "UP" : "UNREACHABLE";
}

/** What an admin has decided about the node; `busy`: something of users is still there. */
function adminOf(node: NodeState, busy: boolean): NodeRow["admin"] {
  const { state, reason, by, since, deadline } = node.admin;
  if (state === "open") {
    return null;
  }
  const seconds = (time: number | null): number | null => (time === null ? null : time / 1000);
  const shown = state === "draining" && !busy ? "drained" : state;
  return { state: shown, reason, by, since: seconds(since), deadline: seconds(deadline) };
}

/** How the node's accelerators are, by index. */
export function deviceRows(node: NodeState, use: NodeUse): DeviceRow[] {
  const busy = new Map((node.vitals?.devices ?? []).map((one) => [one.index, one]));
  return (node.inventory?.accelerators ?? []).map(({ index, kind, name, memoryMb, fault }) => ({
    index,
    kind,
    name: name ?? null,
    memory_mb: memoryMb,
    granted: Math.min(1, Math.round((use.devices.get(index) ?? 0) * 1e6) / 1e6),
    utilization: busy.get(index)?.utilization ?? null,
    memory_used_mb: busy.get(index)?.memoryUsedMb ?? null,
    fault: fault ?? null,
  }));
}

/** One node as users see it. `busy`: see adminOf; `windows`: of windowsShownOf. */
export function nodeRowOf(
  node: NodeState,
  use: NodeUse,
  busy: boolean,
  now: number,
  windows: NodeRow["windows"],
): NodeRow {
  const { inventory } = node;
  const devices = inventory?.accelerators ?? [];
  const total: Record<string, number> = {};
  const free: Record<string, number> = {};
  for (const { kind } of devices) {
    total[kind] = (total[kind] ?? 0) + 1;
    free[kind] ??= 0;
  }
  for (const { kind } of freeOf(devices, use)) {
    free[kind] = (free[kind] ?? 0) + 1;
  }
  return {
    name: node.name,
    label: nodeLabel(node.index),
    state: nodeStateText(node),
    address: inventory?.address ?? null,
    cpus: inventory?.cpus ?? 0,
    cpus_free: Math.max(0, (inventory?.cpus ?? 0) - use.cpus),
    memory_gb: inventory?.memoryGb ?? 0,
    memory_gb_free: Math.max(0, (inventory?.memoryGb ?? 0) - use.memoryGb),
    accelerators: total,
    accelerators_free: free,
    warnings: warningsOf(node),
    last_report_seconds_ago: node.lastReportAt === null ? null : Math.max(0, (now - node.lastReportAt) / 1000),
    admin: adminOf(node, busy),
    windows,
    devices: deviceRows(node, use),
  };
}

/** Every configured node in the config's order, but for those that an admin has removed. `now` in ms since 1970. */
export function nodeRows(state: State, now: number): NodeRow[] {
  const uses = usesOf(state);
  const busy = new Set(holdersOf(state).map((holder) => holder.node));
  const windows = windowsByNode(state, now);
  return [...state.nodes.values()]
    .filter((node) => node.admin.state !== "removed")
    .map((node) => {
      const shown = windowsShownOf(windows, node.name, now);
      return nodeRowOf(node, uses.get(node.name) ?? emptyUse(), busy.has(node.name), now, shown);
    });
}
