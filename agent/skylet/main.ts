/**
 * The skylet: the one program that touches a user's files and starts their jobs, running as that user with that user's
 * login environment, one per user and node. It takes orders from the agent only and ends when there is nothing to do;
 * its end, crash or replacement leaves every runner alone. Started by the agent through `sudo su --login`:
 * `node skylet.mjs --version`, or `node skylet.mjs --socket PATH --dir FOLDER --version V --nofile N --idle SECONDS [--agent-uid UID]`;
 * `node skylet.mjs files FOLDER` and `node skylet.mjs command FOLDER` are other programs, parts of one job (files/main.ts,
 * command-generator.ts).
 */
import { mkdirSync } from "node:fs";
import { homedir, userInfo } from "node:os";
import { parseArgs } from "node:util";
import * as z from "zod";
import { messageOf } from "../../shared/errors.ts";
import { type Payload, payloadSchema } from "../../shared/job.ts";
import type { ToSkylet } from "../../shared/skylet-wire.ts";
import { versionText } from "../../shared/version.ts";
import { Attempts } from "./attempts.ts";
import { runCommandGenerator } from "./command-generator.ts";
import { type AgentAddress, Control, dial, fetchPayload } from "./control.ts";
import { runFiles } from "./files/main.ts";
import { serveLogs } from "./output.ts";
import { readBootId } from "./processes.ts";

const argumentsSchema = z.strictObject({
  socket: z.string().startsWith("/"),
  dir: z.string().startsWith("/"),
  version: z.string().min(1).max(100),
  /** The login shell's `ulimit -Sn`. */
  nofile: z.string().regex(/^(\d{1,9}|unlimited)$/),
  /** Seconds without any attempt after which the skylet ends. */
  idle: z.coerce.number().int().min(1),
  /** Owner of the agent's socket. */
  "agent-uid": z.coerce.number().int().min(0).default(0),
});
type Arguments = z.infer<typeof argumentsSchema>;

/** Without an agent for this long, and with no runner alive, the skylet ends. */
const orphanLimitMs = 10 * 60 * 1000;

function readArguments(): Arguments {
  const names = ["socket", "dir", "version", "nofile", "idle", "agent-uid"];
  const options = Object.fromEntries(names.map((name) => [name, { type: "string" as const }]));
  return argumentsSchema.parse({ ...parseArgs({ options, strict: true }).values });
}

/** `HOME` is what the login said; the account's entry stands in where a login sets none. */
function homeFolder(): string {
  const home = process.env["HOME"] ?? "";
  return home.startsWith("/") ? home : userInfo().homedir || homedir();
}

class Skylet {
  readonly #arguments: Arguments;
  readonly #address: AgentAddress;
  readonly #attempts: Attempts;
  readonly #control: Control;
  readonly #home = homeFolder();
  /** The last that came, until the next start. */
  #payload: Extract<ToSkylet, { type: "payload" }> | null = null;
  #streams = 0;
  #idleSince = performance.now();

  constructor(given: Arguments) {
    this.#arguments = given;
    this.#address = { socket: given.socket, agentUid: given["agent-uid"] };
    this.#attempts = new Attempts({
      dir: given.dir,
      home: this.#home,
      nofile: given.nofile,
      bootId: readBootId(),
      program: { node: process.execPath, program: process.argv[1] ?? "" },
      address: this.#address,
      fetchPayload: (attempt, signal) => fetchPayload(this.#address, attempt, signal),
      send: (message) => this.#control.send(message),
    });
    this.#control = new Control({
      address: this.#address,
      version: given.version,
      list: () => this.#attempts.list(),
      onMessage: (message) => this.#receive(message),
    });
  }

  async run(): Promise<void> {
    await this.#attempts.recover();
    setInterval(() => this.#endWhenIdle(), 1000);
    await this.#control.run();
  }

  #receive(message: ToSkylet): void {
    switch (message.type) {
      case "payload":
        this.#payload = message;
        return;
      case "start":
        void this.#attempts.start(message.wanted, this.#takePayload(message.wanted.attempt));
        return;
      case "go":
        this.#attempts.go(message.attempt);
        return;
      case "mayRun":
        this.#attempts.mayRun(message.attempt);
        return;
      case "stop":
        void this.#attempts.stop(message.attempt, message.graceSeconds);
        return;
      case "lease":
        this.#attempts.extend(message.attempt, message.untilUptimeMs);
        return;
      case "warn":
        this.#attempts.warn(message.attempt);
        return;
      case "unwarn":
        this.#attempts.unwarn(message.attempt);
        return;
      case "forget":
        void this.#attempts.forget(message.attempt);
        return;
      case "stream":
        void this.#stream(message);
        return;
      case "retire":
        process.exit(0);
    }
  }

  /** What came ahead of this start; null: it is fetched. */
  #takePayload(attempt: string): Payload | null {
    const given = this.#payload;
    this.#payload = null;
    try {
      return given?.attempt === attempt ? payloadSchema.parse(JSON.parse(given.text)) : null;
    } catch {
      return null;
    }
  }

  async #stream(message: Extract<ToSkylet, { type: "stream" }>): Promise<void> {
    this.#streams += 1;
    try {
      const socket = await dial(this.#address, { type: "hello", role: "stream", id: message.id });
      await serveLogs(socket, message.request, {
        home: this.#home,
        logSource: (attempt) => this.#attempts.logSource(attempt),
        isStarting: (attempt) => this.#attempts.isStarting(attempt),
        onChange: (listener) => this.#attempts.onChange(listener),
      });
    } catch (error) {
      this.#control.send({ type: "streamFailed", id: message.id, error: messageOf(error).slice(0, 1000) });
    } finally {
      this.#streams -= 1;
    }
  }

  #endWhenIdle(): void {
    const now = performance.now();
    if (this.#attempts.size > 0 || this.#streams > 0) {
      this.#idleSince = now;
    }
    const idle = now - this.#idleSince > this.#arguments.idle * 1000;
    const orphaned = this.#control.silentMs > orphanLimitMs && !this.#attempts.anyAlive;
    if (idle || orphaned) {
      process.exit(0);
    }
  }
}

/** Without a value `--version` asks; with one it is what the agent calls this build. */
if (process.argv.length === 3 && process.argv[2] === "--version") {
  process.stdout.write(`${versionText("sky-skylet")}\n`);
  process.exit(0);
}
if (process.argv.length === 4 && process.argv[2] === "files") {
  await runFiles(process.argv[3] ?? "");
}
if (process.argv.length === 4 && process.argv[2] === "command") {
  runCommandGenerator(process.argv[3] ?? "");
}
try {
  const given = readArguments();
  mkdirSync(given.dir, { recursive: true, mode: 0o700 });
  // A login session that ends must not end the jobs' keeper. A handler, unlike `ignore`, is not inherited.
  process.on("SIGHUP", () => undefined);
  await new Skylet(given).run();
} catch (error) {
  process.stderr.write(`sky-skylet: ${messageOf(error)}\n`);
  process.exit(1);
}
