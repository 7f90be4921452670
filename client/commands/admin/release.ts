/**
 * `sky admin release`: jobs that wait and were put back by a restore of the coordinator's state. Without names it lists
 * them; named ones, or all, are let go or cancelled. It decides nothing: the coordinator refuses while a node is silent.
 */
import type { HeldChoice } from "../../../shared/held-api.ts";
import { jobIdSchema, userNameSchema } from "../../../shared/ids.ts";
import { formatTable } from "../../output/table.ts";
import { createHeldCalls } from "../../sdk/held-calls.ts";
import { type Context, UsageError } from "../context.ts";
import { type ClusterFlags, transportTo } from "./cluster.ts";

export interface ReleaseFlags extends ClusterFlags {
  all?: boolean;
  cancel?: boolean;
  anyway?: boolean;
  output: string;
}

/** `alice`, `alice/7` and `alice/7,9`, gathered by user; a user alone means all of that user's. */
function choicesOf(names: string[]): HeldChoice[] {
  const byUser = new Map<string, number[] | null>();
  for (const name of names) {
    const [user = "", list] = name.split("/");
    const ids = list === undefined ? null : list.split(",").map(Number);
    if (!userNameSchema.safeParse(user).success || ids?.some((id) => !jobIdSchema.safeParse(id).success) === true) {
      throw new UsageError(`'${name}' names no job.`, "Write USER, USER/ID or USER/ID,ID, for example alice/7,9.");
    }
    const before = byUser.get(user);
    byUser.set(user, before === null || ids === null ? null : [...new Set([...(before ?? []), ...ids])]);
  }
  return [...byUser].map(([user, jobs]) => ({ user, jobs }));
}

/** Runs the command; resolves with the exit code. */
export async function release(context: Context, names: string[], flags: ReleaseFlags): Promise<number> {
  const { screen } = context;
  if (flags.all === true && names.length > 0) {
    throw new UsageError("Name jobs or give --all, not both.");
  }
  const choices = choicesOf(names);
  const calls = createHeldCalls(await transportTo(context, flags), (text) =>
    screen.note(screen.noteColors.yellow(text)),
  );
  try {
    if (flags.all !== true && names.length === 0) {
      const held = await calls.held();
      screen.print(flags.output === "json" ? JSON.stringify(held, null, 2) : heldText(context, held));
      return 0;
    }
    const body = { choices: flags.all === true ? null : choices, cancel: flags.cancel === true };
    const { jobs } = await calls.release({ ...body, anyway: flags.anyway === true });
    if (flags.output === "json") {
      screen.print(JSON.stringify(jobs, null, 2));
    } else {
      screen.print(`${jobs.length} job(s) ${flags.cancel === true ? "cancelled" : "released"}.`);
    }
    return 0;
  } finally {
    calls.close();
  }
}

function heldText(context: Context, held: Awaited<ReturnType<ReturnType<typeof createHeldCalls>["held"]>>): string {
  const { screen } = context;
  if (held.total === 0) {
    return "No jobs are held.";
  }
  const columns = [
    { title: "JOB" },
    { title: "NAME", min: 8, cutOrder: 1 },
    { title: "RESOURCES" },
    { title: "SUBMITTED" },
  ];
  const rows = held.jobs.map((job) => [
    `${job.user}/${job.job_id}`,
    job.name ?? "-",
    job.resources,
    new Date(job.submitted_at * 1000).toISOString().slice(0, 19).replace("T", " "),
  ]);
  const silent = held.silent.length === 0 ? "" : `\nNot heard of yet: ${held.silent.join(", ")}.`;
  return (
    `${formatTable(columns, rows, screen.columns, screen.colors)}\n` +
    `${held.total} waiting job(s) were put back from a backup of ${held.jobs[0]?.restored_from ?? "-"} and are held:\neach may have run since.${silent}\n` +
    "To let them start: sky admin release USER/ID, or --all. To end them: --cancel as well."
  );
}
