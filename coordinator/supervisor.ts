/**
 * Keeps a generation alive: starts one, waits for its failure, closes it, starts the next after a short wait. Meanwhile
 * the API can ask what is there, and gets either the parts or why there are none. It must never end the process: a
 * missing Redis is waited for, however long. Called by coordinator/main.ts.
 */
import { setTimeout as delay } from "node:timers/promises";
import { messageOf, SkyError } from "../shared/errors.ts";
import type { CoordinatorConfig } from "./config.ts";
import type { DiskFileStore } from "./files/store.ts";
import { type Generation, startGeneration } from "./generation.ts";
import type { Log } from "./log.ts";
import type { ApiParts } from "./parts.ts";

/** Milliseconds between two tries: doubled after each failure, and the first again once one has held for a while. */
const firstWaitMs = 200;
const longestWaitMs = 500;
const steadyMs = 10_000;
/** Everything that a start or a close waits for has a limit; together they stay far below this one. */
const stuckAfterMs = 10 * 60_000;

/** How it stands, for systemd. `works` is null before the first try has ended. */
export interface Standing {
  works: boolean | null;
  /** One line for people. */
  text: string;
}

export class Supervisor {
  readonly #config: CoordinatorConfig;
  readonly #log: Log;
  readonly #files: DiskFileStore;
  readonly #stopping = new AbortController();
  #current: Generation | null = null;
  #why = "it is starting";
  /** Since when a start or a close is under way; null while a generation works, and between two tries. */
  #busySince: number | null = null;
  readonly #onStanding: (standing: Standing) => void;
  readonly #onLive: (() => void)[] = [];

  /** `onStanding` hears of each change: after a start, and of each new cause why there is none. */
  constructor(
    config: CoordinatorConfig,
    log: Log,
    files: DiskFileStore,
    onStanding: (standing: Standing) => void = () => {},
  ) {
    this.#config = config;
    this.#files = files;
    this.#log = log;
    this.#onStanding = onStanding;
  }

  /** False when a start or a close hangs, which nothing but a new process mends. Waiting for Redis is well. */
  isWell(): boolean {
    return this.#busySince === null || performance.now() - this.#busySince < stuckAfterMs;
  }

  /** For the API. `unavailable` is a sentence's end for users, without a full stop. */
  current(): ReturnType<ApiParts["current"]> {
    return this.#current?.parts ?? { unavailable: this.#why };
  }

  /** For the API: the listener is called each time that there are parts again. */
  onLive(listener: () => void): void {
    this.#onLive.push(listener);
  }

  /** Runs until stop(); resolves when the last generation is closed. */
  async run(): Promise<void> {
    let waitMs = firstWaitMs;
    while (!this.#stopping.signal.aborted) {
      const startedAt = performance.now();
      await this.#once();
      waitMs = performance.now() - startedAt > steadyMs ? firstWaitMs : Math.min(waitMs * 2, longestWaitMs);
      // A random part, so that two coordinators that hinder each other do not meet again.
      await delay(waitMs * (0.75 + Math.random() / 2), null, { signal: this.#stopping.signal }).catch(() => {});
    }
  }

  stop(): void {
    this.#stopping.abort();
  }

  /** One generation from start to end. */
  async #once(): Promise<void> {
    const stopped = new Promise<null>((resolve) => {
      this.#stopping.signal.addEventListener("abort", () => resolve(null), { once: true });
    });
    let generation: Generation;
    this.#busySince = performance.now();
    try {
      generation = await startGeneration(this.#config, this.#log, this.#files);
    } catch (error) {
      this.#explain(error);
      return;
    } finally {
      this.#busySince = null;
    }
    this.#current = generation;
    this.#onStanding({ works: true, text: `Serving cluster ${this.#config.cluster}.` });
    for (const listener of this.#onLive) {
      listener();
    }
    const cause = await Promise.race([generation.failed, stopped]);
    this.#current = null;
    if (cause !== null) {
      this.#explain(cause);
    } else {
      this.#why = "it is stopping";
    }
    this.#busySince = performance.now();
    await generation.close();
    this.#busySince = null;
  }

  /** The same cause again and again is logged once. */
  #explain(cause: unknown): void {
    const hint = cause instanceof SkyError && cause.hint !== null ? ` ${cause.hint}` : "";
    const why = `${messageOf(cause)}${hint}`;
    if (why !== this.#why) {
      this.#log.error({ why }, "the coordinator cannot work; it tries again");
    }
    this.#why = why;
    this.#onStanding({ works: false, text: `Waiting: ${why}` });
  }
}
