/**
 * Who holds what on which node, derived from what the state says of the attempts of that node, so that it can never
 * drift from it. A grant counts from the moment it is chosen until the node no longer lists the attempt; attempts that
 * the state does not know count as well. Also keeps the index of a node's attempts. Called by the transitions, the plan,
 * the explanations, the views and the sanity check.
 */
import type { AttemptId, JobId, NodeName, Uid } from "../../shared/ids.ts";
import type { AttemptRecord, RankGrant } from "../../shared/job.ts";
import { addGrant, emptyUse, type NodeUse } from "./fit.ts";
import type { ActiveJob, JobKey, NodeState, State } from "./state.ts";

/** One grant that is in use. `known` is false for attempts that only the node knows. */
export interface Holder {
  node: NodeName;
  grant: RankGrant;
  attempt: AttemptId;
  uid: Uid;
  jobId: JobId;
  known: boolean;
}

/** What is in use on this node, or whether it takes jobs, may have changed: the next plan looks at it anew. */
export function touch(state: State, node: NodeName): void {
  state.indexes.touched.add(node);
}

/** The job's present attempt is entered under its id and on its nodes. */
export function enterAttempt(state: State, key: JobKey, attempt: AttemptRecord): void {
  state.attempts.set(attempt.id, key);
  for (const { grant } of attempt.ranks) {
    state.nodes.get(grant.node)?.held.add(attempt.id);
    touch(state, grant.node);
  }
}

/** After the attempt was taken out of `attempts` or `former`: its nodes forget it when it is in neither. */
export function leaveNodes(state: State, attempt: AttemptRecord): void {
  if (state.attempts.has(attempt.id) || state.former.has(attempt.id)) {
    touchNodes(state, attempt);
  } else {
    forgetOnNodes(state, attempt);
  }
}

/** Nothing that the state knows is left of the attempt; what a node still reports of it counts by that. */
export function forgetOnNodes(state: State, attempt: AttemptRecord): void {
  for (const { grant } of attempt.ranks) {
    state.nodes.get(grant.node)?.held.delete(attempt.id);
  }
  touchNodes(state, attempt);
}

/** What is in use on the attempt's nodes, or when it becomes free, may have changed. */
export function touchNodes(state: State, attempt: AttemptRecord): void {
  for (const { grant } of attempt.ranks) {
    touch(state, grant.node);
  }
}

/** The holder that an attempt which the state knows is on this node; null when it holds nothing there any more. */
function knownHolder(state: State, node: NodeState, id: AttemptId): Holder | null {
  const key = state.attempts.get(id);
  const job = state.jobs.get(key ?? state.former.get(id) ?? "0/0");
  const attempt = key === undefined ? job?.former.find((one) => one.id === id) : job?.record.attempt;
  if (job === undefined || attempt === undefined || attempt === null || !holdsOn(job, node, id, key !== undefined)) {
    return null;
  }
  const rank = attempt.ranks.find((one) => one.grant.node === node.name);
  return rank === undefined
    ? null
    : { node: node.name, grant: rank.grant, attempt: id, uid: job.uid, jobId: job.id, known: true };
}

function holdsOn(job: ActiveJob, node: NodeState, id: AttemptId, isPresent: boolean): boolean {
  if (!isPresent) {
    // What the node lists counts by its report.
    return node.ended.has(id) && !node.attempts.has(id);
  }
  const isCleaning = job.record.phase === "ended" && job.commit === "clean";
  return !isCleaning || node.ended.has(id);
}

/** Every grant in use on one node. */
export function holdersOn(state: State, node: NodeState): Holder[] {
  const holders: Holder[] = [];
  for (const id of node.held) {
    const holder = knownHolder(state, node, id);
    if (holder !== null) {
      holders.push(holder);
    }
  }
  for (const { attempt, uid, jobId, grant } of node.attempts.values()) {
    if (!state.attempts.has(attempt)) {
      holders.push({ node: node.name, grant, attempt, uid, jobId, known: state.former.has(attempt) });
    }
  }
  return holders;
}

export function holdersOf(state: State): Holder[] {
  return [...state.nodes.values()].flatMap((node) => holdersOn(state, node));
}

/** What is in use on every configured node. */
export function usesOf(state: State): Map<NodeName, NodeUse> {
  const uses = new Map<NodeName, NodeUse>();
  for (const node of state.nodes.values()) {
    const use = emptyUse();
    for (const { grant } of holdersOn(state, node)) {
      addGrant(use, grant);
    }
    uses.set(node.name, use);
  }
  return uses;
}
