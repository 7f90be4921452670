/**
 * The coordinator's brain: one event in, the state changed in place, effects out as values. After the event's own
 * function it starts what now fits and sends the nodes whose picture has changed. It never reads a clock, draws a
 * number or does anything itself. The loop (coordinator/loop.ts) and the simulator are its only callers.
 */
import { assertNever } from "../../shared/errors.ts";
import { tellStaleNodes } from "./desired.ts";
import { settleLimits } from "./due.ts";
import {
  type Context,
  onCancelRequested,
  onEndCommitted,
  onJobsReleased,
  onJobSubmitted,
  onStartCommitted,
  onUserDowned,
  settleRecovered,
  startJob,
} from "./jobs.ts";
import { cutRemoved, nextDeadline, onNodeAdminChanged, settleNodes } from "./node-admin.ts";
import { onKeyMade, onNodeAdminSaved } from "./node-keys.ts";
import {
  onJobRead,
  onNodeConnected,
  onNodeDisconnected,
  onNodeRefused,
  onNodeReported,
  onUnknownEnded,
  onVitalsReceived,
} from "./nodes.ts";
import { nextLostUptime, onRenewAsked, onRequeueCommitted, settleLost } from "./recovery.ts";
import { onPersonSeen, onQuotaChanged, onWindowChanged } from "./people.ts";
import { plan } from "./schedule.ts";
import { settlePreemption } from "./settle-preemption.ts";
import { settleWindows } from "./settle-windows.ts";
import type { CoreEffect, CoreEvent, State } from "./state.ts";
import { nextEdge } from "./windows.ts";

/**
 * One event and everything that follows from it. `now` is in milliseconds since 1970 and may jump; `uptime` in
 * milliseconds of a clock that never does. The effects are to be carried out in order.
 */
export function reduce(state: State, event: CoreEvent, now: number, uptime: number): CoreEffect[] {
  const own = take(state, event, now, uptime);
  return [...own, ...settle(state, now, uptime)];
}

/** The event's own part. Any number of events may be taken before `settle`, which must come before anything is awaited. */
export function take(state: State, event: CoreEvent, now: number, uptime: number): CoreEffect[] {
  state.uptime = uptime;
  const context: Context = { state, effects: [], now };
  apply(context, event);
  return context.effects;
}

/** What follows from all that was taken: what is due, what can start now, and what the nodes are told, once for all of it. */
export function settle(state: State, now: number, uptime: number): CoreEffect[] {
  const context: Context = { state, effects: [], now };
  settleNodes(context);
  settleWindows(context);
  settleLost(context);
  settleLimits(context);
  planAndStart(context);
  tellStaleNodes(context);
  cutRemoved(context);
  const uptimeOf = (time: number | null): number | null => (time === null ? null : uptime + (time - now));
  const times = [nextDeadline(state, now), nextEdge(state, now)].map(uptimeOf);
  askToWake(context, [...times, nextLostUptime(state), state.limitsAt, state.replanAt]);
  return context.effects;
}

function apply(context: Context, event: CoreEvent): void {
  switch (event.type) {
    case "jobSubmitted":
      return onJobSubmitted(context, event.uid, event.id, event.record);
    case "cancelRequested":
      return onCancelRequested(context, event.uid, event.ids);
    case "jobsReleased":
      return onJobsReleased(context, event.uid, event.ids);
    case "userDowned":
      return onUserDowned(context, event.uid);
    case "nodeConnected":
      return onNodeConnected(context, event.node, event.hello, event.key);
    case "nodeDisconnected":
      return onNodeDisconnected(context, event.node);
    case "nodeReported":
      return onNodeReported(context, event.node, event.report);
    case "nodeRefused":
      return onNodeRefused(context, event.node, event.reason);
    case "renewAsked":
      return onRenewAsked(context, event.node, event.id);
    case "requeueCommitted":
      return onRequeueCommitted(context, event.uid, event.id);
    case "startCommitted":
      return onStartCommitted(context, event.uid, event.id, event.attempt);
    case "endCommitted":
      return onEndCommitted(context, event.uid, event.id);
    case "jobRead":
      return onJobRead(context, event.uid, event.id, event.attempt, event.record);
    case "vitalsReceived":
      return onVitalsReceived(context, event.node, event.vitals);
    case "nodeAdminChanged":
      return onNodeAdminChanged(context, event.node, event.wish);
    case "nodeAdminSaved":
      return onNodeAdminSaved(context, event.node, event.admin);
    case "keyMade":
      return onKeyMade(context, event.node, event.key);
    case "unknownEnded":
      return onUnknownEnded(context, event.attempt);
    case "personSeen":
    case "quotaChanged":
    case "windowChanged":
      return applyScheduling(context, event);
    case "ticked":
      context.state.planDue = true;
      context.state.wakeAsked = null;
      return settleRecovered(context);
    default:
      return assertNever(event);
  }
}

type SchedulingEvent = Extract<CoreEvent, { type: "personSeen" | "quotaChanged" | "windowChanged" }>;

function applyScheduling(context: Context, event: SchedulingEvent): void {
  switch (event.type) {
    case "personSeen":
      return onPersonSeen(context, event);
    case "quotaChanged":
      return onQuotaChanged(context, event.subject, event.quota);
    case "windowChanged":
      return onWindowChanged(context, event.id, event.window);
    default:
      return assertNever(event);
  }
}

/** So often at most a plan is made again because of who is to give way; the last one stands. */
const replansMax = 4;

function planAndStart(context: Context): void {
  if (context.state.planDue) {
    startWhatFits(context);
    // Room is kept by when it becomes free, and that is another time now; what starts then needs nobody to give way.
    for (let round = 0; round < replansMax && settlePreemption(context); round += 1) {
      startWhatFits(context);
    }
  }
}

function startWhatFits(context: Context): void {
  const { state } = context;
  state.planDue = false;
  const decided = plan(state, context.now);
  state.reservations = decided.reservations;
  state.replanAt = decided.wakeAt;
  for (const name of decided.blocked) {
    state.blocked.add(name);
  }
  for (const { key, ranks } of decided.starts) {
    const job = state.jobs.get(key);
    if (job !== undefined) {
      startJob(context, job, ranks);
    }
  }
}

/**
 * Asks for `ticked` at the earliest of these moments, in uptime: the time of day may jump between two wishes. A wish for an
 * earlier one stays: when it comes, this asks again.
 */
function askToWake(context: Context, moments: (number | null)[]): void {
  const { state } = context;
  const next = Math.min(...moments.map((moment) => moment ?? Number.POSITIVE_INFINITY));
  if (Number.isFinite(next) && (state.wakeAsked === null || next < state.wakeAsked)) {
    state.wakeAsked = next;
    context.effects.push({ type: "wakeAt", at: context.now + (next - state.uptime) });
  }
}
