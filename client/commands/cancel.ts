/**
 * `sky cancel`: ends jobs of the caller, by number, all of them, or the latest running one.
 */
import { callsTo, requireInitialized } from "./clusters.ts";
import { type Context, UsageError } from "./context.ts";
import { jobsOf } from "./job-names.ts";

export interface CancelFlags {
  all?: boolean;
  yes?: boolean;
}

function described(ids: number[], words: string[], flags: CancelFlags): string {
  if (flags.all === true) {
    return "all your jobs";
  }
  // A name says more than the number that it stands for, and both together leave no doubt.
  const names = words.filter((word) => !/^[0-9]+$/.test(word));
  const called = names.length === 0 ? "" : ` (${names.join(", ")})`;
  return ids.length === 0 ? "your latest running job" : `job${ids.length === 1 ? "" : "s"} ${ids.join(", ")}${called}`;
}

/** Runs the command; `words` name jobs. Resolves with the exit code. */
export async function cancel(context: Context, name: string, words: string[], flags: CancelFlags): Promise<number> {
  const { screen } = context;
  if (flags.all === true && words.length > 0) {
    throw new UsageError("Give jobs or --all, not both.");
  }
  const cluster = requireInitialized(context, name);
  const calls = callsTo(context, cluster);
  try {
    const ids = await jobsOf(calls, words, "unfinished");
    const what = described(ids, words, flags);
    if (flags.yes !== true && !(await screen.confirm(`Cancelling ${what} on cluster '${name}'. Proceed?`))) {
      screen.note("Nothing was done.");
      return 1;
    }
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
