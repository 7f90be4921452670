/**
 * `sky cancel`: ends jobs of the caller, by number, all of them, or the latest running one.
 */
import { callsTo, requireInitialized } from "./clusters.ts";
import { type Context, UsageError } from "./context.ts";

export interface CancelFlags {
  all?: boolean;
  yes?: boolean;
}

function described(ids: number[], flags: CancelFlags): string {
  if (flags.all === true) {
    return "all your jobs";
  }
  return ids.length === 0 ? "your latest running job" : `job${ids.length === 1 ? "" : "s"} ${ids.join(", ")}`;
}

/** Runs the command; resolves with the exit code. */
export async function cancel(context: Context, name: string, ids: number[], flags: CancelFlags): Promise<number> {
  const { screen } = context;
  if (flags.all === true && ids.length > 0) {
    throw new UsageError("Give job ids or --all, not both.");
  }
  const cluster = requireInitialized(context, name);
  const what = described(ids, flags);
  if (flags.yes !== true && !(await screen.confirm(`Cancelling ${what} on cluster '${name}'. Proceed?`))) {
    screen.note("Nothing was done.");
    return 1;
  }
  const calls = callsTo(context, cluster);
  try {
    const cancelled = await calls.cancel({ job_ids: ids.length === 0 ? null : ids, all: flags.all === true });
    for (const id of cancelled) {
      screen.print(`${screen.colors.green("✓")} Job ${id} is being cancelled.`);
    }
    for (const id of ids.filter((asked) => !cancelled.includes(asked))) {
      screen.print(`You have no unfinished job ${id}.`);
    }
    if (ids.length === 0 && cancelled.length === 0) {
      screen.print(`You have no unfinished job on cluster ${name}.`);
    }
    return 0;
  } finally {
    calls.close();
  }
}
