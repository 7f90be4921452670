/**
 * `sky usage`: accelerator-hours and CPU-hours of a period, one's own or (for admins) everybody's, and with `--idle` the
 * accelerators that are held and do nothing. A cluster that does not answer does not hide the others.
 */
import { readTime } from "../../shared/units.ts";
import type { IdleResult, UsageResult, UsageKey } from "../../shared/usage-api.ts";
import { usageKeys } from "../../shared/usage-api.ts";
import { showFailure } from "../output/failure.ts";
import { idleCsv, idleText, usageCsv, usageText } from "../output/usage-text.ts";
import { Transport } from "../sdk/transport.ts";
import { createUsageCalls } from "../sdk/usage-calls.ts";
import { momentOf } from "./admin/moments.ts";
import { chosenClusters } from "./clusters.ts";
import { type Context, UsageError } from "./context.ts";

export interface UsageFlags {
  from?: string;
  to?: string;
  last?: string;
  by?: string;
  idle?: boolean;
  output: string;
}

interface Question {
  period: { from: number | null; to: number | null };
  by: UsageKey[];
}

function questionOf(flags: UsageFlags, now: number): Question {
  if (flags.idle === true && [flags.from, flags.to, flags.last, flags.by].some((flag) => flag !== undefined)) {
    throw new UsageError("--idle says what is held just now: it takes no period and no --by.");
  }
  if (flags.last !== undefined && flags.from !== undefined) {
    throw new UsageError("--last and --from exclude each other.", "sky usage --last 30d");
  }
  const to = flags.to === undefined ? null : momentOf(flags.to, now);
  let from = flags.from === undefined ? null : (momentOf(flags.from, now) ?? now);
  if (flags.last !== undefined) {
    from = Math.max(0, (to ?? now) - readTime(flags.last));
  }
  if (from !== null && from >= (to ?? now)) {
    throw new UsageError("The period ends before it begins.", "sky usage --from 2026-11-01 --to 2026-12-01");
  }
  const by = [...new Set((flags.by ?? "user").split(","))].map((word) => {
    const key = usageKeys.find((one) => one === word.trim().toLowerCase());
    if (key === undefined) {
      throw new UsageError(`'${word.slice(0, 40)}' is nothing to sum by.`, `One or more of: ${usageKeys.join(", ")}.`);
    }
    return key;
  });
  return { period: { from, to }, by };
}

/** Runs the command; resolves with the exit code: 1 when a cluster did not answer. */
export async function usage(context: Context, names: string[], flags: UsageFlags): Promise<number> {
  const { screen } = context;
  const { period, by } = questionOf(flags, context.now());
  const found: { name: string; result: UsageResult | IdleResult }[] = [];
  let failed = false;
  for (const cluster of await chosenClusters(context, names)) {
    const transport = new Transport(cluster.name, () => context.connect(cluster.registered));
    const calls = createUsageCalls(transport, (text) => screen.note(screen.noteColors.yellow(text)));
    try {
      const answer = flags.idle === true ? await calls.idle() : await calls.usage(period, by);
      const result = { ...answer, cluster: cluster.name };
      found.push({ name: cluster.name, result });
      if (flags.output === "table") {
        screen.print((found.length === 1 ? "" : "\n") + textOf(result, context));
      }
      if ("damaged" in result && result.damaged.lines > 0) {
        const places = result.damaged.places.join(", ");
        const text = `${result.damaged.lines} line(s) of the usage history of ${cluster.name} cannot be read: ${places}`;
        screen.note(screen.noteColors.yellow(text));
      }
    } catch (error) {
      failed = true;
      showFailure(error, screen, context.env);
    } finally {
      calls.close();
    }
  }
  if (flags.output === "json") {
    screen.print(JSON.stringify(Object.fromEntries(found.map(({ name, result }) => [name, result])), null, 2));
  } else if (flags.output === "csv") {
    const results = found.map(({ result }) => result);
    const idle = results.filter((result) => "idle" in result);
    const sums = results.filter((result) => "rows" in result);
    // The lines end with CR LF; printing adds the last LF.
    screen.print(`${flags.idle === true ? idleCsv(idle) : usageCsv(sums, by)}\r`);
  }
  return failed ? 1 : 0;
}

function textOf(result: UsageResult | IdleResult, context: Context): string {
  const { columns, colors } = context.screen;
  return "idle" in result
    ? idleText(result, columns, colors)
    : usageText(result, { limit: columns, now: context.now() }, colors);
}
