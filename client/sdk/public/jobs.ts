/**
 * The functions about jobs on a cluster: send one, look at them, read what they print, end them. They do what the commands
 * of the same names do, without a terminal. Exported by the package.
 */
import type { QueueRow } from "../../../shared/api.ts";
import { latestJob } from "../../commands/job-names.ts";
import { sendExec } from "../../commands/sending.ts";
import { downloadJobLogs, logsFolder } from "../../files/download-logs.ts";
import { ValueError } from "./exceptions.ts";
import { shownValue } from "./fields.ts";
import { begin } from "./pending.ts";
import { raising } from "./raise.ts";
import { initializedCluster, programContext, withCalls, withStream } from "./session.ts";
import { type JobExitCode, JobExitCode as codes, type JobStatus } from "./statuses.ts";
import { checkOptions, submitResultOf } from "./submit.ts";
import { type Dag, onlyTask } from "./dag.ts";
import { plainTask, type Task } from "./task.ts";
import type { JobRecord, OutputStream, RequestId, SubmitResult } from "./types.ts";

/** Options of `exec`. */
export interface ExecOptions {
  /** The cluster, which was launched on from this machine before. Needed. */
  clusterName?: string;
  /** Only ask whether and where the task would start. Default: false. */
  dryrun?: boolean;
  /** Refused: it would end your other jobs too. Call `down` when they are done. */
  down?: boolean;
  /** Refused: there is one backend. */
  backend?: unknown;
}

/** Job ids as programs give them. Throws ValueError. */
function checkIds(what: string, ids: readonly number[] | null | undefined): number[] | null {
  if (ids === null || ids === undefined) {
    return null;
  }
  const wrong = Array.isArray(ids) ? ids.find((id) => !Number.isInteger(id) || id < 1) : ids;
  if (wrong !== undefined) {
    throw new ValueError(`${what}: ${shownValue(wrong)} is no job id: it must be a whole number of at least 1.`);
  }
  return [...ids];
}

/**
 * Sends a task without its setup to a cluster that was launched on before. The task's workdir is uploaded first, its other
 * file mounts are not.
 *
 * @param task the task, or a Dag that holds one
 * @returns the id of the request, when the cluster has taken it. Request Returns: a SubmitResult with the job's id.
 * @throws ClusterDoesNotExist when no cluster of this name is registered, ClusterNotUpError when it was not launched on
 * @throws ValueError, InvalidTaskError for options or a task that are wrong
 * @throws NotSupportedError for what has no meaning on one's own machines
 * @throws ConnectionError when the head cannot be reached
 *
 * Request Raises: ResourcesMismatchError when no machine could ever run it.
 * @example
 * const { jobId } = await sky.get(await sky.exec(new sky.Task({ run: "nvidia-smi" }), { clusterName: "lab" }));
 */
export async function exec(task: Task | Dag, options: ExecOptions = {}): Promise<RequestId<SubmitResult>> {
  return raising(async () => {
    checkOptions("exec", options, ["clusterName", "dryrun", "down", "backend"], {
      down: "it would end your other jobs there as well. Call down when they are done.",
      backend: "there is one way to run a job.",
    });
    const plain = plainTask(onlyTask(task));
    const cluster = initializedCluster(options.clusterName);
    return begin(cluster, async (accepted) =>
      withCalls(cluster, async (calls) => {
        const { dryrun = false } = options;
        const sent = await sendExec(programContext(), calls, cluster, plain, { dryrun, accepted });
        return submitResultOf(cluster, sent);
      }),
    );
  });
}

/** One row of a queue, as programs see it. */
export function jobRecordOf(row: QueueRow): JobRecord {
  return {
    jobId: row.job_id,
    jobName: row.job_name,
    username: row.username,
    userHash: row.user_hash,
    submittedAt: row.submitted_at,
    startAt: row.start_at,
    endAt: row.end_at,
    resources: row.resources,
    status: row.status,
    logPath: row.log_path,
    metadata: row.metadata,
    reason: row.reason,
    position: row.position,
    positionOverAll: row.position_over_all,
    nodes: row.nodes,
  };
}

/** Options of `queue`. */
export interface QueueOptions {
  /** Leave out jobs that have ended. Default: false. */
  skipFinished?: boolean;
  /** Everybody's jobs; only the cluster's admins may. Default: false. */
  allUsers?: boolean;
}

/**
 * The jobs on a cluster, newest first, with the reason why each waiting one waits.
 *
 * @returns the id of the request. Request Returns: an array of JobRecord.
 * @throws ClusterDoesNotExist, ClusterNotUpError when the cluster cannot be used
 * @throws ValueError for unknown options; ConnectionError when the head cannot be reached
 *
 * Request Raises: PermissionDeniedError for `allUsers` without being an admin.
 * @example
 * const waiting = (await sky.get(await sky.queue("lab"))).filter((job) => job.status === sky.JobStatus.PENDING);
 */
export async function queue(clusterName: string, options: QueueOptions = {}): Promise<RequestId<JobRecord[]>> {
  return raising(async () => {
    checkOptions("queue", options, ["skipFinished", "allUsers"]);
    const cluster = initializedCluster(clusterName);
    const body = { skip_finished: options.skipFinished === true, all_users: options.allUsers === true };
    return begin(cluster, async (accepted) =>
      withCalls(cluster, async (calls) => (await calls.queue(body, accepted)).map(jobRecordOf)),
    );
  });
}

/** Statuses by job id; without any job: null under the key null, as in the Python SDK. */
export function jobStatusesOf(answer: Record<string, JobStatus | null>): Map<number | null, JobStatus | null> {
  const entries = Object.entries(answer).map(([id, status]): [number, JobStatus | null] => [Number(id), status]);
  return new Map<number | null, JobStatus | null>(entries.length === 0 ? [[null, null]] : entries);
}

/**
 * How jobs stand.
 *
 * @param jobIds which; null: the latest of the caller
 * @returns the id of the request. Request Returns: a Map from job id to status; null for a job that does not exist. Without
 * any job, when none was named, it holds null under the key null.
 * @throws ClusterDoesNotExist, ClusterNotUpError when the cluster cannot be used
 * @throws ValueError for ids that are none; ConnectionError when the head cannot be reached
 * @example
 * const statuses = await sky.get(await sky.jobStatus("lab", [1, 2]));
 * if (statuses.get(2) === sky.JobStatus.SUCCEEDED) console.log("done");
 */
export async function jobStatus(
  clusterName: string,
  jobIds: readonly number[] | null = null,
): Promise<RequestId<Map<number | null, JobStatus | null>>> {
  return raising(async () => {
    const ids = checkIds("jobStatus", jobIds);
    const cluster = initializedCluster(clusterName);
    return begin(cluster, async (accepted) =>
      withCalls(cluster, async (calls) => jobStatusesOf(await calls.jobStatus({ job_ids: ids }, accepted))),
    );
  });
}

/** Options of `tailLogs`. */
export interface TailLogsOptions {
  /** Go on until the job has ended; false returns what there is. Default: true. */
  follow?: boolean;
  /** Only the last lines; 0: all. Default: 0. */
  tail?: number;
  /** Where the text goes. Default: `process.stdout`. */
  outputStream?: OutputStream | null;
}

/** Writes and waits until the stream wants more, where it is one that says so. */
export async function writeTo(output: OutputStream, chunk: Uint8Array): Promise<void> {
  const wantsMore = output.write(chunk);
  const stream = output as Partial<NodeJS.WritableStream>;
  if (wantsMore === false && typeof stream.once === "function") {
    const { once } = stream;
    await new Promise<void>((resolve) => {
      once.call(output, "drain", () => resolve());
      once.call(output, "close", () => resolve());
      once.call(output, "error", () => resolve());
    });
  }
}

/**
 * Writes what a job prints, and waits for its end. A connection that is lost is made again, and the text goes on where it
 * stopped. Ending the program ends the following, never the job.
 *
 * @param jobId which job of the caller; null: the latest
 * @returns a JobExitCode: 0 when the job succeeded, 100 when it failed, 101 when it had not ended, 102 when it does not
 * exist, 103 when it was cancelled
 * @throws ClusterDoesNotExist, ClusterNotUpError when the cluster cannot be used
 * @throws ValueError for an id or an option that is none; ConnectionError when the cluster stays away for a minute
 * @example
 * process.exitCode = await sky.tailLogs("lab", jobId);
 */
export async function tailLogs(
  clusterName: string,
  jobId: number | null,
  options: TailLogsOptions = {},
): Promise<JobExitCode> {
  return raising(async () => {
    checkOptions("tailLogs", options, ["follow", "tail", "outputStream"]);
    const { follow = true, tail = 0 } = options;
    if (!Number.isInteger(tail) || tail < 0) {
      throw new ValueError(`tailLogs: 'tail' must be a whole number of lines, not ${shownValue(tail)}.`);
    }
    const asked = checkIds("tailLogs", jobId === null ? null : [jobId])?.[0] ?? null;
    const output: OutputStream = options.outputStream ?? process.stdout;
    const cluster = initializedCluster(clusterName);
    return withStream(cluster, async (calls) => {
      const id = asked ?? (await latestJob(calls));
      if (id === null) {
        return codes.NOT_FOUND;
      }
      const never = new AbortController().signal;
      const body = { job_id: id, follow, tail, colors: false };
      const result = await calls.tailLogs(body, async (chunk) => writeTo(output, chunk), never);
      // Nobody stops it, so it ended.
      return (result.kind === "ended" ? result.exitCode : codes.NOT_FINISHED) as JobExitCode;
    });
  });
}

/**
 * Brings the log files of jobs to this machine, into `~/sky_logs/CLUSTER/`.
 *
 * @param jobIds which; null: the latest of the caller
 * @returns the id of a request that lives in this process. Request Returns: an object with the local folder of each job's
 * logs by its id; a job that has written none yet is left out.
 * @throws ClusterDoesNotExist, ClusterNotUpError when the cluster cannot be used
 * @throws ValueError for ids that are none
 *
 * Request Raises: JobNotFoundError for a job that does not exist; ConnectionError when the head cannot be reached.
 * @example
 * const paths = await sky.get(await sky.downloadLogs("lab", [3]));
 * console.log(paths[3]);
 */
export async function downloadLogs(
  clusterName: string,
  jobIds: readonly number[] | null = null,
): Promise<RequestId<Record<string, string>>> {
  return raising(async () => {
    const asked = checkIds("downloadLogs", jobIds);
    const cluster = initializedCluster(clusterName);
    const folder = logsFolder(programContext().home, cluster.name);
    return begin(cluster, async () =>
      withStream(cluster, async (calls) => {
        const latest = asked === null ? await latestJob(calls) : null;
        const paths: Record<string, string> = {};
        for (const id of asked ?? (latest === null ? [] : [latest])) {
          const { path } = await downloadJobLogs(calls, id, folder);
          if (path !== null) {
            paths[String(id)] = path;
          }
        }
        return paths;
      }),
    );
  });
}

/** Options of `cancel`. */
export interface CancelOptions {
  /** All jobs of the caller. Default: false. */
  all?: boolean;
  /** Refused: everybody cancels their own. Default: false. */
  allUsers?: boolean;
  /** Which jobs. Default: the caller's latest running one. */
  jobIds?: readonly number[] | null;
}

/**
 * Ends jobs: waiting ones leave the queue, running ones are told to stop and are killed after the grace time.
 *
 * @returns the id of the request. Request Returns: the ids of the jobs that had not ended and are being cancelled now.
 * @throws ClusterDoesNotExist, ClusterNotUpError when the cluster cannot be used
 * @throws ValueError for `jobIds` together with `all`; NotSupportedError for `allUsers`
 * @throws ConnectionError when the head cannot be reached
 * @example
 * await sky.get(await sky.cancel("lab", { jobIds: [3, 4] }));
 */
export async function cancel(clusterName: string, options: CancelOptions = {}): Promise<RequestId<number[]>> {
  return raising(async () => {
    checkOptions("cancel", options, ["all", "allUsers", "jobIds"], { allUsers: "everybody cancels their own jobs." });
    const { all = false } = options;
    const ids = checkIds("cancel", options.jobIds);
    if (ids !== null && all) {
      throw new ValueError("cancel: give 'jobIds' or 'all', not both.");
    }
    const cluster = initializedCluster(clusterName);
    const body = { job_ids: ids, all };
    return begin(cluster, async (accepted) => withCalls(cluster, async (calls) => calls.cancel(body, accepted)));
  });
}
