/**
 * What a replay comes to: how full the cluster was, how long jobs waited, and how evenly users were served. Pure; used
 * by placement.ts.
 */
import type { Played } from "./replay.ts";

const devicesPerNode = 8;
/** The cluster begins empty, and the longest jobs take weeks: so what comes in the first ones is not counted. */
const warmUpDays = 14;
const secondsPerDay = 86_400;

/** Times in seconds. */
export interface Figures {
  /** Device time in use of what there is, from the second day to the last arrival. */
  utilization: number;
  meanWait: number;
  medianWait: number;
  p95Wait: number;
  longestWait: number;
  /** Mean wait of the jobs of those users who together have a tenth of the device time. */
  lightWait: number;
  /** Jain's index of the users' served parts: 1 = everybody is served alike. */
  jain: number;
  /** Jobs that had not started two months later. */
  never: number;
}

function quantile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0;
}

function mean(numbers: readonly number[]): number {
  return numbers.length === 0 ? 0 : numbers.reduce((sum, one) => sum + one, 0) / numbers.length;
}

/** Jain's fairness index: (Σx)² / (n Σx²). */
function jainOf(shares: readonly number[]): number {
  const sum = shares.reduce((all, one) => all + one, 0);
  const squares = shares.reduce((all, one) => all + one * one, 0);
  return squares === 0 ? 1 : (sum * sum) / (shares.length * squares);
}

function waitOf({ job, startedAt }: Played): number {
  return startedAt === null ? Number.POSITIVE_INFINITY : startedAt - job.at;
}

/** Users by their device time, least first, with their jobs. */
function byUser(played: readonly Played[]): { time: number; jobs: Played[] }[] {
  const users = new Map<number, { time: number; jobs: Played[] }>();
  for (const one of played) {
    const user = users.get(one.job.user) ?? { time: 0, jobs: [] };
    user.time += one.job.devices * one.job.seconds;
    user.jobs.push(one);
    users.set(one.job.user, user);
  }
  return [...users.values()].sort((a, b) => a.time - b.time);
}

/** The part of the time since submission in which a user's jobs ran, each job counting alike. */
function servedPart(jobs: readonly Played[]): number {
  return mean(jobs.map((one) => one.job.seconds / (one.job.seconds + waitOf(one))));
}

function lightJobs(users: readonly { time: number; jobs: Played[] }[]): Played[] {
  const all = users.reduce((sum, user) => sum + user.time, 0);
  let time = 0;
  return users.flatMap((user) => {
    time += user.time;
    return time <= all / 10 ? user.jobs : [];
  });
}

/** `nodes` and `days` of the trace. */
export function figuresOf(played: readonly Played[], nodes: number, days: number): Figures {
  const [from, to] = [warmUpDays * secondsPerDay, days * secondsPerDay];
  const counted = played.filter((one) => one.job.at >= from && one.startedAt !== null);
  const waits = counted.map(waitOf).sort((a, b) => a - b);
  const busy = played.reduce((sum, { job, startedAt }) => {
    const begin = Math.max(from, startedAt ?? Number.POSITIVE_INFINITY);
    const end = Math.min(to, (startedAt ?? 0) + job.seconds);
    return sum + job.devices * Math.max(0, end - begin);
  }, 0);
  const users = byUser(counted);
  // Jobs that never started were served nothing.
  const served = byUser(played.filter((one) => one.job.at >= from)).map((user) => servedPart(user.jobs));
  return {
    utilization: busy / (nodes * devicesPerNode * (to - from)),
    meanWait: mean(waits),
    medianWait: quantile(waits, 0.5),
    p95Wait: quantile(waits, 0.95),
    longestWait: waits.at(-1) ?? 0,
    lightWait: mean(lightJobs(users).map(waitOf)),
    jain: jainOf(served),
    never: played.filter((one) => one.startedAt === null).length,
  };
}
