/**
 * The words of the plan's indexes: what is derived from jobs and nodes so that a plan need not look at all of them. Types
 * and empty values only. Every index can be derived anew from the state; sanity.ts compares. They are changed by order.ts
 * (waiting jobs), capacity.ts (nodes) and holdings.ts (users) alone.
 */
import type { AttemptId, JobId, NodeName, Uid } from "../../shared/ids.ts";
import type { Demand, RankGrant, Shape } from "../../shared/job.ts";
import type { Mechanism } from "../../shared/launch-spec.ts";
import type { NodeWindow } from "../../shared/scheduling.ts";
import type { DeviceGroup, NodeUse } from "./fit.ts";
import type { NodeState } from "./state.ts";

/** One user's waiting jobs of one class, by number. */
export interface Line {
  uid: Uid;
  slot: number;
  ids: JobId[];
  own: WaitingClass;
  /** Its place among the lines of its user. */
  spot: number;
}

/** Waiting jobs with equal demands, limits and priority. `lines`, `slots` and `since` (submission of the first) run in parallel. */
export interface WaitingClass {
  name: string;
  shape: Shape;
  priority: number;
  lines: Line[];
  slots: number[];
  since: number[];
  /** Place of a user's line. */
  at: Map<Uid, number>;
  /** Where jobs of this class could be placed at all, by demand; kept while the pools are the same. */
  options: Option[];
  optionsOf: number;
}

/** One demand of a class and the pools whose empty nodes could serve it, best first. */
export interface Option {
  demand: Demand;
  /** Its place among the class's demands. */
  rank: number;
  pools: Pool[];
}

/** Nodes of a pool with equally many free devices; nothing in it has more free CPUs or memory than this. */
export interface Bucket {
  rooms: number[];
  cpus: number;
  memoryGb: number;
}

/** Nodes that are alike but for what is in use. Lists of nodes are of their indices, ascending. */
export interface Pool {
  key: string;
  cpus: number;
  memoryGb: number;
  /** Kinds of devices that may be granted, in lower case, with how many each node has. */
  groups: DeviceGroup[];
  devices: number;
  knowsLeases: boolean;
  hasContainers: boolean;
  mechanisms: readonly Mechanism[];
  windows: readonly NodeWindow[];
  rooms: number[];
  /** By the number of wholly free devices; without devices by eighths of the CPUs that are free. */
  buckets: Bucket[];
  /** Nodes with a device of which a part is in use. */
  partial: number[];
}

/** When what is in use on a node becomes free, in uptime; see `timelineOf`. */
export interface Timeline {
  ends: number[];
  /** Free after the end at the same place. */
  cpus: number[];
  memoryGb: number[];
  /** By group of the node: when each device is wholly free, ascending. */
  devices: number[][];
}

/** One node as the plan sees it. `pool` is null while it takes no jobs. */
export interface Room {
  index: number;
  node: NodeState;
  pool: Pool | null;
  groups: DeviceGroup[];
  use: NodeUse;
  grants: { grant: RankGrant; end: number }[];
  level: number;
  isPartial: boolean;
  timeline: Timeline | null;
  /** Changes whenever `use` does. */
  version: number;
}

/** What a user's attempts hold. Amounts in millionths, so that sums are exact and do not depend on their order. */
export interface Holding {
  running: number;
  cpus: number;
  memoryGb: number;
  /** By kind in lower case. */
  devices: Map<string, number>;
  allDevices: number;
  /** Accelerators charged a second, in millionths; `fading` is the part of it that use before `at` has not yet worn off. */
  rate: number;
  fading: number;
  at: number;
}

/** What one attempt adds to its user's holding. */
export interface Counted {
  uid: Uid;
  /** Its user's groups when it was counted. */
  groups: readonly string[];
  cpus: number;
  memoryGb: number;
  devices: Map<string, number>;
  rate: number;
  from: number;
}

/** What the order compares between users, by slot; as of a whole step of time, so that it need not be made anew each time. */
export interface ShareKeys {
  exact: number[];
  /** Of which step of time they are. */
  step: number;
  /** Users whose use, holding or weight has changed. */
  stale: Set<Uid>;
}

/** Earliest moments of a class on each node, as far as its version is the same. */
export interface Moments {
  times: Float64Array;
  missing: Float64Array;
  versions: Int32Array;
}

export interface Indexes {
  /** Users with waiting jobs have a slot each. */
  slots: Map<Uid, number>;
  uids: Uid[];
  /** Lines of each slot. */
  lines: Line[][];
  shares: ShareKeys;
  rooms: Room[];
  pools: Map<string, Pool>;
  poolsVersion: number;
  versions: number;
  /** Devices of each kind on all nodes that take jobs. */
  kinds: Map<string, number>;
  /** Nodes of which something has changed since they were last looked at. */
  touched: Set<NodeName>;
  /** The windows that the pools were made with. */
  windows: NodeWindow[];
  /** When nodes were last looked at, ms since 1970. */
  refreshedAt: number;
  holdings: Map<Uid, Holding>;
  /** Of the members of a group together. */
  groups: Map<string, Holding>;
  counted: Map<AttemptId, Counted>;
  moments: Map<string, Moments>;
}

export function emptyIndexes(): Indexes {
  return {
    slots: new Map(),
    uids: [],
    lines: [],
    shares: { exact: [], step: -1, stale: new Set() },
    rooms: [],
    pools: new Map(),
    poolsVersion: 0,
    versions: 0,
    kinds: new Map(),
    touched: new Set(),
    windows: [],
    refreshedAt: 0,
    holdings: new Map(),
    groups: new Map(),
    counted: new Map(),
    moments: new Map(),
  };
}

/** Exact sums: an amount in millionths. */
export function millionths(amount: number): number {
  return Math.round(amount * 1e6);
}
