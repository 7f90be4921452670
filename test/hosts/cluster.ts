/**
 * A deployed cluster on test machines: head and nodes as an admin's playbook leaves them. Deploying takes a minute, so it
 * is done once for a playbook, an image and a set of machines; what it changed on each machine is kept as a layer, and
 * every cluster after that boots from those layers, with the checkout's own release on top, in seconds. It must never be used to prove that deploying works: that
 * test runs the playbook itself. Used by tests of the running product.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse, stringify } from "yaml";
import type { Result, RunOptions } from "../help/run.ts";
import { until } from "../help/until.ts";
import { baseImage, cacheDir } from "./image.ts";
import { locked } from "./lock.ts";
import type { Machine } from "./machine.ts";
import { startMachines, type World, type WorldOptions } from "./machines.ts";
import { checkout, forgetUnused, hashOf, type Release, theRelease } from "./release.ts";

export const clusterName = "lab";

/** One deployment serves every cluster whose nodes are the first of these. */
const usualNodes = ["n1", "n2"];

export interface ClusterOptions extends Omit<WorldOptions, "machines" | "layers"> {
  /** Default n1 and n2. The head is no node. */
  nodes?: readonly string[];
  /** Default false. True: a further machine `laptop` that only has the `sky` command; users type there. */
  laptop?: boolean;
  /** Pretended accelerators of each node; default `V100:4` on all. */
  accelerators?: Record<string, string>;
  /** Laid over coordinator.yaml and every agent.yaml before the first boot. */
  coordinatorConfig?: Record<string, unknown>;
  agentConfig?: Record<string, unknown>;
}

export interface Cluster extends World {
  head: Machine;
  /** The machines on which jobs run. */
  nodes: readonly Machine[];
  /** Where users type: the laptop, or the head. */
  desk: Machine;
  /** Runs `sky …` as a user at the desk, whatever its exit code. */
  sky: (user: string, words: readonly string[], options?: RunOptions) => Promise<Result>;
  /** Like sky, for what must succeed; returns what it printed. */
  skyMust: (user: string, words: readonly string[], options?: RunOptions) => Promise<string>;
  /** GET of the coordinator's API as root. */
  api: (path: string) => Promise<unknown>;
  /** Waits until the coordinator sees these nodes up; default all. */
  waitUp: (nodes?: readonly string[]) => Promise<void>;
  /** What a machine's unit has written, one JSON line a fact. */
  journal: (machine: string, unit: string) => Promise<string>;
}

/** Ansible's inventory for these machines, written into the world's folder; returns its path. */
function writeInventory(
  world: World,
  archive: string,
  nodes: readonly string[],
  vars: Record<string, unknown> = {},
): string {
  const host = (name: string): Record<string, unknown> => ({ ansible_host: world.machine(name).address });
  const hosts = (names: readonly string[]): object => ({
    hosts: Object.fromEntries(names.map((one) => [one, host(one)])),
  });
  const inventory = {
    all: {
      vars: {
        ...{ sky_cluster: clusterName, sky_releases: { [process.arch]: archive }, ansible_user: "root" },
        ...{ ansible_ssh_common_args: `-F ${world.sshConfig}`, ...vars },
      },
      children: { sky_head: hosts(["head"]), sky_nodes: hosts(nodes), sky_clients: hosts(["laptop"]) },
    },
  };
  const file = join(world.folder, "inventory.json");
  writeFileSync(file, JSON.stringify(inventory, null, 2));
  return file;
}

/** Runs one of the product's playbooks in the world, as an admin would. Returns what ansible printed. */
async function playbook(world: World, name: string, inventory: string, words: readonly string[] = []): Promise<string> {
  const argv = ["ansible-playbook", "-i", inventory, join(checkout, "ansible", name), ...words];
  return await world.must(argv, { cwd: join(checkout, "ansible"), limitMs: 500_000 });
}

/**
 * The folder with one layer a machine, made by deploying when it is not there yet. It holds what the playbook did; the
 * release in it may be an older one, since the one that is wanted lies in a layer above.
 */
async function deployed(release: Release, wanted: readonly string[]): Promise<string> {
  const nodes = wanted.every((name, index) => name === usualNodes[index]) ? usualNodes : wanted;
  const machines = ["head", ...nodes, "laptop"];
  const recipe = [hashOf(["ansible"]), readFileSync(fileURLToPath(import.meta.url), "utf8")];
  const parts = [await baseImage(), ...recipe, ...machines];
  const hash = createHash("sha256").update(parts.join("\n")).digest("hex").slice(0, 16);
  const folder = join(cacheDir, `cluster-${hash}`);
  await locked(join(cacheDir, "cluster.lock"), async () => {
    if (!existsSync(folder)) {
      forgetUnused("cluster-");
      const making = `${folder}.making`;
      rmSync(making, { recursive: true, force: true });
      mkdirSync(making);
      await using world = await startMachines({ machines });
      await playbook(world, "site.yml", writeInventory(world, release.archive, nodes));
      for (const machine of world.machines) {
        await machine.stop();
        rmSync(join(machine.root, "var/log/journal"), { recursive: true });
        mkdirSync(join(machine.root, "var/log/journal"));
        await machine.keepLayer(join(making, machine.name));
      }
      renameSync(making, folder);
    }
    utimesSync(folder, new Date(), new Date());
  });
  return folder;
}

/** Lays changes over a config file. A coordinator's list of nodes is cut down to those that this cluster has. */
function overlay(file: string, nodes: readonly string[], changes: Record<string, unknown>): void {
  const config = parse(readFileSync(file, "utf8")) as Record<string, unknown>;
  const known = config["nodes"] as { name: string }[] | undefined;
  const own = known === undefined ? {} : { nodes: known.filter(({ name }) => nodes.includes(name)) };
  writeFileSync(file, stringify({ ...config, ...own, ...changes }));
}

/** Boots a deployed cluster and waits until all its nodes are up. Users are registered and have initialized it. */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const nodes = options.nodes ?? ["n1", "n2"];
  const machines = ["head", ...nodes, ...(options.laptop === true ? ["laptop"] : [])];
  const release = await theRelease();
  const folder = await deployed(release, nodes);
  const desk = options.laptop === true ? "laptop" : "head";
  const before = async (machine: Machine): Promise<void> => {
    if (machine.name === "head") {
      overlay(join(machine.root, "etc/sky-onprem/coordinator.yaml"), nodes, options.coordinatorConfig ?? {});
    } else if (nodes.includes(machine.name)) {
      const accelerators = options.accelerators?.[machine.name] ?? "V100:4";
      overlay(join(machine.root, "etc/sky-onprem/agent.yaml"), nodes, { accelerators, ...options.agentConfig });
    }
    await options.before?.(machine);
  };
  const world = await startMachines({
    ...options,
    machines,
    before,
    layers: (machine) => [release.layer, join(folder, machine)],
  });
  const cluster = clusterOf(world, nodes, desk);
  try {
    await cluster.waitUp();
    await Promise.all(world.users.map(({ name }) => register(cluster, name)));
  } catch (error) {
    const told = await world.tell();
    await world.stop();
    throw new Error(`the cluster did not come up: ${String(error)}\n${told}`, { cause: error });
  }
  return cluster;
}

/** Puts the file that the admin hands out into a user's home, filled in, and initializes the cluster. */
async function register(cluster: Cluster, user: string): Promise<void> {
  const file = join(cluster.head.root, "etc/sky-onprem", `${clusterName}.yml`);
  const filled = readFileSync(file, "utf8")
    .replace(/ssh_user: .*/, `ssh_user: ${user}`)
    .replace(/ssh_private_key: .*/, "ssh_private_key: ~/.ssh/id_ed25519");
  const script = `mkdir -p ~/.sky/local && cat >~/.sky/local/${clusterName}.yml`;
  await cluster.desk.must(script, { user, input: filled });
  await cluster.skyMust(user, ["launch", "-c", clusterName, "", "-y"]);
}

function clusterOf(world: World, nodeNames: readonly string[], deskName: string): Cluster {
  const head = world.machine("head");
  const desk = world.machine(deskName);
  const sky: Cluster["sky"] = (user, words, options) => desk.run(["sky", ...words], { ...options, user });
  const skyMust: Cluster["skyMust"] = (user, words, options) => desk.must(["sky", ...words], { ...options, user });
  const api: Cluster["api"] = (path) => getFrom(`/proc/${head.init}/root/run/sky-coordinator/api.sock`, path);
  const waitUp: Cluster["waitUp"] = async (names = nodeNames) => {
    const up = async (): Promise<boolean> => {
      const { nodes } = (await api("/onprem/nodes")) as { nodes: { name: string; state: string }[] };
      return names.every((name) => nodes.some((node) => node.name === name && node.state === "UP"));
    };
    await until(up, `${names.join(" and ")} to be up`, 90_000);
  };
  return {
    ...world,
    ...{ head, desk, nodes: nodeNames.map((name) => world.machine(name)), sky, skyMust, api, waitUp },
    journal: (machine, unit) => world.machine(machine).journal(unit),
  };
}

/** GET on a unix socket; the reply must be 200 and JSON. */
async function getFrom(socketPath: string, path: string): Promise<unknown> {
  const text = await new Promise<string>((resolve, reject) => {
    const call = request({ socketPath, path, agent: false, timeout: 10_000 }, (reply) => {
      const chunks: Buffer[] = [];
      reply.on("data", (chunk: Buffer) => chunks.push(chunk));
      reply.once("end", () => {
        const body = Buffer.concat(chunks).toString();
        if (reply.statusCode === 200) {
          resolve(body);
        } else {
          reject(new Error(`GET ${path}: ${reply.statusCode} ${body}`));
        }
      });
    });
    call.once("timeout", () => call.destroy(new Error(`GET ${path}: no answer`)));
    call.once("error", reject);
    call.end();
  });
  return JSON.parse(text);
}
