/**
 * `sky admin drain`: nothing new starts on the nodes; what still runs there at a deadline is ended. With `--wait` it says
 * what it waits for until the nodes are empty; Ctrl-C ends the watching and nothing else.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { AdminNodeRow } from "../../../shared/admin-api.ts";
import { adminText, jobsText } from "../../output/admin-nodes-text.ts";
import { roundSpan } from "../../output/times.ts";
import type { AdminCalls } from "../../sdk/admin-calls.ts";
import type { Context } from "../context.ts";
import { adminCallsTo, type ClusterFlags } from "./cluster.ts";
import { rowsNamed } from "./nodes.ts";

export interface DrainFlags extends ClusterFlags {
  reason: string;
  /** Seconds; absent: jobs may run to their end. */
  deadline?: number;
  wait?: boolean;
  yes?: boolean;
}

/** What shells show for Ctrl-C. */
const interruptedCode = 130;
const lookEveryMs = 1_000;

function count(jobs: readonly unknown[]): string {
  return jobs.length === 1 ? "1 job" : `${jobs.length} jobs`;
}

/** Asks before jobs are ended; false: the person does not want it. */
async function mayEnd(context: Context, calls: AdminCalls, names: string[], flags: DrainFlags): Promise<boolean> {
  const { deadline } = flags;
  if (deadline === undefined || flags.yes === true) {
    return true;
  }
  const jobs = rowsNamed(await calls.nodes(), names).flatMap((row) => row.jobs);
  if (jobs.length === 0) {
    return true;
  }
  const when = deadline === 0 ? "now" : `in ${roundSpan(deadline)}, if they have not ended before`;
  context.screen.note(`${jobsText(jobs)} will be ended ${when}.`);
  return context.screen.confirm(`Draining ${names.join(", ")}. Proceed?`);
}

/** One line for each node that is not empty yet. */
function waitTexts(rows: readonly AdminNodeRow[]): string[] {
  return rows
    .filter((row) => row.admin?.state === "draining")
    .map((row) => {
      const jobs = [...row.jobs, ...row.unknown];
      const what = jobs.length === 0 ? "what has ended there to be cleared away" : jobsText(jobs);
      const silent = row.state === "UP" ? "" : ` (the node is ${row.state})`;
      return `${row.name} waits for ${what}${silent}.`;
    });
}

/** Resolves with the exit code when all are empty, one is open again, or the person stops watching. */
async function watch(context: Context, calls: AdminCalls, names: string[]): Promise<number> {
  const { screen } = context;
  const { signal, done } = context.interrupted();
  let said = "";
  try {
    while (!signal.aborted) {
      const rows = rowsNamed(await calls.nodes(), names);
      const open = rows.find((row) => row.admin === null);
      if (open !== undefined) {
        screen.note(screen.noteColors.yellow(`${open.name} was resumed meanwhile; no longer waiting.`));
        return 1;
      }
      const texts = waitTexts(rows);
      if (texts.length === 0) {
        screen.print(`${screen.colors.green("✓")} ${names.join(", ")}: empty.`);
        return 0;
      }
      const text = texts.join("\n");
      if (text !== said) {
        said = text;
        screen.note(text);
      }
      await delay(lookEveryMs, null, { signal }).catch(() => undefined);
    }
  } finally {
    done();
  }
  screen.note(`Stopped watching. The nodes stay drained: \`sky admin nodes\` shows them.`);
  return interruptedCode;
}

/** Runs the command; resolves with the exit code: 130 when the watching was stopped. */
export async function drain(context: Context, names: string[], flags: DrainFlags): Promise<number> {
  const { screen } = context;
  const calls = await adminCallsTo(context, flags);
  try {
    if (!(await mayEnd(context, calls, names, flags))) {
      screen.note("Nothing was done.");
      return 1;
    }
    const nodes = [...new Set(names)];
    const rows = await calls.drain({ nodes, reason: flags.reason, deadline_seconds: flags.deadline ?? null });
    for (const row of rows) {
      const jobs = [...row.jobs, ...row.unknown];
      const there = jobs.length === 0 ? "Nothing runs there." : `${count(jobs)} there: ${jobsText(jobs)}.`;
      screen.print(`${screen.colors.green("✓")} ${row.name} is ${adminText(row, context.now())}. ${there}`);
    }
    if (flags.wait === true) {
      return await watch(context, calls, nodes);
    }
    screen.note(`To take ${nodes.length === 1 ? "it" : "them"} in again: sky admin resume ${nodes.join(" ")}`);
    return 0;
  } finally {
    calls.close();
  }
}
