/**
 * The coordinator's API as typed functions: what the commands call, and what programs import. Every result is checked by
 * its schema in shared/api.ts. It must never print and never read files; `say` hears about lost connections.
 */
import * as z from "zod";
import {
  cancelResultSchema,
  type cancelBodySchema,
  type execBodySchema,
  type jobStatusBodySchema,
  jobStatusResultSchema,
  type launchBodySchema,
  type logsBodySchema,
  type NodesResult,
  nodesResultSchema,
  type queueBodySchema,
  type QueueRow,
  queueResultSchema,
  type SubmitResult,
  submitResultSchema,
  whoamiResultSchema,
} from "../../shared/api.ts";
import { type ExplainResult, explainResultSchema } from "../../shared/explain-api.ts";
import type { JobStatus } from "../../shared/job.ts";
import { createFilesCalls, type FilesCalls } from "./files-calls.ts";
import { type FollowResult, follow } from "./follow.ts";
import { createLogFileCalls, type LogFileCalls } from "./log-files.ts";
import { type Accepted, type Patience, read, submit } from "./requests.ts";
import type { Transport } from "./transport.ts";

export type WhoamiResult = z.infer<typeof whoamiResultSchema>;

type Call<Schema extends z.ZodType> = Omit<z.input<Schema>, "cluster_name">;

/**
 * The calls to one cluster. Every function rejects with a SkyError whose text is meant for the person. `accepted` hears
 * the request's id as soon as the coordinator has taken the call, for those who want to wait for its result later.
 */
export interface Calls {
  launch(body: Call<typeof launchBodySchema>, accepted?: Accepted): Promise<SubmitResult>;
  exec(body: Call<typeof execBodySchema>, accepted?: Accepted): Promise<SubmitResult>;
  queue(body: Call<typeof queueBodySchema>, accepted?: Accepted): Promise<QueueRow[]>;
  /** Ids of the jobs that are being cancelled now. */
  cancel(body: Call<typeof cancelBodySchema>, accepted?: Accepted): Promise<number[]>;
  /** Ends all jobs of the caller and the caller's skylets. */
  down(accepted?: Accepted): Promise<void>;
  /** `{"3": "RUNNING", "9": null}`; without ids: the latest job, or nothing. */
  jobStatus(body: Call<typeof jobStatusBodySchema>, accepted?: Accepted): Promise<Record<string, JobStatus | null>>;
  /** Streams a job's text into `write`; resolves with the exit code when it ended or `signal` fired. */
  tailLogs(
    body: Call<typeof logsBodySchema> & { tail: number },
    write: (chunk: Buffer) => Promise<void>,
    signal: AbortSignal,
  ): Promise<FollowResult>;
  /** Why a job waits, where it runs or how it ended; `user` null: the caller's own job, another's only for admins. */
  explain(job: number, user: string | null): Promise<ExplainResult>;
  nodes(): Promise<NodesResult>;
  whoami(): Promise<WhoamiResult>;
  /** The caller's uploads, and the log files of the caller's jobs; over the same connection. */
  files: FilesCalls;
  logFiles: LogFileCalls;
  /** Ends the connection. */
  close(): void;
}

/** How long calls that change something are tried again, and those that only read. */
const changeLimitMs = 30_000;
const readLimitMs = 10_000;

/** The calls over one transport. `say` gets a line for the person each time a lost call is sent again. */
export function createCalls(transport: Transport, say: (text: string) => void): Calls {
  const cluster_name = transport.clusterName;
  const change: Patience = {
    limitMs: changeLimitMs,
    say,
    afterGivingUp: `It may or may not have been taken: \`sky queue ${cluster_name}\` shows it once the cluster answers.`,
    changes: true,
  };
  const reading: Patience = { limitMs: readLimitMs, say, afterGivingUp: null };
  return {
    launch: (body, accepted) =>
      submit(transport, "/launch", { ...body, cluster_name }, submitResultSchema, change, accepted),
    exec: (body, accepted) =>
      submit(transport, "/exec", { ...body, cluster_name }, submitResultSchema, change, accepted),
    queue: (body, accepted) =>
      submit(transport, "/queue", { ...body, cluster_name }, queueResultSchema, reading, accepted),
    cancel: (body, accepted) =>
      submit(transport, "/cancel", { ...body, cluster_name }, cancelResultSchema, change, accepted),
    async down(accepted) {
      await submit(transport, "/down", { cluster_name, purge: false }, z.unknown(), change, accepted);
    },
    jobStatus: (body, accepted) =>
      submit(transport, "/job_status", { ...body, cluster_name }, jobStatusResultSchema, reading, accepted),
    tailLogs: (body, write, signal) => follow(transport, { ...body, cluster_name }, write, signal, say),
    explain: (job, user) => {
      const query = new URLSearchParams({
        job: String(job),
        cluster: cluster_name,
        ...(user === null ? {} : { user }),
      });
      return read(transport, `/onprem/explain?${query.toString()}`, explainResultSchema, reading);
    },
    nodes: () => read(transport, "/onprem/nodes", nodesResultSchema, reading),
    whoami: () => read(transport, "/onprem/whoami", whoamiResultSchema, reading),
    files: createFilesCalls(transport, say),
    logFiles: createLogFileCalls(transport, say),
    close: () => transport.close(),
  };
}
