/**
 * A private Redis server for a test: own folder, unix socket, the durability that the product demands. It can be killed
 * and started again on the same files. It must never listen on a port or touch another server. Used by every
 * `*.redis.test.ts` and by tests that start a coordinator.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "./until.ts";

export interface TestRedis {
  readonly dir: string;
  readonly socket: string;
  readonly appendOnlyDir: string;
  /** Starts the server and waits until it answers. */
  start(): Promise<void>;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** SIGSTOP and SIGCONT: a server that is there and does not answer. */
  freeze(): void;
  thaw(): void;
  /** Kills the server and removes its folder. */
  remove(): Promise<void>;
}

/** Starts a server. `lines` are further options, e.g. `["--appendfsync", "everysec"]`. */
export async function startRedis(lines: string[] = []): Promise<TestRedis> {
  const dir = await mkdtemp(join(tmpdir(), "sky-redis-"));
  const socket = join(dir, "redis.sock");
  let child: ChildProcess | null = null;

  const start = async (): Promise<void> => {
    const options = ["--port", "0", "--unixsocket", socket, "--unixsocketperm", "700", "--dir", dir, "--save", ""];
    const durable = ["--appendonly", "yes", "--appendfsync", "always", "--loglevel", "warning"];
    child = spawn("redis-server", [...options, ...durable, ...lines], { stdio: "ignore" });
    await until(() => answers(socket), `redis-server on ${socket}`);
  };
  const kill = async (): Promise<void> => {
    if (child === null || child.exitCode !== null || child.signalCode !== null) {
      return;
    }
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  };
  await start();
  return {
    dir,
    socket,
    appendOnlyDir: join(dir, "appendonlydir"),
    start,
    kill,
    freeze: () => child?.kill("SIGSTOP"),
    thaw: () => child?.kill("SIGCONT"),
    remove: async () => {
      await kill();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** True when a PING is answered with PONG, so a server that is still loading counts as not there. */
function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const stream = connect(socket);
    stream.once("error", () => resolve(false));
    stream.once("connect", () => stream.write("PING\r\n"));
    stream.once("data", (bytes) => {
      resolve(bytes.toString().startsWith("+PONG"));
      stream.destroy();
    });
  });
}
