/**
 * What a development cluster looks like on disk: its options, its paths, the accounts it uses. The folder itself and
 * everything of the nodes is root's; `run` and `state` belong to the coordinator's account, so that neither the
 * coordinator nor a user can put anything where root works. Pure but for reading and writing cluster.json. Used by the
 * other files of this folder and by tests that need a path.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as z from "zod";

export const checkout = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const dist = join(checkout, "dist");

/** Longest folder: a skylet's socket path under it must stay below the kernel's 107 bytes. */
export const dirBytesMax = 50;

/** A mistake of the caller or of the machine, with a text for people; printed without a stack. */
export class ClusterError extends Error {}

const optionsSchema = z.strictObject({
  dir: z.string(),
  name: z.string(),
  /** One entry a node: `V100:4`, `-` for none, or null to let the agent look. */
  accelerators: z.array(z.string().nullable()).min(1).max(100),
  singleUser: z.boolean(),
  allowRoot: z.boolean(),
  sshPort: z.int().min(1).max(65535).nullable(),
  sshUser: z.string(),
  sshKey: z.string(),
  /** Laid over the written configs; for tests. */
  coordinatorConfig: z.record(z.string(), z.unknown()),
  agentConfig: z.record(z.string(), z.unknown()),
});
export type Options = z.infer<typeof optionsSchema>;

/** What start decides once and keeps: the account without a name that coordinator and Redis run as, and the agents' port. */
const clusterSchema = z.strictObject({ options: optionsSchema, uid: z.int(), port: z.int() });
export type Cluster = z.infer<typeof clusterSchema>;

export interface Paths {
  clusterFile: string;
  pidsFile: string;
  lockFile: string;
  logDir: string;
  runDir: string;
  apiSocket: string;
  stateDir: string;
  hostKey: string;
  coordinatorConfig: string;
  redisDir: string;
  redisSocket: string;
  redisConfig: string;
  nodesDir: string;
  /** The cluster's own copy of the build, so that neither a closed home nor a later build matters to it. */
  programsDir: string;
}

export function pathsOf(dir: string): Paths {
  return {
    clusterFile: join(dir, "cluster.json"),
    pidsFile: join(dir, "pids.json"),
    lockFile: join(dir, "lock"),
    logDir: join(dir, "log"),
    runDir: join(dir, "run"),
    apiSocket: join(dir, "run/api.sock"),
    stateDir: join(dir, "state"),
    hostKey: join(dir, "state/host_key"),
    coordinatorConfig: join(dir, "coordinator.yaml"),
    redisDir: join(dir, "state/redis"),
    redisSocket: join(dir, "state/redis/redis.sock"),
    redisConfig: join(dir, "state/redis/redis.conf"),
    nodesDir: join(dir, "nodes"),
    programsDir: join(dir, "programs"),
  };
}

export interface NodePaths {
  dir: string;
  config: string;
  key: string;
  runtimeDir: string;
  stateDir: string;
}

export function nodePathsOf(dir: string, node: string): NodePaths {
  const own = join(pathsOf(dir).nodesDir, node);
  return {
    dir: own,
    config: join(own, "agent.yaml"),
    key: join(own, "key"),
    runtimeDir: join(own, "run"),
    stateDir: join(own, "state"),
  };
}

/** Nodes are called n1, n2, …; short, because their names are part of socket paths. */
export function nodeNames(options: Options): string[] {
  return options.accelerators.map((_, index) => `n${index + 1}`);
}

/** The path of the file that users put into `~/.sky/local`. */
export function registrationFile(options: Options): string {
  return join(options.dir, `${options.name}.yml`);
}

export function readCluster(dir: string): Cluster | null {
  const file = pathsOf(dir).clusterFile;
  if (!existsSync(file)) {
    return null;
  }
  const parsed = clusterSchema.safeParse(JSON.parse(readFileSync(file, "utf8")));
  if (!parsed.success) {
    throw new ClusterError(
      `${file} was not written by this version of dev-cluster. Remove the cluster with 'stop --dir ${dir}'.`,
    );
  }
  return parsed.data;
}

export function writeCluster(cluster: Cluster): void {
  writeFileSync(pathsOf(cluster.options.dir).clusterFile, `${JSON.stringify(cluster, null, 2)}\n`, { mode: 0o600 });
}
