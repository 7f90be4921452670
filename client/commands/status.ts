/**
 * `sky status`: the registered clusters, those initialized on this machine with what is known of them. Never uses the
 * network, so it answers at once when a cluster is away.
 */
import { type StatusRow, statusText } from "../output/status-text.ts";
import { wrap } from "../output/table.ts";
import { listLocal, type LocalCluster } from "./clusters.ts";
import type { Context } from "./context.ts";

export interface StatusFlags {
  output: string;
}

function rowOf(cluster: LocalCluster): StatusRow {
  const { name, initialized } = cluster;
  if (initialized === null) {
    return { name, known: null };
  }
  const { user, headIp, resources, command } = initialized;
  return { name, known: { user, headIp, resources, command: command ?? "-" } };
}

const howToRegister = [
  "No local clusters.",
  "",
  "To register one, save the file that its admin gave you as ~/.sky/local/NAME.yml,",
  "put your account and key into it, and run: sky launch -c NAME ''",
].join("\n");

/** Runs the command; resolves with the exit code. */
export async function status(context: Context, names: string[], flags: StatusFlags): Promise<number> {
  const { screen } = context;
  const listing = await listLocal(context);
  const clusters = listing.clusters.filter((cluster) => names.length === 0 || names.includes(cluster.name));
  const missing = names.filter((name) => !clusters.some((cluster) => cluster.name === name));
  if (flags.output === "json") {
    const rows = clusters.map((cluster) => {
      const { known } = rowOf(cluster);
      return {
        name: cluster.name,
        initialized: known !== null,
        user: known?.user ?? null,
        head_ip: known?.headIp ?? null,
        resources: known?.resources ?? null,
        command: known?.command ?? null,
      };
    });
    screen.print(JSON.stringify(rows, null, 2));
  } else if (clusters.length === 0 && missing.length === 0) {
    screen.print(howToRegister);
  } else if (clusters.length > 0) {
    screen.print(statusText(clusters.map(rowOf), screen.columns, screen.colors));
  }
  for (const warning of listing.warnings) {
    screen.note(screen.noteColors.yellow(wrap(warning, "", screen.columns)));
  }
  for (const name of missing) {
    screen.note(screen.noteColors.yellow(`Cluster '${name}' not found.`));
  }
  return missing.length === 0 ? 0 : 1;
}
