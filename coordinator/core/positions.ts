/**
 * Where waiting jobs stand: among their user's own, and over all in the very order in which the plan tries them. A place
 * over all needs a walk past everybody in front, so it has a limit, beyond which it is not known. Derived when asked for;
 * changes nothing. Called by the views and explain.ts.
 */
import { demandsOf, type Shape } from "../../shared/job.ts";
import type { SchedulingConfig } from "../../shared/scheduling.ts";
import { schedulingOf } from "./fair-share.ts";
import { compareJobs } from "./order.ts";
import type { ActiveJob, JobKey, State } from "./state.ts";
import { Turns } from "./turns.ts";

/** What the job will be charged a second, in accelerators, when its preferred demand is served. */
export function rateOf(shape: Shape, config: SchedulingConfig): number {
  const [demand] = demandsOf(shape);
  const { cpusPerAccelerator } = config.fairShare;
  const byCpus = cpusPerAccelerator > 0 ? (demand?.cpus ?? 0) / cpusPerAccelerator : 0;
  return shape.nodes * Math.max(demand?.accelerators?.count ?? 0, byCpus);
}

/**
 * Places over all, from 1, of those of `wanted` that are among the first `limit`; `now` in ms since 1970. Held jobs (after
 * a restore) have none, since they are in no line.
 */
export function placesOverAll(
  state: State,
  wanted: ReadonlySet<JobKey>,
  now: number,
  limit: number,
): Map<JobKey, number> {
  const places = new Map<JobKey, number>();
  if (wanted.size === 0) {
    return places;
  }
  const config = schedulingOf(state);
  const turns = new Turns(state, now);
  for (let place = 1; place <= limit && places.size < wanted.size; place += 1) {
    const turn = turns.next();
    if (turn === null) {
      break;
    }
    if (wanted.has(turn.key)) {
      places.set(turn.key, place);
    }
    turns.give(rateOf(turn.job.record.shape, config));
  }
  return places;
}

/** The job's place among those of its user that wait, from 1, and how many those are. */
export function placeOfOwn(state: State, job: ActiveJob): { position: number; waiting: number } {
  let before = 0;
  let waiting = 0;
  for (const other of state.jobs.values()) {
    if (other.uid === job.uid && other.record.phase === "waiting") {
      waiting += 1;
      before += compareJobs(other, job) < 0 ? 1 : 0;
    }
  }
  return { position: before + 1, waiting };
}

/** Jobs of all users that wait. */
export function countWaiting(state: State): number {
  let count = 0;
  for (const { record } of state.jobs.values()) {
    count += record.phase === "waiting" ? 1 : 0;
  }
  return count;
}
