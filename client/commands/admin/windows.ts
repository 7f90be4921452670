/**
 * `sky admin maintenance`, `sky admin reserve` and `sky admin windows`: set nodes aside for a time, look at what is set
 * aside, take it back. Ending jobs asks first. Whether the nodes and people exist is the coordinator's to say.
 */
import type { WindowRow } from "../../../shared/scheduling-api.ts";
import { plain, wrap } from "../../output/table.ts";
import { windowNote, windowsText } from "../../output/windows-text.ts";
import { type Context, UsageError } from "../context.ts";
import type { ClusterFlags } from "./cluster.ts";
import { withSchedulingCalls } from "./scheduling-calls.ts";
import { momentOf } from "./moments.ts";

export interface WindowFlags extends ClusterFlags {
  from: string;
  to?: string;
  /** Seconds. */
  for?: number;
  user?: string[];
  group?: string[];
  endJobs?: boolean;
  reason?: string;
  yes?: boolean;
  output: "table" | "json";
}

/** Adds a window; resolves with the exit code. */
export async function addWindow(
  context: Context,
  kind: WindowRow["kind"],
  names: string[],
  flags: WindowFlags,
): Promise<number> {
  const { screen } = context;
  const now = context.now();
  if ((flags.to === undefined) === (flags.for === undefined)) {
    throw new UsageError("Say when it ends: --to TIME or --for SPAN, one of them.", "For example --for 4h");
  }
  const from = momentOf(flags.from, now);
  const to = flags.to === undefined ? null : (momentOf(flags.to, now) ?? now);
  if (flags.endJobs === true && flags.yes !== true) {
    const when = from === null ? "now" : "when it begins";
    screen.note(`What runs on ${names.join(", ")} ${when} and may not run in the window will be ended.`);
    if (!(await screen.confirm("Proceed?"))) {
      screen.note("Nothing was done.");
      return 1;
    }
  }
  const result = await withSchedulingCalls(context, flags, (calls) =>
    calls.addWindow({
      ...{ kind, nodes: names, from, to, for_seconds: flags.for ?? null },
      ...{ users: flags.user ?? [], groups: flags.group ?? [] },
      ...{ end_jobs: flags.endJobs === true, reason: flags.reason ?? null },
    }),
  );
  if (flags.output === "json") {
    screen.print(JSON.stringify(result, null, 2));
    return 0;
  }
  const { window, notes } = result;
  const text = `${window.nodes.join(", ")}: ${windowNote(window, context.now())}`;
  screen.print(`${screen.colors.green("✓")} ${plain(text)}`);
  for (const note of notes) {
    screen.note(screen.noteColors.yellow(wrap(note, "", screen.columns)));
  }
  screen.note(
    "From now on a job starts there only if its time limit ends it before the window, or if it may run in it.",
  );
  screen.note(`To take it back: sky admin windows remove ${window.id}`);
  return 0;
}

export async function listWindows(
  context: Context,
  flags: Pick<WindowFlags, "output"> & ClusterFlags,
): Promise<number> {
  const { screen } = context;
  const result = await withSchedulingCalls(context, flags, (calls) => calls.windows());
  screen.print(
    flags.output === "json"
      ? JSON.stringify(result, null, 2)
      : windowsText(result, context.now(), screen.columns, screen.colors),
  );
  return 0;
}

export async function removeWindows(context: Context, ids: string[], flags: ClusterFlags): Promise<number> {
  const { screen } = context;
  const wrong = ids.find((id) => !/^w[1-9][0-9]{0,8}$/.test(id));
  if (wrong !== undefined) {
    const text = `'${plain(wrong).slice(0, 80)}' is no window's name; they are called w1, w2 …`;
    throw new UsageError(text, "`sky admin windows` lists those that there are.");
  }
  const rows = await withSchedulingCalls(context, flags, (calls) => calls.removeWindows(ids));
  for (const row of rows) {
    const text = `${row.id} is removed: ${row.nodes.join(", ")}, ${row.kind}.`;
    screen.print(`${screen.colors.green("✓")} ${plain(text)}`);
  }
  return 0;
}
