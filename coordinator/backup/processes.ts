/**
 * The other programs of a restore: a private redis-server for as long as the work lasts, and systemctl. The server
 * listens on a socket in the work folder only and ends with this process, however that ends. It must never touch a
 * server that it has not started. Used by put-back.ts.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf, SkyError } from "../../shared/errors.ts";
import { openLink, type RedisLink } from "../redis.ts";
import type { Owner } from "./owner.ts";

/** Milliseconds for a server to read its files, for one command, and to end. */
const startLimitMs = 900_000;
const commandLimitMs = 600_000;
const stopLimitMs = 120_000;
const tailMax = 2000;
/** The path of a unix socket may have 107 bytes. */
const socketPathMax = 105;
const unit = "sky-redis.service";

/** A private server on the files in one folder. */
export class WorkServer {
  readonly link: RedisLink;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, link: RedisLink) {
    this.#child = child;
    this.link = link;
  }

  /** Starts redis-server on `folder`; resolves when it has read its files. */
  static async start(folder: string, owner: Owner, durable: boolean): Promise<WorkServer> {
    const socket = join(folder, "s");
    if (Buffer.byteLength(socket) > socketPathMax) {
      throw new SkyError(
        "ValueError",
        `${socket} is too long for a socket.`,
        "Use a shorter path for the Redis folder.",
      );
    }
    const program = programNamed(["redis-server", "valkey-server"]);
    const flags = [
      ...["--port", "0", "--unixsocket", socket, "--unixsocketperm", "700", "--dir", folder, "--daemonize", "no"],
      ...["--save", "", "--dbfilename", "redis.rdb", "--appendonly", durable ? "yes" : "no", "--appendfsync", "always"],
      ...["--logfile", "", "--loglevel", "notice"],
    ];
    const child = owner.outside(() =>
      spawn("setpriv", [...owner.setprivFlags(), "--", program, ...flags], {
        stdio: ["ignore", "pipe", "pipe"],
        cwd: "/",
        env: { PATH: "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin", LC_ALL: "C.UTF-8" },
      }),
    );
    let tail = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        tail = (tail + chunk.toString()).slice(-tailMax);
      });
    }
    let failure: string | null = null;
    child.once("error", (error) => {
      failure = messageOf(error);
    });
    child.once("exit", (code, signal) => {
      failure ??= `it ended with ${signal ?? `code ${code}`}`;
    });
    const end = performance.now() + startLimitMs;
    for (;;) {
      try {
        return new WorkServer(child, await openLink(socket, "sky-restore", commandLimitMs));
      } catch (error) {
        if (failure !== null || performance.now() > end) {
          child.kill("SIGKILL");
          const lines = tail.trim().split("\n").slice(-4).join("\n");
          throw new SkyError(
            "InternalError",
            `A Redis server for the restore could not be started: ${failure ?? messageOf(error)}.\n${lines}`,
            "The server must be at least as new as the one that the backup comes from.",
          );
        }
        await delay(50);
      }
    }
  }

  /** Ends it after all that it holds is on disk. */
  async stop(): Promise<void> {
    const gone = once(this.#child, "exit", { signal: AbortSignal.timeout(stopLimitMs) });
    this.link.client.shutdown("NOSAVE").catch(() => {});
    await gone.catch(() => {
      throw new SkyError("InternalError", "The Redis server of the restore does not end.");
    });
    this.link.close();
  }

  kill(): void {
    this.link.close();
    this.#child.kill("SIGKILL");
  }
}

function programNamed(names: readonly string[]): string {
  for (const name of names) {
    for (const folder of ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/bin"]) {
      if (existsSync(join(folder, name))) {
        return join(folder, name);
      }
    }
  }
  throw new SkyError(
    "ValueError",
    `Neither ${names.join(" nor ")} is installed here.`,
    "Install the package redis-server.",
  );
}

/** Whether sky-redis.service is the server with this process id, so that systemctl may stop and start it. */
export function isUnitProcess(pid: number): boolean {
  return process.getuid?.() === 0 && existsSync("/run/systemd/system") && unitPid() === pid;
}

function unitPid(): number | null {
  try {
    const text = execFileSync("systemctl", ["show", "-p", "MainPID", "--value", unit], { encoding: "utf8" });
    return Number(text.trim()) || null;
  } catch {
    return null;
  }
}

/** Stops or starts sky-redis.service and waits until systemd says that it is so. */
export function controlUnit(verb: "stop" | "start"): void {
  try {
    execFileSync("systemctl", [verb, unit], { stdio: ["ignore", "ignore", "pipe"], timeout: stopLimitMs });
  } catch (error) {
    throw new SkyError("InternalError", `systemctl ${verb} ${unit} failed: ${messageOf(error).slice(0, 300)}`);
  }
}
