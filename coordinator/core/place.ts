/**
 * Where a job goes that may start now: the ranks' nodes and devices, or that there is no room. Looks first at the nodes
 * that are nearly full, keeps away from scarce kinds that are not needed, and leaves the room that is held for jobs
 * whose turn is earlier. It changes nothing. Called by the plan and by the answers to dry runs.
 */
import type { Demand, RankGrant, Shape } from "../../shared/job.ts";
import { type Board, durationOf, openFrom, optionsOf, peakUse } from "./board.ts";
import { fitGroups, hasLabels, slack } from "./fit.ts";
import type { Bucket, Option, Pool, Room, WaitingClass } from "./indexes.ts";
import type { ActiveJob } from "./state.ts";

/** `ranks` is null when there is no room; `isHeld`: there would be, but it is held for others. */
export interface Placement {
  ranks: RankGrant[] | null;
  isHeld: boolean;
}

/** One demand that is being placed. */
interface Search {
  board: Board;
  demand: Demand;
  shape: Shape;
  found: { room: Room; grant: RankGrant }[];
  /** Nodes that have it already. */
  taken: Set<number>;
  /** Room that would do but for what is held on it. */
  heldRooms: number;
}

function isDone({ found, shape }: Search): boolean {
  return found.length >= shape.nodes;
}

function tryRoom(search: Search, room: Room): void {
  const { demand, shape, taken, board } = search;
  if (taken.has(room.index) || board.holds.has(room.index) || !hasLabels(room.node.labels, demand.labels)) {
    return;
  }
  const grant = fitGroups(
    room.node.name,
    room.pool ?? { cpus: 0, memoryGb: 0 },
    room.groups,
    room.use,
    demand,
    shape.exclusive === true,
  );
  if (grant !== null) {
    search.found.push({ room, grant });
    taken.add(room.index);
  }
}

/** Tries the nodes of one bucket; one in which nothing fits is remembered by the most that is free in it. */
function tryBucket(search: Search, bucket: Bucket, pool: Pool): void {
  const { demand, board } = search;
  if (demand.cpus > bucket.cpus + slack || demand.memoryGb > bucket.memoryGb + slack) {
    return;
  }
  let cpus = 0;
  let memoryGb = 0;
  for (const index of bucket.rooms) {
    const room = board.indexes.rooms[index];
    if (room === undefined) {
      continue;
    }
    const [freeCpus, freeMemory] = [pool.cpus - room.use.cpus, pool.memoryGb - room.use.memoryGb];
    cpus = Math.max(cpus, freeCpus);
    memoryGb = Math.max(memoryGb, freeMemory);
    if (demand.cpus <= freeCpus + slack && demand.memoryGb <= freeMemory + slack) {
      tryRoom(search, room);
      if (isDone(search)) {
        return;
      }
    }
  }
  bucket.cpus = cpus;
  bucket.memoryGb = memoryGb;
}

/** Nodes of which a device is in use in part come first for fractions. */
function tryPartial(search: Search, pool: Pool): void {
  for (const index of pool.partial) {
    const room = search.board.indexes.rooms[index];
    const count = search.demand.accelerators?.count ?? 0;
    const hasRoom = (share: number): boolean => share > slack && share + count <= 1 + slack;
    if (room !== undefined && [...room.use.devices.values()].some(hasRoom)) {
      tryRoom(search, room);
    }
    if (isDone(search)) {
      return;
    }
  }
}

function tryPool(search: Search, pool: Pool): void {
  const { shape, demand } = search;
  const count = demand.accelerators?.count ?? 0;
  if (count > 0 && count < 1) {
    tryPartial(search, pool);
  }
  // A node for itself is an empty one: all of it is free.
  const first = shape.exclusive === true ? pool.buckets.length - 1 : Math.ceil(count);
  for (let level = first; level < pool.buckets.length && !isDone(search); level += 1) {
    tryBucket(search, pool.buckets[level] as Bucket, pool);
  }
}

/** Nodes on which something is held for others come last, and only what leaves that is placed there. */
function tryHeld(search: Search, pools: ReadonlySet<Pool>): void {
  const { board, demand, shape } = search;
  const exclusive = shape.exclusive === true;
  const { uptime } = board.state;
  for (const index of [...board.holds.keys()].sort((a, b) => a - b)) {
    const room = board.indexes.rooms[index];
    if (room === undefined || room.pool === null || !pools.has(room.pool) || isDone(search)) {
      continue;
    }
    const { node, groups, pool } = room;
    const fits = (use: Room["use"]): RankGrant | null => fitGroups(node.name, pool, groups, use, demand, exclusive);
    if (!hasLabels(node.labels, demand.labels) || fits(room.use) === null) {
      continue;
    }
    const grant = fits(peakUse(board, room, uptime, uptime + durationOf(shape)));
    if (grant === null) {
      search.heldRooms += 1;
    } else {
      search.found.push({ room, grant });
    }
  }
}

function newSearch(board: Board, shape: Shape, demand: Demand): Search {
  return { board, demand, shape, found: [], taken: new Set(), heldRooms: 0 };
}

/** All ranks in the nodes of one pool if that is possible, else in those of several. */
function placeOption(board: Board, { demand, pools }: Option, shape: Shape): Search {
  if (shape.nodes > 1 && pools.length > 1) {
    for (const pool of pools) {
      const search = newSearch(board, shape, demand);
      if (pool.rooms.length >= shape.nodes) {
        tryPool(search, pool);
      }
      if (isDone(search)) {
        return search;
      }
    }
  }
  const search = newSearch(board, shape, demand);
  for (const pool of pools) {
    if (!isDone(search)) {
      tryPool(search, pool);
    }
  }
  if (!isDone(search)) {
    tryHeld(search, new Set(pools));
  }
  return search;
}

/** Grants for every rank, each on a node of its own, as far as there is room now. `isAllowed`: demands that may be used. */
export function place(
  board: Board,
  own: WaitingClass,
  job: ActiveJob,
  isAllowed: (demand: Demand) => boolean = () => true,
): Placement {
  let isHeld = false;
  const { shape } = own;
  for (const option of optionsOf(board, own)) {
    if (!isAllowed(option.demand)) {
      continue;
    }
    const { uptime } = board.state;
    const pools = option.pools.filter(
      (pool) => pool.windows.length === 0 || openFrom(board, pool, job, uptime) === uptime,
    );
    const search = placeOption(board, { ...option, pools }, shape);
    if (isDone(search)) {
      const inOrder = search.found.slice(0, shape.nodes).sort((a, b) => a.room.index - b.room.index);
      return { ranks: inOrder.map((one) => one.grant), isHeld: false };
    }
    isHeld ||= search.found.length + search.heldRooms >= shape.nodes;
  }
  return { ranks: null, isHeld };
}
