/**
 * The plan: which waiting jobs start now, and on what. Jobs are tried in the order of order.ts; one that does not fit
 * is passed over together with its whole class, so a later job that fits starts first and ten thousand equal jobs cost
 * one try. It changes nothing: reduce.ts turns its starts into transitions. Pure; time alone never changes its answer.
 */
import type { AttemptReport } from "../../shared/agent-wire.ts";
import type { NodeName } from "../../shared/ids.ts";
import type { RankGrant, Shape } from "../../shared/job.ts";
import { addGrant, fitNode, freeOf, type NodeUse } from "./fit.ts";
import { isHeldAtStart, remainsOf } from "./leases.ts";
import { compareJobs } from "./order.ts";
import type { ActiveJob, JobKey, NodeState, State } from "./state.ts";
import { usesOf } from "./usage.ts";

/** Agents know leases since this version of the wire. */
const leaseProtocol = 2;

export interface Plan {
  starts: { key: JobKey; ranks: RankGrant[] }[];
  /** Classes of which the first job does not fit. */
  blocked: string[];
}

/** Nothing is planned on a node that is drained, silent, refuses us or has not yet said in this epoch what it holds. */
export function takesJobs(node: NodeState): boolean {
  const isThere = node.connected && node.heard && node.reported && node.refusal === null && node.inventory !== null;
  return isThere && node.admin.state === "open";
}

/** The job recovers, and the node's agent is of a version that could not end it without its coordinator. */
export function lacksLeases(node: NodeState, shape: Shape): boolean {
  return shape.recovers === true && (node.protocol ?? 0) < leaseProtocol;
}

/** A grant for every rank, each on a node of its own; null when there are too few nodes with room. */
function fitJob(nodes: Iterable<NodeState>, uses: Map<NodeName, NodeUse>, shape: Shape): RankGrant[] | null {
  const candidates: { grant: RankGrant; freeAfter: number; index: number }[] = [];
  for (const node of nodes) {
    const use = uses.get(node.name);
    if (!takesJobs(node) || node.inventory === null || use === undefined || lacksLeases(node, shape)) {
      continue;
    }
    const grant = fitNode(node.name, node.inventory, use, shape);
    if (grant !== null) {
      const freeAfter = freeOf(node.inventory.accelerators, use).length - grant.devices.length;
      candidates.push({ grant, freeAfter, index: node.index });
    }
  }
  if (candidates.length < shape.nodes) {
    return null;
  }
  // Fewest free accelerators left: jobs without accelerators keep away from them, jobs with fill a node before the next.
  candidates.sort((a, b) => a.freeAfter - b.freeAfter || a.index - b.index);
  const chosen = candidates.slice(0, shape.nodes).sort((a, b) => a.index - b.index);
  return chosen.map((one) => one.grant);
}

/**
 * The report speaks of this very job, whatever this state knows of its attempts. Only a job that was read at the start can
 * have attempts of which nothing is known here; of one that was submitted since, a node that says so was taken over, and
 * would get its scripts.
 */
export function isReportOf(report: AttemptReport, job: ActiveJob): boolean {
  return (
    job.readAtStart &&
    report.uid === job.uid &&
    report.jobId === job.id &&
    report.submittedAt === job.record.submittedAt
  );
}

/**
 * An attempt that this state does not know is of this very job (a state that was rolled back): starting it
 * again would run its code twice.
 */
export function unknownTwin(state: State, job: ActiveJob): NodeName | null {
  for (const node of state.nodes.values()) {
    for (const id of node.unknown) {
      const report = node.attempts.get(id);
      if (report !== undefined && isReportOf(report, job)) {
        return node.name;
      }
    }
  }
  return null;
}

/** The head of the class that is to be tried next; null when every class is empty or blocked. */
function nextJob(state: State, lines: Map<string, { keys: JobKey[]; at: number }>): [string, ActiveJob] | null {
  let best: [string, ActiveJob] | null = null;
  for (const [name, line] of lines) {
    const key = line.keys[line.at];
    const job = key === undefined ? undefined : state.jobs.get(key);
    if (job === undefined) {
      lines.delete(name);
    } else if (best === null || compareJobs(job, best[1]) < 0) {
      best = [name, job];
    }
  }
  return best;
}

/** What can start now. Classes in `state.blocked` are not tried: nothing has become free since they did not fit. */
export function plan(state: State): Plan {
  const result: Plan = { starts: [], blocked: [] };
  const lines = new Map<string, { keys: JobKey[]; at: number }>();
  for (const [name, keys] of state.waiting) {
    if (!state.blocked.has(name)) {
      lines.set(name, { keys, at: 0 });
    }
  }
  if (lines.size === 0) {
    return result;
  }
  const uses = usesOf(state);
  for (let next = nextJob(state, lines); next !== null; next = nextJob(state, lines)) {
    const [name, job] = next;
    const line = lines.get(name);
    if (line === undefined) {
      break;
    }
    line.at += 1;
    const isHeld = job.commit !== "clean" || isHeldAtStart(state, job) || remainsOf(state, job) !== null;
    if (isHeld || unknownTwin(state, job) !== null) {
      continue;
    }
    const ranks = fitJob(state.nodes.values(), uses, job.record.shape);
    if (ranks === null) {
      result.blocked.push(name);
      lines.delete(name);
      continue;
    }
    result.starts.push({ key: `${job.uid}/${job.id}`, ranks });
    for (const grant of ranks) {
      addGrant(uses.get(grant.node) as NodeUse, grant);
    }
  }
  return result;
}
