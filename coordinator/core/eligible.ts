/**
 * What may be started at all, and on which nodes, whatever room there is: nodes that take no jobs, jobs that are held
 * back because something of them may still run, versions that could not keep a job's promises. It decides no order and
 * no place. Pure; called by the plan, the explanations and the recovery.
 */
import type { AttemptReport } from "../../shared/agent-wire.ts";
import type { NodeName } from "../../shared/ids.ts";
import type { Shape } from "../../shared/job.ts";
import { isHeldAtStart, remainsOf } from "./leases.ts";
import type { ActiveJob, NodeState, State } from "./state.ts";

/** Agents know leases and warnings since this version of the wire. */
const leaseProtocol = 2;

/** Nothing is planned on a node that is drained, silent, refuses us or has not yet said in this epoch what it holds. */
export function takesJobs(node: NodeState): boolean {
  const isThere = node.connected && node.heard && node.reported && node.refusal === null && node.inventory !== null;
  return isThere && node.admin.state === "open";
}

/** The node's agent is of a version that could warn and end jobs by their leases. */
export function knowsLeases(node: NodeState): boolean {
  return (node.protocol ?? 0) >= leaseProtocol;
}

/** The job has a limit, may be preempted or recovers: its nodes must be able to warn it and to end it alone. */
export function needsLeases(shape: Shape): boolean {
  return shape.recovers === true || shape.preemptible === true || shape.timeLimitSeconds !== undefined;
}

/** The job needs an agent that knows leases, or parts of payloads that came with the same version of the wire. */
export function needsNewer(shape: Shape): boolean {
  const isNew = shape.brings === true || shape.container === true || shape.limits !== undefined;
  return needsLeases(shape) || isNew || shape.mechanisms !== undefined;
}

export function lacksVersion(node: NodeState, shape: Shape): boolean {
  return needsNewer(shape) && !knowsLeases(node);
}

/** The node says that it has a program for containers. */
export function hasContainers({ inventory }: NodeState): boolean {
  return (inventory?.containers ?? []).length > 0;
}

export function lacksContainers(node: NodeState, shape: Shape): boolean {
  return shape.container === true && !hasContainers(node);
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
 * again would run its code twice. `nodes`: those that have such attempts, where many jobs are asked about.
 */
export function unknownTwin(
  state: State,
  job: ActiveJob,
  nodes: Iterable<NodeState> = state.nodes.values(),
): NodeName | null {
  if (!job.readAtStart) {
    return null;
  }
  for (const node of nodes) {
    for (const id of node.unknown) {
      const report = node.attempts.get(id);
      if (report !== undefined && isReportOf(report, job)) {
        return node.name;
      }
    }
  }
  return null;
}

/** The nodes that `unknownTwin` need look at. */
export function nodesWithUnknown(state: State): NodeState[] {
  const found: NodeState[] = [];
  for (const node of state.nodes.values()) {
    if (node.unknown.size > 0) {
      found.push(node);
    }
  }
  return found;
}

/** The job is not to be started yet, whatever is free. */
export function isHeldBack(state: State, job: ActiveJob, unknown: Iterable<NodeState>): boolean {
  return (
    job.commit !== "clean" ||
    isHeldAtStart(state, job) ||
    remainsOf(state, job) !== null ||
    unknownTwin(state, job, unknown) !== null
  );
}
