/**
 * `sky admin resume`: drained and removed nodes take jobs again.
 */
import type { Context } from "../context.ts";
import { adminCallsTo, type ClusterFlags } from "./cluster.ts";

/** Runs the command; resolves with the exit code. */
export async function resume(context: Context, names: string[], flags: ClusterFlags): Promise<number> {
  const { screen } = context;
  const calls = await adminCallsTo(context, flags);
  try {
    for (const row of await calls.resume([...new Set(names)])) {
      const now =
        row.state === "UP" ? "takes jobs again" : `is open again, and takes jobs when it is back (${row.state})`;
      screen.print(`${screen.colors.green("✓")} ${row.name} ${now}.`);
    }
    return 0;
  } finally {
    calls.close();
  }
}
