/**
 * The seams of the coordinator's policy rooms: what a submission asks of the admin policy (code) and of the workload
 * policies (declared), and what it gets back. Interfaces only; each has one implementation in the file named beside it.
 * Whatever fails inside a policy refuses the request: nothing here may answer "accepted" after an error.
 */
import type { ConfigTree } from "../../shared/config-layers.ts";
import type { RequestId } from "../../shared/ids.ts";
import type { JobStatus } from "../../shared/job.ts";
import type { Violation, WorkloadKind } from "../../shared/policy/words.ts";
import type { Task } from "../../shared/task.ts";
import type { Account } from "../../shared/users-policy.ts";

/** Names of SkyPilot's AdminPolicyRequestName that come here today. */
export type PolicyRequestName = "validate" | "optimize" | "launch" | "exec";

/** What a user's unfinished jobs ask for and hold, waiting ones included; accelerators by canonical kind, all ranks together. */
export interface UserHoldings {
  user: string;
  accelerators: Record<string, number>;
  cpus: number;
  memoryGb: number;
  jobs: { id: number; name: string | null; status: JobStatus; accelerators: Record<string, number> }[];
}

export interface AdminPolicyRequest {
  name: PolicyRequestName;
  account: Account;
  taskText: string;
  /** What counts for the request: the server's layer with the client's over it, without `admin_policy`. */
  config: ConfigTree;
  options: { clusterName: string | null; dryrun: boolean; down: boolean; idleMinutesToAutostop: number | null };
  clientApiVersion: number | null;
  clientVersion: string | null;
  /** Of everybody, at this moment. */
  holdings: () => UserHoldings[];
  signal: AbortSignal;
  /** Does work that holds up the thread when it is this user's turn. Default: at once. */
  inTurn?: <T>(work: () => T) => Promise<T>;
}

/**
 * The admin policy of the server's config (coordinator/policy/admin-policy.ts). Throws
 * SkyError("UserRequestRejectedByPolicy") with SkyPilot's texts for every outcome but a mutated request.
 */
export interface AdminPolicyRunner {
  /** As `Applying server admin policy: NAME` shows it; null: the config names none, and nothing is ever called. */
  readonly name: string | null;
  apply(request: AdminPolicyRequest): Promise<{ taskText: string; config: ConfigTree }>;
  close(): Promise<void>;
}

export interface WorkloadRequest {
  id: RequestId;
  name: PolicyRequestName;
  account: Account;
  task: Task;
  dryrun: boolean;
}

/** What the policies make of a task that they accept. */
export interface WorkloadDecision {
  /** With every value that policies have set, and the launch spec. */
  task: Task;
  project: string | null;
  kind: WorkloadKind;
  /** For the submitter: what was set, warnings, notices. */
  lines: string[];
  /** Of policies that warn. */
  warned: Violation[];
  /** To be called when the job is queued, so that the decision's line names it. */
  queued(jobId: number, jobName: string | null): void;
}

/**
 * The declared policies (coordinator/policy/workload-policies.ts). Throws SkyError("UserRequestRejectedByPolicy") with one
 * line a violation, and "ServerUnavailableError" where the policies cannot be read: then nothing is queued.
 */
export interface WorkloadGate {
  decide(request: WorkloadRequest): Promise<WorkloadDecision>;
}
