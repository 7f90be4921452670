/**
 * Which waiting jobs come before one, and would take what becomes free for it: those whose turn is earlier and that ask
 * for something on the same machines. Derived by the same order as the plan. Pure; called by blockers.ts.
 */
import type { Constraint, ExplainHolder } from "../../shared/explain-api.ts";
import { demandsOf } from "../../shared/job.ts";
import { optionsOf } from "./board.ts";
import { isHeldBack, nodesWithUnknown } from "./eligible.ts";
import { classFor, type Facts } from "./facts.ts";
import { schedulingOf } from "./fair-share.ts";
import type { WaitingClass } from "./indexes.ts";
import { priorityOf } from "./order.ts";
import { rateOf } from "./positions.ts";
import { isWithinQuota } from "./schedule.ts";
import type { ActiveJob, JobKey } from "./state.ts";
import { Turns } from "./turns.ts";
import { jobFor, nameFor } from "./viewer.ts";

/** Turns that are looked at, and jobs that are named. */
const turnsMax = 2_000;
const namedMax = 3;
const holdersMax = 12;

/** Some machine could serve jobs of both classes. */
function meet(facts: Facts, one: WaitingClass, other: WaitingClass): boolean {
  const poolsOf = (own: WaitingClass) => optionsOf(facts.board, own).flatMap((option) => option.pools);
  const pools = new Set(poolsOf(one));
  return poolsOf(other).some((pool) => pools.has(pool));
}

/** Jobs whose turn is earlier, on the same machines; `isMore`: there were more than were looked at. */
function earlierJobs(facts: Facts, job: ActiveJob, key: JobKey): { jobs: ActiveJob[]; isMore: boolean } {
  const { state, now, quotas } = facts;
  const own = classFor(facts, job);
  const config = schedulingOf(state);
  const unknown = nodesWithUnknown(state);
  const met = new Map<string, boolean>();
  const turns = new Turns(state, now);
  const jobs: ActiveJob[] = [];
  for (let seen = 0; seen < turnsMax; seen += 1) {
    const turn = turns.next();
    if (turn === null || turn.key === key) {
      return { jobs: turn === null ? [] : jobs, isMore: false };
    }
    const meets = met.get(turn.own.name) ?? meet(facts, own, turn.own);
    met.set(turn.own.name, meets);
    const isAllowed = demandsOf(turn.own.shape).some((demand) => isWithinQuota(quotas, turn.job, demand));
    // What one quota holds back of a user comes in their order when it no longer does.
    if (meets && (isAllowed || turn.job.uid === job.uid) && !isHeldBack(state, turn.job, unknown)) {
      jobs.push(turn.job);
    }
    turns.give(rateOf(turn.job.record.shape, config));
  }
  return { jobs, isMore: true };
}

/** `2 of higher priority, 1 sent earlier by you, 4 of users who have had less of the cluster lately`. */
function causesText(job: ActiveJob, jobs: readonly ActiveJob[], isOwn: boolean): string {
  const priority = priorityOf(job.record.shape);
  const higher = jobs.filter((one) => priorityOf(one.record.shape) > priority).length;
  const same = jobs.filter((one) => priorityOf(one.record.shape) === priority);
  const own = same.filter((one) => one.uid === job.uid).length;
  const others = same.length - own;
  return [
    ...(higher > 0 ? [`${higher} of higher priority`] : []),
    ...(own > 0 ? [`${own} that ${isOwn ? "you" : "its user"} sent earlier`] : []),
    ...(others > 0 ? [`${others} of users who have had less of the cluster lately`] : []),
  ].join(", ");
}

/** The constraint that jobs ahead are; none when it is this job's turn. */
export function jobsAhead(facts: Facts, job: ActiveJob, key: JobKey): Constraint[] {
  const { state, viewer } = facts;
  const { jobs, isMore } = earlierJobs(facts, job, key);
  if (jobs.length === 0) {
    return [];
  }
  const count = isMore ? `more than ${jobs.length}` : String(jobs.length);
  const seen = jobs.filter((one) => nameFor(state, viewer, one.uid, one.id) !== null);
  const names = seen.slice(0, namedMax).map((one) => jobFor(state, viewer, one.uid, one.id));
  const named = names.length === 0 ? "" : `; among them ${names.join(", ")}`;
  const isOne = jobs.length === 1 && !isMore;
  const causes = causesText(job, jobs, viewer.uid === job.uid);
  const text = `${count} job${isOne ? " is" : "s are"} ahead of it for the same machines: ${causes}${named}`;
  const holders = seen.slice(0, holdersMax).map(
    (one): ExplainHolder => ({
      user: nameFor(state, viewer, one.uid, one.id),
      job_id: one.id,
      own: one.uid === viewer.uid,
      what: "",
      until: null,
    }),
  );
  return [{ type: "order", text, nodes: [], holders, until: null }];
}
