/**
 * What comes from the coordinator: its welcome and its pictures. A node follows one state only; another state, an
 * earlier epoch or an old sequence number is not obeyed, and whatever happens only attempts that are named as ended are
 * stopped. Called by reduce.ts only.
 */
import type { Desired, WantedAttempt } from "../../shared/agent-wire.ts";
import type { Uid } from "../../shared/ids.ts";
import { advance, type Context, failAttempt, newAttempt, newEntry, retireIfIdle, skyletOf } from "./attempts.ts";
import { renewSoon } from "./leases.ts";

/** How long after its grace time a stopped attempt may still be there before the agent does the user's part. */
const clearAfterSeconds = 15;

export function onWelcomed(context: Context, stateId: string, epoch: number): void {
  const { state, effects } = context;
  if (state.link === "down") {
    return;
  }
  if (state.stateId !== null && state.stateId !== stateId) {
    const reason =
      `This machine belongs to the state ${state.stateId}, the coordinator has ${stateId}. ` +
      "Its jobs keep running and no orders are taken until an admin confirms the new state on the machine: " +
      `sky-agent accept-state ${stateId} --config FILE, then SIGHUP to the agent.`;
    state.link = "refused";
    effects.push({ type: "refuse", reason, stateId: state.stateId });
    return;
  }
  if (epoch < state.epoch) {
    const reason = `This machine has already followed epoch ${state.epoch}; the coordinator has ${epoch}, an older one.`;
    state.link = "refused";
    effects.push({ type: "refuse", reason, stateId: state.stateId });
    return;
  }
  state.link = "greeted";
  state.welcome = { stateId, epoch };
  if (state.stateId === stateId && state.epoch === epoch) {
    accept(context);
  } else {
    effects.push({ type: "saveIdentity", stateId, epoch });
  }
}

function accept(context: Context): void {
  context.state.link = "accepted";
  context.state.welcome = null;
  renewSoon(context);
  context.changed = true;
}

export function onIdentitySaved(context: Context, stateId: string, epoch: number): void {
  const { state } = context;
  if (state.stateId === null || epoch > state.epoch) {
    state.stateId = stateId;
    state.epoch = epoch;
    state.seq = 0;
  }
  if (state.link === "greeted" && state.welcome?.stateId === stateId && state.welcome.epoch === epoch) {
    accept(context);
  }
}

export function onDesired(context: Context, desired: Desired): void {
  const { state } = context;
  const isOurs = desired.stateId === state.stateId && desired.epoch === state.epoch;
  if (state.link !== "accepted" || !isOurs || desired.seq <= state.seq) {
    return;
  }
  state.seq = desired.seq;
  context.changed = true;
  for (const attempt of state.attempts.values()) {
    attempt.isWanted = false;
  }
  for (const wanted of desired.wanted) {
    takeWanted(context, wanted);
    noteWanted(context, wanted);
  }
  for (const id of desired.ended) {
    const attempt = state.attempts.get(id);
    if (attempt === undefined || attempt.ended) {
      continue;
    }
    attempt.ended = true;
    // No skylet has ever been asked to start it, in this life of the agent or an earlier one.
    attempt.gone ||= attempt.fresh && !attempt.sent.start;
    advance(context, attempt);
    if (state.attempts.has(id)) {
      const { uid, graceSeconds } = attempt.entry.wanted;
      context.effects.push({ type: "clearLater", uid, attempt: id, seconds: graceSeconds + clearAfterSeconds });
    }
  }
}

/** It may be renewed from now on; when it never was, its start waits for that. */
function noteWanted(context: Context, wanted: WantedAttempt): void {
  const attempt = context.state.attempts.get(wanted.attempt);
  if (attempt !== undefined) {
    attempt.isWanted = true;
    if (wanted.leaseSeconds !== undefined && attempt.leaseUntil === null) {
      renewSoon(context);
    }
  }
}

function takeWanted(context: Context, wanted: WantedAttempt): void {
  const { state } = context;
  const known = state.attempts.get(wanted.attempt);
  if (known !== undefined) {
    const mayRunNow = wanted.mayRun && !known.entry.wanted.mayRun;
    const isWarned = wanted.warned === true;
    if (mayRunNow || isWarned !== known.isWarned) {
      known.entry = mayRunNow ? { ...known.entry, wanted: { ...known.entry.wanted, mayRun: true } } : known.entry;
      known.isWarned = isWarned;
      advance(context, known);
    }
    return;
  }
  const attempt = newAttempt(newEntry(wanted, state.bootId));
  attempt.unsaved = true;
  attempt.fresh = true;
  state.attempts.set(wanted.attempt, attempt);
  skyletOf(state, wanted.uid, wanted.user).retire = false;
  if (wanted.started) {
    failAttempt(context, attempt, "The machine's agent has lost its record of this job, so its end is not known.");
  }
  advance(context, attempt);
}

export function onRetireRequested(context: Context, uid: Uid): void {
  const skylet = context.state.skylets.get(uid);
  if (skylet !== undefined) {
    skylet.retire = true;
    retireIfIdle(context, uid);
  }
}
