/**
 * Who holds what on which node, derived afresh from the state so that it can never drift from it. A grant counts from
 * the moment it is chosen until the node no longer lists the attempt; attempts that the state does not know count as
 * well. Pure; called by the plan, the explanations, the views and the sanity check.
 */
import type { AttemptId, JobId, NodeName, Uid } from "../../shared/ids.ts";
import type { RankGrant } from "../../shared/job.ts";
import { addGrant, emptyUse, type NodeUse } from "./fit.ts";
import type { State } from "./state.ts";

/** One grant that is in use. `known` is false for attempts that only the node knows. */
export interface Holder {
  node: NodeName;
  grant: RankGrant;
  attempt: AttemptId;
  uid: Uid;
  jobId: JobId;
  known: boolean;
}

export function holdersOf(state: State): Holder[] {
  const holders: Holder[] = [];
  for (const key of state.attempts.values()) {
    const job = state.jobs.get(key);
    const attempt = job?.record.attempt;
    if (job === undefined || attempt === undefined || attempt === null) {
      continue;
    }
    const cleaning = job.record.phase === "ended" && job.commit === "clean";
    for (const { grant } of attempt.ranks) {
      if (!cleaning || state.nodes.get(grant.node)?.ended.has(attempt.id) === true) {
        holders.push({ node: grant.node, grant, attempt: attempt.id, uid: job.uid, jobId: job.id, known: true });
      }
    }
  }
  for (const key of new Set(state.former.values())) {
    const job = state.jobs.get(key);
    for (const attempt of job?.former ?? []) {
      for (const { grant } of attempt.ranks) {
        const node = state.nodes.get(grant.node);
        // What the node lists is counted below.
        if (job !== undefined && node?.ended.has(attempt.id) === true && !node.attempts.has(attempt.id)) {
          holders.push({ node: node.name, grant, attempt: attempt.id, uid: job.uid, jobId: job.id, known: true });
        }
      }
    }
  }
  for (const node of state.nodes.values()) {
    for (const report of node.attempts.values()) {
      if (!state.attempts.has(report.attempt)) {
        const { attempt, uid, jobId, grant } = report;
        holders.push({ node: node.name, grant, attempt, uid, jobId, known: state.former.has(attempt) });
      }
    }
  }
  return holders;
}

/** What is in use on every configured node. */
export function usesOf(state: State): Map<NodeName, NodeUse> {
  const uses = new Map<NodeName, NodeUse>();
  for (const name of state.nodes.keys()) {
    uses.set(name, emptyUse());
  }
  for (const holder of holdersOf(state)) {
    const use = uses.get(holder.node);
    if (use !== undefined) {
      addGrant(use, holder.grant);
    }
  }
  return uses;
}
