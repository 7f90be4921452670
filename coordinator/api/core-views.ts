/**
 * What the API reads from the core's state, in the API's own shapes: rows of the queue, rows of nodes, choices of jobs.
 * Why a job waits is always computed by the core's explanations. It must never change the state. Called by the routes.
 */
import type { NodeRow, NodesResult, QueueRow } from "../../shared/api.ts";
import type { JobId, Uid } from "../../shared/ids.ts";
import { type JobRecord, type Shape, statusOf } from "../../shared/job.ts";
import { devicesOf, freeOf } from "../core/fit.ts";
import { type ActiveJob, type NodeState, type State, jobKey } from "../core/state.ts";
import { holdersOf, usesOf } from "../core/usage.ts";
import { userHash } from "./requests.ts";

function seconds(time: number | null): number | null {
  return time === null ? null : time / 1000;
}

/** A row of the queue from a record alone. */
export function rowOf(id: JobId, record: JobRecord): QueueRow {
  const ranks = record.attempt?.ranks ?? [];
  const folder = ranks[0]?.logDir ?? `sky_logs/${id}-${record.name ?? "task"}`;
  return {
    job_id: id,
    job_name: record.name,
    username: record.user,
    user_hash: userHash(record.uid),
    submitted_at: record.submittedAt / 1000,
    start_at: seconds(record.startedAt),
    end_at: seconds(record.endedAt),
    resources: record.resourcesText,
    status: statusOf(record),
    log_path: `~/${folder}`,
    metadata: {},
    reason: record.reason,
    position: null,
    nodes: ranks.map((rank) => rank.grant.node),
  };
}

function isUnfinished(job: ActiveJob): boolean {
  return job.record.phase !== "ended";
}

function jobsOf(state: State, uid: Uid): ActiveJob[] {
  return [...state.jobs.values()].filter((job) => job.uid === uid).sort((a, b) => a.id - b.id);
}

export function countWaiting(state: State, uid: Uid): number {
  let count = 0;
  for (const job of state.jobs.values()) {
    count += job.uid === uid && job.record.phase === "waiting" ? 1 : 0;
  }
  return count;
}

/** Rows of the jobs that the core holds, of one user or (null) of everybody; waiting ones with reason and position. */
export function activeRows(state: State, uid: Uid | null): QueueRow[] {
  const uids = uid === null ? [...new Set([...state.jobs.values()].map((job) => job.uid))] : [uid];
  return uids.flatMap((owner) => {
    let position = 0;
    return jobsOf(state, owner).map((job) => {
      const row = rowOf(job.id, job.record);
      if (job.record.phase !== "waiting") {
        return row;
      }
      position += 1;
      return { ...row, position, reason: whyWaiting(state, owner, job.id) };
    });
  });
}

/** The user's unfinished jobs that a cancel means. `latest`: the latest running one, or the latest of all. */
export function idsToCancel(state: State, uid: Uid, wanted: "latest" | "all" | readonly JobId[]): JobId[] {
  const open = jobsOf(state, uid).filter(isUnfinished);
  if (wanted === "all") {
    return open.map((job) => job.id);
  }
  if (wanted === "latest") {
    const latest = open.filter((job) => job.record.phase !== "waiting").at(-1) ?? open.at(-1);
    return latest === undefined ? [] : [latest.id];
  }
  return open.filter((job) => wanted.includes(job.id)).map((job) => job.id);
}

function nodeStateOf(node: NodeState): NodeRow["state"] {
  if (node.refusal !== null) {
    return "REFUSED";
  }
  if (node.connected && node.reported) {
    return "UP";
  }
  return node.inventory === null ? "NEVER_SEEN" : "UNREACHABLE";
}

function nodeRow(state: State, node: NodeState, now: number): NodeRow {
  const { inventory } = node;
  const use = usesOf(state).get(node.name);
  const kinds = [...new Set((inventory?.accelerators ?? []).map((device) => device.kind))];
  const usable = (kind: string) => (inventory === null ? [] : devicesOf(inventory, kind));
  const label = node.index === 0 ? "head" : `worker${node.index}`;
  const rounded = (value: number): number => Math.max(0, Math.round(value * 1000) / 1000);
  return {
    name: node.name,
    label,
    state: nodeStateOf(node),
    address: state.config.nodes[node.index]?.address ?? inventory?.address ?? null,
    cpus: inventory?.cpus ?? 0,
    cpus_free: rounded((inventory?.cpus ?? 0) - (use?.cpus ?? 0)),
    memory_gb: inventory?.memoryGb ?? 0,
    memory_gb_free: rounded((inventory?.memoryGb ?? 0) - (use?.memoryGb ?? 0)),
    accelerators: Object.fromEntries(kinds.map((kind) => [kind, usable(kind).length])),
    accelerators_free: Object.fromEntries(
      kinds.map((kind) => [kind, use === undefined ? usable(kind).length : freeOf(usable(kind), use).length]),
    ),
    warnings: node.refusal === null ? node.warnings : [node.refusal, ...node.warnings],
    last_report_seconds_ago: node.lastReportAt === null ? null : Math.max(0, (now - node.lastReportAt) / 1000),
  };
}

/** All nodes in the order of the config. `now` in milliseconds since 1970. */
export function nodesOf(state: State, cluster: string, now: number): NodesResult {
  const nodes = [...state.nodes.values()].sort((a, b) => a.index - b.index);
  const unknown = new Set(holdersOf(state).flatMap((holder) => (holder.known ? [] : [holder.attempt])));
  return { cluster, unknown_attempts: unknown.size, nodes: nodes.map((node) => nodeRow(state, node, now)) };
}

/* TEMPORARY until core/explain.ts is there */
import { emptyUse, fitNode } from "../core/fit.ts";
export function neverFitsText(state: State, shape: Shape): string | null {
  const fitting = [...state.nodes.values()].filter((node) => node.inventory === null || fitNode(node.name, node.inventory, emptyUse(), shape) !== null);
  return fitting.length >= shape.nodes ? null : "Requested resources do not match the existing cluster.";
}
export function whyWaiting(state: State, uid: Uid, id: JobId): string | null {
  return state.jobs.get(jobKey(uid, id))?.record.phase === "waiting" ? "the cluster is full" : null;
}
