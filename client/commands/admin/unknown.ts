/**
 * `sky admin unknown`: attempts that nodes run and the coordinator's state does not know, because it was lost or put back
 * from an older copy. They are left alone; here an admin looks at them and ends one.
 */
import type { UnknownRow } from "../../../shared/admin-api.ts";
import { formatTable } from "../../output/table.ts";
import { ago } from "../../output/times.ts";
import type { Context } from "../context.ts";
import { adminCallsTo, type ClusterFlags } from "./cluster.ts";

export interface UnknownFlags extends ClusterFlags {
  output: "table" | "json";
  end?: string;
  yes?: boolean;
}

const columns = [
  { title: "ATTEMPT" },
  { title: "NODES", min: 8, cutOrder: 2 },
  { title: "USER", min: 6, cutOrder: 3 },
  { title: "JOB" },
  { title: "NAME", min: 6, cutOrder: 1 },
  { title: "STATE" },
  { title: "SUBMITTED" },
];

function tableOf(rows: UnknownRow[], context: Context): string {
  const cells = rows.map((row) => [
    row.attempt,
    `${row.nodes.join(",")}${row.reachable ? "" : " (unreachable)"}`,
    row.user,
    String(row.job_id),
    row.name ?? "-",
    row.state,
    ago(row.submitted_at, context.now()),
  ]);
  return formatTable(columns, cells, context.screen.columns, context.screen.colors);
}

/** Runs the command; resolves with the exit code. */
export async function unknown(context: Context, flags: UnknownFlags): Promise<number> {
  const { screen } = context;
  const calls = await adminCallsTo(context, flags);
  try {
    if (flags.end !== undefined) {
      if (flags.yes !== true && !(await screen.confirm(`Ending attempt ${flags.end}, whatever it does. Proceed?`))) {
        screen.note("Nothing was done.");
        return 1;
      }
      for (const row of await calls.endUnknown(flags.end)) {
        const when = row.reachable ? "is being ended" : "will be ended when it can be reached";
        screen.print(`${screen.colors.green("✓")} ${row.attempt} (${row.user}'s job ${row.job_id}) ${when}.`);
      }
      return 0;
    }
    const result = await calls.unknown();
    if (flags.output === "json") {
      screen.print(JSON.stringify(result, null, 2));
    } else if (result.attempts.length === 0) {
      screen.print(`The coordinator of cluster ${result.cluster} knows everything that its nodes run.`);
    } else {
      screen.print(tableOf(result.attempts, context));
      screen.note("They go on and keep what they were granted. To end one: sky admin unknown --end ATTEMPT");
    }
    return 0;
  } finally {
    calls.close();
  }
}
