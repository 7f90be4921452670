/**
 * Brings a development cluster up: writes its configs and keys once, starts what is not running, waits until every node
 * has reported. Starting a cluster that runs changes nothing. It must never create an account or listen beyond loopback.
 * Called by dev-cluster.ts.
 */
import { execFileSync, spawnSync } from "node:child_process";
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  lstatSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { request } from "node:http";
import { type AddressInfo, connect, createServer } from "node:net";
import { cpus, totalmem } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { nodesResultSchema } from "../../shared/api.ts";
import { makeKeyPair } from "../../system/key-pair.ts";
import {
  type Cluster,
  ClusterError,
  dirBytesMax,
  nodeNames,
  nodePathsOf,
  type Options,
  pathsOf,
  readCluster,
  registrationFile,
  writeCluster,
} from "./layout.ts";
import { isAlive, launch, readPids } from "./processes.ts";
import { copyPrograms, nodeProgram } from "./programs.ts";

/** A small young generation: requests leave little behind, and memory for more is kept for ever. */
const coordinatorFlags = ["--max-semi-space-size=4"];

/** Uids that Debian gives to nobody: between dynamic service users and the end of 16 bits. */
const uidRange = { first: 61184, last: 65519 };
const startLimitMs = 60_000;
const isRoot = process.getuid?.() === 0;

/** Everything that a daemon of ours may see of this shell: nothing but where programs are. */
function cleanEnv(home: string): Record<string, string> {
  const path = `/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:${dirname(process.execPath)}`;
  return { PATH: path, HOME: home, LANG: "C.UTF-8" };
}

function asCoordinator(cluster: Cluster, argv: string[]): string[] {
  if (!isRoot) {
    return argv;
  }
  const id = String(cluster.uid);
  return ["setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--no-new-privs", "--", ...argv];
}

export function checkDir(dir: string): void {
  if (!dir.startsWith("/") || Buffer.byteLength(dir) > dirBytesMax) {
    throw new ClusterError(
      `--dir must be an absolute path of at most ${dirBytesMax} bytes (unix sockets lie in it), not '${dir}'.`,
    );
  }
  if (isRoot) {
    checkPlace(dir);
  }
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  if (isRoot) {
    // Once more: the umask counts for what was just made.
    checkPlace(dir);
  }
  if (readCluster(dir) === null && readdirSync(dir).some((name) => name !== "lock")) {
    throw new ClusterError(`${dir} is not empty and holds no cluster. Name another folder with --dir.`);
  }
}

/** Every part of the path that exists must be a folder of root's that users can pass and cannot change; asked before anything is made there. */
function checkPlace(dir: string): void {
  for (let path = dir; ; path = dirname(path)) {
    const facts = lstatSync(path, { throwIfNoEntry: false });
    if (facts === undefined) {
      continue;
    }
    const { mode, uid } = facts;
    if (!facts.isDirectory()) {
      throw new ClusterError(`${path} is not a folder but a link or a file. Name the folder itself with --dir.`);
    }
    if ((mode & 0o001) === 0) {
      throw new ClusterError(
        `users cannot reach ${dir}: ${path} is closed to others (mode ${(mode & 0o777).toString(8)}). Choose a folder below /var/lib, /srv or /tmp.`,
      );
    }
    if (uid !== 0 || ((mode & 0o022) !== 0 && (mode & 0o1000) === 0)) {
      throw new ClusterError(`${path} can be changed by others than root, so root's daemons must not work below it.`);
    }
    if (path === "/") {
      return;
    }
  }
}

function findUid(dir: string): number {
  if (!isRoot) {
    return process.getuid?.() ?? 0;
  }
  const used = new Set(
    readdirSync("/proc").flatMap((name) => {
      try {
        return /^[0-9]+$/.test(name) ? [statSync(join("/proc", name)).uid] : [];
      } catch {
        return [];
      }
    }),
  );
  const size = uidRange.last - uidRange.first + 1;
  const hash = Buffer.from(dir).reduce((sum, byte) => (sum * 31 + byte) % size, 7);
  for (let step = 0; step < size; step += 1) {
    const uid = uidRange.first + ((hash + step) % size);
    if (!used.has(uid) && spawnSync("getent", ["passwd", String(uid)], { stdio: "ignore" }).status === 2) {
      return uid;
    }
  }
  throw new ClusterError(`no free uid between ${uidRange.first} and ${uidRange.last} for the coordinator.`);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function own(path: string, uid: number): void {
  if (isRoot) {
    chownSync(path, uid, uid);
  }
}

function makeFolders(cluster: Cluster): void {
  const paths = pathsOf(cluster.options.dir);
  for (const [path, mode, owned] of [
    [paths.logDir, 0o755, false],
    [paths.runDir, 0o755, true],
    [paths.nodesDir, 0o755, false],
    [paths.stateDir, 0o700, true],
    [paths.redisDir, 0o700, true],
  ] as const) {
    mkdirSync(path, { mode });
    execFileSync("chmod", [mode.toString(8), path]);
    if (owned) {
      own(path, cluster.uid);
    }
  }
}

function writeOwned(path: string, text: string, uid: number): void {
  writeFileSync(path, text, { mode: 0o600 });
  own(path, uid);
}

function usersBlock(options: Options): Record<string, unknown> {
  const allow = [];
  if (options.allowRoot) {
    allow.push("root");
  }
  if (options.singleUser) {
    allow.push(execFileSync("id", ["-un"], { encoding: "utf8" }).trim());
  }
  return { min_uid: 1000, allow };
}

function writeConfigs(cluster: Cluster): void {
  const { options, uid, port } = cluster;
  const paths = pathsOf(options.dir);
  const hostKey = makeKeyPair(`${options.name} coordinator`);
  writeOwned(paths.hostKey, hostKey.private, uid);
  const nodes = nodeNames(options).map((name, index) => {
    const node = nodePathsOf(options.dir, name);
    const key = makeKeyPair(`${options.name} ${name}`);
    for (const path of [node.dir, node.runtimeDir, node.stateDir]) {
      mkdirSync(path, { mode: 0o755 });
    }
    execFileSync("chmod", ["755", node.dir, node.runtimeDir]);
    execFileSync("chmod", ["700", node.stateDir]);
    writeFileSync(node.key, key.private, { mode: 0o600 });
    const accelerators = options.accelerators[index];
    const config = {
      node: name,
      coordinator: { address: "127.0.0.1", port, host_key: hostKey.public },
      key: node.key,
      address: `127.0.0.${index + 1}`,
      runtime_dir: node.runtimeDir,
      state_dir: node.stateDir,
      users: usersBlock(options),
      single_user: options.singleUser,
      ...(typeof accelerators === "string" ? { accelerators } : {}),
      cpus: cpus().length,
      memory_gb: Math.max(1, Math.floor(totalmem() / 2 ** 30)),
      ...options.agentConfig,
    };
    writeFileSync(node.config, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
    return { name, key: key.public, address: `127.0.0.${index + 1}` };
  });
  const config = {
    cluster: options.name,
    socket: paths.apiSocket,
    listen: { address: "127.0.0.1", port },
    host_key: paths.hostKey,
    redis: { socket: paths.redisSocket },
    state_dir: paths.stateDir,
    nodes,
    users: usersBlock(options),
    ...options.coordinatorConfig,
  };
  writeFileSync(paths.coordinatorConfig, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o644 });
  // Everything is said here: no file of the system's Redis is read. Durable means: on disk before it is acknowledged.
  const redis = [
    "port 0",
    `unixsocket ${paths.redisSocket}`,
    "unixsocketperm 700",
    `dir ${paths.redisDir}`,
    "appendonly yes",
    "appendfsync always",
    'save ""',
    "daemonize no",
    "maxmemory-policy noeviction",
  ];
  writeOwned(paths.redisConfig, `${redis.join("\n")}\n`, uid);
}

function writeRegistration(options: Options): void {
  const file = {
    cluster: { ips: ["127.0.0.1"], name: options.name },
    auth: {
      ssh_user: options.sshUser,
      ssh_private_key: options.sshKey,
      ...(options.sshPort === null ? {} : { port: options.sshPort }),
    },
    coordinator: { socket: pathsOf(options.dir).apiSocket, gate: join(pathsOf(options.dir).programsDir, "sky") },
  };
  const lines = [
    `# Cluster '${options.name}'. Copy this file to ~/.sky/local/${options.name}.yml on the machine where you type 'sky'.`,
    `cluster:\n  ips: ${JSON.stringify(file.cluster.ips)}\n  name: ${options.name}`,
    `auth:\n  ssh_user: ${JSON.stringify(file.auth.ssh_user)}\n  ssh_private_key: ${JSON.stringify(file.auth.ssh_private_key)}`,
    ...(options.sshPort === null ? [] : [`  port: ${options.sshPort}`]),
    `coordinator:\n  socket: ${file.coordinator.socket}\n  gate: ${file.coordinator.gate}`,
  ];
  writeFileSync(registrationFile(options), `${lines.join("\n")}\n`, { mode: 0o644 });
}

/** Starts one part if it does not run: `redis`, `coordinator` or `agent:NAME`. */
export function startPart(cluster: Cluster, part: string): void {
  const { dir } = cluster.options;
  const paths = pathsOf(dir);
  const known = readPids(dir).get(part);
  if (known !== undefined && isAlive(known)) {
    return;
  }
  if (part === "redis") {
    launch(dir, part, asCoordinator(cluster, ["redis-server", paths.redisConfig]), cleanEnv(paths.redisDir));
  } else if (part === "coordinator") {
    const program = join(paths.programsDir, "coordinator.mjs");
    const argv = [nodeProgram(dir), ...coordinatorFlags, program, "--config", paths.coordinatorConfig];
    launch(dir, part, asCoordinator(cluster, argv), cleanEnv(paths.stateDir));
  } else if (part.startsWith("agent:") && nodeNames(cluster.options).includes(part.slice(6))) {
    const config = nodePathsOf(dir, part.slice(6)).config;
    const home = cluster.options.singleUser ? (process.env["HOME"] ?? "/") : "/root";
    launch(dir, part, [nodeProgram(dir), join(paths.programsDir, "agent.mjs"), "--config", config], cleanEnv(home));
  } else {
    throw new ClusterError(`no part '${part}'. Parts: ${partsOf(cluster.options).join(", ")}.`);
  }
}

export function partsOf(options: Options): string[] {
  return ["redis", "coordinator", ...nodeNames(options).map((name) => `agent:${name}`)];
}

async function answersPing(socketPath: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(socketPath, () => socket.write("PING\r\n"));
    const done = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1_000, () => done(false));
    socket.once("error", () => done(false));
    socket.once("data", (data) => done(data.toString().startsWith("+PONG")));
  });
}

/** What keeps the cluster from being ready, or null when every node is up. */
export async function notReady(options: Options): Promise<string | null> {
  const body = await new Promise<string>((resolve) => {
    const call = request(
      { socketPath: pathsOf(options.dir).apiSocket, path: "/onprem/nodes", timeout: 3_000 },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", () => resolve("the coordinator's answer broke off"));
        response.on("end", () => resolve(Buffer.concat(chunks).toString()));
      },
    );
    call.on("timeout", () => call.destroy(new Error("no answer within 3 s")));
    call.on("error", (error) => resolve(`the coordinator does not answer: ${error.message}`));
    call.end();
  });
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return body.slice(0, 500);
  }
  const result = nodesResultSchema.safeParse(parsed);
  if (!result.success) {
    return `the coordinator says: ${body.slice(0, 500)}`;
  }
  const waiting = result.data.nodes
    .filter((node) => node.state !== "UP")
    .map((node) => `${node.name} is ${node.state}`);
  return waiting.length === 0 ? null : waiting.join(", ");
}

async function waitFor(options: Options, what: () => Promise<string | null>, parts: string[]): Promise<void> {
  const end = performance.now() + startLimitMs;
  for (;;) {
    const problem = await what();
    if (problem === null) {
      return;
    }
    const pids = readPids(options.dir);
    const dead = parts.find((part) => {
      const identity = pids.get(part);
      return identity !== undefined && !isAlive(identity);
    });
    if (dead !== undefined) {
      throw new ClusterError(`${dead} ended right after its start.\n${tail(options.dir, dead)}`);
    }
    if (performance.now() > end) {
      throw new ClusterError(
        `not ready within ${startLimitMs / 1000} s: ${problem}\n${parts.map((part) => tail(options.dir, part)).join("")}`,
      );
    }
    await sleep(50);
  }
}

function tail(dir: string, part: string): string {
  const file = join(pathsOf(dir).logDir, `${part.replace(":", "-")}.log`);
  const lines = existsSync(file) ? readFileSync(file, "utf8").trimEnd().split("\n").slice(-15) : ["(no log)"];
  return `--- last lines of ${file}\n${lines.join("\n")}\n`;
}

/** Starts what is not running and waits until it works. Returns true when this made the cluster. */
export async function start(options: Options): Promise<boolean> {
  const existing = readCluster(options.dir);
  const cluster = existing ?? { options, uid: findUid(options.dir), port: await freePort() };
  if (JSON.stringify(cluster.options) !== JSON.stringify(options)) {
    throw new ClusterError(
      `${options.dir} holds a cluster with other options. Stop it first: dev-cluster stop --dir ${options.dir}`,
    );
  }
  if (existing === null) {
    writeCluster(cluster);
    makeFolders(cluster);
    copyPrograms(options.dir);
    writeConfigs(cluster);
  }
  writeRegistration(options);
  startPart(cluster, "redis");
  const redisSocket = pathsOf(options.dir).redisSocket;
  await waitFor(options, async () => ((await answersPing(redisSocket)) ? null : "Redis does not answer"), ["redis"]);
  const parts = partsOf(options);
  for (const part of parts.slice(1)) {
    startPart(cluster, part);
  }
  await waitFor(options, () => notReady(options), parts);
  return existing === null;
}
