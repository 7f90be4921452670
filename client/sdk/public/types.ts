/**
 * The shapes that functions of this package give, as plain interfaces: what programs see must not need this product's
 * schemas or libraries. Names are those of the Python SDK in TypeScript's spelling. Times are seconds since 1970.
 */
import type { JobStatus, RequestStatus } from "./statuses.ts";

declare const resultOf: unique symbol;

/**
 * Names a request that a cluster has taken. It is a plain string (it can be printed, stored and given to `sky api`); its
 * type remembers what `get` will give for it.
 */
export type RequestId<Result> = string & { readonly [resultOf]?: Result };

/** Where text goes; `process.stdout` and any writable stream are of this form. */
export interface OutputStream {
  write(chunk: Uint8Array): unknown;
}

/** A cluster, for people and for other calls. */
export interface ClusterHandle {
  clusterName: string;
  /** Address of the machine that takes the calls. */
  headIp: string;
  /** The caller's account there. */
  user: string;
}

/** Whether and where a task would start: what a dry run gives. */
export interface DryrunResult {
  startsNow: boolean;
  /** One sentence; null when it would start now. */
  reason: string | null;
  /** Seconds since 1970; null when it is not known. */
  earliestStart: number | null;
  /** Nodes on which it would start, or on which room would be kept for it. */
  nodes: string[];
}

/** What `launch` and `exec` come to. */
export interface SubmitResult {
  /** The job's number in its user's queue; null for a dry run, and for a task with neither setup nor run. */
  jobId: number | null;
  /** Null for a dry run. */
  handle: ClusterHandle | null;
  /** Of a dry run; null otherwise. */
  dryrun: DryrunResult | null;
}

/** One cluster in `status`. */
export interface ClusterRecord {
  name: string;
  /** Seconds since 1970 of the last launch from this machine. */
  launchedAt: number;
  handle: ClusterHandle;
  /** The last command or program of this machine that changed something there. */
  lastUse: string;
  status: "INIT" | "UP" | "STOPPED";
  /** Always −1: one's own machines stay on. */
  autostop: number;
  /** Always false. */
  toDown: boolean;
  metadata: Record<string, unknown>;
  /** The account's name at the cluster, and the same again: names are what clusters know their users by. */
  userHash: string;
  userName: string;
  /** `[{'V100': 4}, (no GPUs)]` */
  resourcesStr: string;
}

/** One job in `queue`. */
export interface JobRecord {
  jobId: number;
  jobName: string | null;
  username: string;
  userHash: string;
  /** Seconds since 1970, with fractions. */
  submittedAt: number;
  startAt: number | null;
  endAt: number | null;
  resources: string;
  status: JobStatus;
  logPath: string;
  metadata: Record<string, unknown>;
  /** Why it waits, or why it ended; null when there is nothing to say. */
  reason: string | null;
  /** 1 is the next of its user's waiting jobs; null when it does not wait. */
  position: number | null;
  /** The same over all users. */
  positionOverAll: number | null;
  /** Names of the nodes that it has. */
  nodes: string[];
}

/** One request in `apiStatus`. */
export interface RequestRecord {
  requestId: RequestId<unknown>;
  /** `sky.launch`, `sky.cancel` … */
  name: string;
  clusterName: string | null;
  userName: string | null;
  status: RequestStatus;
  /** Seconds since 1970, with fractions. */
  createdAt: number;
  finishedAt: number | null;
  /** What it waits for or does; null when there is nothing to say. */
  statusMessage: string | null;
}

/** One coordinator in `apiInfo`. */
export interface ApiServerInfo {
  clusterName: string;
  /** `healthy`, or why not. */
  status: string;
  /** Of the API; 0 when it did not answer. */
  apiVersion: number;
  /** Of the coordinator; empty when it did not answer. */
  version: string;
  /** The caller's account there; null when it did not answer. */
  user: string | null;
}
