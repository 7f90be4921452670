/**
 * What the ranks' reports mean for their job: progress of the record, the barrier before the run scripts, setups that
 * have succeeded, and the end. Only facts of the current attempt count, and progress never goes back: a late report of
 * an earlier state changes nothing. Called by nodes.ts after each report.
 */
import { type AttemptReport, isLostFault } from "../../shared/agent-wire.ts";
import type { EndStatus, JobRecord, Phase, RankRecord } from "../../shared/job.ts";
import { announce, type Context, endJob, giveUp, markStale } from "./jobs.ts";
import { unboundText } from "./mechanisms.ts";
import type { ActiveJob, NodeState, State } from "./state.ts";

/** Exit code of ranks that were ended because another one failed. Source: SkyPilot. */
const exitOfOthers = 137;
const order: Phase[] = ["waiting", "starting", "setup", "running", "ended"];

interface Outcome {
  end: EndStatus;
  reason: string | null;
}

/**
 * The run scripts may begin: at once when there is nobody to wait for, else when every rank that has a setup has done
 * it. Never false again once it was true.
 */
export function mayRun(record: JobRecord): boolean {
  const ranks = record.attempt?.ranks ?? [];
  return record.phase === "running" || ranks.length === 1 || ranks.every((rank) => !rank.setup || rank.setupExit === 0);
}

/** The rank's record with what this report adds. */
function withReport(rank: RankRecord, report: AttemptReport): RankRecord {
  const pastSetup = report.state === "setupDone" || report.state === "running";
  return {
    ...rank,
    pid: report.state === "starting" ? rank.pid : (report.pid ?? rank.pid),
    setupExit: report.setupExit ?? (rank.setup && pastSetup ? 0 : rank.setupExit),
    runExit: report.runExit ?? rank.runExit,
    logDir: report.logDir ?? rank.logDir,
  };
}

/** In what a report can change. */
function differs(a: RankRecord, b: RankRecord): boolean {
  return a.pid !== b.pid || a.setupExit !== b.setupExit || a.runExit !== b.runExit || a.logDir !== b.logDir;
}

/** How a rank that is over has ended. */
function outcomeOf(job: ActiveJob, rank: RankRecord, report: AttemptReport): Outcome {
  const node = rank.grant.node;
  const many = (job.record.attempt?.ranks.length ?? 1) > 1;
  const where = many ? ` on ${node}` : "";
  if (report.fault !== null) {
    return { end: "FAILED_DRIVER", reason: `${node}: ${report.fault}` };
  }
  // Without a setup of its own, its files may still have failed before it ran.
  if ((rank.setup || rank.setupExit !== null) && rank.setupExit !== 0) {
    return rank.setupExit === null
      ? { end: "FAILED_DRIVER", reason: `${node}: it ended during setup without an exit code.` }
      : { end: "FAILED_SETUP", reason: `setup ended with exit code ${rank.setupExit}${where}` };
  }
  if (!job.record.hasRun || rank.runExit === 0) {
    return { end: "SUCCEEDED", reason: null };
  }
  return rank.runExit === null
    ? { end: "FAILED_DRIVER", reason: `${node}: it ended without an exit code.` }
    : { end: "FAILED", reason: `run ended with exit code ${rank.runExit}${where}` };
}

/** The phase that the reports amount to. A rank that is over has begun. */
function phaseOf(record: JobRecord, reports: (AttemptReport | undefined)[]): Phase {
  const states = reports.map((report) => report?.state ?? "starting");
  if (states.every((state) => state === "running" || state === "exited")) {
    return record.hasRun ? "running" : "setup";
  }
  const setups = record.attempt?.ranks.some((rank) => rank.setup) ?? false;
  return setups && states.some((state) => state !== "starting") ? "setup" : "starting";
}

/** A rank's setup has succeeded: an exec there need not run it again, and a later launch's becomes the user's last one. */
function noteSetupDone(context: Context, job: ActiveJob, rank: RankRecord): void {
  const { setups } = context.state;
  const last = setups.get(job.uid);
  const ref = job.record.attempt?.setupRef ?? null;
  const isLast = last !== undefined && last.taskRef === ref;
  const isNewer = job.record.kind === "launch" && job.id > (last?.jobId ?? 0);
  const { image } = job.record;
  if (ref === null || !(isLast || isNewer) || (!isNewer && image !== last?.image)) {
    return;
  }
  const before = isLast ? last.doneOn : [];
  const node = rank.grant.node;
  const jobId = isNewer ? job.id : (last?.jobId ?? job.id);
  if (isLast && before.includes(node) && jobId === last.jobId) {
    return;
  }
  const doneOn = before.includes(node) ? before : [...before, node];
  const setup = { uid: job.uid, taskRef: ref, jobId, doneOn, ...(image === undefined ? {} : { image }) };
  setups.set(job.uid, setup);
  context.effects.push({ type: "saveSetup", uid: job.uid, setup });
}

/** The rank's part on `node` is gone although the node took it into account: it is lost. */
export function loseRank(context: Context, job: ActiveJob, node: NodeState): void {
  const reason = `${node.name}: the machine no longer knows this job.`;
  finish(context, job, { end: "FAILED_DRIVER", reason });
}

function finish(context: Context, job: ActiveJob, outcome: Outcome): void {
  const attempt = job.record.attempt;
  if (attempt !== null && outcome.end !== "SUCCEEDED" && attempt.ranks.length > 1) {
    const ranks = attempt.ranks.map((rank) => ({
      ...rank,
      runExit: rank.runExit ?? (job.record.hasRun ? exitOfOthers : null),
    }));
    job.record = { ...job.record, attempt: { ...attempt, ranks } };
  }
  endJob(context, job, outcome.end, outcome.reason);
}

/**
 * Why the failure of a job that recovers is its machines' and not its own: one was restarted or cut off, or is not heard of
 * just now, which makes the other ranks fail. Null: it is its own.
 */
function lossOf(state: State, job: ActiveJob, reports: (AttemptReport | undefined)[]): string | null {
  if (job.record.shape.recovers !== true) {
    return null;
  }
  const lost = reports.find((one) => one?.state === "exited" && isLostFault(one.fault));
  if (lost !== undefined) {
    return `${lost.grant.node}: ${lost.fault}`;
  }
  const silent = job.record.attempt?.ranks.find(
    (rank) => typeof state.nodes.get(rank.grant.node)?.silentSince === "number",
  );
  return silent === undefined ? null : `A rank failed while ${silent.grant.node} could not be reached.`;
}

/** Takes in what `node` reports of its rank of this job. The caller has checked that the attempt is the current one. */
export function takeReport(context: Context, job: ActiveJob, node: NodeState, report: AttemptReport): void {
  const attempt = job.record.attempt;
  const index = attempt?.ranks.findIndex((rank) => rank.grant.node === node.name) ?? -1;
  const before = attempt?.ranks[index];
  if (attempt === null || before === undefined || job.commit !== "clean" || job.record.phase === "ended") {
    return;
  }
  if (report.state !== "starting" && !job.startedOn.includes(node.name)) {
    job.startedOn = [...job.startedOn, node.name];
  }
  const old = job.record;
  const couldRun = mayRun(old);
  const rank = withReport(before, report);
  const isNews = differs(rank, before);
  const ranks = isNews ? attempt.ranks.with(index, rank) : attempt.ranks;
  const reports = ranks.map((one) => context.state.nodes.get(one.grant.node)?.attempts.get(attempt.id));
  const seen = phaseOf(old, reports);
  const phase = order.indexOf(seen) > order.indexOf(old.phase) ? seen : old.phase;
  const startedAt = old.startedAt ?? (phase === "running" ? context.now : null);
  const changed = phase !== old.phase || isNews;
  // Each report names every rank on its node: most say what is known.
  if (changed || startedAt !== old.startedAt) {
    job.record = { ...old, attempt: { ...attempt, ranks }, phase, startedAt };
  }
  if (rank.setup && rank.setupExit === 0) {
    noteSetupDone(context, job, rank);
  }
  const outcomes = reports.map((one, at) =>
    one?.state === "exited" ? outcomeOf(job, ranks[at] as RankRecord, one) : null,
  );
  const failure = outcomes.find((one) => one !== null && one.end !== "SUCCEEDED");
  const unbound = report.state === "starting" ? null : unboundText(old.shape, report);
  if (unbound !== null && report.state !== "exited") {
    finish(context, job, { end: "FAILED_DRIVER", reason: `${node.name}: ${unbound}` });
  } else if (failure !== undefined && failure !== null) {
    const cause = lossOf(context.state, job, reports);
    if (cause === null) {
      finish(context, job, failure);
    } else {
      giveUp(context, job, cause);
    }
  } else if (outcomes.every((one) => one !== null)) {
    finish(context, job, { end: "SUCCEEDED", reason: null });
  } else if (changed) {
    context.effects.push({ type: "commitUpdate", uid: job.uid, id: job.id, record: job.record });
    announce(context, job);
    if (!couldRun && mayRun(job.record)) {
      markStale(context.state, job);
    }
  }
}
