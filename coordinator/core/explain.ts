/**
 * Why a job waits, in one sentence, as `sky queue` shows it: the constraint that blocks it, computed from a plan of this
 * very moment. There is no default reason. For a job that has started: what warns. It changes nothing and is asked by
 * the API's routes through views.ts; the whole answer is explain-result.ts.
 */
import type { JobId, Uid } from "../../shared/ids.ts";
import { type Blockers, blockersOf } from "./blockers.ts";
import { shapeText } from "./demand-text.ts";
import { warningsOfJob } from "./explain-started.ts";
import { type Facts, factsOf } from "./facts.ts";
import { placeOfOwn } from "./positions.ts";
import { type ActiveJob, jobKey, type State } from "./state.ts";

/** Machines that the sentence lists one by one. */
const nodesListed = 4;
const reasonMax = 1_000;

export interface Explanation {
  /** For people; null when there is nothing to say. */
  reason: string | null;
  /** 1 = next of this user's waiting jobs; null when it does not wait. */
  position: number | null;
}

/** To the job's own user; `now` in ms since 1970. An unknown job has nothing to say. */
export function explain(state: State, uid: Uid, id: JobId, now: number): Explanation {
  const job = state.jobs.get(jobKey(uid, id));
  if (job === undefined) {
    return { reason: null, position: null };
  }
  const position = job.record.phase === "waiting" ? placeOfOwn(state, job).position : null;
  return { reason: reasonOf(factsOf(state, { uid, isAdmin: false }, now), job), position };
}

/** The reason alone; `facts` are shared by all jobs of one answer. */
export function reasonOf(facts: Facts, job: ActiveJob): string | null {
  const { record } = job;
  if (record.phase === "waiting") {
    return sentenceOf(job, blockersOf(facts, job));
  }
  if (record.phase === "ended") {
    return record.reason;
  }
  return warningsOfJob(facts.state, facts.viewer, job, facts.now)[0] ?? null;
}

/** One sentence of all that holds a waiting job back; null: nothing does. */
export function sentenceOf(job: ActiveJob, { constraints, nodes }: Blockers): string | null {
  const [first] = constraints;
  if (first === undefined) {
    return null;
  }
  if (nodes.length === 0 || first.type === "quota") {
    return first.text.slice(0, reasonMax);
  }
  const parts = nodes.slice(0, nodesListed).map((block) => block.text);
  const rest = nodes.length - parts.length;
  const more = rest > 0 ? `, and ${rest} more nodes` : "";
  return `needs ${shapeText(job.record.shape)}: ${parts.join(", ")}${more}`.slice(0, reasonMax);
}
