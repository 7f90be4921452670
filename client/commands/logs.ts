/**
 * `sky logs`: follows or prints the text of jobs, says how they stand (`--status`), or brings their log files home
 * (`--sync-down`). Ends with the job's exit code; with several jobs, with the first that is not 0.
 */
import { exitCodes } from "../../shared/api.ts";
import { assertNever, SkyError } from "../../shared/errors.ts";
import type { JobStatus } from "../../shared/job.ts";
import { colorStatus } from "../output/queue-text.ts";
import type { Calls } from "../sdk/calls.ts";
import { downloadJobLogs, jobsNamed, logsFolder } from "../files/download-logs.ts";
import { callsTo, requireInitialized } from "./clusters.ts";
import type { Context } from "./context.ts";
import { jobsOf, latestJob, requireJobWords } from "./job-names.ts";
import { followJob, interruptedCode } from "./submit.ts";

export interface LogsFlags {
  follow: boolean;
  tail: number;
  status?: boolean;
  syncDown?: boolean;
}

/** The exit code that a status means. */
function codeOf(status: JobStatus | null): number {
  switch (status) {
    case null:
      return exitCodes.notFound;
    case "SUCCEEDED":
      return exitCodes.succeeded;
    case "FAILED":
    case "FAILED_SETUP":
    case "FAILED_DRIVER":
      return exitCodes.failed;
    case "CANCELLED":
      return exitCodes.cancelled;
    case "INIT":
    case "PENDING":
    case "SETTING_UP":
    case "RUNNING":
      return exitCodes.notFinished;
    default:
      return assertNever(status);
  }
}

async function showStatus(context: Context, calls: Calls, ids: number[]): Promise<number> {
  const { screen } = context;
  const statuses = await calls.jobStatus({ job_ids: ids.length === 0 ? null : ids });
  const asked = ids.length === 0 ? Object.keys(statuses).map(Number) : ids;
  if (asked.length === 0) {
    screen.note("You have no job on this cluster.");
    return exitCodes.notFound;
  }
  let code = 0;
  for (const id of asked) {
    const status = statuses[String(id)] ?? null;
    screen.print(`Job ${id}: ${status === null ? "not found" : colorStatus(status, screen.colors)}`);
    code = code === 0 ? codeOf(status) : code;
  }
  return code;
}

/** Brings the log files of jobs home and says where they are. 102: one of them does not exist. */
async function syncDown(context: Context, calls: Calls, cluster: string, words: string[]): Promise<number> {
  const { screen } = context;
  const newest = words.length === 0 ? await latestJob(calls) : null;
  if (words.length === 0 && newest === null) {
    screen.note(`You have no job on cluster ${cluster}.`);
    return exitCodes.notFound;
  }
  const rows = words.every((word) => /^[0-9]+$/.test(word)) ? [] : await calls.queue({});
  const known = rows.map((row) => ({ id: row.job_id, name: row.job_name }));
  const ids = newest === null ? jobsNamed(words, known) : [newest];
  let code = 0;
  for (const [index, id] of ids.entries()) {
    try {
      screen.progress.show(index, ids.length, `downloading the logs of job ${id}`);
      const { path, warnings } = await downloadJobLogs(calls, id, logsFolder(context.home, cluster));
      screen.progress.clear();
      for (const warning of warnings) {
        screen.note(screen.noteColors.yellow(`Warning: ${warning}`));
        code = code === 0 ? 1 : code;
      }
      screen.print(path === null ? `Job ${id} has written no logs yet.` : `Job ${id} logs: ${path}`);
    } catch (error) {
      screen.progress.clear();
      if (!(error instanceof SkyError) || error.type !== "JobNotFoundError") {
        throw error;
      }
      screen.note(screen.noteColors.red(`Error: ${error.message}`));
      code = exitCodes.notFound;
    }
  }
  return code;
}

/** Says that no job has such a name; throws anything else. */
function notFound({ screen }: Context, error: unknown): null {
  if (!(error instanceof SkyError) || error.type !== "JobNotFoundError") {
    throw error;
  }
  screen.note(screen.noteColors.red(`Error: ${error.message}`));
  return null;
}

/** Runs the command; `words` name jobs. Resolves with the exit code. */
export async function logs(context: Context, name: string, words: string[], flags: LogsFlags): Promise<number> {
  const { screen } = context;
  if (flags.syncDown !== true) {
    requireJobWords(words);
  }
  const cluster = requireInitialized(context, name);
  const calls = callsTo(context, cluster);
  try {
    if (flags.syncDown === true) {
      return await syncDown(context, calls, name, words);
    }
    const ids = await jobsOf(calls, words).catch((error: unknown) => notFound(context, error));
    if (ids === null) {
      return exitCodes.notFound;
    }
    if (flags.status === true) {
      return await showStatus(context, calls, ids);
    }
    const wanted = ids.length > 0 ? ids : [await latestJob(calls)];
    let code = 0;
    for (const id of wanted) {
      if (id === null) {
        screen.note(`You have no job on cluster ${name}.`);
        return exitCodes.notFound;
      }
      const one = await followJob(context, calls, name, { id, follow: flags.follow, tail: flags.tail });
      code = code === 0 ? one : code;
      if (one === interruptedCode) {
        break;
      }
    }
    return code;
  } finally {
    calls.close();
  }
}
