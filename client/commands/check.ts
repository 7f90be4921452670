/**
 * `sky check`: connects to each registered cluster and says who the caller is there and what is wrong. It changes
 * nothing, here or there.
 */
import { messageOf, SkyError } from "../../shared/errors.ts";
import { requireFilledIn } from "../local/registered.ts";
import { wrap } from "../output/table.ts";
import { callsTo, findLocal, type LocalCluster, listLocal } from "./clusters.ts";
import type { Context } from "./context.ts";

/** What `--output json` prints of one cluster (docs/json.md). */
interface Finding {
  /** Jobs of the caller run there. */
  enabled: boolean;
  /** The account there; null: it could not be asked. */
  user: string | null;
  /** Why it is not enabled; null: it is. */
  reason: string | null;
  /** What to do about that; null: nothing is known. */
  hint: string | null;
  nodes: { name: string; state: string }[];
}

async function examine(context: Context, cluster: LocalCluster): Promise<Finding> {
  const calls = callsTo(context, cluster);
  try {
    requireFilledIn(cluster.registered);
    const me = await calls.whoami();
    if (me.refused !== null) {
      const reason = `${me.user} may not run jobs there: ${me.refused}`;
      return { enabled: false, user: me.user, reason, hint: null, nodes: [] };
    }
    const { nodes } = await calls.nodes();
    const states = nodes.map(({ name, state }) => ({ name, state }));
    return { enabled: true, user: me.user, reason: null, hint: null, nodes: states };
  } catch (error) {
    const hint = error instanceof SkyError ? error.hint : null;
    return { enabled: false, user: null, reason: messageOf(error), hint, nodes: [] };
  } finally {
    calls.close();
  }
}

/** The lines below the verdict. */
function linesOf({ enabled, user, reason, hint, nodes }: Finding): string[] {
  if (!enabled) {
    return [`Reason: ${reason ?? ""}`, ...(hint === null ? [] : [hint])];
  }
  const away = nodes.filter((node) => node.state !== "UP").map((node) => `${node.name} (${node.state})`);
  const more = away.length > 10 ? ` and ${away.length - 10} more` : "";
  return [
    `User: ${user ?? ""}. Nodes: ${nodes.length - away.length} of ${nodes.length} up.`,
    ...(away.length === 0 ? [] : [`Not up: ${away.slice(0, 10).join(", ")}${more}`]),
  ];
}

/** Runs the command; resolves with the exit code: 0 when at least one cluster can be used. */
export async function check(context: Context, names: string[], flags: { output: string }): Promise<number> {
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
  const json = flags.output === "json";
  const found = new Map<string, Finding>();
  if (!json) {
    screen.print("Checking local clusters.");
  }
  for (const cluster of clusters) {
    const finding = await examine(context, cluster);
    found.set(cluster.name, finding);
    if (json) {
      continue;
    }
    screen.print(`  ${cluster.name}: ${finding.enabled ? green("enabled") : red("disabled")}`);
    for (const line of linesOf(finding)) {
      screen.print(wrap(line, "    ", screen.columns));
    }
  }
  if (json) {
    screen.print(JSON.stringify(Object.fromEntries(found), null, 2));
  }
  return [...found.values()].some(({ enabled }) => enabled) ? 0 : 1;
}
