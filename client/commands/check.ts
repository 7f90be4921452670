/**
 * `sky check`: connects to each registered cluster and says who the caller is there and what is wrong. It changes
 * nothing, here or there.
 */
import { messageOf, SkyError } from "../../shared/errors.ts";
import { requireFilledIn } from "../local/registered.ts";
import { wrap } from "../output/table.ts";
import { callsTo, findLocal, type LocalCluster, listLocal } from "./clusters.ts";
import type { Context } from "./context.ts";

interface Finding {
  enabled: boolean;
  /** Lines below the verdict. */
  lines: string[];
}

async function examine(context: Context, cluster: LocalCluster): Promise<Finding> {
  const calls = callsTo(context, cluster);
  try {
    requireFilledIn(cluster.registered);
    const me = await calls.whoami();
    if (me.refused !== null) {
      return { enabled: false, lines: [`Reason: ${me.user} may not run jobs there: ${me.refused}`] };
    }
    const { nodes } = await calls.nodes();
    const away = nodes.filter((node) => node.state !== "UP").map((node) => `${node.name} (${node.state})`);
    const lines = [`User: ${me.user}. Nodes: ${nodes.length - away.length} of ${nodes.length} up.`];
    if (away.length > 0) {
      lines.push(`Not up: ${away.slice(0, 10).join(", ")}${away.length > 10 ? ` and ${away.length - 10} more` : ""}`);
    }
    return { enabled: true, lines };
  } catch (error) {
    const hint = error instanceof SkyError && error.hint !== null ? [error.hint] : [];
    return { enabled: false, lines: [`Reason: ${messageOf(error)}`, ...hint] };
  } finally {
    calls.close();
  }
}

/** Runs the command; resolves with the exit code: 0 when at least one cluster can be used. */
export async function check(context: Context, names: string[]): Promise<number> {
  const { screen } = context;
  const { green, red } = screen.colors;
  const listing =
    names.length === 0
      ? await listLocal(context)
      : { clusters: names.map((name) => findLocal(context, name)), warnings: [] };
  const { clusters } = listing;
  for (const warning of listing.warnings) {
    screen.note(screen.noteColors.yellow(warning));
  }
  if (clusters.length === 0) {
    throw new SkyError("ClusterDoesNotExist", "No cluster is registered.", "`sky status` says how to register one.");
  }
  screen.print("Checking local clusters.");
  let enabled = 0;
  for (const cluster of clusters) {
    const finding = await examine(context, cluster);
    enabled += finding.enabled ? 1 : 0;
    screen.print(`  ${cluster.name}: ${finding.enabled ? green("enabled") : red("disabled")}`);
    for (const line of finding.lines) {
      screen.print(wrap(line, "    ", screen.columns));
    }
  }
  return enabled > 0 ? 0 : 1;
}
