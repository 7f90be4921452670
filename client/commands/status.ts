/**
 * `sky status`: the registered clusters, those initialized on this machine with what is known of them. Uses the network
 * only where `--refresh` asks for it, so it answers at once when a cluster is away.
 */
import { messageOf } from "../../shared/errors.ts";
import { type StatusRow, statusText } from "../output/status-text.ts";
import { wrap } from "../output/table.ts";
import { callsTo, listLocal, type LocalCluster, rememberNodes } from "./clusters.ts";
import type { Context } from "./context.ts";

export interface StatusFlags {
  output: string;
  refresh?: boolean;
  verbose?: boolean;
}

function rowOf(cluster: LocalCluster): StatusRow {
  const { name, initialized } = cluster;
  if (initialized === null) {
    return { name, known: null };
  }
  const { user, headIp, resources, command, launchedAt } = initialized;
  const { file } = cluster.registered;
  return { name, known: { user, headIp, resources, command: command ?? "-", launchedAt, file } };
}

/** Asks each initialized cluster what it has now; says of those that do not answer that they show what was remembered. */
async function refresh(context: Context, clusters: readonly LocalCluster[]): Promise<boolean> {
  const { screen } = context;
  const known = clusters.filter((cluster) => cluster.initialized !== null);
  const asked = known.map(async (cluster) => {
    const calls = callsTo(context, cluster);
    try {
      await rememberNodes(context, cluster, await calls.nodes());
      return true;
    } catch (error) {
      const text = `Cluster ${cluster.name} does not answer, what is remembered of it is shown: ${messageOf(error)}`;
      screen.note(screen.noteColors.yellow(wrap(text, "", screen.columns)));
      return false;
    } finally {
      calls.close();
    }
  });
  return (await Promise.all(asked)).every((answered) => answered);
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
  const isNamed = ({ name }: LocalCluster): boolean => names.length === 0 || names.includes(name);
  const before = flags.refresh === true ? (await listLocal(context)).clusters.filter(isNamed) : [];
  const answered = await refresh(context, before);
  const listing = await listLocal(context);
  const clusters = listing.clusters.filter(isNamed);
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
        launched_at: known?.launchedAt ?? null,
        file: cluster.registered.file,
      };
    });
    screen.print(JSON.stringify(rows, null, 2));
  } else if (clusters.length === 0 && missing.length === 0) {
    screen.print(howToRegister);
  } else if (clusters.length > 0) {
    screen.print(
      statusText(clusters.map(rowOf), screen.columns, screen.colors, flags.verbose === true ? context.now() : null),
    );
  }
  for (const warning of listing.warnings) {
    screen.note(screen.noteColors.yellow(wrap(warning, "", screen.columns)));
  }
  for (const name of missing) {
    screen.note(screen.noteColors.yellow(`Cluster '${name}' not found.`));
  }
  return missing.length === 0 && answered ? 0 : 1;
}
