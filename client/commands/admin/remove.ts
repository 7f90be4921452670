/**
 * `sky admin remove`: the nodes' keys are refused and the cluster is planned without them, until they are resumed. Jobs
 * that run there hinder it, unless they are to be ended.
 */
import { jobsText } from "../../output/admin-nodes-text.ts";
import type { Context } from "../context.ts";
import { adminCallsTo, type ClusterFlags } from "./cluster.ts";
import { rowsNamed } from "./nodes.ts";

export interface RemoveFlags extends ClusterFlags {
  reason?: string;
  force?: boolean;
  yes?: boolean;
}

/** Runs the command; resolves with the exit code. */
export async function remove(context: Context, names: string[], flags: RemoveFlags): Promise<number> {
  const { screen } = context;
  const nodes = [...new Set(names)];
  const calls = await adminCallsTo(context, flags);
  try {
    if (flags.force === true && flags.yes !== true) {
      const jobs = rowsNamed(await calls.nodes(), nodes).flatMap((row) => row.jobs);
      if (jobs.length > 0) {
        screen.note(`${jobsText(jobs)} will be ended now.`);
        if (!(await screen.confirm(`Removing ${nodes.join(", ")}. Proceed?`))) {
          screen.note("Nothing was done.");
          return 1;
        }
      }
    }
    for (const row of await calls.remove({ nodes, reason: flags.reason ?? null, force: flags.force === true })) {
      screen.print(`${screen.colors.green("✓")} ${row.name} is removed: its key is refused from now on.`);
      if (row.unknown.length > 0) {
        screen.note(`What the coordinator does not know goes on there: ${jobsText(row.unknown)}.`);
      }
    }
    screen.note(
      `For good: ansible-playbook remove-node.yml -e sky_node=${nodes[0]}\n` +
        `To take ${nodes.length === 1 ? "it" : "them"} in again: sky admin resume ${nodes.join(" ")}`,
    );
    return 0;
  } finally {
    calls.close();
  }
}
