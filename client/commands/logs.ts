/**
 * `sky logs`: follows or prints the text of jobs, or (`--status`) says how they stand. Ends with the job's exit code;
 * with several jobs, with the first that is not 0.
 */
import { exitCodes } from "../../shared/api.ts";
import { assertNever } from "../../shared/errors.ts";
import type { JobStatus } from "../../shared/job.ts";
import { colorStatus } from "../output/queue-text.ts";
import type { Calls } from "../sdk/calls.ts";
import { callsTo, requireInitialized } from "./clusters.ts";
import type { Context } from "./context.ts";
import { followJob, interruptedCode } from "./submit.ts";

export interface LogsFlags {
  follow: boolean;
  tail: number;
  status?: boolean;
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

/** The latest job's id, or null. Known beforehand, so that a stream that is taken up again is of the same job. */
async function latest(calls: Calls): Promise<number | null> {
  const ids = Object.keys(await calls.jobStatus({ job_ids: null })).map(Number);
  return ids.length === 0 ? null : Math.max(...ids);
}

/** Runs the command; resolves with the exit code. */
export async function logs(context: Context, name: string, ids: number[], flags: LogsFlags): Promise<number> {
  const { screen } = context;
  const cluster = requireInitialized(context, name);
  const calls = callsTo(context, cluster);
  try {
    if (flags.status === true) {
      return await showStatus(context, calls, ids);
    }
    const wanted = ids.length > 0 ? ids : [await latest(calls)];
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
