/**
 * What all answers of one call share: one fresh plan with the board that it was made on, and who reads. So a reason is
 * computed with the very functions that decide. It decides nothing: what the plan would start is not started here. Pure;
 * called by the views and explain-result.ts.
 */
import type { Demand } from "../../shared/job.ts";
import type { Board, Hold } from "./board.ts";
import type { WaitingClass } from "./indexes.ts";
import { newClass } from "./order.ts";
import { place } from "./place.ts";
import type { QuotaBook } from "./quota.ts";
import { isWithinQuota, type Plan, planOn } from "./schedule.ts";
import { classOf } from "./order.ts";
import type { ActiveJob, JobKey, State } from "./state.ts";
import type { Viewer } from "./viewer.ts";

export interface Facts {
  state: State;
  viewer: Viewer;
  /** Milliseconds since 1970. */
  now: number;
  plan: Plan;
  /** With the room that is kept for jobs whose turn is earlier. */
  board: Board;
  quotas: QuotaBook;
}

/** `now` in ms since 1970. */
export function factsOf(state: State, viewer: Viewer, now: number): Facts {
  return { state, viewer, now, ...planOn(state, now) };
}

/** The class of a job that may be in no line: a dry run's, or one that is asked about with another shape. */
export function classFor(facts: Facts, job: ActiveJob): WaitingClass {
  const { shape } = job.record;
  return facts.state.waiting.get(classOf(shape)) ?? newClass(classOf(shape), shape);
}

/** The board without what is kept for this job itself. */
export function boardFor(facts: Facts, key: JobKey): Board {
  const holds = new Map<number, Hold[]>();
  for (const [index, list] of facts.board.holds) {
    const others = list.filter((one) => one.key !== key);
    if (others.length > 0) {
      holds.set(index, others);
    }
  }
  return { ...facts.board, holds };
}

/** Where the job would start now; null: it would not. */
export function wouldStart(facts: Facts, job: ActiveJob, key: JobKey): ReturnType<typeof place>["ranks"] {
  const allowed = (demand: Demand): boolean => isWithinQuota(facts.quotas, job, demand);
  const { ranks } = place(boardFor(facts, key), classFor(facts, job), job, allowed);
  if (ranks === null || facts.quotas.isEmpty) {
    return ranks;
  }
  return facts.quotas.hindranceOfGrants(job.uid, job.record.user, ranks) === null ? ranks : null;
}
