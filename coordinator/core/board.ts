/**
 * What one plan works on: the index of nodes, what is held for jobs that wait for their turn, and the questions about
 * time and windows that go with it. A hold says from when to when a rank's room must be free; what starts now must leave
 * it. It is made anew for each plan and thrown away after it. Called by place.ts, reserve.ts and the plan.
 */
import { type Demand, demandsOf, type RankGrant, type Shape } from "../../shared/job.ts";
import { needsNewer } from "./eligible.ts";
import { addGrant, emptyUse, fitGroups, isWanted, type NodeUse } from "./fit.ts";
import type { Indexes, Option, Pool, Room, WaitingClass } from "./indexes.ts";
import { missingOf } from "./mechanisms.ts";
import type { ActiveJob, JobKey, State } from "./state.ts";
import { mayRunIn } from "./windows.ts";

/** What is overdue or is being cleaned away counts as free after so many milliseconds: soon, but not now. */
export const soonMs = 1_000;

/** Room that a waiting job is to have, in uptime. */
export interface Hold {
  key: JobKey;
  from: number;
  to: number;
  grant: RankGrant;
}

export interface Board {
  state: State;
  indexes: Indexes;
  /** Milliseconds since 1970. */
  now: number;
  /** By the index of their node. */
  holds: Map<number, Hold[]>;
  /** Some window lets some users in: who may run where differs. */
  hasReservations: boolean;
}

/** After `refresh`. */
export function openBoard(state: State, now: number): Board {
  const { indexes } = state;
  const hasReservations = indexes.windows.some((window) => window.kind === "reservation");
  return { state, indexes, now, holds: new Map(), hasReservations };
}

/** Milliseconds from its grant to its end; infinite without a limit. */
export function durationOf(shape: Shape): number {
  return shape.timeLimitSeconds === undefined ? Number.POSITIVE_INFINITY : shape.timeLimitSeconds * 1000;
}

/** Names the windows in which this job's user may run; equal for users who may run on the same nodes. */
export function profileOf(board: Board, job: ActiveJob): string {
  if (!board.hasReservations) {
    return "";
  }
  const own = board.indexes.windows.filter((window) => mayRunIn(board.state, window, job.record));
  return own.map((window) => window.id).join() || "-";
}

/**
 * The first uptime from `from` on at which this job could start in the pool and not meet a window that it may not run
 * in; infinite: never, as far as is known.
 */
export function openFrom(board: Board, pool: Pool, job: ActiveJob, from: number): number {
  const { state, now } = board;
  const duration = durationOf(job.record.shape);
  let start = from;
  // By their beginning; one that is met puts the start behind it.
  for (const window of pool.windows) {
    const [begin, end] = [window.from - now + state.uptime, window.to - now + state.uptime];
    if (end > start && begin < start + duration && !mayRunIn(state, window, job.record)) {
      start = end;
    }
  }
  return start;
}

/** Empty nodes of the pool could serve this demand. */
function suits(pool: Pool, shape: Shape, demand: Demand): boolean {
  return (
    (pool.knowsLeases || !needsNewer(shape)) &&
    (pool.hasContainers || shape.container !== true) &&
    missingOf(pool.mechanisms, shape).length === 0 &&
    fitGroups("empty", pool, pool.groups, emptyUse(), demand, shape.exclusive === true) !== null
  );
}

/** How many devices there are of the scarcest kind that a rank would keep others from; infinite without devices. */
function abundanceOf(indexes: Indexes, pool: Pool, { accelerators }: Demand): number {
  const kinds = pool.groups.filter(({ devices: [first] }) => {
    return accelerators === null || (first !== undefined && isWanted(first, accelerators));
  });
  return Math.min(Number.POSITIVE_INFINITY, ...kinds.map(({ kind }) => indexes.kinds.get(kind) ?? 0));
}

/**
 * Where jobs of this class can be placed at all, by demand, and within it nodes of the scarcest kind last. Ways that are
 * equally good are one list by that measure.
 */
export function optionsOf(board: Board, own: WaitingClass): Option[] {
  const { indexes } = board;
  if (own.optionsOf === indexes.poolsVersion) {
    return own.options;
  }
  const pools = [...indexes.pools.values()];
  const options = demandsOf(own.shape).map((demand, rank): Option => {
    const order = (pool: Pool): number => -abundanceOf(indexes, pool, demand);
    const fitting = pools.filter((pool) => suits(pool, own.shape, demand));
    const sorted = fitting.sort((a, b) => order(a) - order(b) || a.devices - b.devices || (a.key < b.key ? -1 : 1));
    return { demand, rank, pools: sorted };
  });
  own.options =
    own.shape.anyOrder === true ? inAnyOrder(indexes, options) : options.filter((one) => one.pools.length > 0);
  own.optionsOf = indexes.poolsVersion;
  return own.options;
}

/** Each pool of each demand by itself, the most abundant first. */
function inAnyOrder(indexes: Indexes, options: Option[]): Option[] {
  const single = options.flatMap(({ demand, rank, pools }) =>
    pools.map((pool) => ({ option: { demand, rank, pools: [pool] }, abundance: abundanceOf(indexes, pool, demand) })),
  );
  // Sorting is stable: earlier demands stay first among equals.
  return single.sort((a, b) => (a.abundance === b.abundance ? 0 : b.abundance - a.abundance)).map((one) => one.option);
}

/** Elementwise the larger of both. */
function raise(peak: NodeUse, use: NodeUse): void {
  for (const [device, share] of use.devices) {
    peak.devices.set(device, Math.max(peak.devices.get(device) ?? 0, share));
  }
  peak.cpus = Math.max(peak.cpus, use.cpus);
  peak.memoryGb = Math.max(peak.memoryGb, use.memoryGb);
  peak.ranks = Math.max(peak.ranks, use.ranks);
  peak.exclusive = Math.max(peak.exclusive, use.exclusive);
}

/** What is in use and held on the node at this uptime. What is overdue or being cleaned counts as gone after now. */
function useAt(board: Board, room: Room, holds: readonly Hold[], time: number): NodeUse {
  const use = emptyUse();
  const { uptime } = board.state;
  for (const { grant, end } of room.grants) {
    if (end > time || time <= uptime) {
      addGrant(use, grant);
    }
  }
  for (const hold of holds) {
    if (hold.from <= time && hold.to > time) {
      addGrant(use, hold.grant);
    }
  }
  return use;
}

/** The most that is in use or held on the node at any moment from `from` until `to`, in uptime, of each thing. */
export function peakUse(board: Board, room: Room, from: number, to: number): NodeUse {
  const holds = board.holds.get(room.index) ?? [];
  const peak = useAt(board, room, holds, from);
  for (const hold of holds) {
    if (hold.from > from && hold.from < to) {
      raise(peak, useAt(board, room, holds, hold.from));
    }
  }
  return peak;
}

/** Uptimes from now on at which something of the node becomes free, ascending, now first. */
export function momentsOf(board: Board, room: Room): number[] {
  const { uptime } = board.state;
  const holds = board.holds.get(room.index) ?? [];
  const ends = [...room.grants.map((one) => one.end), ...holds.map((one) => one.to)];
  // What should be over is as good as over; it is the next moment, not this one.
  const soon = ends.some((end) => end <= uptime) ? [uptime + soonMs] : [];
  return [uptime, ...soon, ...ends.filter((end) => end > uptime && Number.isFinite(end))].sort((a, b) => a - b);
}
