/**
 * Keeps one process in which an admin policy runs, and asks it: one request at a time, each within a time limit and a
 * maximum of memory, after which the process is killed and the next request gets a new one. Whatever the code does, the
 * keeper goes on and the request is refused. It must never hand the process its own environment unless told to. Used by
 * coordinator/policy, client/policy and `sky policy serve`.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import type { Duplex } from "node:stream";
import { SkyError } from "../../shared/errors.ts";
import type { PolicyPlace } from "../../shared/admin-policy/names.ts";
import { moduleFaults, policyUnusable, RaisedByPolicy, rejectedByPolicy } from "../../shared/admin-policy/outcomes.ts";
import {
  type PolicyAnswer,
  type PolicyQuestion,
  policyBytesMax,
  questionText,
  readAnswer,
  WireFault,
} from "../../shared/admin-policy/wire.ts";
import { LineReader } from "./lines.ts";
import { moduleFile, type PackagesFolder, requireOwn } from "./packages.ts";
import { FairTurns } from "./turns.ts";
import {
  type WorkerLine,
  type WorkerLoad,
  workerLineSchema,
  workerPipe,
} from "../../shared/admin-policy/worker-wire.ts";

export interface WorkerOptions {
  place: PolicyPlace & { kind: "module" };
  packages: PackagesFolder;
  /** The worker's program: dist/policy-worker.mjs. */
  program: string;
  /** Where it runs. */
  cwd: string;
  env: NodeJS.ProcessEnv;
  /** Milliseconds for one answer. */
  limitMs: number;
  /** Of JavaScript's heap, and in all above what an idle worker needs; null: no maximum. */
  memoryMb: number | null;
  /** Hears what the policy prints. */
  say: (line: string) => void;
}

/** Milliseconds in which the code must be loaded. */
const startLimitMs = 30_000;
/** Between two looks at the memory of a worker that is busy, and of one that is not. */
const lookMs = { busy: 40, idle: 1_000 };
/** Above an idle worker's memory, beside what the policy may use: heaps are cleaned late. */
const slackMb = 64;
/** While the code is loaded it is not known yet what an idle worker needs. */
const loadingMb = 400;
const printedBytesMax = 2_000;

/** Why a worker ended, for the refusal. */
interface Ended {
  type: "TimeoutError" | "MemoryError" | "ProcessEnded" | "ReplyError";
  text: string;
}

/** The request that the worker works at. */
interface Pending {
  id: number;
  resolve(answer: string): void;
  reject(error: SkyError): void;
}

function residentKb(pid: number): number | null {
  try {
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? Number.NaN);
  } catch {
    return null;
  }
}

/** One life of the process. */
class Life {
  readonly ready: Promise<void>;
  readonly #options: WorkerOptions;
  readonly #child: ChildProcess;
  readonly #pipe: Duplex;
  #settle: { resolve(): void; reject(error: SkyError): void } | null = null;
  #pending: Pending | null = null;
  #ended: Ended | null = null;
  #limitKb: number | null;
  #watch: NodeJS.Timeout | null = null;

  constructor(options: WorkerOptions, load: WorkerLoad) {
    this.#options = options;
    const { memoryMb } = options;
    this.#limitKb = memoryMb === null ? null : (memoryMb + loadingMb) * 1024;
    const heap = memoryMb === null ? [] : [`--max-old-space-size=${memoryMb}`];
    this.#child = spawn(process.execPath, ["--enable-source-maps", ...heap, options.program], {
      cwd: options.cwd,
      env: options.env,
      // A group of its own, so that what a policy starts ends with it.
      detached: true,
      stdio: ["ignore", "pipe", "pipe", "pipe"],
    });
    this.#pipe = this.#child.stdio[workerPipe] as Duplex;
    this.ready = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.ready.catch(() => undefined);
    this.#listen();
    this.send(load);
    this.#look();
  }

  get isOver(): boolean {
    return this.#ended !== null;
  }

  send(line: unknown): void {
    this.#pipe.write(`${JSON.stringify(line)}\n`);
  }

  /** One answer. Rejects with the refusal. */
  ask(id: number, question: string, holdings: unknown, signal: AbortSignal): Promise<string> {
    return new Promise((resolve, reject) => {
      const { limitMs } = this.#options;
      const late = setTimeout(() => {
        this.end({ type: "TimeoutError", text: `it did not answer within ${limitMs / 1000} s` });
      }, limitMs);
      const left = (): void => this.end({ type: "ProcessEnded", text: "nobody waits for its answer any more" });
      signal.addEventListener("abort", left, { once: true });
      const settled = <T>(settle: (value: T) => void) => {
        return (value: T): void => {
          clearTimeout(late);
          signal.removeEventListener("abort", left);
          this.#pending = null;
          settle(value);
        };
      };
      this.#pending = { id, resolve: settled(resolve), reject: settled(reject) };
      this.send({ id, question, holdings });
      this.#look();
    });
  }

  /** Kills it and all that it has started. The first reason counts. */
  end(why: Ended): void {
    const isFirst = this.#ended === null;
    this.#ended ??= why;
    if (this.#child.pid !== undefined && isFirst) {
      try {
        process.kill(-this.#child.pid, "SIGKILL");
      } catch {
        this.#child.kill("SIGKILL");
      }
    }
    this.#over();
  }

  #listen(): void {
    const { say } = this.#options;
    const tooLong = (): void =>
      this.end({ type: "ReplyError", text: `its answer is over ${policyBytesMax / 1024 / 1024} MB` });
    // Text inside text: each quote is written as two characters.
    const answers = new LineReader(policyBytesMax * 2, (line) => this.#answered(line), tooLong);
    this.#pipe.on("data", (chunk: Buffer) => answers.add(chunk));
    this.#pipe.on("error", () => undefined);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      const lines = new LineReader(printedBytesMax, say, "cut");
      stream?.on("data", (chunk: Buffer) => lines.add(chunk));
      stream?.on("end", () => lines.end());
      stream?.on("error", () => undefined);
    }
    this.#child.on("error", (error) => this.end({ type: "ProcessEnded", text: error.message }));
    this.#child.on("exit", (code, signal) => {
      const isMemory = signal === "SIGABRT" || code === 134;
      const how = signal === null ? `with exit code ${code}` : `by ${signal}`;
      this.end(isMemory ? this.#memoryEnd() : { type: "ProcessEnded", text: `its process ended ${how}` });
    });
  }

  #memoryEnd(): Ended {
    return { type: "MemoryError", text: `it used more than ${this.#options.memoryMb} MB of memory` };
  }

  #answered(text: string): void {
    const line = this.#parsed(text);
    const pending = this.#pending;
    if (line === null || ("id" in line && line.id !== pending?.id)) {
      this.end({ type: "ReplyError", text: "it answered with something that is no answer" });
    } else if ("ready" in line) {
      const base = residentKb(this.#child.pid ?? 0);
      const { memoryMb } = this.#options;
      this.#limitKb = memoryMb === null || base === null ? null : base + (memoryMb + slackMb) * 1024;
      this.#settle?.resolve();
      this.#settle = null;
    } else if ("unusable" in line) {
      this.#settle?.reject(policyUnusable(line.unusable));
      this.#settle = null;
      this.end({ type: "ProcessEnded", text: "it could not be loaded" });
    } else if ("raised" in line) {
      pending?.reject(new RaisedByPolicy(this.#options.place.shown, line.raised.type, line.raised.text));
    } else {
      pending?.resolve(line.answer);
    }
  }

  #parsed(text: string): WorkerLine | null {
    try {
      const parsed = workerLineSchema.safeParse(JSON.parse(text));
      return parsed.success ? parsed.data : null;
    } catch {
      return null;
    }
  }

  #look(): void {
    clearTimeout(this.#watch ?? undefined);
    const pid = this.#child.pid;
    if (this.#ended !== null || this.#limitKb === null || pid === undefined) {
      return;
    }
    const used = residentKb(pid) ?? 0;
    if (used > this.#limitKb) {
      this.end(this.#memoryEnd());
      return;
    }
    const isBusy = this.#pending !== null || this.#settle !== null;
    this.#watch = setTimeout(() => this.#look(), isBusy ? lookMs.busy : lookMs.idle).unref();
  }

  #over(): void {
    clearTimeout(this.#watch ?? undefined);
    const { shown } = this.#options.place;
    const why = this.#ended ?? { type: "ProcessEnded", text: "its process ended" };
    const error = rejectedByPolicy(shown, why.type, `The policy failed: ${why.text}.`);
    this.#settle?.reject(error);
    this.#settle = null;
    this.#pending?.reject(error);
    this.#pipe.destroy();
  }
}

/** Asks one policy, through as many lives of its process as that takes. */
export class PolicyProcess {
  readonly #options: WorkerOptions;
  readonly #turns = new FairTurns<string>();
  #life: Life | null = null;
  #counter = 0;
  #isClosed = false;

  constructor(options: WorkerOptions) {
    this.#options = options;
  }

  /** Loads the code, so that the first request need not wait. Rejects with what is wrong with it. */
  async start(): Promise<void> {
    await this.#turns.run("", () => this.#living(), new AbortController().signal);
  }

  /**
   * The changed request. `who`: in whose name it is asked, for the order of those who wait. `holdings` is looked up when
   * it is asked, not before. Rejects with SkyError("UserRequestRejectedByPolicy"), and with the signal's reason.
   */
  async ask(
    who: string,
    question: PolicyQuestion,
    holdings: () => unknown,
    signal: AbortSignal,
  ): Promise<PolicyAnswer> {
    const asked = async (): Promise<PolicyAnswer> => {
      const life = await this.#living();
      signal.throwIfAborted();
      this.#counter += 1;
      const answer = await life.ask(this.#counter, questionText(question), holdings(), signal);
      try {
        return readAnswer(answer);
      } catch (error) {
        // Not what the worker's own program writes: nothing is known of it any more.
        life.end({ type: "ReplyError", text: "it answered with something that is no answer" });
        const type = error instanceof WireFault ? error.type : "ReplyError";
        throw rejectedByPolicy(this.#options.place.shown, type, error instanceof Error ? error.message : "no answer");
      }
    };
    return this.#turns.run(who, asked, signal);
  }

  close(): void {
    this.#isClosed = true;
    this.#life?.end({ type: "ProcessEnded", text: "its keeper ends" });
  }

  async #living(): Promise<Life> {
    if (this.#life === null || this.#life.isOver) {
      const load = await this.#found();
      if (this.#isClosed) {
        throw policyUnusable("The policy is not run any more: the program ends.");
      }
      this.#life = new Life(this.#options, load);
    }
    const life = this.#life;
    const late = setTimeout(
      () => life.end({ type: "TimeoutError", text: `it was not loaded within ${startLimitMs / 1000} s` }),
      startLimitMs,
    );
    try {
      await life.ready;
    } finally {
      clearTimeout(late);
    }
    return life;
  }

  /** Looks at the folder each time that code is read from it. */
  async #found(): Promise<WorkerLoad> {
    const { packages, place } = this.#options;
    const { module, className } = place;
    const folder = packages.path;
    const root = await requireOwn(packages).catch((error: unknown) => {
      throw error instanceof SkyError ? policyUnusable(error.message) : error;
    });
    const file = root === null ? null : await moduleFile(root, module);
    if (file === null) {
      const cause = root === null ? "There is no such folder." : "There is no such module.";
      throw policyUnusable(moduleFaults.missing(module, folder, cause));
    }
    return { file, module, className, folder };
  }
}
