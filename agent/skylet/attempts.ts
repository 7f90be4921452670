/**
 * The user's attempts on this node: preparing, letting go, watching, stopping, forgetting. Each lives in a folder of its
 * own and in its runner; this class holds only what can be read again from there, so the skylet may die at any moment.
 * It must never run user code before `go`, and never touch a runner because the skylet ends. Called by main.ts with
 * what control.ts received; speaks through `send`.
 */
import type { ChildProcess } from "node:child_process";
import { closeSync, constants, existsSync, openSync, readdirSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { WantedAttempt } from "../../shared/agent-wire.ts";
import { messageOf } from "../../shared/errors.ts";
import { attemptIdSchema } from "../../shared/ids.ts";
import type { Payload } from "../../shared/job.ts";
import type { FromSkylet, SkyletAttempt } from "../../shared/skylet-wire.ts";
import { type AttemptSpec, readRunner, readSpec, type Runner, writeLease } from "./attempt-folder.ts";
import { AttemptWatch } from "./attempt-watch.ts";
import { writeMergedLog } from "./merge-logs.ts";
import { type PrepareOptions, prepareRunner } from "./prepare.ts";
import { attemptFiles } from "./runner-script.ts";
import { endContainer } from "./container-end.ts";
import { removeScratch, sweepScratch } from "./scratch.ts";
import { type StopOrder, stopProcesses } from "./stop.ts";
import { warnProcesses } from "./warn.ts";

export interface AttemptsOptions extends PrepareOptions {
  /** The user's runtime folder, absolute; on the machine's own memory file system. */
  dir: string;
  send: (message: FromSkylet) => void;
}

interface Attempt {
  spec: AttemptSpec;
  runner: Runner;
  /** Null for an adopted runner: its pipe closed with the skylet that had started it. */
  child: ChildProcess | null;
  watch: AttemptWatch;
}

/** Where an attempt's logs lie and whether more can come, for streams. */
export interface LogSource {
  logDir: string;
  ended: boolean;
}

const checkEveryMs = 1000;
const refusedMax = 10_000;

export class Attempts {
  readonly #options: AttemptsOptions;
  readonly #attempts = new Map<string, Attempt>();
  /** Starts under way; aborted once a stop has come for it. */
  readonly #starting = new Map<string, { abort: AbortController; done: Promise<void> }>();
  readonly #stops = new Map<string, StopOrder>();
  /** Being warned: somebody who catches the signal is looked for. */
  readonly #warnings = new Map<string, AbortController>();
  /** Stopped before they had a folder; the oldest are dropped. */
  readonly #refused = new Set<string>();
  readonly #listeners = new Set<() => void>();
  readonly #checks: NodeJS.Timeout;

  constructor(options: AttemptsOptions) {
    this.#options = options;
    this.#checks = setInterval(() => this.#attempts.forEach((attempt) => attempt.watch.check()), checkEveryMs);
  }

  /** Reads every attempt back from its folder. A runner that was just let go gets a moment to say so. */
  async recover(): Promise<void> {
    const names = readdirSync(this.#options.dir).filter((name) => attemptIdSchema.safeParse(name).success);
    await Promise.all(names.map((name) => this.#adopt(name)));
    sweepScratch(this.#options.dir, (name) => this.#attempts.has(name));
  }

  async #adopt(name: string): Promise<void> {
    const spec = readSpec(this.#folder(name));
    const runner = readRunner(this.#folder(name));
    if (spec === null || spec.wanted.attempt !== name || runner === null) {
      // The skylet died while it wrote the folder: its runner, if any, saw its gate close.
      rmSync(this.#folder(name), { recursive: true, force: true });
      return;
    }
    const isMerged = existsSync(join(this.#options.home, spec.logDir, "run.log"));
    const attempt = this.#newAttempt(spec, runner, null, isMerged);
    await this.#waitAtGate(attempt);
    this.#attempts.set(name, attempt);
    attempt.watch.begin(false);
  }

  /** An adopted runner without `started` is about to read either `go` or the end of its gate; both are quick. */
  async #waitAtGate(attempt: Attempt): Promise<void> {
    for (let look = 0; look < 200; look += 1) {
      const { snapshot, alive } = attempt.watch.standing();
      if (!alive || snapshot.state !== "starting") {
        return;
      }
      await delay(10);
    }
  }

  list(): SkyletAttempt[] {
    return [...this.#attempts.values()].map((attempt) => attempt.watch.standing().snapshot);
  }

  get size(): number {
    return this.#attempts.size + this.#starting.size;
  }

  /** Some runner lives. */
  get anyAlive(): boolean {
    return [...this.#attempts.values()].some((attempt) => attempt.watch.standing().alive);
  }

  /** Null when the attempt has no folder (not yet, or no more). */
  logSource(id: string): LogSource | null {
    const attempt = this.#attempts.get(id);
    return attempt === undefined
      ? null
      : { logDir: attempt.spec.logDir, ended: attempt.watch.standing().snapshot.state === "exited" };
  }

  /** Calls back after any attempt has changed; returns how to end that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  isStarting(id: string): boolean {
    return this.#starting.has(id);
  }

  /** Prepares a runner that waits at its gate; answers `prepared`, `changed` (it was further already) or `failed`. A null `payload` is fetched. */
  async start(wanted: WantedAttempt, payload: Payload | null = null): Promise<void> {
    const id = wanted.attempt;
    if (this.#starting.has(id)) {
      return;
    }
    const known = this.#attempts.get(id);
    if (known !== undefined && !known.watch.standing().neverStarted) {
      this.#answerAgain(known);
      return;
    }
    if (this.#refused.has(id)) {
      this.#options.send({ type: "failed", attempt: id, error: "It was stopped before it could start." });
      return;
    }
    const state = { abort: new AbortController(), done: Promise.resolve() };
    this.#starting.set(id, state);
    state.done = this.#prepare(wanted, payload, state.abort.signal).finally(() => this.#starting.delete(id));
    await state.done;
  }

  #answerAgain(attempt: Attempt): void {
    const { snapshot } = attempt.watch.standing();
    if (snapshot.state === "starting" && snapshot.pid !== null && snapshot.startTime !== null) {
      this.#sendPrepared(attempt.spec, { pid: snapshot.pid, startTime: snapshot.startTime });
    } else {
      this.#options.send({ type: "changed", attempt: snapshot });
    }
  }

  async #prepare(wanted: WantedAttempt, payload: Payload | null, cancelled: AbortSignal): Promise<void> {
    const folder = this.#folder(wanted.attempt);
    try {
      // What is left of a runner that never began.
      await this.forget(wanted.attempt);
      const { spec, runner, child } = await prepareRunner(this.#options, folder, wanted, payload, cancelled);
      const attempt = this.#newAttempt(spec, runner, child, false);
      this.#attempts.set(wanted.attempt, attempt);
      attempt.watch.begin(true);
      child.once("exit", () => attempt.watch.check());
      this.#sendPrepared(spec, runner);
    } catch (error) {
      this.#options.send({ type: "failed", attempt: wanted.attempt, error: messageOf(error).slice(0, 1000) });
    }
  }

  /** Lets user code begin. Without effect when it has begun, was stopped, or belongs to a runner of an earlier skylet. */
  go(id: string): void {
    const stdin = this.#attempts.get(id)?.child?.stdin;
    if (stdin?.writable === true && !this.#stops.has(id)) {
      stdin.end("go\n");
    }
  }

  /** The attempt may run until the machine has been up this long; its runner reads it. Never earlier than before. */
  extend(id: string, untilUptimeMs: number): void {
    if (this.#attempts.has(id)) {
      writeLease(this.#folder(id), untilUptimeMs);
    }
  }

  /** Every rank's setup is done. */
  mayRun(id: string): void {
    if (!this.#attempts.has(id)) {
      return;
    }
    this.#mark(id, attemptFiles.mayRun);
    this.#wake(id);
  }

  /** It will be ended soon: the warning signal, once. */
  warn(id: string): void {
    const runner = this.#attempts.get(id)?.runner ?? null;
    const isDone =
      this.#warnings.has(id) || this.#stops.has(id) || existsSync(join(this.#folder(id), attemptFiles.warned));
    if (runner !== null && !isDone) {
      const end = new AbortController();
      this.#warnings.set(id, end);
      void warnProcesses({ folder: this.#folder(id), runner, cancelled: end.signal });
    }
  }

  /** It goes on after all; the next warning counts anew. */
  unwarn(id: string): void {
    this.#endWarning(id);
    if (this.#attempts.has(id)) {
      rmSync(join(this.#folder(id), attemptFiles.warned), { force: true });
    }
  }

  #endWarning(id: string): void {
    this.#warnings.get(id)?.abort();
    this.#warnings.delete(id);
  }

  /** Ends all processes of the attempt and keeps it from ever starting; answers `gone`. */
  async stop(id: string, graceSeconds: number): Promise<void> {
    const killAt = performance.now() + graceSeconds * 1000;
    const running = this.#stops.get(id);
    if (running !== undefined) {
      running.killAt = Math.min(running.killAt, killAt);
      return;
    }
    const folder = this.#folder(id);
    const order: StopOrder = { folder, runner: null, killAt, onStuck: (text) => this.#reportStuck(id, text) };
    this.#stops.set(id, order);
    this.#endWarning(id);
    const starting = this.#starting.get(id);
    if (starting !== undefined) {
      starting.abort.abort();
      await starting.done;
    }
    const attempt = this.#attempts.get(id);
    if (attempt === undefined) {
      this.#refuse(id);
    } else {
      this.#mark(id, attemptFiles.stopped);
      attempt.child?.stdin?.destroy();
      order.runner = attempt.runner;
      this.#wake(id);
    }
    await stopProcesses(order);
    const left = await endContainer(folder);
    if (left !== null) {
      this.#reportStuck(id, left);
    }
    this.#stops.delete(id);
    if (attempt !== undefined) {
      attempt.watch.check();
    }
    this.#options.send({ type: "gone", attempt: id });
  }

  #refuse(id: string): void {
    this.#refused.add(id);
    const oldest = this.#refused.values().next();
    if (this.#refused.size > refusedMax && oldest.done !== true) {
      this.#refused.delete(oldest.value);
    }
  }

  #reportStuck(id: string, text: string): void {
    const attempt = this.#attempts.get(id);
    if (attempt !== undefined) {
      this.#options.send({
        type: "changed",
        attempt: { ...attempt.watch.standing().snapshot, fault: text.slice(0, 1000) },
      });
    }
  }

  /** Removes the attempt's folder; its logs stay. */
  async forget(id: string): Promise<void> {
    const attempt = this.#attempts.get(id);
    if (attempt !== undefined) {
      attempt.watch.close();
      attempt.child?.stdin?.destroy();
    }
    this.#endWarning(id);
    this.#attempts.delete(id);
    await removeScratch(this.#folder(id));
    try {
      rmSync(this.#folder(id), { recursive: true, force: true });
    } catch {
      // It is tried again when the folder is to be used, and at the skylet's next start.
    }
  }

  /** Stops watching; every runner stays as it is. */
  close(): void {
    clearInterval(this.#checks);
    for (const attempt of this.#attempts.values()) {
      attempt.watch.close();
    }
  }

  #folder(id: string): string {
    return join(this.#options.dir, id);
  }

  #sendPrepared(spec: AttemptSpec, runner: Runner): void {
    this.#options.send({ type: "prepared", attempt: spec.wanted.attempt, ...runner, logDir: spec.logDir });
  }

  #mark(id: string, name: string): void {
    try {
      writeFileSync(join(this.#folder(id), name), "", { flag: "wx", mode: 0o600 });
    } catch {
      // It is there already, or the folder is gone, which a runner takes for a stop.
    }
  }

  /** Without a reader the runner is not waiting, and looks at the marks by itself before it does. */
  #wake(id: string): void {
    try {
      const fd = openSync(join(this.#folder(id), attemptFiles.wake), constants.O_WRONLY | constants.O_NONBLOCK);
      try {
        writeSync(fd, "\n");
      } finally {
        closeSync(fd);
      }
    } catch {
      // See above.
    }
  }

  #newAttempt(spec: AttemptSpec, runner: Runner, child: ChildProcess | null, isMerged: boolean): Attempt {
    const { attempt: id, rank, addresses } = spec.wanted;
    const watch = new AttemptWatch(this.#folder(id), spec, runner, this.#options.bootId, {
      tell: (snapshot) => this.#options.send({ type: "changed", attempt: snapshot }),
      onChange: () => this.#listeners.forEach((listener) => listener()),
      onEnd: () => {
        if (!isMerged) {
          void writeMergedLog(join(this.#options.home, spec.logDir), rank, addresses.length);
        }
      },
      neighbours: () => this.#attempts.size,
    });
    return { spec, runner, child, watch };
  }
}
