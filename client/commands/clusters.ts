/**
 * Which clusters this person has: what is registered in `~/.sky/local` joined with what was initialized on this machine,
 * with the texts of SkyPilot On-prem for the cases in which a command cannot go on. It must never use the network by
 * itself: `callsTo` connects at the first call. Used by every command that names a cluster.
 */
import { join } from "node:path";
import type { NodesResult } from "../../shared/api.ts";
import { messageOf, SkyError } from "../../shared/errors.ts";
import { didYouMean } from "../../shared/near-match.ts";
import { findCluster, listClusters, type RegisteredCluster } from "../local/registered.ts";
import {
  dropUnregistered,
  forgetInitialized,
  type InitializedCluster,
  readInitialized,
  saveInitialized,
} from "../local/state.ts";
import { resourcesText } from "../output/status-text.ts";
import { type Calls, createCalls } from "../sdk/calls.ts";
import { Transport } from "../sdk/transport.ts";
import { type Context, UsageError } from "./context.ts";

export interface LocalCluster {
  name: string;
  registered: RegisteredCluster;
  /** Null: never launched on from this machine. */
  initialized: InitializedCluster | null;
}

function localDir(context: Context): string {
  return join(context.home, ".sky", "local");
}

function stateFile(context: Context): string {
  return join(context.home, ".sky", "onprem", "state.json");
}

export interface LocalListing {
  /** By name. */
  clusters: LocalCluster[];
  /** Files that cannot be used, and clusters that were dropped because their file has gone. */
  warnings: string[];
}

/** Every registered cluster, those whose file is not filled in included. */
export async function listLocal(context: Context): Promise<LocalListing> {
  const { clusters, problems } = listClusters(localDir(context), context.home);
  // A damaged file hides its cluster; what is known of it must not be lost for that.
  const dropped =
    problems.length > 0
      ? []
      : await dropUnregistered(
          stateFile(context),
          clusters.map((cluster) => cluster.name),
        ).catch((error: unknown) => [messageOf(error)]);
  const initialized = readInitialized(stateFile(context));
  return {
    clusters: clusters.map((registered) => ({
      name: registered.name,
      registered,
      initialized: initialized.get(registered.name) ?? null,
    })),
    warnings: [...problems.map((problem) => problem.message), ...dropped],
  };
}

/** The cluster of this name, ready to be used. Throws SkyError when there is none or its file is not filled in. */
export function findLocal(context: Context, name: string): LocalCluster {
  const registered = findCluster(localDir(context), name, context.home);
  if (registered === null) {
    const names = listClusters(localDir(context), context.home).clusters.map((cluster) => cluster.name);
    const near = didYouMean(name, names);
    throw new SkyError(
      "ClusterDoesNotExist",
      `Local cluster '${name}' does not exist.`,
      `${near === null ? "" : `${near} `}See \`sky status\` for local cluster name(s).`,
    );
  }
  return { name, registered, initialized: readInitialized(stateFile(context)).get(name) ?? null };
}

/** The same for commands that need an initialized cluster. */
export function requireInitialized(context: Context, name: string): LocalCluster {
  const cluster = findLocal(context, name);
  if (cluster.initialized === null) {
    throw new SkyError(
      "ClusterNotUpError",
      `Found uninitialized local cluster ${name}. Run this command to initialize it locally: sky launch -c ${name} ''`,
    );
  }
  return cluster;
}

/** The initialized ones among these names, or among all; says in yellow which are skipped. Throws when a name is unknown. */
export async function chosenClusters(context: Context, names: string[]): Promise<LocalCluster[]> {
  const { screen } = context;
  const warn = (text: string): void => screen.note(screen.noteColors.yellow(text));
  let clusters: LocalCluster[];
  if (names.length > 0) {
    clusters = [...new Set(names)].map((name) => findLocal(context, name));
  } else {
    const listing = await listLocal(context);
    clusters = listing.clusters;
    for (const warning of listing.warnings) {
      warn(warning);
    }
    if (clusters.length === 0) {
      warn("No local clusters. `sky status` says how to register one.");
    }
  }
  for (const cluster of clusters.filter((one) => one.initialized === null)) {
    warn(`Local cluster ${cluster.name} is uninitialized; skipped.`);
  }
  return clusters.filter((cluster) => cluster.initialized !== null);
}

/** A local cluster is part of no cloud. */
export function checkCloud(name: string, cloud: string | undefined): void {
  if (cloud !== undefined && cloud.toLowerCase() !== "local") {
    throw new UsageError(
      `Local cluster ${name} is not part of cloud: ${cloud}.`,
      "Must specify `cloud: local` or no cloud in YAML or CLI args.",
    );
  }
}

/** The named cluster; without a name the only one that is initialized here. Throws UsageError when there is no such. */
export async function oneCluster(context: Context, name: string | undefined): Promise<LocalCluster> {
  if (name !== undefined) {
    return findLocal(context, name);
  }
  const clusters = (await listLocal(context)).clusters.filter((cluster) => cluster.initialized !== null);
  const [only, second] = clusters;
  if (only === undefined || second !== undefined) {
    const names = clusters.map((cluster) => cluster.name).join(", ");
    const why =
      only === undefined ? "No cluster is initialized here." : `Several clusters are initialized here: ${names}.`;
    throw new UsageError(why, "Name one with -c. `sky status` lists yours.");
  }
  return only;
}

/** Says on a terminal that the cluster is waited for, from the first second on, until the returned function is called. */
function showWaiting({ screen }: Context, { name, transport }: RegisteredCluster): () => void {
  // The system's own ssh asks by itself, and nothing may be drawn over that.
  if (screen.progress.visible !== true || transport !== "ssh2") {
    return () => undefined;
  }
  let seconds = 0;
  const timer = setInterval(() => {
    seconds += 1;
    screen.progress.wait(`waiting for cluster ${name}`, `${seconds}s`);
  }, 1000).unref();
  return () => {
    clearInterval(timer);
    screen.progress.endWait();
  };
}

/** The way to this cluster, as the caller. Connects at the first call; `close` it. */
export function transportOf(context: Context, cluster: RegisteredCluster): Transport {
  return new Transport(cluster.name, () => context.connect(cluster), {
    leavesRequests: context.leavesRequests === true,
    waiting: () => showWaiting(context, cluster),
  });
}

/** The API of this cluster, as the caller. Connects at the first call; `close` it. */
export function callsTo(context: Context, cluster: LocalCluster): Calls {
  const { screen } = context;
  const transport = transportOf(context, cluster.registered);
  return createCalls(transport, (text) => screen.note(screen.noteColors.yellow(text)));
}

/**
 * Keeps what `sky status` shows. `nodes` null: as it was. A file that cannot be written (a full disk) is said and no
 * more: the cluster has taken the task by now.
 */
export async function remember(context: Context, cluster: LocalCluster, nodes: NodesResult | null): Promise<void> {
  const { screen } = context;
  try {
    await saveInitialized(stateFile(context), cluster.name, {
      user: cluster.registered.user,
      headIp: cluster.registered.headIp,
      resources:
        nodes === null
          ? (cluster.initialized?.resources ?? "-")
          : resourcesText(nodes.nodes.map((node) => node.accelerators)),
      command: context.commandLine,
      launchedAt: context.now(),
    });
  } catch (error) {
    const lost =
      cluster.initialized === null
        ? `Cluster ${cluster.name} stays uninitialized on this machine.`
        : "`sky status` does not show this command.";
    screen.note(screen.noteColors.yellow(`Warning: ${messageOf(error)} ${lost}`));
  }
}

/** Keeps what the cluster has now, and no more: it was asked, not launched on. Throws SkyError when that cannot be written. */
export async function rememberNodes(context: Context, cluster: LocalCluster, nodes: NodesResult): Promise<void> {
  if (cluster.initialized !== null) {
    const resources = resourcesText(nodes.nodes.map((node) => node.accelerators));
    await saveInitialized(stateFile(context), cluster.name, { ...cluster.initialized, resources });
  }
}

/** The cluster is uninitialized again on this machine. Throws SkyError when that cannot be written down. */
export async function forget(context: Context, name: string): Promise<void> {
  await forgetInitialized(stateFile(context), [name]);
}
