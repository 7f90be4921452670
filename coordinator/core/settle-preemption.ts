/**
 * Makes room for urgent jobs: those who give way are warned, and stopped some time later unless the reason has gone away
 * meanwhile; they wait in their queues again. Looked at after each plan, so it follows who waits and what is free; after a
 * restart of the coordinator it is simply decided anew. Called by reduce.ts.
 */
import { schedulingOf } from "./fair-share.ts";
import { announce, type Context, giveUp, markStale } from "./jobs.ts";
import { noteLimit, warningAt } from "./limits.ts";
import { choosePreemptions } from "./preempt.ts";
import type { ActiveJob, JobKey } from "./state.ts";
import { touchNodes } from "./usage.ts";

/** What makes room goes by the plan just made. True when it changes that plan: who is to be stopped, or no more. */
export function settlePreemption(context: Context): boolean {
  const { state } = context;
  if (!schedulingOf(state).preemption) {
    return false;
  }
  const chosen = choosePreemptions(state, state.reservations, context.now);
  let isOther = false;
  for (const key of [...state.attempts.values()]) {
    const job = state.jobs.get(key);
    const by = chosen.get(key);
    if (job === undefined || job.record.phase === "ended" || job.record.phase === "waiting") {
      continue;
    }
    if (by !== undefined) {
      isOther = stopFor(context, job, by) || isOther;
    } else if (job.preempted !== null && job.commit === "clean") {
      letRun(context, job);
      isOther = true;
    }
  }
  return isOther;
}

/** True when it was not known before that this job gives way. */
function stopFor(context: Context, job: ActiveJob, by: JobKey): boolean {
  const { state } = context;
  const before = job.preempted;
  const at = before?.at ?? state.uptime + schedulingOf(state).preemptionWarningSeconds * 1000;
  job.preempted = { at, by };
  if (state.uptime >= at) {
    const [, number] = by.split("/");
    giveUp(context, job, `It was stopped for job ${number} of higher priority.`, "preempted");
    return false;
  }
  if (before === null) {
    job.warned = true;
    noteOtherEnd(context, job);
  }
  return before === null;
}

/** There is no reason any more: it goes on, and is warned again if another one comes. */
function letRun(context: Context, job: ActiveJob): void {
  const { state } = context;
  job.preempted = null;
  job.warned = job.endsAt !== null && state.uptime >= warningAt(state, job.endsAt);
  noteOtherEnd(context, job);
}

/** Its nodes hear of it, and the plan that its room becomes free at another time. */
function noteOtherEnd(context: Context, job: ActiveJob): void {
  const { state } = context;
  noteLimit(state, job);
  markStale(state, job);
  if (job.record.attempt !== null) {
    touchNodes(state, job.record.attempt);
  }
  announce(context, job);
}
