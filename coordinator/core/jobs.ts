/**
 * The life of a job: submitted, started, progressing, ended, cancelled. Every function changes the state in place and
 * adds effects; records themselves are never changed but replaced, because effects carry them to the store. The order
 * of writes is the design's: a start is durable before a node hears of it, an end is durable before a node may forget.
 * Called by reduce.ts and nodes.ts only.
 */
import type { AttemptId, JobId, NodeName, Uid } from "../../shared/ids.ts";
import type { AttemptRecord, EndStatus, JobRecord, RankGrant, RankRecord } from "../../shared/job.ts";
import { chargeEnded, endAccount, openAccount } from "./accounting.ts";
import { leaseNow } from "./leases.ts";
import { limitOf, noteLimit } from "./limits.ts";
import { dequeue, enqueue } from "./order.ts";
import type { UsageLine } from "../../shared/scheduling.ts";
import { type ActiveJob, type CoreEffect, jobKey, type State } from "./state.ts";
import { enterAttempt, forgetOnNodes, leaveNodes, touch } from "./usage.ts";

/** What every transition is handed: the state it changes, the effects it adds to, and the time in ms since 1970. */
export interface Context {
  state: State;
  effects: CoreEffect[];
  now: number;
}

/** Starts of a job that recovers; a job that brings its machines down must not take all of them one after another. */
const attemptsMax = 20;
/** Longest reason in a record, in characters. Source: jobRecordSchema. */
const reasonMax = 1000;

export function announce(context: Context, job: ActiveJob): void {
  context.effects.push({ type: "announceJob", uid: job.uid, id: job.id });
}

/**
 * What starts may be different now: it is planned before this event is answered. Where something has become free or a node
 * has changed, `touch` (usage.ts) says which.
 */
export function planAgain(state: State): void {
  state.planDue = true;
}

/** The nodes of the job's attempt must be sent a new picture. */
export function markStale(state: State, job: ActiveJob): void {
  for (const rank of job.record.attempt?.ranks ?? []) {
    const node = state.nodes.get(rank.grant.node);
    if (node !== undefined) {
      node.stale = true;
    }
  }
}

/** The attempt is in its nodes' pictures as wanted: its start is on disk and its end is not. */
export function isWanted(job: ActiveJob): boolean {
  const { attempt, phase } = job.record;
  if (attempt === null || job.commit === "starting") {
    return false;
  }
  if (phase === "waiting") {
    return job.commit === "recovering";
  }
  return phase !== "ended" || job.commit === "ending";
}

export function onJobSubmitted(context: Context, uid: Uid, id: JobId, record: JobRecord): void {
  const { state } = context;
  const key = jobKey(uid, id);
  if (state.jobs.has(key) || record.phase !== "waiting") {
    return;
  }
  const nothingYet = { startedOn: [], former: [], readAtStart: false, grantedAt: null, endsAt: null };
  const job: ActiveJob = { uid, id, record, commit: "clean", ...nothingYet, warned: false, preempted: null };
  state.jobs.set(key, job);
  enqueue(state, job);
  state.planDue = true;
}

/**
 * Which ranks run which setup: a launch its own on all ranks, an exec the user's last where that has not succeeded, which
 * no new container has seen. What was set up for another image is not run (payloads.ts); the files that came with it are
 * brought.
 */
function setupOf(state: State, record: JobRecord): { ref: string | null; on: (node: NodeName) => boolean } {
  if (record.kind === "launch") {
    return record.hasSetup ? { ref: record.taskRef, on: () => true } : { ref: null, on: () => false };
  }
  const last = state.setups.get(record.uid);
  if (last === undefined) {
    return { ref: null, on: () => false };
  }
  const isInNewContainer = record.image !== undefined && record.image === last.image;
  return { ref: last.taskRef, on: (node) => isInNewContainer || !last.doneOn.includes(node) };
}

/** The plan's decision becomes an attempt; the nodes hear of it when `startCommitted` comes. */
export function startJob(context: Context, job: ActiveJob, grants: RankGrant[]): void {
  const { state, effects } = context;
  const setup = setupOf(state, job.record);
  const ranks: RankRecord[] = grants.map((grant) => ({
    grant,
    setup: setup.on(grant.node),
    pid: null,
    setupExit: null,
    runExit: null,
    logDir: null,
  }));
  state.attemptCounter += 1;
  const attempt: AttemptRecord = {
    id: `${state.nonce}-${state.attemptCounter}`,
    number: (job.record.attempt?.number ?? 0) + 1,
    setupRef: ranks.some((rank) => rank.setup) ? setup.ref : null,
    ranks,
    ...(job.record.shape.recovers === true ? { lease: leaseNow(state, job.record.shape) } : {}),
  };
  dequeue(state, job);
  job.record = { ...job.record, phase: "starting", attempt };
  job.commit = "starting";
  job.startedOn = [];
  job.grantedAt = context.now;
  job.endsAt = limitOf(state, job.record.shape);
  noteLimit(state, job);
  enterAttempt(state, jobKey(job.uid, job.id), attempt);
  openAccount(state, job.uid, job.id, job.record, context.now);
  effects.push({ type: "commitStart", uid: job.uid, id: job.id, record: job.record });
  announce(context, job);
}

export function onStartCommitted(context: Context, uid: Uid, id: JobId, attempt: AttemptId): void {
  const job = context.state.jobs.get(jobKey(uid, id));
  if (job === undefined || job.commit !== "starting" || job.record.attempt?.id !== attempt) {
    return;
  }
  job.commit = "clean";
  noteLimit(context.state, job);
  if (job.record.cancelRequestedAt !== null) {
    endJob(context, job, "CANCELLED", null);
    return;
  }
  markStale(context.state, job);
}

/** What is to be on disk of the present attempt's use before its end is. */
function usageOf(context: Context, job: ActiveJob): { usage?: UsageLine[] } {
  const lines = job.record.attempt === null ? [] : endAccount(context, job.record.attempt.id);
  return lines.length === 0 ? {} : { usage: lines };
}

/** Decides the end and asks for it to be written; nodes hear of it when `endCommitted` comes. */
export function endJob(context: Context, job: ActiveJob, end: EndStatus, reason: string | null): void {
  if (job.record.phase === "waiting") {
    dequeue(context.state, job);
    // Room may have been kept, or others warned, for it.
    context.state.planDue = true;
  }
  const endedAt = context.now;
  job.record = {
    ...job.record,
    phase: "ended",
    end,
    endedAt,
    reason: reason === null ? null : reason.slice(0, reasonMax),
  };
  job.commit = "ending";
  const usage = usageOf(context, job);
  context.effects.push({ type: "commitEnd", uid: job.uid, id: job.id, record: job.record, ...usage });
  announce(context, job);
}

/**
 * What ran on a node that is lost, drained or removed comes to its end, or is started elsewhere if it may be. Call it for
 * jobs that are `clean` and have begun, with a reason for their users.
 */
export function giveUp(context: Context, job: ActiveJob, reason: string, why: "lost" | "preempted" = "lost"): void {
  const { state, effects } = context;
  const attempt = job.record.attempt;
  const lease = attempt?.lease;
  if (job.record.shape.recovers !== true || attempt === null || lease === undefined) {
    endJob(context, job, "FAILED_DRIVER", reason);
    return;
  }
  if (why === "preempted" && job.record.shape.terminateAfterPreemption === true) {
    endJob(context, job, "CANCELLED", `${reason} It is not started again (terminateAfterPreemption).`);
    return;
  }
  const preemptions = (job.record.preemptions ?? 0) + (why === "preempted" ? 1 : 0);
  if (why === "lost" && attempt.number - preemptions >= attemptsMax) {
    const text = `${reason} It had been started ${attempt.number - preemptions} times and is not started again: does it bring its machines down?`;
    endJob(context, job, "FAILED_DRIVER", text);
    return;
  }
  const nodes = attempt.ranks.map((rank) => rank.grant.node);
  // What is known to be gone from every node needs to be named no more.
  const before = (job.record.givenUp ?? []).filter((one) => state.former.has(one.attempt));
  const givenUp = [...before, { attempt: attempt.id, lease, nodes }];
  job.record = {
    ...job.record,
    phase: "waiting",
    startedAt: null,
    givenUp,
    ...(preemptions > 0 ? { preemptions } : {}),
  };
  job.commit = "recovering";
  forgetMoments(job);
  enqueue(state, job);
  effects.push({ type: "commitRequeue", uid: job.uid, id: job.id, record: job.record, ...usageOf(context, job) });
  const fields = { uid: job.uid, job: job.id, attempt: attempt.id, reason };
  const level = why === "lost" ? "warn" : "info";
  effects.push({ type: "log", level, text: "An attempt is given up; its job is started again.", fields });
  announce(context, job);
}

/** What was to come for the attempt that is over comes no more. */
function forgetMoments(job: ActiveJob): void {
  job.endsAt = null;
  job.warned = false;
  job.preempted = null;
}

export function onEndCommitted(context: Context, uid: Uid, id: JobId): void {
  const { state } = context;
  const job = state.jobs.get(jobKey(uid, id));
  if (job === undefined || job.commit !== "ending") {
    return;
  }
  job.commit = "clean";
  for (const rank of job.record.attempt?.ranks ?? []) {
    const node = state.nodes.get(rank.grant.node);
    const attempt = job.record.attempt?.id;
    // One that was given up before has been named already.
    if (node !== undefined && attempt !== undefined && state.attempts.has(attempt)) {
      node.ended.set(attempt, node.desiredSeq + 1);
      node.stale = true;
      touch(state, node.name);
    }
  }
  if (job.record.attempt !== null) {
    chargeEnded(context, job.record.attempt.id);
    // It no longer counts under a quota, whatever its machines still hold.
    state.planDue ||= state.quotas.size > 0;
  }
  dropIfReleased(state, job);
  announce(context, job);
}

/** Forgets an ended job once no node holds anything of it. */
export function dropIfReleased(state: State, job: ActiveJob): void {
  const attempt = job.record.attempt;
  if (job.record.phase !== "ended" || job.commit !== "clean") {
    return;
  }
  const held = attempt?.ranks.some((rank) => state.nodes.get(rank.grant.node)?.ended.has(attempt.id) === true) ?? false;
  if (!held) {
    state.jobs.delete(jobKey(job.uid, job.id));
    if (attempt !== null) {
      state.attempts.delete(attempt.id);
      leaveNodes(state, attempt);
    }
    // A machine that is away may still hold them; they count again by its report.
    for (const former of job.former) {
      forgetOnNodes(state, former);
    }
  }
}

/** Acts on a cancel now, or notes it until the start that is being written is on disk. An end that came first wins. */
function cancelJob(context: Context, job: ActiveJob): void {
  if (job.record.phase === "ended" || job.record.cancelRequestedAt !== null) {
    return;
  }
  job.record = { ...job.record, cancelRequestedAt: context.now };
  if (job.commit === "starting") {
    context.effects.push({ type: "commitUpdate", uid: job.uid, id: job.id, record: job.record });
    return;
  }
  endJob(context, job, "CANCELLED", null);
}

export function onCancelRequested(context: Context, uid: Uid, ids: JobId[]): void {
  for (const id of ids) {
    const job = context.state.jobs.get(jobKey(uid, id));
    if (job !== undefined) {
      cancelJob(context, job);
    }
  }
}

/** Jobs that a restore has put back may be started from here on. Jobs that are not held stay as they are. */
export function onJobsReleased(context: Context, uid: Uid, ids: JobId[]): void {
  const { state, effects } = context;
  for (const id of ids) {
    const job = state.jobs.get(jobKey(uid, id));
    if (job === undefined || job.record.phase === "ended" || job.record.restoredFrom === undefined) {
      continue;
    }
    const { restoredFrom: _, ...record } = job.record;
    job.record = record;
    effects.push({ type: "commitUpdate", uid, id, record });
    if (record.phase === "waiting") {
      enqueue(state, job);
    }
    planAgain(state);
    announce(context, job);
  }
}

export function onUserDowned(context: Context, uid: Uid): void {
  const { state, effects } = context;
  for (const job of state.jobs.values()) {
    if (job.uid === uid) {
      cancelJob(context, job);
    }
  }
  state.setups.delete(uid);
  effects.push({ type: "saveSetup", uid, setup: null });
  for (const node of state.nodes.values()) {
    if (node.connected) {
      effects.push({ type: "tellNode", node: node.name, message: { type: "retireSkylet", uid } });
    }
  }
}

/**
 * What a restart may have left undone: a cancel that was promised while the start was being written, and attempts on
 * machines that are no longer configured, of which no report can ever come.
 */
export function settleRecovered(context: Context): void {
  const { state } = context;
  for (const key of state.unsettled) {
    const job = state.jobs.get(key);
    if (job !== undefined && job.commit !== "clean") {
      continue;
    }
    state.unsettled.delete(key);
    if (job === undefined || job.record.phase === "ended") {
      continue;
    }
    const strange = job.record.attempt?.ranks.find((rank) => !state.nodes.has(rank.grant.node));
    if (job.record.cancelRequestedAt !== null) {
      endJob(context, job, "CANCELLED", null);
    } else if (job.record.phase !== "waiting" && strange !== undefined) {
      const reason = `It ran on ${strange.grant.node}, which is no longer in the coordinator's config.`;
      giveUp(context, job, reason);
    }
  }
}
