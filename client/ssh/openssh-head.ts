/**
 * The other transport: one `ssh` process for each stream, running `sky gate` on the head. For what only OpenSSH can do:
 * certificates, FIDO keys, Kerberos, ProxyCommand. The program asks its own questions at the terminal. Arguments are an
 * array, never a command string, except for the one word list that the head's shell gets. Called by client/ssh/connect.ts.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { messageOf, type SkyError } from "../../shared/errors.ts";
import type { RegisteredCluster } from "../local/registered.ts";
import type { HeadConnection } from "./head.ts";
import { noGate, notRunning, permissionDenied, type Place, placeText, unreachable, broken } from "./faults.ts";
import { awaitMark, gateCommand, GateFailed, Tail } from "./gate-call.ts";
import { gateSocketFailed } from "./gate.ts";
import type { Ask } from "./host-key.ts";

/** ssh's own code for everything that goes wrong before the command runs. */
const sshFailed = 255;
const commandNotFound = 127;
/** Milliseconds in which a person answers what ssh asks at the terminal; sshd's own limit is shorter. */
const answerLimitMs = 180_000;
const pinnedName = "sky-pinned-head";

export class OpenSshHead implements HeadConnection {
  readonly how: string;
  private readonly cluster: RegisteredCluster;
  private readonly interactive: boolean;
  private readonly place: Place;
  private readonly children = new Set<ChildProcess>();
  private pinFolder: string | null = null;
  /** The head has run the gate at least once. */
  private reached = false;
  /** The stream that proved the way; the first `openStream` takes it. */
  private first: Promise<Duplex> | null = null;

  constructor(cluster: RegisteredCluster, ask: Ask) {
    this.cluster = cluster;
    this.interactive = ask.interactive;
    this.place = { host: cluster.headIp, port: cluster.port ?? 22, user: cluster.user };
    this.how = `the ssh program, ${placeText(this.place)}`;
  }

  /**
   * Logs in. What is wrong with the login is the person's to repair and is thrown; a head without a coordinator is said
   * by `openStream`, since it may be starting.
   */
  async connect(): Promise<void> {
    const first = this.dial();
    this.first = first;
    try {
      await first;
    } catch (error) {
      if (!this.reached) {
        throw error;
      }
    }
  }

  async openStream(): Promise<Duplex> {
    const first = this.first ?? this.dial();
    this.first = null;
    return first;
  }

  private async dial(): Promise<Duplex> {
    const child = spawn("ssh", this.args(), { stdio: ["pipe", "pipe", "pipe"] });
    this.children.add(child);
    const stderr = new Tail(child.stderr);
    let startError: NodeJS.ErrnoException | null = null;
    const ended = new Promise<number | null>((resolve) => {
      child.once("error", (error) => {
        startError = error;
        resolve(null);
      });
      child.once("close", (code) => resolve(code));
    });
    void ended.then(() => this.children.delete(child));
    const stream = Duplex.from({ readable: child.stdout, writable: child.stdin });
    // What happens to the stream later is told to its user by its own events.
    stream.on("error", () => undefined);
    child.stdin.on("error", () => undefined);
    try {
      await awaitMark(stream, ended, this.interactive ? answerLimitMs : undefined);
      this.reached = true;
    } catch (error) {
      child.kill();
      stream.destroy();
      if (startError !== null) {
        const missing = (startError as NodeJS.ErrnoException).code === "ENOENT";
        throw broken(
          this.place,
          new Error(missing ? "the program `ssh` is not installed here" : messageOf(startError)),
        );
      }
      throw this.faultOf(error instanceof GateFailed ? error.code : null, stderr.lastLines() || messageOf(error));
    }
    stream.once("close", () => child.kill());
    return stream;
  }

  close(): void {
    for (const child of this.children) {
      child.kill();
    }
    this.removePin();
  }

  private readonly removePin = (): void => {
    if (this.pinFolder !== null) {
      rmSync(this.pinFolder, { recursive: true, force: true });
      this.pinFolder = null;
      process.off("exit", this.removePin);
    }
  };

  private args(): string[] {
    const { cluster } = this;
    const args = [
      "-T",
      "-o",
      "ConnectTimeout=15",
      "-o",
      "ServerAliveInterval=20",
      "-o",
      "ControlMaster=no",
      "-l",
      cluster.user,
    ];
    if (!this.interactive) {
      args.push("-o", "BatchMode=yes");
    }
    if (cluster.port !== null) {
      args.push("-p", String(cluster.port));
    }
    if (cluster.privateKey !== null) {
      args.push("-i", cluster.privateKey);
    }
    if (cluster.jumpHost !== null) {
      args.push("-J", cluster.jumpHost);
    }
    if (cluster.hostKey !== null) {
      args.push("-o", `UserKnownHostsFile=${this.pinFile(cluster.hostKey)}`, "-o", "GlobalKnownHostsFile=/dev/null");
      args.push("-o", `HostKeyAlias=${pinnedName}`, "-o", "StrictHostKeyChecking=yes");
    }
    return [...args, "--", cluster.headIp, gateCommand(cluster.gate, cluster.socket)];
  }

  private pinFile(hostKey: string): string {
    if (this.pinFolder === null) {
      this.pinFolder = mkdtempSync(join(tmpdir(), "sky-pin-"));
      // Also when the program is ended in the middle.
      process.once("exit", this.removePin);
    }
    const file = join(this.pinFolder, "known_hosts");
    writeFileSync(file, `${pinnedName} ${hostKey}\n`, { mode: 0o600 });
    return file;
  }

  private faultOf(code: number | null, cause: string): SkyError {
    const { place } = this;
    if (code === gateSocketFailed) {
      this.reached = true;
      return notRunning(place, this.cluster.socket, cause);
    }
    if (code === commandNotFound) {
      return noGate(place, this.cluster.gate, cause);
    }
    if (code === sshFailed && /permission denied/i.test(cause)) {
      return permissionDenied(place, [this.cluster.privateKey ?? "what ssh is configured to try"], ["publickey"]);
    }
    if (code === sshFailed) {
      const errno = [
        [/connection refused/i, "ECONNREFUSED"],
        [/could not resolve/i, "ENOTFOUND"],
        [/timed out/i, "ETIMEDOUT"],
        [/no route|unreachable/i, "EHOSTUNREACH"],
      ].find(([pattern]) => (pattern as RegExp).test(cause));
      return errno === undefined
        ? broken(place, new Error(cause))
        : unreachable(place, Object.assign(new Error(cause), { code: errno[1] }));
    }
    return broken(place, new Error(`\`${this.cluster.gate} gate\` on the head failed: ${cause}`));
  }
}
