/**
 * What is due by the passing of time alone: a job is warned some time before its limit and ended at it. Jobs are gone
 * through only when the next moment of any of them has come. A job on machines that are not heard of is left as it is.
 * Called by reduce.ts after each event.
 */
import { type Context, endJob, markStale } from "./jobs.ts";
import { durationText, noteLimit, warningAt } from "./limits.ts";
import type { ActiveJob, State } from "./state.ts";

/**
 * Some rank of it is known to be there still. A job of which nothing is heard but what is over may have ended by itself in
 * time: its end waits for the machines' word, or for the admin's time limit for lost ones.
 */
function isKnownToRun(state: State, job: ActiveJob): boolean {
  const attempt = job.record.attempt;
  return (attempt?.ranks ?? []).some((rank) => {
    const node = state.nodes.get(rank.grant.node);
    const isThere = node !== undefined && node.connected && node.heard && node.refusal === null;
    return isThere && node.attempts.get(attempt?.id ?? "")?.state !== "exited";
  });
}

/** Warns and ends what is due. A job whose start is being written has its turn at the event that says so. */
export function settleLimits(context: Context): void {
  const { state } = context;
  if (state.uptime < state.limitsAt) {
    return;
  }
  state.limitsAt = Number.POSITIVE_INFINITY;
  for (const key of [...state.attempts.values()]) {
    const job = state.jobs.get(key);
    if (job !== undefined && isUnderWay(job)) {
      settle(context, job);
    }
  }
}

function isUnderWay(job: ActiveJob): boolean {
  const { phase } = job.record;
  return job.commit === "clean" && phase !== "waiting" && phase !== "ended";
}

function settle(context: Context, job: ActiveJob): void {
  const { state } = context;
  const { endsAt, preempted } = job;
  if (preempted !== null && state.uptime >= preempted.at) {
    // The plan says whether there is still a reason; see settle-preemption.ts.
    state.planDue = true;
  } else if (endsAt === null) {
    noteLimit(state, job);
  }
  if (endsAt === null) {
    return;
  }
  if (!job.warned && state.uptime >= warningAt(state, endsAt)) {
    job.warned = true;
    markStale(state, job);
  }
  if (state.uptime < endsAt) {
    noteLimit(state, job);
  } else if (isKnownToRun(state, job)) {
    const limit = durationText(job.record.shape.timeLimitSeconds ?? 0);
    endJob(context, job, "FAILED", `its time limit of ${limit} was reached`);
  }
}
