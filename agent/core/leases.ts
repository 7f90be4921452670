/**
 * Leases of attempts that may be started elsewhere. The node asks for renewals and counts them from the moment of asking,
 * so that an answer that was long on its way gives nothing away; what comes of it is passed on to the runner, which ends
 * itself when no more comes. An attempt with a lease gets no `go` before its first renewal. Called by reduce.ts, orders.ts.
 */
import type { AttemptId } from "../../shared/ids.ts";
import { advance, type Context } from "./attempts.ts";
import type { NodeAttempt } from "./state.ts";

/** Requests that are remembered while they are not answered. */
const askedMax = 8;

/** Renewals are asked for this many times in the length of a lease. */
const asksPerLease = 4;

/**
 * User code runs, or may begin because the coordinator wants it in its present picture. What an older coordinator wanted
 * and the present one does not name must not begin: another attempt of its job may run.
 */
function isRenewable(attempt: NodeAttempt): boolean {
  const isLive = attempt.entry.phase !== "exited" && !attempt.ended;
  return isLive && hasLease(attempt) && (attempt.isWanted || attempt.report.state !== "starting");
}

function hasLease(attempt: NodeAttempt): boolean {
  return attempt.entry.wanted.leaseSeconds !== undefined;
}

/** Something with a lease is new, or may be renewed from now on: do not wait for the next turn. */
export function renewSoon(context: Context): void {
  if ([...context.state.attempts.values()].some(hasLease)) {
    context.effects.push({ type: "renewAfter", ms: 0 });
  }
}

export function onRenewDue(context: Context, uptimeMs: number): void {
  const { state, effects } = context;
  const renewable = [...state.attempts.values()].filter(isRenewable);
  if (state.link !== "accepted" || renewable.length === 0) {
    return;
  }
  const { renewals } = state;
  renewals.lastId += 1;
  const attempts = renewable.map((attempt) => attempt.entry.wanted.attempt);
  renewals.asked.set(renewals.lastId, { uptimeMs, attempts });
  for (const id of [...renewals.asked.keys()].slice(0, -askedMax)) {
    renewals.asked.delete(id);
  }
  const shortest = Math.min(...renewable.map((attempt) => attempt.entry.wanted.leaseSeconds ?? Infinity));
  effects.push({ type: "sendRenew", id: renewals.lastId });
  effects.push({ type: "renewAfter", ms: (shortest * 1000) / asksPerLease });
}

export function onRenewed(context: Context, id: number): void {
  const { asked } = context.state.renewals;
  const request = asked.get(id);
  if (request === undefined) {
    return;
  }
  for (const older of [...asked.keys()].filter((one) => one <= id)) {
    asked.delete(older);
  }
  for (const name of request.attempts) {
    extend(context, name, request.uptimeMs);
  }
}

function extend(context: Context, name: AttemptId, askedAt: number): void {
  const attempt = context.state.attempts.get(name);
  const seconds = attempt?.entry.wanted.leaseSeconds;
  if (attempt !== undefined && seconds !== undefined && !attempt.ended) {
    attempt.leaseUntil = Math.max(attempt.leaseUntil ?? 0, askedAt + seconds * 1000);
    advance(context, attempt);
  }
}

/** Answers to what was asked on a connection that has ended cannot come any more. */
export function forgetRenewals(context: Context): void {
  context.state.renewals.asked.clear();
  for (const attempt of context.state.attempts.values()) {
    attempt.isWanted = false;
  }
}
