/**
 * The vocabulary of the coordinator's core: its state, the events that change it and the effects it asks for. All of it
 * is plain data, so the simulator can run the core on virtual time and a test can print any of it. Nothing here may
 * reach for a clock, a file or a random number. The loop (coordinator/loop.ts) is the only caller of the reducer; API
 * routes read the state through coordinator/core/views.ts and never change it.
 */
import type { AttemptReport, Hello, Inventory, LogRequest, Report, ToAgent, Vitals } from "../../shared/agent-wire.ts";
import type { AttemptId, JobId, NodeName, Uid } from "../../shared/ids.ts";
import type { AttemptRecord, JobRecord, RankGrant } from "../../shared/job.ts";
import type { NodeAdmin } from "../../shared/node-admin.ts";
import type { NodeWindow, Person, Quota, QuotaSubject, SchedulingConfig, UsageLine } from "../../shared/scheduling.ts";
import type { Indexes, WaitingClass } from "./indexes.ts";
import type { Reservation } from "./reserve.ts";

/** `UID/ID`: names one job in the whole cluster. */
export type JobKey = `${number}/${number}`;
export function jobKey(uid: Uid, id: JobId): JobKey {
  return `${uid}/${id}`;
}

/** How far the record of a job is on disk. Only `clean` jobs are decided upon; ranks are told to start only after the start is on disk. */
export type Commit = "clean" | "starting" | "ending" | "recovering";

/** A job that is not finished, or whose ranks are still being cleaned away on some node. */
export interface ActiveJob {
  uid: Uid;
  id: JobId;
  record: JobRecord;
  commit: Commit;
  /** Nodes on which this attempt has been seen beyond `starting`; see `started` in WantedAttempt. */
  startedOn: NodeName[];
  /** Attempts given up in this life of the coordinator whose grants some node may still hold; see recovery.ts. */
  former: AttemptRecord[];
  /** Read from the store at the start of the coordinator, so it may be older than the truth. */
  readAtStart: boolean;
  /** When its present attempt was granted, ms since 1970; null: it waits. */
  grantedAt: number | null;
  /** Uptime at which its time limit ends it; null: it has none, or waits. */
  endsAt: number | null;
  /** Its ranks are told that it will be ended soon. */
  warned: boolean;
  /** It makes room for another job: it is given up at this uptime. */
  preempted: { at: number; by: JobKey } | null;
}

/** What is counted of one attempt as long as some node holds a rank of it; see accounting.ts. Times in ms since 1970. */
export interface Account {
  uid: Uid;
  user: string;
  jobId: JobId;
  /** When its end was decided; null: it goes on. */
  endedAt: number | null;
  ranks: Map<NodeName, HeldRank>;
}

/** One rank that is counted since `from`; its user has been charged up to `chargedTo`. `kind`: null without accelerators. */
export interface HeldRank {
  grant: RankGrant;
  kind: string | null;
  from: number;
  chargedTo: number;
}

/** One machine as the coordinator knows it. `reported`: it has sent its first report in this epoch; nothing is planned on it before. */
export interface NodeState {
  name: NodeName;
  /** Its place in the configured list: 0 is `head`, others are `workerN`. */
  index: number;
  connected: boolean;
  /** A welcome of the present epoch has been sent, so the node may know this epoch from us. */
  welcomed: boolean;
  /** A report of this epoch has come on the present connection; nothing but a welcome is sent before. */
  heard: boolean;
  /** What the node should hold has changed since the last `desired`, or that one may be lost. */
  stale: boolean;
  reported: boolean;
  inventory: Inventory | null;
  /** Attempts of `attempts` and `former` in the state that have a rank here; see usage.ts. */
  held: Set<AttemptId>;
  /** The last complete picture, by attempt. Kept while the node is silent: silent is not dead. */
  attempts: Map<AttemptId, AttemptReport>;
  lastReportAt: number | null;
  /** Uptime at which it was last connected without having been silent; null: a report came on the present connection. */
  silentSince: number | null;
  /** Uptime of the last answer to a request for a renewal; null: none in this life of the coordinator. */
  renewedAt: number | null;
  /** Which of its jobs were given up since it has been silent; none is started on a silent node. */
  gaveUp: "nothing" | "recoverable" | "all";
  /** Sequence number of the last `desired` sent in this epoch, and the sequence at which each attempt was first wanted. */
  desiredSeq: number;
  wantedSince: Map<AttemptId, number>;
  /** Attempts with a durable end that the node has not yet let go of, and the first `desired` of this epoch that names each. */
  ended: Map<AttemptId, number>;
  /** Attempts in the last report that are neither wanted nor ended, so that each is logged and looked up once. */
  unknown: Set<AttemptId>;
  warnings: string[];
  /** How often it has made this life of the coordinator go past an epoch. */
  epochRaises: number;
  /** Lines about its faulty devices in the log since this uptime. */
  faultLines: { since: number; count: number };
  /** Why the agent refuses this coordinator, if it does. */
  refusal: string | null;
  /** Of the last connection: the wire protocol and the product's version; null before the first. */
  protocol: number | null;
  version: string | null;
  /** How the machine was when it last said so; null: never in this life of the coordinator. */
  vitals: NodeVitals | null;
  /** Accelerators that are granted and do nothing, by index: the uptime since which no use of them has been seen. */
  idleSince: Map<number, number>;
  /** As the config has them, with `node` added. */
  labels: Record<string, string>;
  admin: NodeAdmin;
  /** The new key (`admin.key.key`) that is known to be on disk; null: none is. */
  keyOnDisk: string | null;
}

/** `at` (ms since 1970) is when they came; `skewMs` how far the machine's clock is ahead of the coordinator's. */
export interface NodeVitals extends Omit<Vitals, "type" | "clockMs"> {
  at: number;
  skewMs: number;
}

/** What an admin wants of a node; `force`: a removal ends the jobs that run there. Times in ms since 1970. */
export interface AdminWish {
  state: NodeAdmin["state"];
  reason: string | null;
  by: string;
  deadline: number | null;
}

/**
 * The script that a user's last `launch` left behind, and the nodes on which it has succeeded. One that has succeeded
 * nowhere is not kept: a setup that fails or hangs must not come back with every later `exec`.
 */
export interface SetupState {
  uid: Uid;
  taskRef: string;
  /** The launch that it came with; a later launch replaces it, an earlier one that is slower does not. */
  jobId: JobId;
  doneOn: NodeName[];
  /** It ran in containers of this image, which are gone; absent: on the machines themselves. */
  image?: string | undefined;
}

/** What the core must know from the config. */
export interface CoreConfig {
  /** `key`: the node's public key as the config has it (shared/node-admin.ts gives its form). */
  nodes: { name: NodeName; address: string | null; key?: string; labels?: Readonly<Record<string, string>> }[];
  graceSeconds: number;
  /** Seconds of silence after which a node's jobs are given up; 0: never. Default: 3600. */
  lostNodeSeconds?: number;
  /** Seconds for which a recoverable job runs on without a renewal. Default: 120. */
  leaseSeconds?: number;
  /** The product's version, for the welcome; `0` when not given. */
  version?: string;
  /** Order, limits and preemption; default: `defaultScheduling`. */
  scheduling?: SchedulingConfig;
}

export interface State {
  config: CoreConfig;
  stateId: string;
  epoch: number;
  /** Eight random characters drawn by the loop at each start; prefix of attempt ids. */
  nonce: string;
  attemptCounter: number;
  nodes: Map<NodeName, NodeState>;
  jobs: Map<JobKey, ActiveJob>;
  setups: Map<Uid, SetupState>;
  /** Index of `jobs` by the id of their attempt, ended ones included while a node still holds them. */
  attempts: Map<AttemptId, JobKey>;
  /** Waiting jobs by class of equal demands, see order.ts. */
  waiting: Map<string, WaitingClass>;
  /** Something that a waiting job could use may have become free, or there are new jobs: plan before the next answer. */
  planDue: boolean;
  /** Classes that do not fit on what is free (`blockName` in capacity.ts); taken out when a node changes that could serve them. */
  blocked: Set<string>;
  /** What the plan looks things up in; derived from the rest. */
  indexes: Indexes;
  /** What the last plan keeps room for, in order. */
  reservations: Reservation[];
  /** Uptime at which the last plan is to be made again; null: only when something happens. */
  replanAt: number | null;
  /** Jobs as they were read at the start with something left to settle; see settleRecovered. */
  unsettled: Set<JobKey>;
  /** The uptime for which `wakeAt` was last asked and has not come; null: none. */
  wakeAsked: number | null;
  /** Uptime before which no time limit has a warning or an end to come; see due.ts. */
  limitsAt: number;
  /** Attempts that were given up and are not known to be gone from every node, by their jobs. */
  former: Map<AttemptId, JobKey>;
  /** What is counted for the usage history and charged to users, by attempt. */
  accounts: Map<AttemptId, Account>;
  /** Everybody who has ever sent a job, as far as it is remembered. */
  people: Map<Uid, Person>;
  quotas: Map<QuotaSubject, Quota>;
  /** By id; past ones are dropped. */
  windows: Map<string, NodeWindow>;
  /** The time (ms since 1970) up to which begun and ended windows have had their consequences; null: look at all again. */
  windowsSettledAt: number | null;
  /**
   * Milliseconds of a clock that never jumps, at the present event and at the start of this life of the coordinator. Only
   * this clock decides about leases and lost nodes; `now` is for people.
   */
  uptime: number;
  startedAt: number;
  /**
   * Until this uptime, or until every node has reported: the state may be an older copy, so what recovers is not started
   * before it is known what runs; null: it is known, or nothing recovers.
   */
  startHoldUntil: number | null;
}

/** What happened; past tense. Everything the core ever learns arrives as one of these. */
export type CoreEvent =
  /** The record is durable and acknowledged. */
  | { type: "jobSubmitted"; uid: Uid; id: JobId; record: JobRecord }
  | { type: "cancelRequested"; uid: Uid; ids: JobId[] }
  /** An admin has said that these jobs, held since a restore, may be started. */
  | { type: "jobsReleased"; uid: Uid; ids: JobId[] }
  /** `sky down`: all of the user's unfinished jobs are cancelled, the last setup is forgotten, the skylets end. */
  | { type: "userDowned"; uid: Uid }
  /** `key`: the public key by which the node has proved who it is. */
  | { type: "nodeConnected"; node: NodeName; hello: Hello; key?: string }
  | { type: "nodeDisconnected"; node: NodeName }
  | { type: "nodeReported"; node: NodeName; report: Report }
  | { type: "nodeRefused"; node: NodeName; reason: string }
  /** The node asks whether what it has been told still holds; `id` comes back in the answer. */
  | { type: "renewAsked"; node: NodeName; id: number }
  | { type: "vitalsReceived"; node: NodeName; vitals: Vitals }
  /** Checked by the caller: the node exists, and a removal that ends jobs is meant so. */
  | { type: "nodeAdminChanged"; node: NodeName; wish: AdminWish }
  /** The node has made this key and holds its private part beside the present one. */
  | { type: "keyMade"; node: NodeName; key: string }
  /** What `saveNodeAdmin` asked for is on disk. */
  | { type: "nodeAdminSaved"; node: NodeName; admin: NodeAdmin }
  /** An admin ends an attempt that nodes run and this state does not know. */
  | { type: "unknownEnded"; attempt: AttemptId }
  /** Comes before `jobSubmitted`: who sends the job and in which groups, as the name service says now. */
  | { type: "personSeen"; uid: Uid; user: string; groups: string[] }
  /** Checked by the caller; null drops it. */
  | { type: "quotaChanged"; subject: QuotaSubject; quota: Quota | null }
  | { type: "windowChanged"; id: string; window: NodeWindow | null }
  | { type: "startCommitted"; uid: Uid; id: JobId; attempt: AttemptId }
  | { type: "endCommitted"; uid: Uid; id: JobId }
  | { type: "requeueCommitted"; uid: Uid; id: JobId }
  /** Answer to `readJob`: the record as it is in the store, finished jobs included; null: there is none. */
  | { type: "jobRead"; uid: Uid; id: JobId; attempt: AttemptId; record: JobRecord | null }
  /** The moment that an effect `wakeAt` asked for has come. Also dispatched once after `initialState`. */
  | { type: "ticked" };

/**
 * What is to be done; imperative. The effects of one event are carried out in order; commits are durable before their
 * event comes back. Writes of one job are carried out in the order of their effects, also across events.
 */
export type CoreEffect =
  /** Write the record, then raise and take the job in its queue, then dispatch `startCommitted`. */
  | { type: "commitStart"; uid: Uid; id: JobId; record: JobRecord }
  /** Write the lines of `usage` like those of `recordUsage`, then the record, then finish the job in its queue, then dispatch `endCommitted`. */
  | { type: "commitEnd"; uid: Uid; id: JobId; record: JobRecord; usage?: UsageLine[] }
  /** As for `commitEnd`, but put the job back into its queue and dispatch `requeueCommitted`. */
  | { type: "commitRequeue"; uid: Uid; id: JobId; record: JobRecord; usage?: UsageLine[] }
  /** Write the record. A promise to somebody when it answers a request (cancel), so dispatch() waits for it. */
  | { type: "commitUpdate"; uid: Uid; id: JobId; record: JobRecord }
  /**
   * A node has an attempt that this state does not know: read its job's record and dispatch `jobRead`. So an end that was
   * durable before a restart reaches the node, while what is truly unknown is left alone.
   */
  | { type: "readJob"; uid: Uid; id: JobId; attempt: AttemptId }
  /** Write what admins have decided about this node, then dispatch `nodeAdminSaved`; a promise to the admin. */
  | { type: "saveNodeAdmin"; node: NodeName; admin: NodeAdmin }
  /** End the node's connection once it has taken what was sent to it before. */
  | { type: "cutNode"; node: NodeName; reason: string }
  | { type: "saveSetup"; uid: Uid; setup: SetupState | null }
  | { type: "savePerson"; person: Person }
  /** Promises to the admin. */
  | { type: "saveQuota"; subject: QuotaSubject; quota: Quota | null }
  | { type: "saveWindow"; id: string; window: NodeWindow | null }
  /** What was held and is free again, for the usage history; a line that is written twice counts once. */
  | { type: "recordUsage"; lines: UsageLine[] }
  /** The epoch was raised because an agent had already seen it: store it before anything is sent. */
  | { type: "saveEpoch"; epoch: number }
  | { type: "tellNode"; node: NodeName; message: ToAgent }
  /** Something about this job changed that a waiting reader (log follower, `--status`) may want to see. */
  | { type: "announceJob"; uid: Uid; id: JobId }
  /** Ask for `ticked` at this time at the latest (milliseconds); replaces an earlier wish. */
  | { type: "wakeAt"; at: number }
  | { type: "log"; level: "info" | "warn" | "error"; text: string; fields: Record<string, string | number | null> };

/** What a record of the core's log stream asks from a node; re-exported so that adapters need one import. */
export type { LogRequest };
