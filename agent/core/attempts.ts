/**
 * One attempt on this node, from the ledger's first line to its last. `advance` looks at where an attempt stands and
 * asks for the one next step; every event ends there, so a restart at any moment goes on by the same rules. Nothing that
 * depends on a ledger entry is asked for before that entry is on disk. Called by reduce.ts, orders.ts and skylets.ts.
 */
import type { AttemptReport, WantedAttempt } from "../../shared/agent-wire.ts";
import type { Uid } from "../../shared/ids.ts";
import type { SkyletAttempt } from "../../shared/skylet-wire.ts";
import type { AgentEffect, AgentState, LedgerEntry, NodeAttempt, SkyletState } from "./state.ts";

/** What every step is handed. `changed`: the coordinator should hear of it. */
export interface Context {
  state: AgentState;
  effects: AgentEffect[];
  changed: boolean;
}

/** Longest fault in a report, in characters. Source: attemptReportSchema. */
const faultMax = 1000;
/** Sums of fractions of a device are compared with this slack. */
const shareSlack = 1e-6;
/** Runners of one attempt that may end at their gate before the attempt is given up. */
const repeatsMax = 10;

export function newEntry(from: WantedAttempt, bootId: string): LedgerEntry {
  const { warned: _, ...wanted } = from;
  return {
    wanted,
    phase: "accepted",
    bootId,
    pid: null,
    startTime: null,
    setupExit: null,
    runExit: null,
    logDir: null,
    fault: null,
  };
}

export function newAttempt(entry: LedgerEntry): NodeAttempt {
  const report: AttemptReport = {
    attempt: entry.wanted.attempt,
    uid: entry.wanted.uid,
    user: entry.wanted.user,
    jobId: entry.wanted.jobId,
    jobName: entry.wanted.jobName,
    submittedAt: entry.wanted.submittedAt,
    rank: entry.wanted.rank,
    grant: entry.wanted.grant,
    state: entry.phase === "exited" ? "exited" : "starting",
    pid: entry.pid,
    setupExit: entry.setupExit,
    runExit: entry.runExit,
    logDir: entry.logDir,
    fault: entry.fault,
    ...(entry.limits === undefined ? {} : { limits: entry.limits }),
  };
  const nothingYet = { saving: false, unsaved: false, fresh: false, repeats: 0, ended: false, gone: false };
  return { entry, report, sent: nothingSent(), isWanted: false, isWarned: false, leaseUntil: null, ...nothingYet };
}

function nothingSent(): NodeAttempt["sent"] {
  return { start: false, go: false, mayRun: false, stop: false, warn: false, leaseUntil: 0 };
}

/** Everything that was asked on the connection to the skylet counts as not asked; a runner may have come of it. */
export function forgetSent(attempt: NodeAttempt): void {
  attempt.fresh &&= !attempt.sent.start;
  attempt.sent = nothingSent();
}

export function skyletOf(state: AgentState, uid: Uid, user: string): SkyletState {
  const known = state.skylets.get(uid);
  if (known !== undefined) {
    return known;
  }
  const skylet: SkyletState = { uid, user, state: "none", failures: 0, retire: false };
  state.skylets.set(uid, skylet);
  return skylet;
}

/** Replaces parts of the entry; they are written at the next `advance`, if any of them is another than before. */
export function changeEntry(context: Context, attempt: NodeAttempt, parts: Partial<LedgerEntry>): void {
  const changed = { ...attempt.entry, ...parts };
  const names = Object.keys(parts) as (keyof LedgerEntry)[];
  if (names.some((name) => changed[name] !== attempt.entry[name])) {
    attempt.entry = changed;
    attempt.unsaved = true;
  }
  const { pid, setupExit, runExit, logDir, fault, phase, limits } = attempt.entry;
  const state = phase === "exited" ? "exited" : attempt.report.state;
  const bound = limits === undefined ? {} : { limits };
  attempt.report = { ...attempt.report, pid, setupExit, runExit, logDir, fault, state, ...bound };
  context.changed = true;
}

/** The attempt is over for a cause that is not the user's code. */
export function failAttempt(context: Context, attempt: NodeAttempt, fault: string): void {
  if (attempt.entry.phase !== "exited") {
    changeEntry(context, attempt, { phase: "exited", fault: fault.slice(0, faultMax) });
  }
}

/** Takes in how the skylet sees the attempt. An attempt that is over stays as it was. */
export function takeSkyletView(context: Context, attempt: NodeAttempt, seen: SkyletAttempt): void {
  const { entry } = attempt;
  if (entry.phase === "exited") {
    return;
  }
  const exits = { setupExit: seen.setupExit ?? entry.setupExit, runExit: seen.runExit ?? entry.runExit };
  const logDir = seen.logDir ?? entry.logDir;
  if (seen.state === "exited") {
    changeEntry(context, attempt, { ...exits, logDir, phase: "exited", fault: seen.fault });
    return;
  }
  const isBlocked = seen.state === "starting";
  // Without a pid it has ended at its gate; one that was asked for just now is not in the skylet's word yet.
  const wasAsked = entry.pid !== null || (attempt.sent.start && seen.pid === null);
  if (isBlocked && wasAsked && (seen.pid === null || seen.pid !== entry.pid)) {
    startAgain(context, attempt);
    return;
  }
  if (isBlocked && entry.pid === null) {
    return;
  }
  if (attempt.report.state !== seen.state || exits.setupExit !== entry.setupExit || logDir !== entry.logDir) {
    attempt.report = { ...attempt.report, state: seen.state };
    const pid = entry.pid ?? seen.pid;
    changeEntry(context, attempt, { ...exits, logDir, pid, phase: isBlocked ? entry.phase : "go" });
  }
}

/**
 * The runner that was asked for is no more and no user code has begun in it: another one is prepared and checked. The
 * ledger says so too, or a restart in the middle would take the attempt for one that had run.
 */
function startAgain(context: Context, attempt: NodeAttempt): void {
  attempt.repeats += 1;
  if (attempt.repeats > repeatsMax) {
    const text = `The job was not started: its runner was ended ${attempt.repeats} times before it could begin. Launch it again.`;
    failAttempt(context, attempt, text);
    return;
  }
  forgetSent(attempt);
  changeEntry(context, attempt, { phase: "accepted", pid: null, startTime: null });
}

/** Asks for the next step of this attempt, if there is one to take now. */
export function advance(context: Context, attempt: NodeAttempt): void {
  const { effects } = context;
  if (attempt.saving) {
    return;
  }
  if (attempt.ended && canVanish(context.state, attempt)) {
    vanish(context, attempt);
    return;
  }
  if (attempt.unsaved) {
    attempt.unsaved = false;
    attempt.saving = true;
    effects.push({ type: "saveLedger", entry: attempt.entry });
    return;
  }
  if (attempt.entry.phase === "exited" && !attempt.ended) {
    return;
  }
  if (!attempt.ended && attempt.entry.pid === null && !hasItsDevices(context.state, attempt)) {
    return;
  }
  const { uid, user } = attempt.entry.wanted;
  const skylet = skyletOf(context.state, uid, user);
  if (skylet.state === "none") {
    skylet.state = "starting";
    effects.push({ type: "ensureSkylet", uid, user });
  } else if (skylet.state === "ready") {
    orderSkylet(context, attempt);
  }
}

/**
 * No other attempt still holds the devices that this one was granted. They can be held by attempts that a rolled-back
 * coordinator does not know; whoever came first keeps them, and this one is tried again when one of them vanishes.
 */
function hasItsDevices(state: AgentState, attempt: NodeAttempt): boolean {
  const { devices, share } = attempt.entry.wanted.grant;
  const used = new Map(devices.map((device) => [device, share]));
  let isEarlier = true;
  for (const other of state.attempts.values()) {
    isEarlier &&= other !== attempt;
    if (other === attempt || (other.entry.phase === "accepted" && !isEarlier)) {
      continue;
    }
    for (const device of other.entry.wanted.grant.devices) {
      used.set(device, (used.get(device) ?? 0) + other.entry.wanted.grant.share);
    }
  }
  return devices.every((device) => (used.get(device) ?? 0) <= 1 + shareSlack);
}

/** Nothing of it can be left: verified, or no runner of it can exist since this boot. */
function canVanish(state: AgentState, attempt: NodeAttempt): boolean {
  return attempt.gone || attempt.entry.bootId !== state.bootId;
}

function vanish(context: Context, attempt: NodeAttempt): void {
  const { state, effects } = context;
  const { attempt: id, uid } = attempt.entry.wanted;
  state.attempts.delete(id);
  context.changed = true;
  effects.push({ type: "dropLedger", attempt: id });
  if (state.skylets.get(uid)?.state === "ready") {
    effects.push({ type: "sendSkylet", uid, message: { type: "forget", attempt: id } });
  }
  retireIfIdle(context, uid);
  for (const other of [...state.attempts.values()]) {
    if (other.entry.phase === "accepted") {
      advance(context, other);
    }
  }
}

/** Ends the user's skylet if that was asked for and none of the user's attempts is left. */
export function retireIfIdle(context: Context, uid: Uid): void {
  const skylet = context.state.skylets.get(uid);
  if (skylet === undefined || !skylet.retire || skylet.state !== "ready") {
    return;
  }
  for (const attempt of context.state.attempts.values()) {
    if (attempt.entry.wanted.uid === uid) {
      return;
    }
  }
  skylet.retire = false;
  context.effects.push({ type: "sendSkylet", uid, message: { type: "retire" } });
}

function orderSkylet(context: Context, attempt: NodeAttempt): void {
  const { effects } = context;
  const { sent, entry } = attempt;
  const { attempt: id, uid, graceSeconds } = entry.wanted;
  if (attempt.ended) {
    if (!sent.stop) {
      sent.stop = true;
      effects.push({ type: "sendSkylet", uid, message: { type: "stop", attempt: id, graceSeconds } });
    }
    return;
  }
  if (entry.phase === "accepted" || entry.pid === null) {
    if (!sent.start) {
      sent.start = true;
      sent.mayRun = entry.wanted.mayRun;
      effects.push({ type: "sendSkylet", uid, message: { type: "start", wanted: entry.wanted } });
    }
    return;
  }
  const { leaseUntil } = attempt;
  if (leaseUntil !== null && leaseUntil > sent.leaseUntil) {
    sent.leaseUntil = leaseUntil;
    effects.push({ type: "sendSkylet", uid, message: { type: "lease", attempt: id, untilUptimeMs: leaseUntil } });
  }
  if (attempt.report.state === "starting" && entry.wanted.leaseSeconds !== undefined && leaseUntil === null) {
    return;
  }
  if (attempt.report.state === "starting" && !sent.go) {
    sent.go = true;
    effects.push({ type: "sendSkylet", uid, message: { type: "go", attempt: id } });
  }
  if (entry.wanted.mayRun && !sent.mayRun) {
    sent.mayRun = true;
    effects.push({ type: "sendSkylet", uid, message: { type: "mayRun", attempt: id } });
  }
  if (attempt.isWarned !== sent.warn && attempt.report.state === "running") {
    sent.warn = attempt.isWarned;
    effects.push({ type: "sendSkylet", uid, message: { type: attempt.isWarned ? "warn" : "unwarn", attempt: id } });
  }
}
