/**
 * Time limits, as they are counted: when a job is warned and when it is ended. On the clock that never jumps, from the
 * grant of its present attempt; only a restart of the coordinator counts from the time of day at which it was granted.
 * It ends nothing itself; due.ts does. Called by the transitions that begin an attempt, the start-up and due.ts.
 */
import type { Shape } from "../../shared/job.ts";
import { defaultScheduling } from "../../shared/scheduling.ts";
import type { ActiveJob, State } from "./state.ts";

/** Uptime at which an attempt of this shape that was granted `agoMs` ago is to be ended; null: it has no limit. */
export function limitOf(state: State, shape: Shape, agoMs = 0): number | null {
  const limit = shape.timeLimitSeconds;
  return limit === undefined ? null : state.uptime - Math.max(0, agoMs) + limit * 1000;
}

/** `2h`, `1h30m`, `45s`: a whole number of seconds as people write it. */
export function durationText(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const parts: [number, string][] = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "m"],
    [whole % 60, "s"],
  ];
  const shown = parts.filter(([amount]) => amount > 0).map(([amount, unit]) => `${amount}${unit}`);
  return shown.length === 0 ? "0s" : shown.join("");
}

/** Uptime at which a job that is ended at `endsAt` is warned. */
export function warningAt(state: State, endsAt: number): number {
  return endsAt - (state.config.scheduling ?? defaultScheduling).warningSeconds * 1000;
}

/** The next moment of this job in uptime; infinite: none. */
function nextOf(state: State, job: ActiveJob): number {
  const stopAt = job.preempted?.at ?? Number.POSITIVE_INFINITY;
  if (job.endsAt === null) {
    return stopAt;
  }
  return Math.min(stopAt, job.warned ? job.endsAt : warningAt(state, job.endsAt));
}

/** This job has begun, or something about its moments has changed. */
export function noteLimit(state: State, job: ActiveJob): void {
  state.limitsAt = Math.min(state.limitsAt, nextOf(state, job));
}

/** What was held back because its machines were silent may be due. */
export function lookAtLimits(state: State): void {
  state.limitsAt = Math.min(state.limitsAt, state.uptime);
}
