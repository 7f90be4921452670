/**
 * One piece of work at a time, and those who wait take turns: somebody who sends many holds up others by one each. Who
 * waits too long for the caller's signal is let go, and no more than so many wait. It must never start a piece of work
 * that nobody waits for. Used for the one worker of a policy, and for the submissions of each user.
 */
import { SkyError } from "../../shared/errors.ts";

const waitingMax = 1_000;

interface Waiting {
  begin(): void;
}

export class FairTurns<Key> {
  readonly #waiting = new Map<Key, Waiting[]>();
  #count = 0;
  #isBusy = false;

  /** Does the work when it is the key's turn. Rejects with the signal's reason, or when too many wait. */
  async run<T>(key: Key, work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    await this.#turn(key, signal);
    try {
      signal.throwIfAborted();
      return await work();
    } finally {
      this.#next();
    }
  }

  #turn(key: Key, signal: AbortSignal): Promise<void> {
    if (!this.#isBusy) {
      this.#isBusy = true;
      return Promise.resolve();
    }
    if (this.#count >= waitingMax) {
      const text = `${waitingMax} requests wait for the admin policy already.`;
      return Promise.reject(new SkyError("ServerUnavailableError", text, "Try again in a moment."));
    }
    return new Promise((resolve, reject) => {
      const queue = this.#waiting.get(key) ?? [];
      this.#waiting.set(key, queue);
      const leave = (): void => {
        queue.splice(queue.indexOf(waiting), 1);
        this.#count -= 1;
        if (queue.length === 0) {
          this.#waiting.delete(key);
        }
        reject(signal.reason as Error);
      };
      const waiting: Waiting = {
        begin: () => {
          signal.removeEventListener("abort", leave);
          resolve();
        },
      };
      queue.push(waiting);
      this.#count += 1;
      signal.addEventListener("abort", leave, { once: true });
    });
  }

  #next(): void {
    for (const [key, queue] of this.#waiting) {
      const next = queue.shift();
      // To the end of the line, if there is more of it.
      this.#waiting.delete(key);
      if (next !== undefined) {
        if (queue.length > 0) {
          this.#waiting.set(key, queue);
        }
        this.#count -= 1;
        next.begin();
        return;
      }
    }
    this.#isBusy = false;
  }
}
