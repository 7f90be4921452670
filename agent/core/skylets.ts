/**
 * What the users' skylets say. A skylet can only speak of its own user's attempts; what it says of others is dropped.
 * When its connection ends, everything that was asked on it counts as not asked, and the next skylet is asked again:
 * all its orders can be repeated. Called by reduce.ts only.
 */
import type { AttemptId, Uid } from "../../shared/ids.ts";
import type { SkyletAttempt } from "../../shared/skylet-wire.ts";
import {
  advance,
  changeEntry,
  type Context,
  failAttempt,
  forgetSent,
  retireIfIdle,
  skyletOf,
  takeSkyletView,
} from "./attempts.ts";
import type { NodeAttempt, Prepared, SkyletFault } from "./state.ts";

/**
 * Starts in a row that may fail before jobs that have not begun are given up, so that nobody waits for ever for a login
 * that does not work, and a loaded machine fails no job.
 */
const triesOf: Record<SkyletFault, number> = { refused: 1, failed: 3, passing: 20 };

function attemptsOf(context: Context, uid: Uid): NodeAttempt[] {
  return [...context.state.attempts.values()].filter((attempt) => attempt.entry.wanted.uid === uid);
}

function ownAttempt(context: Context, uid: Uid, id: AttemptId): NodeAttempt | null {
  const attempt = context.state.attempts.get(id);
  return attempt !== undefined && attempt.entry.wanted.uid === uid ? attempt : null;
}

function advanceAll(context: Context, uid: Uid): void {
  for (const attempt of attemptsOf(context, uid)) {
    advance(context, attempt);
  }
}

export function onSkyletReady(context: Context, uid: Uid, listed: SkyletAttempt[]): void {
  const { state, effects } = context;
  const seen = new Map(listed.map((one) => [one.attempt, one]));
  const attempts = attemptsOf(context, uid);
  const skylet = skyletOf(state, uid, attempts[0]?.entry.wanted.user ?? String(uid));
  skylet.state = "ready";
  skylet.failures = 0;
  for (const attempt of attempts) {
    forgetSent(attempt);
    attempt.report = { ...attempt.report, fault: attempt.entry.fault };
    const view = seen.get(attempt.entry.wanted.attempt);
    if (view !== undefined) {
      takeSkyletView(context, attempt, view);
    } else if (attempt.entry.phase === "go") {
      failAttempt(context, attempt, "Its runner has vanished without an exit code.");
    }
  }
  const strange = listed.filter((one) => !state.attempts.has(one.attempt));
  for (const one of strange.filter((each) => each.state === "exited")) {
    effects.push({ type: "sendSkylet", uid, message: { type: "forget", attempt: one.attempt } });
  }
  const living = strange.filter((one) => one.state !== "exited");
  const first = living[0];
  if (first !== undefined) {
    effects.push({
      type: "log",
      level: "error",
      text: "Runners live of which the ledger knows nothing; they are left alone.",
      fields: { uid, count: living.length, attempt: first.attempt, state: first.state },
    });
  }
  advanceAll(context, uid);
  retireIfIdle(context, uid);
}

export function onSkyletGone(context: Context, uid: Uid): void {
  const skylet = context.state.skylets.get(uid);
  if (skylet === undefined) {
    return;
  }
  skylet.state = "none";
  for (const attempt of attemptsOf(context, uid)) {
    forgetSent(attempt);
  }
  advanceAll(context, uid);
}

export function onSkyletFailed(context: Context, uid: Uid, error: string, fault: SkyletFault): void {
  const { state, effects } = context;
  const skylet = skyletOf(state, uid, String(uid));
  if (skylet.state === "ready") {
    // A living one dialled in while another was being started, as after a restart of the agent.
    return;
  }
  skylet.state = "none";
  skylet.failures += 1;
  const fields = { uid, error, failures: skylet.failures };
  effects.push({ type: "log", level: "warn", text: "A user's skylet could not be started.", fields });
  const isHopeless = skylet.failures >= triesOf[fault];
  let isNeeded = false;
  for (const attempt of attemptsOf(context, uid)) {
    forgetSent(attempt);
    // Without a verified runner no user code has begun, and a blocked runner ends with its skylet's pipe.
    const hasRunner = attempt.entry.pid !== null;
    if (!hasRunner && attempt.ended) {
      attempt.gone = true;
    } else if (!hasRunner && isHopeless) {
      failAttempt(context, attempt, error);
    }
    const isOver = attempt.ended ? attempt.gone : attempt.entry.phase === "exited";
    if (!isOver) {
      isNeeded = true;
      // Shown to whoever waits for it; gone with the next change of its entry.
      attempt.report = { ...attempt.report, fault: error.slice(0, 1000) };
      context.changed = true;
    } else {
      advance(context, attempt);
    }
  }
  if (isNeeded) {
    effects.push({ type: "retryLater", uid });
  }
  if (isHopeless || !isNeeded) {
    skylet.failures = 0;
  }
}

export function onRetryDue(context: Context, uid: Uid): void {
  advanceAll(context, uid);
}

export function onRunnerPrepared(context: Context, uid: Uid, event: { attempt: AttemptId } & Prepared): void {
  const attempt = ownAttempt(context, uid, event.attempt);
  if (attempt === null) {
    // Its end overtook its start. A runner that is prepared is blocked: none of its user's code has begun.
    context.effects.push({
      type: "sendSkylet",
      uid,
      message: { type: "stop", attempt: event.attempt, graceSeconds: 0 },
    });
    return;
  }
  if (attempt.ended || attempt.entry.phase === "exited" || attempt.report.state !== "starting") {
    return;
  }
  const { pid, startTime, logDir, limits } = event;
  const { limits: ordered } = attempt.entry.wanted;
  if (ordered !== undefined && limits === undefined) {
    failAttempt(context, attempt, "The job was not started: its limits were not set.");
    advance(context, attempt);
    return;
  }
  attempt.sent.go = false;
  changeEntry(context, attempt, { phase: "go", pid, startTime, logDir, ...(limits === undefined ? {} : { limits }) });
  advance(context, attempt);
}

export function onRunnerFailed(context: Context, uid: Uid, id: AttemptId, error: string): void {
  const attempt = ownAttempt(context, uid, id);
  if (attempt !== null && attempt.report.state === "starting") {
    failAttempt(context, attempt, error);
    advance(context, attempt);
  }
}

export function onRunnerChanged(context: Context, uid: Uid, seen: SkyletAttempt): void {
  const attempt = ownAttempt(context, uid, seen.attempt);
  if (attempt !== null) {
    takeSkyletView(context, attempt, seen);
    advance(context, attempt);
  }
}

export function onAttemptGone(context: Context, uid: Uid, id: AttemptId): void {
  const attempt = ownAttempt(context, uid, id);
  if (attempt?.ended === true) {
    attempt.gone = true;
    advance(context, attempt);
  } else if (!context.state.attempts.has(id)) {
    context.effects.push({ type: "sendSkylet", uid, message: { type: "forget", attempt: id } });
  }
}
