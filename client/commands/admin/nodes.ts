/**
 * `sky admin nodes`: every node with its state, version, accelerators, load and jobs; all of one node when it is named.
 */
import type { AdminNodeRow, AdminNodesResult } from "../../../shared/admin-api.ts";
import { SkyError } from "../../../shared/errors.ts";
import { didYouMean } from "../../../shared/near-match.ts";
import { adminNodesText, adminNodeText } from "../../output/admin-nodes-text.ts";
import type { Context } from "../context.ts";
import { adminCallsTo, type ClusterFlags } from "./cluster.ts";

export interface NodesFlags extends ClusterFlags {
  output: "table" | "json";
}

/** The rows of these nodes, in the order of the names. Throws when one is no node of the cluster. */
export function rowsNamed(result: AdminNodesResult, names: readonly string[]): AdminNodeRow[] {
  return names.map((name) => {
    const row = result.nodes.find((one) => one.name === name);
    if (row === undefined) {
      const known = result.nodes.map((one) => one.name);
      const text = `There is no node '${name}' in cluster ${result.cluster}.`;
      throw new SkyError("ValueError", text, didYouMean(name, known) ?? `Its nodes: ${known.slice(0, 20).join(", ")}.`);
    }
    return row;
  });
}

/** Runs the command; resolves with the exit code. */
export async function nodes(context: Context, name: string | undefined, flags: NodesFlags): Promise<number> {
  const { screen } = context;
  const calls = await adminCallsTo(context, flags);
  try {
    const result = await calls.nodes();
    const rows = name === undefined ? result.nodes : rowsNamed(result, [name]);
    const [only] = rows;
    if (flags.output === "json") {
      screen.print(JSON.stringify({ ...result, nodes: rows }, null, 2));
    } else if (name !== undefined && only !== undefined) {
      screen.print(adminNodeText(only, result, { now: context.now(), limit: screen.columns }, screen.colors));
    } else {
      screen.print(adminNodesText(result, context.now(), screen.columns, screen.colors));
    }
    return 0;
  } finally {
    calls.close();
  }
}
