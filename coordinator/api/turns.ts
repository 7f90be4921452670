/**
 * Work that holds up the coordinator's one thread, such as reading a large task: one piece of each user at a time, and
 * after one that took long that user's next waits a multiple of it. So a user who sends nothing but the largest tasks
 * slows down nobody else by much. It must never refuse anything. Called by app.ts and routes-submit.ts.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Uid } from "../../shared/ids.ts";

/** Milliseconds that cost nothing; an ordinary task takes less. */
const freeMs = 20;
/** How many times as long as its work took a user waits, so that this much of the thread is left to the others. */
const restFactor = 4;

export class Turns {
  readonly #last = new Map<Uid, Promise<void>>();

  /** Does the work when it is its turn; what it returns or throws comes back at once, the rest is the next one's wait. */
  run<T>(uid: Uid, work: () => T): Promise<T> {
    let tookMs = 0;
    const result = (this.#last.get(uid) ?? Promise.resolve()).then(() => {
      const began = performance.now();
      try {
        return work();
      } finally {
        tookMs = performance.now() - began;
      }
    });
    const rest = async (): Promise<void> => {
      if (tookMs > freeMs) {
        await delay(tookMs * restFactor, undefined, { ref: false });
      }
      if (this.#last.get(uid) === last) {
        this.#last.delete(uid);
      }
    };
    const last: Promise<void> = result.then(rest, rest);
    this.#last.set(uid, last);
    return result;
  }
}
