/**
 * `sky config show`: every value of SkyPilot's config that counts for the next task, and where it came from: the command
 * line, a task's file, the project, the user, the server. A key that changes nothing here says why. It changes nothing.
 */
import { basename, resolve } from "node:path";
import { type ConfigLayer, leavesOf, mergeLayers, withoutServerKeys } from "../../shared/config-layers.ts";
import { idleReason } from "../../shared/config-sections.ts";
import { readTaskConfig } from "../../shared/task-file.ts";
import { clientLayers } from "../local/config-files.ts";
import { formatTable } from "../output/table.ts";
import { createConfigCalls } from "../sdk/config-calls.ts";
import { Transport } from "../sdk/transport.ts";
import { findLocal, listLocal, type LocalCluster } from "./clusters.ts";
import { type Context, UsageError } from "./context.ts";
import { isTaskFile, readSmallFile } from "./entrypoint.ts";

export interface ConfigShowFlags {
  config?: string[];
  origin?: boolean;
  output: string;
}

async function serverLayer(context: Context, cluster: LocalCluster): Promise<ConfigLayer> {
  const { screen } = context;
  const transport = new Transport(cluster.name, () => context.connect(cluster.registered));
  const calls = createConfigCalls(transport, (text) => screen.note(screen.noteColors.yellow(text)));
  try {
    return { origin: `server (${cluster.name})`, tree: (await calls.serverConfig()).config };
  } finally {
    calls.close();
  }
}

/** The cluster whose server counts: the named one, or the only initialized one; null: none, and nothing was asked for. */
async function chosen(context: Context, name: string | undefined): Promise<LocalCluster | null> {
  if (name !== undefined) {
    return findLocal(context, name);
  }
  const clusters = (await listLocal(context)).clusters.filter((cluster) => cluster.initialized !== null);
  return clusters.length === 1 ? (clusters[0] ?? null) : null;
}

/** A word that ends as task files do is one; the other is the cluster. Throws UsageError for two of a kind. */
function named(words: string[]): { file: string | undefined; cluster: string | undefined } {
  const [file, ...otherFiles] = words.filter(isTaskFile);
  const [cluster, ...otherClusters] = words.filter((word) => !isTaskFile(word));
  if (otherFiles.length > 0 || otherClusters.length > 0) {
    throw new UsageError("Give one cluster, one task file, or one of each.");
  }
  return { file, cluster };
}

async function taskLayer(context: Context, file: string): Promise<ConfigLayer> {
  const text = await readSmallFile(resolve(context.cwd, file), "the task file");
  return { origin: `${file} (config)`, tree: readTaskConfig(text, basename(file)) };
}

function shown(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Runs the command; resolves with the exit code. */
export async function configShow(context: Context, words: string[], flags: ConfigShowFlags): Promise<number> {
  const { screen } = context;
  const { file, cluster: name } = named(words);
  const places = { home: context.home, cwd: context.cwd, env: context.env, options: flags.config ?? [] };
  const own = clientLayers(places, file === undefined ? undefined : await taskLayer(context, file));
  const cluster = await chosen(context, name);
  // What only a server says is not taken from a client, so it is no effective value either.
  const sent = cluster === null ? own : own.map((layer) => ({ ...layer, tree: withoutServerKeys(layer.tree) }));
  const all = mergeLayers([...(cluster === null ? [] : [await serverLayer(context, cluster)]), ...sent]);
  const rows = [...leavesOf(all.tree)].map(([key, value]) => {
    return { key, value, origin: all.origins.get(key) ?? "", no_effect: idleReason(key) };
  });
  if (flags.output === "json") {
    screen.print(JSON.stringify(rows, null, 2));
    return 0;
  }
  if (rows.length === 0) {
    screen.print(
      "No config: neither ~/.sky/config.yaml, .sky.yaml, --config, a task file nor the server says anything.",
    );
    return 0;
  }
  const columns = [
    { title: "KEY" },
    { title: "VALUE", min: 12, cutOrder: 0 },
    ...(flags.origin === true ? [{ title: "ORIGIN", min: 12, cutOrder: 1 }] : []),
  ];
  const cells = rows.map((row) => [row.key, shown(row.value), ...(flags.origin === true ? [row.origin] : [])]);
  screen.print(formatTable(columns, cells, screen.columns, screen.colors));
  const idle = new Map(
    rows.filter((row) => row.no_effect !== null).map((row) => [row.key.split(".")[0], row.no_effect]),
  );
  for (const [section, reason] of idle) {
    screen.note(`'${section ?? ""}' has no effect here: ${reason ?? ""}.`);
  }
  return 0;
}
