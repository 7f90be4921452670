/**
 * The nodes as the plan sees them: what is in use on each, and alike nodes together in pools, ordered by what is free,
 * so that a place is found without looking at every node. Only nodes that were touched since the last plan are looked at
 * again. It must never be trusted beyond a plan: `refresh` comes first. Called by the plan and the sanity check.
 */
import { nominalMemoryGb, vendorOf } from "../../shared/accelerators.ts";
import { demandsOf, type RankGrant } from "../../shared/job.ts";
import { hasContainers, knowsLeases, lacksContainers, lacksVersion, takesJobs } from "./eligible.ts";
import { addGrant, type DeviceGroup, emptyUse, fitGroups, groupsOf, hasLabels, type NodeUse, slack } from "./fit.ts";
import { mechanismLack, mechanismsOn } from "./mechanisms.ts";
import type { Bucket, Indexes, Pool, Room, WaitingClass } from "./indexes.ts";
import type { NodeState, State } from "./state.ts";
import { type Holder, holdersOn } from "./usage.ts";
import { type NodeWindows, windowsByNode } from "./windows.ts";

/** Levels of nodes without devices. */
const cpuLevels = 8;

/** First place at which `index` or a higher one stands. */
function placeOf(list: readonly number[], index: number): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((list[middle] as number) < index) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

function insert(list: number[], index: number): void {
  list.splice(placeOf(list, index), 0, index);
}

function remove(list: number[], index: number): void {
  list.splice(placeOf(list, index), 1);
}

function groupText({ kind, devices }: DeviceGroup): string {
  const first = devices[0];
  const memory = first === undefined ? null : nominalMemoryGb(first.kind, first.memoryMb);
  return `${kind}/${memory}/${first?.vendor ?? vendorOf(kind)}x${devices.length}`;
}

/** Equal for nodes that are alike. */
function poolKey(node: NodeState, groups: DeviceGroup[], windows: NodeWindows): string {
  const { cpus, memoryGb } = node.inventory as NonNullable<NodeState["inventory"]>;
  const set = (windows.get(node.name) ?? []).map((window) => window.id).join();
  const abilities = [knowsLeases(node) ? "leases" : "", hasContainers(node) ? "containers" : ""];
  const mechanisms = mechanismsOn(node).toSorted().join();
  return [cpus, memoryGb, groups.map(groupText).join("+"), ...abilities, mechanisms, set].join("|");
}

function newPool(key: string, node: NodeState, groups: DeviceGroup[], windows: NodeWindows): Pool {
  const { cpus, memoryGb } = node.inventory as NonNullable<NodeState["inventory"]>;
  const devices = groups.reduce((sum, group) => sum + group.devices.length, 0);
  const levels = devices > 0 ? devices : cpuLevels;
  const buckets = Array.from({ length: levels + 1 }, (): Bucket => ({ rooms: [], cpus: 0, memoryGb: 0 }));
  const abilities = { knowsLeases: knowsLeases(node), hasContainers: hasContainers(node) };
  const own = { ...abilities, mechanisms: mechanismsOn(node), windows: windows.get(node.name) ?? [] };
  return { key, cpus, memoryGb, groups, devices, ...own, rooms: [], buckets, partial: [] };
}

function levelOf(pool: Pool, groups: readonly DeviceGroup[], use: NodeUse): number {
  if (pool.devices === 0) {
    return Math.max(0, Math.min(cpuLevels, Math.floor((cpuLevels * (pool.cpus - use.cpus)) / pool.cpus + slack)));
  }
  let free = 0;
  for (const { devices } of groups) {
    for (const { index } of devices) {
      free += (use.devices.get(index) ?? 0) <= slack ? 1 : 0;
    }
  }
  return free;
}

function hasPartial(groups: readonly DeviceGroup[], use: NodeUse): boolean {
  return groups.some(({ devices }) =>
    devices.some(({ index }) => {
      const used = use.devices.get(index) ?? 0;
      return used > slack && used < 1 - slack;
    }),
  );
}

/** Puts a room among those of its pool that have as much free. */
function file(room: Room): void {
  const { pool } = room;
  if (pool === null) {
    return;
  }
  room.level = levelOf(pool, room.groups, room.use);
  room.isPartial = hasPartial(room.groups, room.use);
  const bucket = pool.buckets[room.level] as Bucket;
  insert(bucket.rooms, room.index);
  bucket.cpus = Math.max(bucket.cpus, pool.cpus - room.use.cpus);
  bucket.memoryGb = Math.max(bucket.memoryGb, pool.memoryGb - room.use.memoryGb);
  if (room.isPartial) {
    insert(pool.partial, room.index);
  }
}

function unfile(room: Room): void {
  if (room.pool !== null) {
    remove((room.pool.buckets[room.level] as Bucket).rooms, room.index);
    if (room.isPartial) {
      remove(room.pool.partial, room.index);
    }
  }
}

function countKinds(indexes: Indexes, pool: Pool, sign: 1 | -1): void {
  for (const { kind, devices } of pool.groups) {
    indexes.kinds.set(kind, (indexes.kinds.get(kind) ?? 0) + sign * devices.length);
  }
}

function joinPool(indexes: Indexes, room: Room, key: string | null, windows: NodeWindows): void {
  const before = room.pool;
  if (before !== null) {
    remove(before.rooms, room.index);
    countKinds(indexes, before, -1);
    if (before.rooms.length === 0) {
      indexes.pools.delete(before.key);
    }
  }
  indexes.poolsVersion += 1;
  room.pool = null;
  if (key !== null) {
    const pool = indexes.pools.get(key) ?? newPool(key, room.node, room.groups, windows);
    indexes.pools.set(key, pool);
    insert(pool.rooms, room.index);
    countKinds(indexes, pool, 1);
    room.pool = pool;
  }
}

/** Uptime at which this grant is expected to be free; infinite: not known. 0: it is being cleaned away. */
function endOf(state: State, holder: Holder): number {
  const key = state.attempts.get(holder.attempt);
  const job = key === undefined ? undefined : state.jobs.get(key);
  if (job === undefined) {
    return state.former.has(holder.attempt) ? 0 : Number.POSITIVE_INFINITY;
  }
  if (job.record.phase === "ended" || job.record.phase === "waiting") {
    return 0;
  }
  return Math.min(job.endsAt ?? Number.POSITIVE_INFINITY, job.preempted?.at ?? Number.POSITIVE_INFINITY);
}

/** Something that was in use is free now. */
function hasMore(before: NodeUse, after: NodeUse): boolean {
  if (after.cpus < before.cpus - slack || after.memoryGb < before.memoryGb - slack) {
    return true;
  }
  if (after.exclusive < before.exclusive || after.ranks < before.ranks) {
    return true;
  }
  for (const [device, share] of before.devices) {
    if ((after.devices.get(device) ?? 0) < share - slack) {
      return true;
    }
  }
  return false;
}

/** Takes in what has changed on a node; true when something may fit there that did not before. */
function look(state: State, room: Room, windows: NodeWindows): boolean {
  const { indexes } = state;
  const { node } = room;
  const grants: Room["grants"] = [];
  const use = emptyUse();
  for (const holder of holdersOn(state, node)) {
    addGrant(use, holder.grant);
    grants.push({ grant: holder.grant, end: endOf(state, holder) });
  }
  unfile(room);
  room.groups = takesJobs(node) && node.inventory !== null ? groupsOf(node.inventory) : [];
  const key = takesJobs(node) ? poolKey(node, room.groups, windows) : null;
  let isBetter = false;
  if (key !== (room.pool?.key ?? null)) {
    joinPool(indexes, room, key, windows);
    isBetter = true;
  }
  isBetter ||= hasMore(room.use, use);
  room.use = use;
  room.grants = grants;
  indexes.versions += 1;
  room.version = indexes.versions;
  room.timeline = null;
  file(room);
  return isBetter && room.pool !== null;
}

/** A rank of this class fits on the node as it is, whosever it is. */
function fitsOn(room: Room, own: WaitingClass): boolean {
  const { pool, node } = room;
  return (
    pool !== null &&
    !lacksVersion(node, own.shape) &&
    !lacksContainers(node, own.shape) &&
    mechanismLack(node, own.shape) === null &&
    demandsOf(own.shape).some(
      (demand) =>
        hasLabels(node.labels, demand.labels) &&
        fitGroups(node.name, pool, room.groups, room.use, demand, own.shape.exclusive === true) !== null,
    )
  );
}

/** Classes that did not fit are tried again when something on one of these nodes could serve them. */
function unblock(state: State, better: readonly Room[]): void {
  for (const name of state.blocked) {
    const own = state.waiting.get(classNameOf(name));
    if (own === undefined || better.some((room) => fitsOn(room, own))) {
      state.blocked.delete(name);
    }
  }
}

/** Between a class and the windows in which its users may run, where that matters. */
const separator = "\n";

/** Names what did not fit: a class, of users who may run in the same windows. */
export function blockName(own: WaitingClass, profile: string): string {
  return profile === "" ? own.name : `${own.name}${separator}${profile}`;
}

function classNameOf(name: string): string {
  const end = name.indexOf(separator);
  return end < 0 ? name : name.slice(0, end);
}

function makeRooms(state: State): void {
  const { indexes } = state;
  for (const node of state.nodes.values()) {
    const nothing = { pool: null, groups: [], use: emptyUse(), grants: [], timeline: null };
    indexes.rooms.push({ index: node.index, node, ...nothing, level: 0, isPartial: false, version: 0 });
    indexes.touched.add(node.name);
  }
}

/** Windows have come, gone or changed: pools are made by them. True when they have. */
function takeWindows(state: State, windows: NodeWindows): boolean {
  const { indexes } = state;
  const open = new Set([...windows.values()].flat());
  if (open.size === indexes.windows.length && indexes.windows.every((window) => open.has(window))) {
    return false;
  }
  indexes.windows = [...open];
  return true;
}

/** Brings the index of nodes in line with the state. `now` in ms since 1970. */
export function refresh(state: State, now: number): void {
  const { indexes } = state;
  if (indexes.rooms.length === 0) {
    makeRooms(state);
  }
  const windows = windowsByNode(state, now);
  if (takeWindows(state, windows)) {
    // A pool keeps its windows: all are made anew.
    for (const room of indexes.rooms) {
      unfile(room);
      joinPool(indexes, room, null, windows);
      indexes.touched.add(room.node.name);
    }
    state.blocked.clear();
  } else if (windows.size > 0 && now < indexes.refreshedAt) {
    // A clock that was set back brings back the time before a window.
    state.blocked.clear();
  }
  indexes.refreshedAt = now;
  const better: Room[] = [];
  for (const name of indexes.touched) {
    const room = indexes.rooms[state.nodes.get(name)?.index ?? -1];
    if (room !== undefined && look(state, room, windows)) {
      better.push(room);
    }
  }
  indexes.touched.clear();
  if (better.length > 0 && state.blocked.size > 0) {
    unblock(state, better);
  }
}

/** The plan counts this grant as given until the next `refresh`, which looks at the node again. */
export function take(state: State, room: Room, grant: RankGrant, end: number): void {
  const { indexes } = state;
  unfile(room);
  addGrant(room.use, grant);
  room.grants.push({ grant, end });
  indexes.versions += 1;
  room.version = indexes.versions;
  room.timeline = null;
  file(room);
  indexes.touched.add(room.node.name);
}
