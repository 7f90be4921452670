/**
 * The clusters that a person has registered: one file each in `~/.sky/local`, in the form of SkyPilot On-prem with a few
 * optional keys. It reads these files only; it must never write them, and never use the network. A damaged file must not
 * hide the others. Called by client/commands for listings and by everything that connects.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import * as z from "zod";
import { parseConfig } from "../../shared/config-file.ts";
import { messageOf, SkyError } from "../../shared/errors.ts";
import { clusterNameSchema } from "../../shared/ids.ts";
import { expandHome } from "./home-path.ts";
import { parseJumps } from "./jumps.ts";

/** What stands in a file as the admin hands it out, until the user fills it in. */
const placeholder = "PLACEHOLDER";
const fileBytesMax = 1024 * 1024;

/** Neither may begin with `-`: both can become arguments of the `ssh` program. */
const hostSchema = z.string().regex(/^[A-Za-z0-9_:[][A-Za-z0-9._:%[\]-]{0,254}$/, "is not a host name or address");
const userSchema = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.@+\\-]{0,63}$/, "is not a user name");
const portSchema = z.int().min(1).max(65535);
const hostEntrySchema = z.union([
  hostSchema,
  z.strictObject({ host: hostSchema, user: userSchema.optional(), port: portSchema.optional() }),
]);

const jumpSchema = z.string().superRefine((text, context) => {
  try {
    parseJumps(text);
  } catch (error) {
    context.addIssue({ code: "custom", message: messageOf(error).replace(/\.$/, "") });
  }
});

const fileSchema = z.strictObject({
  cluster: z.strictObject({
    /** The first is the head. */
    ips: z.union([hostSchema.transform((host) => [host]), z.array(hostEntrySchema).min(1).max(10_000)]),
    name: clusterNameSchema,
  }),
  auth: z.strictObject({
    ssh_user: userSchema,
    ssh_private_key: z.string().min(1).max(4096).nullable().optional(),
    port: portSchema.optional(),
    /** `user@host:port`, several with commas. */
    jump_host: jumpSchema.optional(),
    /** One OpenSSH public key line. */
    host_key: z
      .string()
      .regex(/^(ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/=]+( .*)?$/, "must be one OpenSSH public key line")
      .optional(),
  }),
  transport: z.enum(["ssh2", "openssh"]).default("ssh2"),
  coordinator: z
    .strictObject({
      socket: z
        .string()
        .regex(/^\/[^\0\n]{1,100}$/, "must be an absolute path")
        .default("/run/sky-coordinator/api.sock"),
      gate: z
        .string()
        .regex(/^[^-\0\n][^\0\n]{0,1000}$/, "must be a command on the head")
        .default("sky"),
    })
    .prefault({}),
  python: z.string().optional(),
});

export interface RegisteredHost {
  host: string;
  /** Null: the cluster's. */
  user: string | null;
  port: number | null;
}

export interface RegisteredCluster {
  name: string;
  /** Path of the file, for messages. */
  file: string;
  /** `PLACEHOLDER` until filled in; `requireFilledIn` refuses to use it then. */
  user: string;
  hosts: RegisteredHost[];
  headIp: string;
  /** Path with `~` expanded; null: the agent and the default keys are used. */
  privateKey: string | null;
  /** Null: as `~/.ssh/config` says, else 22. */
  port: number | null;
  jumpHost: string | null;
  /** Pinned: no other key is accepted and known_hosts is not asked. */
  hostKey: string | null;
  transport: "ssh2" | "openssh";
  /** The coordinator's socket on the head. */
  socket: string;
  /** The program on the head that joins its stdio to the socket. */
  gate: string;
}

/** What one file holds. `home` expands `~`. Throws SkyError("ValueError") with `Invalid cluster YAML: …`. */
export function readRegistration(text: string, file: string, home: string = homedir()): RegisteredCluster {
  let config: z.output<typeof fileSchema>;
  try {
    config = parseConfig(text, file, fileSchema);
  } catch (error) {
    throw new SkyError("ValueError", `Invalid cluster YAML: ${messageOf(error)}`);
  }
  const hosts = config.cluster.ips.map((entry) =>
    typeof entry === "string"
      ? { host: entry, user: null, port: null }
      : { host: entry.host, user: entry.user ?? null, port: entry.port ?? null },
  );
  const head = hosts[0] as RegisteredHost;
  const { auth, coordinator } = config;
  return {
    name: config.cluster.name,
    file,
    // A placeholder stays visible even when the head has a user of its own: the file was not filled in.
    user: auth.ssh_user === placeholder ? placeholder : (head.user ?? auth.ssh_user),
    hosts,
    headIp: head.host,
    privateKey: typeof auth.ssh_private_key === "string" ? expandHome(auth.ssh_private_key, home) : null,
    port: head.port ?? auth.port ?? null,
    jumpHost: auth.jump_host ?? null,
    hostKey: auth.host_key ?? null,
    transport: config.transport,
    socket: coordinator.socket,
    gate: coordinator.gate,
  };
}

/** Throws SkyError("ValueError") when the user has not filled the file in yet. */
export function requireFilledIn(cluster: RegisteredCluster): void {
  if (cluster.user === placeholder || cluster.privateKey === placeholder) {
    throw new SkyError(
      "ValueError",
      "Authentication into local cluster requires specifying `ssh_user` and `ssh_private_key` under the `auth` " +
        `dictionary. Please fill aforementioned fields in ${cluster.file}.`,
    );
  }
}

export interface Registered {
  /** By name; those that still hold PLACEHOLDER included. */
  clusters: RegisteredCluster[];
  /** Files that cannot be used, each with the file's path in its message. */
  problems: SkyError[];
}

interface ReadFile {
  path: string;
  cluster: RegisteredCluster | null;
  problem: SkyError | null;
}

/** Everything in `localDir` (`~/.sky/local`) that ends in `.yml` or `.yaml`. No folder: nothing is registered. */
export function listClusters(localDir: string, home: string = homedir()): Registered {
  const files = readFiles(localDir, home);
  const problems = files.flatMap((file) => (file.problem === null ? [] : [file.problem]));
  const byName = new Map<string, RegisteredCluster[]>();
  for (const { cluster } of files) {
    if (cluster !== null) {
      byName.set(cluster.name, [...(byName.get(cluster.name) ?? []), cluster]);
    }
  }
  const clusters: RegisteredCluster[] = [];
  for (const same of byName.values()) {
    const first = same[0] as RegisteredCluster;
    if (same.length === 1) {
      clusters.push(first);
    } else {
      problems.push(duplicateFault(first.name, same));
    }
  }
  clusters.sort((one, other) => (one.name < other.name ? -1 : 1));
  return { clusters, problems };
}

/**
 * The cluster of this name, ready to be used; null when there is none. Throws SkyError("ValueError") when its file is
 * damaged, holds PLACEHOLDER, or when two files have the name.
 */
export function findCluster(localDir: string, name: string, home: string = homedir()): RegisteredCluster | null {
  const files = readFiles(localDir, home);
  const [first, ...others] = files.flatMap((file) => (file.cluster?.name === name ? [file.cluster] : []));
  if (first === undefined) {
    const damaged = files.find(
      (file) =>
        file.problem !== null && [`${name}.yml`, `${name}.yaml`].some((base) => file.path === join(localDir, base)),
    );
    if (damaged?.problem) {
      throw damaged.problem;
    }
    return null;
  }
  if (others.length > 0) {
    throw duplicateFault(name, [first, ...others]);
  }
  requireFilledIn(first);
  return first;
}

function duplicateFault(name: string, same: RegisteredCluster[]): SkyError {
  const paths = same.map((cluster) => `  ${cluster.file}`).join("\n");
  return new SkyError(
    "ValueError",
    `Multiple configs in ~/.sky/local/ have the same cluster name '${name}'. Fix the duplication then retry:\n${paths}`,
  );
}

function readFiles(localDir: string, home: string): ReadFile[] {
  let names: string[];
  try {
    names = readdirSync(localDir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") {
      return [];
    }
    throw new SkyError("ValueError", `Cannot read ${localDir}: ${messageOf(error)}.`);
  }
  return names
    .filter((name) => /\.ya?ml$/.test(name) && !name.startsWith("."))
    .sort()
    .map((name) => readOne(join(localDir, name), home));
}

function readOne(path: string, home: string): ReadFile {
  try {
    const stats = statSync(path);
    if (!stats.isFile()) {
      return { path, cluster: null, problem: null };
    }
    if (stats.size > fileBytesMax) {
      throw new SkyError("ValueError", `Invalid cluster YAML: ${path} is larger than 1 MB.`);
    }
    return { path, cluster: readRegistration(readFileSync(path, "utf8"), path, home), problem: null };
  } catch (error) {
    const problem =
      error instanceof SkyError ? error : new SkyError("ValueError", `Cannot read ${path}: ${messageOf(error)}.`);
    return { path, cluster: null, problem };
  }
}
