/**
 * The one loop: the only caller of the reducer. Events are handled one at a time in the order in which they come, those
 * that come together are settled together: one plan, one picture for each node. A write that fails, or a fault in the core, ends the loop: from
 * then on nothing is decided, and `failed` says why, so that its owner reads everything again. It must never touch Redis
 * or the network itself. Made by coordinator/generation.ts; the API and the fleet dispatch into it.
 */
import { messageOf } from "../shared/errors.ts";
import type { JobId, NodeName, Uid } from "../shared/ids.ts";
import type { ToAgent } from "../shared/agent-wire.ts";
import { settle, take } from "./core/reduce.ts";
import { type CoreEffect, type CoreEvent, type JobKey, jobKey, type State } from "./core/state.ts";
import { Effects } from "./effects.ts";
import { JobFacts } from "./job-facts.ts";
import type { Log } from "./log.ts";
import { type JobQueue, type Loop, type Store, StoreUnavailable } from "./parts.ts";

/** Node's timers hold no more than this many milliseconds. */
const timerMax = 2 ** 31 - 1;

export interface LoopParts {
  state: State;
  queue: JobQueue;
  store: Store;
  log: Log;
  /** Sends to a node; must not throw. */
  tell(node: NodeName, message: ToAgent): void;
  /** Ends a node's connection; must not throw. */
  cut(node: NodeName, reason: string): void;
  /** Milliseconds since 1970; may jump. */
  now(): number;
  /** Milliseconds of a clock that never jumps, as in `initialState`. */
  uptime(): number;
}

export class CoreLoop implements Loop {
  readonly state: State;
  /** Resolves with the cause when the loop has ended by itself; never after stop(). */
  readonly failed: Promise<Error>;
  readonly #parts: LoopParts;
  readonly #effects: Effects;
  readonly #facts: JobFacts;
  readonly #listeners = new Map<JobKey, Set<() => void>>();
  readonly #inbox: { event: CoreEvent; done: (writes: Promise<void>) => void }[] = [];
  #ended: StoreUnavailable | null = null;
  #timer: NodeJS.Timeout | null = null;
  #reportFailure: (cause: Error) => void = () => {};

  constructor(parts: LoopParts) {
    this.state = parts.state;
    this.#parts = parts;
    this.failed = new Promise((resolve) => {
      this.#reportFailure = resolve;
    });
    this.#facts = new JobFacts(parts.log);
    this.#effects = new Effects({
      queue: parts.queue,
      store: parts.store,
      log: parts.log,
      facts: this.#facts,
      tell: (node, message) => parts.tell(node, message),
      cut: (node, reason) => parts.cut(node, reason),
      dispatch: (event) => this.note(event),
      announce: (uid, id) => this.#announce(uid, id),
      wakeAt: (time) => this.#wakeAt(time),
      fail: (cause) => this.#fail(cause),
    });
  }

  /** Rejects with StoreUnavailable when a write failed or the loop has ended. */
  async dispatch(event: CoreEvent): Promise<void> {
    if (this.#ended !== null) {
      throw this.#ended;
    }
    return new Promise((resolve) => {
      this.#inbox.push({ event, done: resolve });
      if (this.#inbox.length === 1) {
        setImmediate(() => this.#drain());
      }
    });
  }

  /** As dispatch, for callers that have nobody to tell. */
  note(event: CoreEvent): void {
    this.dispatch(event).catch(() => {});
  }

  onJob(uid: Uid, id: JobId, listener: () => void): () => void {
    const key = jobKey(uid, id);
    const listeners = this.#listeners.get(key) ?? new Set();
    this.#listeners.set(key, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#listeners.get(key) === listeners) {
        this.#listeners.delete(key);
      }
    };
  }

  /** Ends the loop without a failure: nothing is decided, written or sent afterwards; jobs are not touched. */
  stop(): void {
    this.#end(new StoreUnavailable("the coordinator is stopping"));
  }

  /** All that has come by now. An event waits for its own writes and for those that follow from all of them. */
  #drain(): void {
    const batch = this.#inbox.splice(0);
    if (this.#ended !== null) {
      const refused = Promise.reject(this.#ended);
      refused.catch(() => {});
      batch.forEach(({ done }) => done(refused));
      return;
    }
    const taken = batch.map(({ event, done }) => ({ done, writes: this.#take(event) }));
    const common = this.#carryOut("settling", () => settle(this.state, this.#parts.now(), this.#parts.uptime()));
    for (const { done, writes } of taken) {
      done(Promise.all([writes, common]).then(() => {}));
    }
  }

  #take(event: CoreEvent): Promise<void> {
    if (event.type === "jobSubmitted" && !this.state.jobs.has(jobKey(event.uid, event.id))) {
      this.#facts.queued(event.id, event.record);
    }
    return this.#carryOut(event.type, () => take(this.state, event, this.#parts.now(), this.#parts.uptime()));
  }

  #carryOut(what: string, effectsOf: () => CoreEffect[]): Promise<void> {
    const writes = this.#decide(what, effectsOf);
    writes.catch(() => {});
    return writes;
  }

  async #decide(what: string, effectsOf: () => CoreEffect[]): Promise<void> {
    if (this.#ended !== null) {
      throw this.#ended;
    }
    let effects: CoreEffect[];
    try {
      effects = effectsOf();
    } catch (error) {
      const cause = error instanceof Error ? error : new Error(String(error));
      this.#parts.log.error({ event: what, err: cause }, "the core failed");
      this.#fail(cause);
      throw this.#ended ?? cause;
    }
    await this.#effects.run(effects);
  }

  #announce(uid: Uid, id: JobId): void {
    for (const listener of [...(this.#listeners.get(jobKey(uid, id)) ?? [])]) {
      try {
        listener();
      } catch (error) {
        this.#parts.log.error({ uid, id, cause: messageOf(error) }, "a listener to a job failed");
      }
    }
  }

  #wakeAt(time: number): void {
    if (this.#timer !== null) {
      clearTimeout(this.#timer);
    }
    const wait = Math.min(Math.max(0, time - this.#parts.now()), timerMax);
    this.#timer = setTimeout(() => this.note({ type: "ticked" }), wait);
  }

  #fail(cause: Error): void {
    if (this.#end(new StoreUnavailable(cause.message))) {
      this.#reportFailure(cause);
    }
  }

  #end(why: StoreUnavailable): boolean {
    if (this.#ended !== null) {
      return false;
    }
    this.#ended = why;
    this.#effects.stop(why);
    if (this.#timer !== null) {
      clearTimeout(this.#timer);
    }
    return true;
  }
}
