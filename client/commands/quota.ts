/**
 * `sky quota`: what limits the caller on one, several or all initialized clusters, and what the caller holds there. A
 * cluster that does not answer does not hide the others.
 */
import type { OwnQuotaResult } from "../../shared/scheduling-api.ts";
import { showFailure } from "../output/failure.ts";
import { ownQuotaText } from "../output/quota-text.ts";
import { createSchedulingCalls } from "../sdk/scheduling-calls.ts";
import { Transport } from "../sdk/transport.ts";
import { chosenClusters, type LocalCluster } from "./clusters.ts";
import type { Context } from "./context.ts";

async function resultOf(context: Context, cluster: LocalCluster): Promise<OwnQuotaResult> {
  const { screen } = context;
  const transport = new Transport(cluster.name, () => context.connect(cluster.registered));
  const calls = createSchedulingCalls(transport, (text) => screen.note(screen.noteColors.yellow(text)));
  try {
    return { ...(await calls.ownQuota()), cluster: cluster.name };
  } finally {
    calls.close();
  }
}

/** Runs the command; resolves with the exit code: 1 when a cluster did not answer. */
export async function quota(context: Context, names: string[], flags: { output: string }): Promise<number> {
  const { screen } = context;
  const found: Record<string, OwnQuotaResult> = {};
  let failed = false;
  for (const cluster of await chosenClusters(context, names)) {
    try {
      const result = await resultOf(context, cluster);
      const isFirst = Object.keys(found).length === 0;
      found[cluster.name] = result;
      if (flags.output !== "json") {
        screen.print((isFirst ? "" : "\n") + ownQuotaText(result, screen.columns, screen.colors));
      }
    } catch (error) {
      failed = true;
      showFailure(error, screen, context.env);
    }
  }
  if (flags.output === "json") {
    screen.print(JSON.stringify(found, null, 2));
  }
  return failed ? 1 : 0;
}
