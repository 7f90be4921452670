/**
 * Nodes that disappear and jobs that are started again. A silent node's jobs stay as they are until its time has passed;
 * then they end, or go back to waiting when they recover. What is given up is named as ended to its nodes like every end,
 * and leases.ts says when the next attempt may start. Also renews leases. Called by reduce.ts and nodes.ts.
 */
import type { AttemptId, JobId, NodeName, Uid } from "../../shared/ids.ts";
import type { AttemptReport } from "../../shared/agent-wire.ts";
import { chargeEnded } from "./accounting.ts";
import { adopt, waitingTwin } from "./adopt.ts";
import { announce, type Context, giveUp, markStale, planAgain } from "./jobs.ts";
import { isHeldAtStart, leaseNow, lostAfterMs, remainsOf } from "./leases.ts";
import { jobsOn } from "./node-admin.ts";
import { unknownTwin } from "./eligible.ts";
import { type ActiveJob, jobKey, type NodeState, type State } from "./state.ts";
import { leaveNodes } from "./usage.ts";

/**
 * Until now this coordinator wants what the node has been told. Only a node whose present picture is known is answered:
 * from then on nothing that it runs is started elsewhere before the lease that this gives has run out.
 */
export function onRenewAsked(context: Context, name: NodeName, id: number): void {
  const node = context.state.nodes.get(name);
  if (node?.connected === true && node.heard && node.refusal === null) {
    node.renewedAt = context.state.uptime;
    context.effects.push({ type: "tellNode", node: name, message: { type: "renewed", id } });
  }
}

/** The job is durably back in its queue: its nodes may now be told that the attempt has ended. */
export function onRequeueCommitted(context: Context, uid: Uid, id: JobId): void {
  const { state } = context;
  const job = state.jobs.get(jobKey(uid, id));
  const attempt = job?.record.attempt;
  if (job === undefined || attempt === undefined || attempt === null || job.commit !== "recovering") {
    return;
  }
  job.commit = "clean";
  job.startedOn = [];
  job.former = [...job.former, attempt];
  chargeEnded(context, attempt.id);
  state.attempts.delete(attempt.id);
  state.former.set(attempt.id, jobKey(uid, id));
  leaveNodes(state, attempt);
  for (const rank of attempt.ranks) {
    const node = state.nodes.get(rank.grant.node);
    if (node !== undefined) {
      node.ended.set(attempt.id, node.desiredSeq + 1);
      node.stale = true;
    }
  }
  adoptTwins(context, job);
  planAgain(state);
  announce(context, job);
}

/** Nodes may run another attempt of this job, of which an older copy of the state had nothing. */
function adoptTwins(context: Context, job: ActiveJob): void {
  const reports = [...context.state.nodes.values()].flatMap((node) =>
    [...node.unknown].map((id) => node.attempts.get(id)).filter((one) => one !== undefined),
  );
  const begun = reports.toSorted((a, b) => Number(a.state === "starting") - Number(b.state === "starting"));
  for (const report of begun) {
    if (waitingTwin(context.state, report) === job && adopt(context, job, report.attempt)) {
      return;
    }
  }
}

/** The report speaks of an attempt that its job's record has given up. */
export function isGivenUp(state: State, report: AttemptReport): boolean {
  const job = state.jobs.get(jobKey(report.uid, report.jobId));
  return job?.record.givenUp?.some((one) => one.attempt === report.attempt) === true;
}

/** No node holds anything of this attempt any more: its grants are free. */
export function dropFormer(state: State, attempt: AttemptId): void {
  const key = state.former.get(attempt);
  if (key === undefined || [...state.nodes.values()].some((node) => node.ended.has(attempt))) {
    return;
  }
  state.former.delete(attempt);
  const job = state.jobs.get(key);
  const left = job?.former.find((one) => one.id === attempt);
  if (left === undefined) {
    for (const node of state.nodes.values()) {
      node.held.delete(attempt);
    }
  } else {
    leaveNodes(state, left);
  }
  if (job !== undefined) {
    job.former = job.former.filter((one) => one.id !== attempt);
  }
}

/** What the passing of time alone changes; looked at after every event. */
export function settleLost(context: Context): void {
  for (const node of context.state.nodes.values()) {
    if (node.silentSince !== null && node.refusal === null && node.gaveUp !== "all") {
      giveUpLost(context, node, context.state.uptime - node.silentSince);
    }
  }
  endStartHold(context);
}

function giveUpLost(context: Context, node: NodeState, silentMs: number): void {
  const { state } = context;
  const after = lostAfterMs(state.config, leaseNow(state));
  const due = silentMs >= after.all ? "all" : silentMs >= after.recoverable ? "recoverable" : "nothing";
  if (due === "nothing" || due === node.gaveUp) {
    return;
  }
  const since = node.lastReportAt === null ? ", as long as the coordinator has been up" : "";
  const reason =
    `${node.name} was lost: no report came from it for ${Math.floor(silentMs / 1000)} s${since}. ` +
    "What of this job still runs there is stopped when the machine comes back.";
  let complete = true;
  for (const job of jobsOn(state, node.name)) {
    if (job.commit !== "clean") {
      complete = false;
    } else if (due === "all" || job.record.shape.recovers === true) {
      const hint = " Launch it again; with `job_recovery` in its resources that is done for you.";
      giveUp(context, job, job.record.shape.recovers === true ? reason : `${reason}${hint}`);
    }
  }
  node.gaveUp = complete ? due : node.gaveUp;
}

/** Every node has said what it has, or what it had runs no more: what recovers may be started, or taken over where it runs. */
function endStartHold(context: Context): void {
  const { state } = context;
  const until = state.startHoldUntil;
  if (until === null || (state.uptime < until && ![...state.nodes.values()].every((node) => node.reported))) {
    return;
  }
  const held = [...state.jobs.values()].filter((job) => isHeldAtStart(state, job));
  state.startHoldUntil = null;
  planAgain(state);
  for (const job of held) {
    if (job.commit !== "clean") {
      continue;
    }
    if (job.record.phase === "waiting") {
      adoptTwins(context, job);
    } else if (job.record.phase === "starting" && job.startedOn.length === 0 && unknownTwin(state, job) !== null) {
      giveUp(context, job, "An older copy of the state held this start; another one of the job runs.");
    } else {
      // Also one that is in its setup on some node already: the others have not been told of it.
      markStale(state, job);
    }
  }
}

/** Uptime at which time alone may change something next; null: never. */
export function nextLostUptime(state: State): number | null {
  const moments: number[] = state.startHoldUntil === null ? [] : [state.startHoldUntil];
  const after = lostAfterMs(state.config, leaseNow(state));
  for (const node of state.nodes.values()) {
    if (node.silentSince !== null && node.refusal === null && node.gaveUp !== "all") {
      moments.push(node.silentSince + (node.gaveUp === "nothing" ? after.recoverable : after.all));
    }
  }
  for (const key of new Set(state.former.values())) {
    const job = state.jobs.get(key);
    const remains = job?.record.phase === "waiting" ? remainsOf(state, job) : null;
    moments.push(remains?.until ?? Number.POSITIVE_INFINITY);
  }
  const next = Math.min(...moments.filter((moment) => moment > state.uptime), Number.POSITIVE_INFINITY);
  return Number.isFinite(next) ? next : null;
}
