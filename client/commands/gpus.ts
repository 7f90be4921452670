/**
 * `sky gpus list` (also `sky show-gpus`): the accelerators of clusters, how many are free, kind by kind and node by node.
 */
import type { NodesResult } from "../../shared/api.ts";
import { showFailure } from "../output/failure.ts";
import { gpusText, onlyKind } from "../output/gpus-text.ts";
import { callsTo, chosenClusters, listLocal } from "./clusters.ts";
import type { Context } from "./context.ts";

export interface GpusFlags {
  cluster?: string;
  infra?: string;
  output: string;
}

/** `lab`, `local/lab` and `Local/lab` all name the cluster lab; `local` alone means all. */
function clusterOf(flags: GpusFlags): string | null {
  const named = flags.cluster ?? flags.infra ?? "";
  const name = named.replace(/^local(\/|$)/i, "");
  return name === "" ? null : name;
}

/** Runs the command; `kind` is an accelerator, or a cluster's name. Resolves with the exit code. */
export async function gpus(context: Context, kind: string | null, flags: GpusFlags): Promise<number> {
  const { screen } = context;
  const named = clusterOf(flags);
  const isCluster =
    named === null && kind !== null && (await listLocal(context)).clusters.some((cluster) => cluster.name === kind);
  const wanted = isCluster ? null : kind;
  const only = named ?? (isCluster ? kind : null);
  const found: Record<string, NodesResult> = {};
  let failed = false;
  for (const cluster of await chosenClusters(context, only === null ? [] : [only])) {
    const calls = callsTo(context, cluster);
    try {
      const result = { ...(await calls.nodes()), cluster: cluster.name };
      found[cluster.name] = onlyKind(result, wanted);
      if (flags.output !== "json") {
        const isFirst = Object.keys(found).length === 1;
        screen.print(
          (isFirst ? "" : "\n") +
            gpusText(result, wanted, { limit: screen.columns, now: context.now() }, screen.colors),
        );
      }
    } catch (error) {
      failed = true;
      showFailure(error, screen, context.env);
    } finally {
      calls.close();
    }
  }
  if (flags.output === "json") {
    screen.print(JSON.stringify(found, null, 2));
  }
  return failed ? 1 : 0;
}
