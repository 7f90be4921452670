/**
 * `sky queue`: the caller's jobs on one, several or all initialized clusters, and why the waiting ones wait. One call a
 * cluster and nothing more, since people run it all day. A cluster that does not answer does not hide the others.
 */
import type { QueueRow } from "../../shared/api.ts";
import { showFailure } from "../output/failure.ts";
import { queueText } from "../output/queue-text.ts";
import { callsTo, chosenClusters, type LocalCluster } from "./clusters.ts";
import type { Context } from "./context.ts";

export interface QueueFlags {
  skipFinished?: boolean;
  allUsers?: boolean;
  output: string;
}

async function rowsOf(context: Context, cluster: LocalCluster, flags: QueueFlags): Promise<QueueRow[]> {
  const calls = callsTo(context, cluster);
  try {
    return await calls.queue({ skip_finished: flags.skipFinished === true, all_users: flags.allUsers === true });
  } finally {
    calls.close();
  }
}

/** Runs the command; resolves with the exit code: 1 when a cluster did not answer. */
export async function queue(context: Context, names: string[], flags: QueueFlags): Promise<number> {
  const { screen } = context;
  const json = flags.output === "json";
  const found: Record<string, QueueRow[]> = {};
  let failed = false;
  for (const cluster of await chosenClusters(context, names)) {
    try {
      const rows = await rowsOf(context, cluster, flags);
      found[cluster.name] = rows;
      if (!json) {
        const options = { allUsers: flags.allUsers === true, now: context.now(), limit: screen.columns };
        const isFirst = Object.keys(found).length === 1;
        screen.print((isFirst ? "" : "\n") + queueText(cluster.name, rows, options, screen.colors));
      }
    } catch (error) {
      failed = true;
      showFailure(error, screen, context.env);
    }
  }
  if (json) {
    screen.print(JSON.stringify(found, null, 2));
  }
  return failed ? 1 : 0;
}
