/**
 * A small real agent for the skylet's tests: a unix socket that speaks the frames of shared/skylet-wire.ts strictly, and
 * the real skylet as a process of its own, with a home and a runtime folder made for the test. It must leave no process
 * and no file behind. Used by tests in this folder only.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { FileStore } from "./file-store.ts";
import { until } from "./until.ts";
import type { LogRequest, WantedAttempt } from "../../shared/agent-wire.ts";
import type { Payload } from "../../shared/job.ts";
import {
  type FromSkylet,
  fromSkyletSchema,
  logFrameKinds,
  type SkyletAttempt,
  skyletHelloSchema,
  type ToSkylet,
  toSkyletSchema,
} from "../../shared/skylet-wire.ts";
import { processesOf } from "../../agent/skylet/processes.ts";

/** What a log stream has carried so far. */
export interface Received {
  order: string[];
  pid: string | null;
  setup: string;
  run: string;
  /** Null until the end frame has come. */
  end: string | null;
  socket: Socket | null;
}

/** Made once in a test run's worker. */
let bundle: Promise<string> | null = null;

async function bundled(): Promise<string> {
  const result = await build({
    entryPoints: [new URL("../../agent/skylet/main.ts", import.meta.url).pathname],
    bundle: true,
    write: false,
    platform: "node",
    target: "node20",
    format: "esm",
    logLevel: "error",
  });
  return result.outputFiles[0]?.text ?? "";
}

export class StandInAgent {
  readonly root = mkdtempSync(join(tmpdir(), "skylet-"));
  readonly home = join(this.root, "home");
  readonly dir = join(this.root, "users", "1");
  readonly messages: FromSkylet[] = [];
  readonly payloads = new Map<string, Payload>();
  readonly streams = new Map<string, Received>();
  readonly attempts = new Set<string>();
  readonly files = new FileStore();
  connections = 0;
  /** Connections that asked for a payload. */
  payloadCalls = 0;
  skylet: ChildProcess | null = null;
  control: Socket | null = null;
  #server: Server | null = null;
  #counter = 0;

  async open(): Promise<void> {
    mkdirSync(this.home);
    mkdirSync(this.dir, { recursive: true });
    bundle ??= bundled();
    writeFileSync(join(this.root, "skylet.mjs"), await bundle);
    this.listen();
  }

  listen(): void {
    this.#server = createServer((socket) => this.#accept(socket));
    this.#server.listen(join(this.root, "agent.sock"));
  }

  /** Starts a skylet as a login shell would, and waits for its `ready`. */
  async start(
    before = "",
    env: Record<string, string> = {},
    idle = 600,
  ): Promise<Extract<FromSkylet, { type: "ready" }>> {
    const from = this.messages.length;
    const command = `${before} exec "$0" ${this.root}/skylet.mjs --socket ${this.root}/agent.sock --dir ${this.dir} --version 1 --nofile "$(ulimit -Sn)" --idle ${idle} --agent-uid ${process.getuid?.()}`;
    this.skylet = spawn("/bin/bash", ["-c", command, process.execPath], {
      env: { HOME: this.home, PATH: process.env["PATH"], LANG: "C.UTF-8", ...env },
      stdio: ["ignore", "ignore", "inherit"],
      detached: true,
    });
    return (await until(() => this.messages.slice(from).find((each) => each.type === "ready"), "ready")) as never;
  }

  async killSkylet(): Promise<void> {
    const { skylet } = this;
    if (skylet !== null && skylet.exitCode === null && skylet.signalCode === null) {
      skylet.kill("SIGKILL");
      await until(() => skylet.signalCode !== null || skylet.exitCode !== null, "the skylet's end");
      await until(() => this.control === null, "the connection's end");
    }
  }

  #accept(socket: Socket): void {
    socket.on("error", () => undefined);
    let rest: Buffer = Buffer.alloc(0);
    let onBytes: (() => void) | null = null;
    socket.on("data", (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      if (onBytes !== null) {
        onBytes();
        return;
      }
      const at = rest.indexOf(10);
      if (at < 0) {
        return;
      }
      const hello = skyletHelloSchema.parse(JSON.parse(rest.subarray(0, at).toString()));
      rest = rest.subarray(at + 1);
      if (hello.role === "control") {
        this.control = socket;
        this.connections += 1;
        socket.once("close", () => {
          this.control = null;
        });
        onBytes = () => {
          for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
            this.messages.push(fromSkyletSchema.parse(JSON.parse(rest.subarray(0, end).toString())));
            rest = rest.subarray(end + 1);
          }
        };
      } else if (hello.role === "payload") {
        this.payloadCalls += 1;
        const payload = this.payloads.get(hello.attempt);
        onBytes = () => undefined;
        socket.end(payload === undefined ? "" : JSON.stringify(payload));
      } else if (hello.role === "stream") {
        const received = this.streams.get(hello.id);
        if (received !== undefined) {
          received.socket = socket;
        }
        onBytes = () => {
          rest = received === undefined ? rest : readLogFrames(rest, received);
        };
      } else {
        const take = this.files.serve(socket);
        onBytes = () => {
          rest = take(rest);
        };
      }
      onBytes();
    });
  }

  send(message: ToSkylet): void {
    this.control?.write(`${JSON.stringify(toSkyletSchema.parse(message))}\n`);
  }

  wanted(changes: Partial<WantedAttempt> = {}): WantedAttempt {
    this.#counter += 1;
    const attempt = changes.attempt ?? `${randomBytes(4).toString("hex")}-${this.#counter}`;
    this.attempts.add(attempt);
    return {
      attempt,
      uid: process.getuid?.() ?? 0,
      user: "alice",
      jobId: this.#counter,
      jobName: "train",
      cluster: "lab",
      rank: 0,
      grant: { node: "n1", devices: [], share: 1, cpus: 1, memoryGb: 1 },
      setup: false,
      hasRun: true,
      mayRun: true,
      started: false,
      addresses: ["10.0.0.1"],
      nodeLabel: "head",
      singleNodeCluster: true,
      graceSeconds: 5,
      submittedAt: Date.UTC(2026, 10, 21, 9, 5, 3, 42),
      ...changes,
    };
  }

  async prepare(wanted: WantedAttempt, payload: Partial<Payload>): Promise<Extract<FromSkylet, { type: "prepared" }>> {
    this.payloads.set(wanted.attempt, { setup: null, run: null, envs: {}, ...payload });
    this.send({ type: "start", wanted });
    return (await until(
      () => this.messages.find((each) => each.type === "prepared" && each.attempt === wanted.attempt),
      "prepared",
    )) as never;
  }

  /** Prepares and lets go; returns where the logs lie. */
  async launch(wanted: WantedAttempt, payload: Partial<Payload>): Promise<string> {
    const prepared = await this.prepare(wanted, payload);
    this.send({ type: "go", attempt: wanted.attempt });
    return join(this.home, prepared.logDir);
  }

  last(attempt: string): SkyletAttempt | null {
    const found = this.messages.filter((each) => each.type === "changed" && each.attempt.attempt === attempt).at(-1);
    return found?.type === "changed" ? found.attempt : null;
  }

  state(attempt: string, state: SkyletAttempt["state"]): Promise<SkyletAttempt> {
    return until<SkyletAttempt | null>(() => {
      const last = this.last(attempt);
      return last?.state === state ? last : null;
    }, `state ${state} of ${attempt}`);
  }

  /** Sends a stop and waits until the skylet says that nothing is left. */
  async stop(attempt: string, graceSeconds: number): Promise<void> {
    const from = this.messages.length;
    this.send({ type: "stop", attempt, graceSeconds });
    await until(
      () => this.messages.slice(from).some((each) => each.type === "gone" && each.attempt === attempt),
      "gone",
    );
  }

  stream(request: Partial<LogRequest> & { attempt: string }): Received {
    const received: Received = { order: [], pid: null, setup: "", run: "", end: null, socket: null };
    const id = randomBytes(8).toString("hex");
    this.streams.set(id, received);
    this.send({
      type: "stream",
      id,
      request: {
        kind: "logs",
        logDir: null,
        rank: 0,
        follow: true,
        setupOffset: 0,
        runOffset: 0,
        tailLines: null,
        ...request,
      },
    });
    return received;
  }

  async close(): Promise<void> {
    await this.killSkylet();
    for (const attempt of this.attempts) {
      for (const each of await processesOf(join(this.dir, attempt), null)) {
        process.kill(each.pid, "SIGKILL");
      }
    }
    this.#server?.close();
    rmSync(this.root, { recursive: true, force: true });
  }

  /** A log's text. */
  read(...path: string[]): string {
    return readFileSync(join(...path), "utf8");
  }
}

function readLogFrames(bytes: Buffer, received: Received): Buffer {
  let rest = bytes;
  while (rest.length >= 5 && rest.length >= 5 + rest.readUInt32BE(1)) {
    const kind = rest[0];
    const text = rest.subarray(5, 5 + rest.readUInt32BE(1)).toString("latin1");
    rest = rest.subarray(5 + text.length);
    received.order.push(String.fromCharCode(kind ?? 0));
    if (kind === logFrameKinds.pid) {
      received.pid = text;
    } else if (kind === logFrameKinds.setup) {
      received.setup += text;
    } else if (kind === logFrameKinds.run) {
      received.run += text;
    } else {
      received.end = text;
    }
  }
  return rest;
}
