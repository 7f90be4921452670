/**
 * When and where a job that does not fit now will fit, from the ends of what runs: the earliest moment and exact nodes,
 * as far as that can be foreseen. What has no limit has no end; then the nodes are chosen that lack the least. It changes
 * nothing but the moments that it remembers. Called by the plan and by the explanations.
 */
import type { Demand, RankGrant, Shape } from "../../shared/job.ts";
import { type Board, durationOf, type Hold, momentsOf, openFrom, optionsOf, peakUse, soonMs } from "./board.ts";
import { fitGroups, hasLabels, isWanted, slack } from "./fit.ts";
import type { Moments, Option, Pool, Room, Timeline, WaitingClass } from "./indexes.ts";
import type { ActiveJob, JobKey } from "./state.ts";

/** `start` in uptime; null: it cannot be foreseen. `ranks` are exact when it can. `isHeld`: its room is kept for it. */
export interface Reservation {
  key: JobKey;
  ranks: RankGrant[];
  start: number | null;
  isHeld: boolean;
}

/** Remembered moments of so many demands; more are forgotten together. */
const momentsMax = 64;

const never = Number.POSITIVE_INFINITY;

function timelineOf(room: Room): Timeline {
  if (room.timeline !== null) {
    return room.timeline;
  }
  const { pool, use, groups } = room;
  const grants = room.grants.toSorted((a, b) => a.end - b.end);
  let cpus = (pool?.cpus ?? 0) - use.cpus;
  let memoryGb = (pool?.memoryGb ?? 0) - use.memoryGb;
  const timeline: Timeline = { ends: [], cpus: [], memoryGb: [], devices: [] };
  const freeAt = new Map<number, number>();
  for (const { grant, end } of grants) {
    cpus += grant.cpus;
    memoryGb += grant.memoryGb;
    timeline.ends.push(end);
    timeline.cpus.push(cpus);
    timeline.memoryGb.push(memoryGb);
    for (const device of grant.devices) {
      freeAt.set(device, end);
    }
  }
  timeline.devices = groups.map(({ devices }) =>
    devices.map(({ index }) => freeAt.get(index) ?? Number.NEGATIVE_INFINITY).sort((a, b) => a - b),
  );
  room.timeline = timeline;
  return timeline;
}

/** When so much of a thing is free at the latest end that it takes. */
function whenEnough(ends: readonly number[], free: readonly number[], now: number, wanted: number): number {
  if (wanted <= now + slack) {
    return Number.NEGATIVE_INFINITY;
  }
  const at = free.findIndex((amount) => wanted <= amount + slack);
  return ends[at] ?? never;
}

/** When one device of the group has this share free. */
function whenShare(room: Room, group: Room["groups"][number], share: number): number {
  const times = group.devices.map(({ index }) => {
    let used = room.use.devices.get(index) ?? 0;
    if (used + share <= 1 + slack) {
      return Number.NEGATIVE_INFINITY;
    }
    for (const { grant, end } of room.grants.toSorted((a, b) => a.end - b.end)) {
      used -= grant.devices.includes(index) ? grant.share : 0;
      if (used + share <= 1 + slack) {
        return end;
      }
    }
    return never;
  });
  return Math.min(never, ...times);
}

/** When a rank first fits on this node by what runs there alone; negative infinity: now. */
function earliestOn(room: Room, demand: Demand, exclusive: boolean): number {
  const { pool } = room;
  if (pool === null) {
    return never;
  }
  const line = timelineOf(room);
  let time = Math.max(
    whenEnough(line.ends, line.cpus, pool.cpus - room.use.cpus, demand.cpus),
    whenEnough(line.ends, line.memoryGb, pool.memoryGb - room.use.memoryGb, demand.memoryGb),
  );
  if (exclusive || room.use.exclusive > 0) {
    const isInWay = ({ grant }: Room["grants"][number]): boolean => exclusive || grant.exclusive === true;
    time = Math.max(time, ...room.grants.filter(isInWay).map((one) => one.end));
  }
  const { accelerators } = demand;
  if (accelerators === null) {
    return time;
  }
  let devices = never;
  for (const [at, group] of room.groups.entries()) {
    const first = group.devices[0];
    if (first !== undefined && isWanted(first, accelerators)) {
      const when =
        accelerators.count < 1
          ? whenShare(room, group, accelerators.count)
          : (line.devices[at]?.[Math.ceil(accelerators.count) - 1] ?? never);
      devices = Math.min(devices, when);
    }
  }
  return Math.max(time, devices);
}

/** How much is in the way of a rank that has no known end: devices first, then CPUs and memory as parts of the node. */
function missingOn(room: Room, demand: Demand, exclusive: boolean): number {
  const { pool } = room;
  if (pool === null) {
    return never;
  }
  const endless = room.grants.filter((one) => one.end === never);
  const sum = (of: (grant: RankGrant) => number): number => endless.reduce((all, one) => all + of(one.grant), 0);
  const cpus = Math.max(0, demand.cpus - (pool.cpus - sum((grant) => grant.cpus)));
  const memory = Math.max(0, demand.memoryGb - (pool.memoryGb - sum((grant) => grant.memoryGb)));
  const devices = Math.max(
    0,
    (demand.accelerators?.count ?? 0) - (pool.devices - sum((grant) => grant.devices.length * grant.share)),
  );
  const others = exclusive ? endless.length : 0;
  return devices + others + cpus / pool.cpus + memory / pool.memoryGb;
}

function momentsFor(board: Board, own: WaitingClass, option: Option): Moments {
  const { moments, rooms } = board.indexes;
  const name = `${own.name}#${option.rank}`;
  const known = moments.get(name);
  if (known !== undefined) {
    return known;
  }
  if (moments.size >= momentsMax) {
    moments.clear();
  }
  const size = rooms.length;
  const fresh = {
    times: new Float64Array(size),
    missing: new Float64Array(size),
    versions: new Int32Array(size).fill(-1),
  };
  moments.set(name, fresh);
  return fresh;
}

/** The first uptime at which a rank fits beside what is held for others on this node. */
function earliestBeside(board: Board, room: Room, job: ActiveJob, demand: Demand): number {
  const { shape } = job.record;
  const pool = room.pool as Pool;
  for (const moment of momentsOf(board, room)) {
    const time = openFrom(board, pool, job, moment);
    const use = peakUse(board, room, time, time + durationOf(shape));
    if (fitGroups(room.node.name, pool, room.groups, use, demand, shape.exclusive === true) !== null) {
      return time;
    }
  }
  return never;
}

interface Candidate {
  room: Room;
  time: number;
  missing: number;
}

function compareCandidates(a: Candidate, b: Candidate): number {
  if (a.time !== b.time) {
    return a.time - b.time;
  }
  return a.missing - b.missing || a.room.index - b.room.index;
}

/** Brings what is remembered of this node up to date. */
function remember(moments: Moments, room: Room, demand: Demand, exclusive: boolean): void {
  const { index } = room;
  if (moments.versions[index] !== room.version) {
    const time = earliestOn(room, demand, exclusive);
    moments.times[index] = time;
    moments.missing[index] = time === never ? missingOn(room, demand, exclusive) : 0;
    moments.versions[index] = room.version;
  }
}

/** The first uptime at which a rank fits on this node as if nothing were held there. `moment`: by what runs there alone. */
function soonestOn(board: Board, room: Room, job: ActiveJob, moment: number): number {
  const { uptime } = board.state;
  const soonest = moment === Number.NEGATIVE_INFINITY ? uptime : Math.max(moment, uptime + soonMs);
  const windows = room.pool?.windows.length ?? 0;
  return soonest === never || windows === 0 ? soonest : openFrom(board, room.pool as Pool, job, soonest);
}

/** Puts the candidate in its place among the `most` best ones, which are in order. */
function insertCandidate(best: Candidate[], candidate: Candidate, most: number): void {
  let low = 0;
  let high = best.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareCandidates(best[middle] as Candidate, candidate) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low < most) {
    best.splice(low, 0, candidate);
    best.length = Math.min(best.length, most);
  }
}

/** The nodes that could serve the demand first, with their first moments, in order: as many as the job has ranks. */
function candidatesOf(board: Board, own: WaitingClass, job: ActiveJob, option: Option): Candidate[] {
  const { demand } = option;
  const { shape } = own;
  const moments = momentsFor(board, own, option);
  const exclusive = shape.exclusive === true;
  const { rooms } = board.indexes;
  const best: Candidate[] = [];
  for (const pool of option.pools) {
    for (const index of pool.rooms) {
      const room = rooms[index] as Room;
      if (demand.labels !== undefined && !hasLabels(room.node.labels, demand.labels)) {
        continue;
      }
      remember(moments, room, demand, exclusive);
      const soonest = soonestOn(board, room, job, moments.times[index] as number);
      const missing = moments.missing[index] as number;
      // What is held there can only make it later, and to find out how much is work.
      const worst = best[shape.nodes - 1];
      const isLate =
        worst !== undefined &&
        (soonest > worst.time || (soonest === worst.time && missing >= worst.missing && index > worst.room.index));
      if (!isLate) {
        const time = board.holds.has(index) ? earliestBeside(board, room, job, demand) : soonest;
        insertCandidate(best, { room, time, missing }, shape.nodes);
      }
    }
  }
  return best;
}

/** The nodes and the moment that are best for this demand; null: too few nodes could ever serve it. */
function chosenFor(
  board: Board,
  own: WaitingClass,
  job: ActiveJob,
  option: Option,
): { time: number; rooms: Room[] } | null {
  const candidates = candidatesOf(board, own, job, option);
  if (candidates.length < own.shape.nodes) {
    return null;
  }
  const rooms = candidates.map((one) => one.room).sort((a, b) => a.index - b.index);
  let time = Math.max(...candidates.map((one) => one.time));
  // All at the same moment: a window that one of them meets then puts all behind it.
  for (let round = 0; round < 8 && time !== never; round += 1) {
    const later = Math.max(...rooms.map((room) => openFrom(board, room.pool as Pool, job, time)));
    if (later === time) {
      break;
    }
    time = later;
  }
  return { time, rooms };
}

/** What of a rank's demand is free on a node now: held until the rest is, when nobody knows when that will be. */
function freePart(room: Room, demand: Demand, shape: Shape): RankGrant {
  const { pool, use, groups, node } = room;
  const least = (wanted: number, size: number, used: number): number => Math.max(0, Math.min(wanted, size - used));
  const { accelerators } = demand;
  const share = accelerators !== null && accelerators.count < 1 ? accelerators.count : 1;
  const count = Math.ceil(accelerators?.count ?? 0);
  const free: number[] = [];
  for (const { devices } of groups) {
    const first = devices[0];
    if (accelerators !== null && first !== undefined && isWanted(first, accelerators)) {
      free.push(
        ...devices.filter((one) => (use.devices.get(one.index) ?? 0) + share <= 1 + slack).map((one) => one.index),
      );
    }
  }
  return {
    node: node.name,
    devices: free.slice(0, count),
    share,
    cpus: least(demand.cpus, pool?.cpus ?? 0, use.cpus),
    memoryGb: least(demand.memoryGb, pool?.memoryGb ?? 0, use.memoryGb),
    ...(shape.exclusive === true ? { exclusive: true as const } : {}),
  };
}

/** The job will have this room from `from` on; what starts before must leave it. */
function hold(board: Board, key: JobKey, shape: Shape, room: Room, grant: RankGrant, start: number | null): void {
  const { uptime } = board.state;
  const from = start ?? uptime;
  const own: Hold = { key, from, to: start === null ? never : start + durationOf(shape), grant };
  const holds = board.holds.get(room.index);
  if (holds === undefined) {
    board.holds.set(room.index, [own]);
  } else {
    holds.push(own);
  }
}

/**
 * The earliest start of a job that does not fit now. When it can be foreseen, or `mayHold` says that the job has waited
 * long enough, its room is held on the board. Null: the nodes that are there could never serve it.
 */
export function reserve(
  board: Board,
  own: WaitingClass,
  job: ActiveJob,
  key: JobKey,
  mayHold: boolean,
): Reservation | null {
  let best: { time: number; rooms: Room[]; option: Option } | null = null;
  for (const option of optionsOf(board, own)) {
    const chosen = chosenFor(board, own, job, option);
    if (chosen !== null && (best === null || chosen.time < best.time)) {
      best = { ...chosen, option };
    }
  }
  if (best === null) {
    return null;
  }
  const { rooms, time } = best;
  const { demand } = best.option;
  const { shape } = own;
  if (time === never) {
    const parts = rooms.map((room) => freePart(room, demand, shape));
    for (const [at, room] of rooms.entries()) {
      if (mayHold) {
        hold(board, key, shape, room, parts[at] as RankGrant, null);
      }
    }
    return { key, ranks: mayHold ? parts : [], start: null, isHeld: mayHold };
  }
  const ranks: RankGrant[] = [];
  for (const room of rooms) {
    const use = peakUse(board, room, time, time + durationOf(shape));
    const grant = fitGroups(room.node.name, room.pool as Pool, room.groups, use, demand, shape.exclusive === true);
    if (grant !== null) {
      ranks.push(grant);
      hold(board, key, shape, room, grant, time);
    }
  }
  return { key, ranks, start: time, isHeld: true };
}
