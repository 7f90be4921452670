/**
 * What nodes say and how they come and go. A report is taken in as the complete picture of a node: what it holds counts
 * as used, what it has let go of is free, what it has lost ends its job, and what this state does not know is left
 * alone. A silent node changes nothing about its jobs. Called by reduce.ts only.
 */
import { agentProtocol, type AttemptReport, type Hello, type Report, type Vitals } from "../../shared/agent-wire.ts";
import type { AttemptId, JobId, NodeName, Uid } from "../../shared/ids.ts";
import type { JobRecord } from "../../shared/job.ts";
import { wantedJob } from "./desired.ts";
import { noteFaults, noteUse } from "./device-facts.ts";
import { countRest, recountKinds, releaseRank, resumeHeld } from "./accounting.ts";
import { adopt, endTwin, waitingTwin } from "./adopt.ts";
import { type Context, dropIfReleased, planAgain, settleRecovered } from "./jobs.ts";
import { noteKeyOfConnection, offerKey } from "./node-keys.ts";
import { isHeldAtStart } from "./leases.ts";
import { lookAtLimits } from "./limits.ts";
import { loseRank, takeReport } from "./progress.ts";
import { dropFormer, isGivenUp } from "./recovery.ts";
import type { NodeState } from "./state.ts";
import { touch } from "./usage.ts";

function welcome(context: Context, node: NodeState): void {
  const { stateId, epoch } = context.state;
  node.welcomed = true;
  const version = context.state.config.version ?? "0";
  const message = { type: "welcome", protocol: agentProtocol, version, node: node.name, stateId, epoch } as const;
  context.effects.push({ type: "tellNode", node: node.name, message });
}

/**
 * Each start of a coordinator raises the epoch by one, and a node learns of no other than a coordinator's: one that is
 * further ahead, or comes ahead again and again, is a node that was taken over. Gone past what it says, the epoch would
 * soon be no number that anybody accepts, and every other node would be greeted anew each time.
 */
const epochAheadMax = 1_000_000;
const epochRaisesMax = 8;

function refuseEpoch(context: Context, node: NodeState, epoch: number): void {
  const text = "A node claims an epoch that cannot be. It is cut off; look whether the machine was broken into.";
  context.effects.push({ type: "log", level: "error", text, fields: { node: node.name, epoch } });
  context.effects.push({ type: "cutNode", node: node.name, reason: "it claims an epoch that cannot be" });
}

/** An agent has already accepted this epoch from an earlier life of this state (it was rolled back): go past it. */
function raiseEpoch(context: Context, seen: number): void {
  const { state, effects } = context;
  state.epoch = seen + 1;
  effects.push({ type: "saveEpoch", epoch: state.epoch });
  effects.push({
    type: "log",
    level: "warn",
    text: "An agent knows a later epoch than this state: the state seems to be an older copy. Going on with a higher epoch.",
    fields: { epoch: state.epoch },
  });
  for (const node of state.nodes.values()) {
    node.welcomed = false;
    node.heard = false;
    node.reported = false;
    // What it was told in the epoch before does not count in this one.
    node.stale = true;
    node.desiredSeq = 0;
    node.wantedSince.clear();
    touch(state, node.name);
    node.ended = new Map([...node.ended.keys()].map((id) => [id, 1]));
  }
}

export function onNodeConnected(context: Context, name: NodeName, hello: Hello, key?: string): void {
  const { state } = context;
  const node = state.nodes.get(name);
  if (node === undefined) {
    return;
  }
  const foreign = hello.stateId !== state.stateId;
  // The present epoch itself is no surprise on a node that has been welcomed in it.
  const isAhead = !foreign && (hello.epoch > state.epoch || (hello.epoch === state.epoch && !node.welcomed));
  if (isAhead && (hello.epoch > state.epoch + epochAheadMax || node.epochRaises >= epochRaisesMax)) {
    refuseEpoch(context, node, hello.epoch);
    return;
  }
  node.connected = true;
  node.heard = false;
  touch(state, name);
  node.stale = true;
  node.refusal = null;
  node.protocol = hello.protocol;
  node.version = hello.version;
  noteKeyOfConnection(context, node, key);
  if (isAhead) {
    node.epochRaises += 1;
    raiseEpoch(context, hello.epoch);
    for (const other of state.nodes.values()) {
      if (other.connected) {
        welcome(context, other);
      }
    }
  } else {
    welcome(context, node);
  }
  settleRecovered(context);
}

export function onNodeDisconnected(context: Context, name: NodeName): void {
  const node = context.state.nodes.get(name);
  if (node !== undefined) {
    node.connected = false;
    touch(context.state, name);
    node.heard = false;
    node.silentSince ??= context.state.uptime;
  }
}

export function onNodeRefused(context: Context, name: NodeName, reason: string): void {
  const node = context.state.nodes.get(name);
  if (node !== undefined) {
    node.refusal = reason;
    touch(context.state, name);
    const fields = { node: name, reason };
    context.effects.push({ type: "log", level: "error", text: "The node refuses this coordinator.", fields });
  }
}

export function onNodeReported(context: Context, name: NodeName, report: Report): void {
  const { state } = context;
  const node = state.nodes.get(name);
  if (node === undefined || !node.connected || report.stateId !== state.stateId || report.epoch !== state.epoch) {
    return;
  }
  const isFirst = !node.heard;
  const hasOtherInventory = JSON.stringify(node.inventory) !== JSON.stringify(report.inventory);
  node.heard = true;
  node.reported = true;
  node.refusal = null;
  const inventoryBefore = node.inventory;
  if (hasOtherInventory) {
    node.inventory = report.inventory;
  }
  touch(state, name);
  node.warnings = report.warnings;
  node.lastReportAt = context.now;
  node.silentSince = null;
  node.gaveUp = "nothing";
  const before = node.attempts;
  node.attempts = new Map(report.attempts.map((one) => [one.attempt, one]));
  if (hasOtherInventory) {
    recountKinds(state, node);
  }
  if (isFirst || hasOtherInventory) {
    planAgain(state);
  }
  if (isFirst) {
    resumeHeld(context, name);
    lookAtLimits(state);
    offerKey(context, node);
  }
  releaseEnded(context, node, report.seq);
  for (const one of report.attempts) {
    takeAttempt(context, node, one);
    if (one.state === "running" && before.get(one.attempt)?.state !== "running") {
      // Only what is seen running is told of a warning.
      node.stale ||= wantedJob(state, name, one.attempt)?.warned === true;
    }
  }
  if (hasOtherInventory) {
    noteFaults(context, node, inventoryBefore);
  }
  forgetUnknown(context, node, before);
  for (const [id, since] of node.wantedSince) {
    const job = report.seq >= since && !node.attempts.has(id) ? wantedJob(state, name, id) : null;
    if (job !== null && job.commit === "clean") {
      loseRank(context, job, node);
    }
  }
}

export function onVitalsReceived(context: Context, name: NodeName, vitals: Vitals): void {
  const node = context.state.nodes.get(name);
  if (node !== undefined && node.connected) {
    const { type: _, clockMs, ...rest } = vitals;
    node.vitals = { ...rest, at: context.now, skewMs: clockMs - context.now };
    noteUse(context, node);
  }
}

/** What the node was told has ended and no longer lists is gone: its grant is free. */
function releaseEnded(context: Context, node: NodeState, seq: number): void {
  const { state } = context;
  for (const [id, since] of node.ended) {
    if (seq < since || node.attempts.has(id)) {
      continue;
    }
    node.ended.delete(id);
    node.wantedSince.delete(id);
    releaseRank(context, node.name, id);
    const key = state.attempts.get(id) ?? state.former.get(id);
    const job = key === undefined ? undefined : state.jobs.get(key);
    if (job !== undefined) {
      dropIfReleased(state, job);
    }
    dropFormer(state, id);
    planAgain(state);
  }
}

function takeAttempt(context: Context, node: NodeState, report: AttemptReport): void {
  const { state } = context;
  const id = report.attempt;
  const key = state.attempts.get(id);
  const job = key === undefined ? undefined : state.jobs.get(key);
  if (job?.record.attempt?.ranks.some((rank) => rank.grant.node === node.name) === true) {
    if (job.record.phase === "ended" && job.commit === "clean" && !node.ended.has(id)) {
      markEnded(node, id);
    }
    takeReport(context, job, node, report);
    return;
  }
  if (node.ended.has(id)) {
    return;
  }
  if (isGivenUp(state, report)) {
    markEnded(node, id);
    return;
  }
  const twin = waitingTwin(state, report);
  if (twin !== null) {
    // A waiting job is never started again while a part of it is on a node; see schedule.ts.
    node.unknown.add(id);
    if (!isHeldAtStart(state, twin)) {
      adopt(context, twin, id);
    }
    return;
  }
  if (report.state === "exited") {
    // Over by itself: there is nothing left to stop, so the node may forget it although no record speaks of it.
    markEnded(node, id);
  } else if (!node.unknown.has(id)) {
    node.unknown.add(id);
    context.effects.push({ type: "readJob", uid: report.uid, id: report.jobId, attempt: id });
  }
}

function markEnded(node: NodeState, id: AttemptId): void {
  node.ended.set(id, node.desiredSeq + 1);
  node.unknown.delete(id);
  node.stale = true;
}

/**
 * An admin ends what nodes run and this state does not know. It is named as ended from now on, and a waiting job of which
 * it is an attempt is not started again.
 */
export function onUnknownEnded(context: Context, attempt: AttemptId): void {
  for (const node of context.state.nodes.values()) {
    const report = node.attempts.get(attempt);
    if (report !== undefined && node.unknown.has(attempt)) {
      markEnded(node, attempt);
      endTwin(context, report);
    }
  }
}

function forgetUnknown(context: Context, node: NodeState, before: Map<AttemptId, AttemptReport>): void {
  for (const id of node.unknown) {
    if (!node.attempts.has(id)) {
      node.unknown.delete(id);
      planAgain(context.state);
      const last = before.get(id);
      if (last !== undefined) {
        endTwin(context, last);
      }
    }
  }
}

/** The store's word on an attempt that the state does not know: a durable end is passed on, all else is left alone. */
export function onJobRead(context: Context, uid: Uid, id: JobId, attempt: AttemptId, record: JobRecord | null): void {
  const isLast = record !== null && record.phase === "ended" && record.attempt?.id === attempt;
  const hasEnded = isLast || record?.givenUp?.some((one) => one.attempt === attempt) === true;
  for (const node of context.state.nodes.values()) {
    if (!node.unknown.has(attempt)) {
      continue;
    }
    if (hasEnded) {
      markEnded(node, attempt);
      if (isLast) {
        countRest(context, node.name, id, record);
      }
      continue;
    }
    const text =
      "A node runs an attempt that this state does not know. It is left alone and keeps what it was granted; see `sky admin unknown`.";
    context.effects.push({ type: "log", level: "warn", text, fields: { node: node.name, attempt, uid, job: id } });
  }
}
