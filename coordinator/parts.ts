/**
 * The seams between the coordinator's adapters: what the loop, the queue, the store, the fleet and the API promise each
 * other. Interfaces only; each has one implementation in the file named beside it. Nothing here may mention BullMQ,
 * Redis or SSH, so that an adapter can be exchanged without touching its neighbours.
 */
import type { Duplex } from "node:stream";
import type { InspectRequest, LogRequest, ToAgent } from "../shared/agent-wire.ts";
import type { AttemptId, JobId, NodeName, RequestId, Uid } from "../shared/ids.ts";
import type { Job, JobRecord, Payload } from "../shared/job.ts";
import type { NodeAdmin } from "../shared/node-admin.ts";
import type { NodeWindow, Person, Quota, QuotaSubject, UsageLine } from "../shared/scheduling.ts";
import type { Account } from "../shared/users-policy.ts";
import type { CoreEvent, SetupState, State } from "./core/state.ts";
import type { AdminPolicyRunner } from "./policy/parts.ts";
import type { PolicyStore } from "./policy/policy-store.ts";

/** One BullMQ queue per user (coordinator/queue.ts). Every call has a time limit and throws StoreUnavailable when it passes. */
export interface JobQueue {
  /** Durable when it returns. The same requestId adds nothing new and returns the first job's id. Raises the set of known users first. */
  add(record: JobRecord): Promise<JobId>;
  /** As add, with the record that is stored under the id: another than the given one when the request is known already, null when it was dropped since. */
  submit(record: JobRecord): Promise<{ id: JobId; stored: JobRecord | null }>;
  /** Write the record of a start and take the job, in this order; token `<id>.<attempt number>`. Idempotent. */
  start(uid: Uid, id: JobId, record: JobRecord, attemptNumber: number): Promise<void>;
  /** Write the record of an end and move the job to the finished list, in this order, from wherever it is. Idempotent. */
  end(uid: Uid, id: JobId, record: JobRecord, attemptNumber: number): Promise<void>;
  /** Overwrite the record. */
  update(uid: Uid, id: JobId, record: JobRecord): Promise<void>;
  /** Bring to the front and take; token `<id>.<attempt number>`. Idempotent. */
  take(uid: Uid, id: JobId, attemptNumber: number): Promise<void>;
  /** Move to the waiting list, from wherever it is. Idempotent. */
  putBack(uid: Uid, id: JobId): Promise<void>;
  /** Move to the finished list, from wherever it is. Idempotent. */
  finish(uid: Uid, id: JobId, attemptNumber: number): Promise<void>;
  read(uid: Uid, id: JobId): Promise<JobRecord | null>;
  /** As `read`, in as few round trips as go; ids without a record are left out. */
  readMany(uid: Uid, ids: readonly JobId[]): Promise<Map<JobId, JobRecord>>;
  /** Finished jobs of a user, newest first, at most `limit`. */
  finished(uid: Uid, limit: number): Promise<Job[]>;
  /** Uids that have ever had a job, in order. */
  users(): Promise<Uid[]>;
  /** At start: every unfinished job of every known user, in pages, after repairing the lists from the records. */
  recover(): AsyncIterable<Job & { takenAt?: number | null }>;
  close(): Promise<void>;
}

/** Everything durable besides the queues (coordinator/store.ts). */
export interface Store {
  /** Makes the state id on first use; raises and stores the epoch. */
  open(): Promise<{ stateId: string; epoch: number; setups: SetupState[] }>;
  saveEpoch(epoch: number): Promise<void>;
  saveSetup(uid: Uid, setup: SetupState | null): Promise<void>;
  /** What admins have decided about nodes, as it is stored; a node whose entry is damaged takes no jobs. */
  nodeAdmins(): Promise<Map<NodeName, NodeAdmin>>;
  /** Null drops the entry; so does a node that is open and has the config's key. */
  saveNodeAdmin(node: NodeName, admin: NodeAdmin | null): Promise<void>;
  readonly admin: SchedulingStore;
  readonly requests: RequestStore;
  readonly policies: PolicyStore;
  /** Stored once by content and user, encrypted (AES-256-GCM); returns its reference. Throws SkyError when over payloadBytesMax. */
  putPayload(uid: Uid, payload: Payload): Promise<string>;
  getPayload(uid: Uid, ref: string): Promise<Payload | null>;
  /** A small one that was put or read a moment ago; null: ask `getPayload`. */
  payloadAtHand(uid: Uid, ref: string): Payload | null;
  close(): Promise<void>;
}

/** What is stored of people and of what admins allow them (coordinator/store-admin.ts). Damaged entries are logged and left out. */
export interface SchedulingStore {
  people(): Promise<Person[]>;
  savePeople(people: readonly Person[]): Promise<void>;
  quotas(): Promise<Map<QuotaSubject, Quota>>;
  /** Null drops it. */
  saveQuota(subject: QuotaSubject, quota: Quota | null): Promise<void>;
  windows(): Promise<NodeWindow[]>;
  saveWindow(id: string, window: NodeWindow | null): Promise<void>;
  /** Keeps these lines until they are in the usage history. Idempotent. */
  recordUsage(lines: readonly UsageLine[]): Promise<void>;
  /** Lines that are not in the history yet, by the names under which `dropUsage` knows them (`usageName`). */
  pendingUsage(): Promise<Map<string, UsageLine>>;
  dropUsage(names: readonly string[]): Promise<void>;
}

/** A request of the API that changes something, as it is stored. */
export interface StoredRequest {
  id: RequestId;
  uid: Uid;
  user: string;
  /** As SkyPilot names it, without the `sky.` prefix. */
  name: string;
  /** Of the route that carries it out. */
  path: string;
  cluster: string | null;
  /** Milliseconds since 1970. */
  createdAt: number;
  status: "RUNNING" | "SUCCEEDED" | "FAILED" | "CANCELLED";
  /** JSON of what it looked up at first and must not look up anew, such as the jobs of a plain cancel; null: nothing. */
  resolved: string | null;
  /** JSON text. */
  result: string;
  error: { type: string; message: string; hint: string | null } | null;
  /** What it has printed. */
  text: string;
  finishedAt: number | null;
  /** How often it was begun again; absent: never. */
  tries?: number;
}

/** Requests that change something, sealed (coordinator/store-requests.ts). Damaged entries are logged and dropped. */
export interface RequestStore {
  /** With the body that it is carried out with; durable when it returns. */
  begin(request: StoredRequest, body: string): Promise<void>;
  /** Overwrites the record and keeps the body. */
  save(request: StoredRequest): Promise<void>;
  /** Overwrites the record and drops the body: nothing is left to be done. */
  end(request: StoredRequest): Promise<void>;
  drop(requests: readonly Pick<StoredRequest, "uid" | "id">[]): Promise<void>;
  /** Oldest first. `body` gone: nothing is left to be done. */
  all(): Promise<{ request: StoredRequest; body: "kept" | "gone" }[]>;
  body(uid: Uid, id: RequestId): Promise<string | null>;
}

/**
 * Uploaded files, each user's apart: what one has uploaded is never found by another (coordinator/files/store.ts). Ids and
 * hashes as in shared/files.ts. Everything throws SkyError with a text for the user.
 */
export interface FileStore {
  /** Those of these chunks that this user has not uploaded. */
  missing(uid: Uid, hashes: readonly string[]): Promise<string[]>;
  /** Checks every hash; durable when it returns. Returns the number of new chunks. Throws over the user's quota. */
  putPack(uid: Uid, body: AsyncIterable<Uint8Array>): Promise<number>;
  /** Checks every line and that every chunk is there; kept only when none is missing. */
  putManifest(uid: Uid, body: AsyncIterable<Uint8Array>): Promise<{ id: string; missing: string[] }>;
  /** Whether it is there, whole; renews the time of its last use. */
  hasManifest(uid: Uid, id: string): Promise<boolean>;
  readManifest(uid: Uid, id: string): AsyncIterable<Uint8Array>;
  /** In the order asked for. With `within`, only chunks that one of these manifests names are given. */
  readChunks(
    uid: Uid,
    hashes: readonly string[],
    within?: ReadonlySet<string>,
  ): AsyncIterable<{ hash: string; bytes: Uint8Array }>;
  usage(uid: Uid): Promise<{ bytes: number; quotaBytes: number; manifests: number; keepDays: number }>;
  /** Forgets at once what `inUse` does not name. Returns the bytes that came free. */
  clean(uid: Uid, inUse: ManifestsInUse): Promise<number>;
}

/** Ids of the manifests that a user's unfinished jobs need. */
export type ManifestsInUse = (uid: Uid) => Promise<ReadonlySet<string>>;

/** What an attempt's node may have of its user's uploads. */
export interface FileGrant {
  uid: Uid;
  /** Those that the attempt's payload names. */
  manifests: ReadonlySet<string>;
  /** Whether the attempt is still wanted on that node. */
  isWanted(): boolean;
}

/** The agents (coordinator/fleet.ts). */
export interface Fleet {
  /** Best effort, never throws: the next picture repairs what was lost. */
  tell(node: NodeName, message: ToAgent): void;
  /** Ends the node's connection once it has taken what it was told before. */
  cut(node: NodeName, reason: string): void;
  /** Asks the node to make a new key; resolves with its public part. Rejects with a SkyError that names node and cause; time limit 10 s. */
  makeKey(node: NodeName): Promise<string>;
  /** A stream of log frames from a user's skylet. Rejects with a SkyError that names the node and the cause; time limit 10 s. */
  openLogStream(node: NodeName, uid: Uid, user: string, request: LogRequest): Promise<Duplex>;
  /** JSON lines (shared/doctor.ts) with which the node answers an admin's question; only for nodes of protocol 2. Rejects as above. */
  openInspection(node: NodeName, request: InspectRequest): Promise<Duplex>;
  close(): Promise<void>;
}

/** What the fleet needs from its owner. */
export interface FleetOwner {
  dispatch(event: CoreEvent): void;
  /** Public keys (`ssh-ed25519 BASE64`) by which this node may connect now; none: it is unknown or removed. */
  keysOf(node: NodeName): readonly string[];
  /** The payload that this node may have for this attempt (its state wants it there), or null. */
  payloadFor(node: NodeName, attempt: AttemptId): Promise<Payload | null>;
  /** The same if it is small and at hand just now, so that it can go along with the order; else null. */
  payloadAtHand(node: NodeName, attempt: AttemptId): Payload | null;
  /** The uploads that this node may have for this attempt, or null: not wanted there. */
  filesFor(node: NodeName, attempt: AttemptId): Promise<FileGrant | null>;
  readonly files: FileStore;
}

/** The one loop (coordinator/loop.ts): the only caller of the reducer. */
export interface Loop {
  readonly state: State;
  /** Resolves when every commit among the event's effects is durable. */
  dispatch(event: CoreEvent): Promise<void>;
  /** Called after each `announceJob`; returns the function that ends it. */
  onJob(uid: Uid, id: JobId, listener: () => void): () => void;
}

/** Lookups in the name service by getent and id, with a time limit and a short cache (coordinator/accounts.ts). */
export interface Accounts {
  /** `anew`: no answer that was kept from an earlier question. */
  byUid(uid: Uid, anew?: "anew"): Promise<Account | null>;
}

/** What the API is built from. `loop` and the others are null while the coordinator cannot reach Redis; `unavailable` then says why. */
export interface ApiParts {
  current(): { loop: Loop; queue: JobQueue; store: Store; fleet: Fleet } | { unavailable: string };
  /** Calls the listener each time that `current` begins to give parts. */
  onLive(listener: () => void): void;
  accounts: Accounts;
  /** Lives as long as the process: uploads need no Redis. */
  files: FileStore;
  /** As `files`. Absent: the config names none. */
  adminPolicy?: AdminPolicyRunner;
}

/** Redis did not answer in time or the connection is gone. The coordinator stops its effects, reads everything again and goes on. */
export class StoreUnavailable extends Error {
  override readonly name = "StoreUnavailable";
}

/** Names the request of a submission for deduplication. */
export type SubmissionId = RequestId;
