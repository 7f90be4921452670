/**
 * Command line of the development cluster: several agents with pretended accelerators, a coordinator and a private Redis
 * on this machine, in one folder. One command at a time works on a folder (a lock file), and a failed start stops what
 * it started. Called through scripts/dev-cluster by people, quickstart, tests and benchmarks.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { clusterNameSchema } from "../shared/ids.ts";
import { ClusterError, type Options, pathsOf, readCluster, registrationFile } from "./cluster/layout.ts";
import { gone, identify, isAlive, readPids, signal } from "./cluster/processes.ts";
import { checkDir, notReady, partsOf, start, startPart } from "./cluster/start.ts";
import { removeEmpty, stop } from "./cluster/stop.ts";

// What a cluster's folder must be open to does not depend on the umask of whoever makes it.
process.umask(0o022);

const usage = `usage:
  dev-cluster start --dir DIR [--nodes N] [--accelerators 'V100:4,V100:4,-'] [--name NAME] [--single-user] [--allow-root]
                    [--ssh-port PORT] [--ssh-user USER] [--ssh-key FILE] [--json]
                    [--coordinator-config JSON] [--agent-config JSON]
  dev-cluster status --dir DIR
  dev-cluster stop --dir DIR
  dev-cluster kill redis|coordinator|agent:n1 --dir DIR         (SIGKILL)
  dev-cluster start-part redis|coordinator|agent:n1 --dir DIR`;
const lockLimitMs = 120_000;

function parse(): { verb: string; part: string; json: boolean; options: Options } {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      dir: { type: "string" },
      nodes: { type: "string" },
      accelerators: { type: "string" },
      name: { type: "string", default: "dev" },
      "single-user": { type: "boolean", default: false },
      "allow-root": { type: "boolean", default: false },
      "ssh-port": { type: "string" },
      "ssh-user": { type: "string" },
      "ssh-key": { type: "string", default: "~/.ssh/id_ed25519" },
      "coordinator-config": { type: "string", default: "{}" },
      "agent-config": { type: "string", default: "{}" },
      json: { type: "boolean", default: false },
    },
  });
  if (values.dir === undefined || positionals[0] === undefined) {
    throw new ClusterError(usage);
  }
  if (!clusterNameSchema.safeParse(values.name).success) {
    throw new ClusterError(`--name '${values.name}' is not a cluster name (letters, digits, '.', '_', '-').`);
  }
  const options: Options = {
    dir: values.dir.replace(/\/+$/, ""),
    name: values.name,
    accelerators: nodeList(values.nodes, values.accelerators),
    singleUser: values["single-user"] || process.getuid?.() !== 0,
    allowRoot: values["allow-root"],
    sshPort: values["ssh-port"] === undefined ? null : wholeNumber("--ssh-port", values["ssh-port"], 65535),
    sshUser: values["ssh-user"] ?? userInfo().username,
    sshKey: values["ssh-key"],
    coordinatorConfig: JSON.parse(values["coordinator-config"]) as Record<string, unknown>,
    agentConfig: JSON.parse(values["agent-config"]) as Record<string, unknown>,
  };
  return { verb: positionals[0], part: positionals[1] ?? "", json: values.json, options };
}

function wholeNumber(flag: string, text: string, max: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > max) {
    throw new ClusterError(`${flag} must be a whole number from 1 to ${max}, not '${text}'.`);
  }
  return value;
}

/** Several agents on one machine would all find its real devices, so these are looked for on a single node only. */
function nodeList(nodes: string | undefined, accelerators: string | undefined): (string | null)[] {
  const listed = accelerators?.split(",").map((item) => item.trim());
  const count = nodes === undefined ? (listed?.length ?? 1) : wholeNumber("--nodes", nodes, 100);
  if (listed !== undefined && listed.length !== count) {
    throw new ClusterError(`--accelerators names ${listed.length} nodes, --nodes ${count}.`);
  }
  return listed ?? Array.from({ length: count }, () => (count === 1 ? null : "-"));
}

/** One command at a time on a folder. A lock whose holder is gone is taken over. */
async function withLock<T>(dir: string, work: () => Promise<T>): Promise<T> {
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  const { lockFile } = pathsOf(dir);
  const own = JSON.stringify(identify(process.pid));
  const end = performance.now() + lockLimitMs;
  for (;;) {
    try {
      writeFileSync(lockFile, own, { flag: "wx", mode: 0o600 });
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
        throw error;
      }
    }
    const holder = readHolder(lockFile);
    if (holder !== null && !isAlive(holder)) {
      rmSync(lockFile, { force: true });
    } else if (performance.now() > end) {
      throw new ClusterError(`another dev-cluster command holds ${lockFile}.`);
    } else {
      await sleep(50);
    }
  }
  try {
    return await work();
  } finally {
    rmSync(lockFile, { force: true });
  }
}

/** Null while the holder is still writing its line. */
function readHolder(lockFile: string): { pid: number; start: string; boot: string } | null {
  try {
    return JSON.parse(readFileSync(lockFile, "utf8")) as { pid: number; start: string; boot: string };
  } catch {
    return null;
  }
}

async function startCommand(options: Options, json: boolean): Promise<void> {
  checkDir(options.dir);
  const isNew = readCluster(options.dir) === null;
  try {
    await withLock(options.dir, async () => {
      try {
        await start(options);
      } catch (error) {
        if (isNew && existsSync(pathsOf(options.dir).clusterFile)) {
          await stop(options.dir);
        }
        throw error;
      }
    });
  } catch (error) {
    if (isNew) {
      removeEmpty(options.dir);
    }
    throw error;
  }
  const registration = registrationFile(options);
  const pids = Object.fromEntries([...readPids(options.dir)].map(([part, identity]) => [part, identity.pid]));
  const facts = { dir: options.dir, name: options.name, registration, socket: pathsOf(options.dir).apiSocket, pids };
  process.stdout.write(json ? `${JSON.stringify(facts)}\n` : `${registration}\n`);
}

async function statusCommand(dir: string): Promise<void> {
  const cluster = readCluster(dir);
  if (cluster === null) {
    process.stdout.write(`no cluster in ${dir}\n`);
    process.exitCode = 1;
    return;
  }
  const pids = readPids(dir);
  for (const part of partsOf(cluster.options)) {
    const identity = pids.get(part);
    const text = identity !== undefined && isAlive(identity) ? `running (pid ${identity.pid})` : "not running";
    process.stdout.write(`${part}: ${text}\n`);
  }
  const problem = await notReady(cluster.options);
  process.stdout.write(problem === null ? "every node is UP\n" : `not ready: ${problem}\n`);
  process.exitCode = problem === null ? 0 : 1;
}

async function killCommand(dir: string, part: string): Promise<void> {
  const identity = readPids(dir).get(part);
  if (identity === undefined) {
    throw new ClusterError(`no part '${part}' was started in ${dir}.`);
  }
  signal(identity, "SIGKILL");
  if (!(await gone([identity], 10_000))) {
    throw new ClusterError(`${part} (pid ${identity.pid}) does not end after SIGKILL.`);
  }
}

async function main(): Promise<void> {
  const { verb, part, json, options } = parse();
  const { dir } = options;
  const cluster = verb === "start-part" ? readCluster(dir) : null;
  switch (verb) {
    case "start":
      return await startCommand(options, json);
    case "status":
      return await statusCommand(dir);
    case "stop":
      if (existsSync(dir)) {
        await withLock(dir, () => stop(dir));
        removeEmpty(dir);
      }
      return;
    case "kill":
      return await killCommand(dir, part);
    case "start-part":
      if (cluster === null) {
        throw new ClusterError(`no cluster in ${dir}.`);
      }
      return await withLock(dir, async () => startPart(cluster, part));
    default:
      throw new ClusterError(usage);
  }
}

try {
  await main();
} catch (error) {
  const known = error instanceof ClusterError || (error as NodeJS.ErrnoException).code !== undefined;
  process.stderr.write(`dev-cluster: ${known ? (error as Error).message : String((error as Error).stack)}\n`);
  process.exitCode = 1;
}
