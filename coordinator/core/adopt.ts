/**
 * A state that was rolled back holds a job as waiting that nodes have begun. The attempt that they report is taken over
 * as the job's own once every rank of it is known, so the job goes on and is never started a second time; until then
 * the plan holds the job back. Nothing is taken over that is not the same user's same job, submitted at the same moment.
 * Called by nodes.ts.
 */
import type { AttemptReport } from "../../shared/agent-wire.ts";
import type { AttemptId } from "../../shared/ids.ts";
import type { AttemptRecord, RankRecord } from "../../shared/job.ts";
import { openAccount } from "./accounting.ts";
import { announce, type Context, endJob } from "./jobs.ts";
import { leaseNow } from "./leases.ts";
import { limitOf, noteLimit } from "./limits.ts";
import { dequeue } from "./order.ts";
import { isReportOf } from "./eligible.ts";
import { type ActiveJob, jobKey, type State } from "./state.ts";
import { enterAttempt } from "./usage.ts";

/** The waiting job that this report of an unknown attempt speaks of; null when there is none. */
export function waitingTwin(state: State, report: AttemptReport): ActiveJob | null {
  const job = state.jobs.get(jobKey(report.uid, report.jobId));
  return job !== undefined && job.record.phase === "waiting" && job.commit === "clean" && isReportOf(report, job)
    ? job
    : null;
}

/** What all nodes say of this attempt, by rank. */
function ranksOf(state: State, attempt: AttemptId): Map<number, AttemptReport> {
  const ranks = new Map<number, AttemptReport>();
  for (const node of state.nodes.values()) {
    const report = node.attempts.get(attempt);
    if (report !== undefined) {
      ranks.set(report.rank, report);
    }
  }
  return ranks;
}

function rankOf(report: AttemptReport, launchesSetup: boolean): RankRecord {
  const { grant, pid, setupExit, runExit, logDir } = report;
  const setup = launchesSetup || report.state === "setup" || setupExit !== null;
  return { grant, setup, pid, setupExit, runExit, logDir };
}

/** Makes the attempt the job's own when every rank is known; true when it did. The next reports then tell how it stands. */
export function adopt(context: Context, job: ActiveJob, attempt: AttemptId): boolean {
  const { state } = context;
  const known = ranksOf(state, attempt);
  const reports = Array.from({ length: job.record.shape.nodes }, (_, rank) => known.get(rank));
  const complete = reports.filter((one) => one !== undefined);
  if (complete.length !== reports.length || known.size !== reports.length) {
    return false;
  }
  const launchesSetup = job.record.kind === "launch" && job.record.hasSetup;
  const ranks = complete.map((one) => rankOf(one, launchesSetup));
  const last = state.setups.get(job.uid)?.taskRef ?? job.record.taskRef;
  const setupRef = ranks.some((rank) => rank.setup) ? (launchesSetup ? job.record.taskRef : last) : null;
  dequeue(state, job);
  const number = (job.record.attempt?.number ?? 0) + 1;
  const lease = job.record.shape.recovers === true ? { lease: leaseNow(state, job.record.shape) } : {};
  job.record = { ...job.record, phase: "starting", attempt: { id: attempt, number, setupRef, ranks, ...lease } };
  job.commit = "starting";
  job.grantedAt = context.now;
  job.endsAt = limitOf(state, job.record.shape);
  noteLimit(state, job);
  job.startedOn = complete.filter((one) => one.state !== "starting").map((one) => one.grant.node);
  enterAttempt(state, jobKey(job.uid, job.id), job.record.attempt as AttemptRecord);
  openAccount(state, job.uid, job.id, job.record, context.now);
  for (const node of state.nodes.values()) {
    node.unknown.delete(attempt);
  }
  context.effects.push({ type: "commitStart", uid: job.uid, id: job.id, record: job.record });
  const fields = { attempt, uid: job.uid, job: job.id };
  context.effects.push({
    type: "log",
    level: "warn",
    text: "Nodes have begun a job that this state holds as waiting. It is taken over.",
    fields,
  });
  announce(context, job);
  return true;
}

/** The nodes have let go of an attempt that could not be taken over: its job must not be started again. */
export function endTwin(context: Context, report: AttemptReport): void {
  const job = waitingTwin(context.state, report);
  if (job !== null) {
    const reason = `It had been started on ${report.grant.node} before the coordinator's state was rolled back; how it ended is not known.`;
    endJob(context, job, "FAILED_DRIVER", reason);
  }
}
