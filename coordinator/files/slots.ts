/**
 * How many uploads are taken at one time: a few of each user and not too many of all, in the order in which they came,
 * so that one user's uploads only ever hold back their own. It must never hold a slot longer than its work. Used by
 * store.ts.
 */
import { SkyError } from "../../shared/errors.ts";
import type { Uid } from "../../shared/ids.ts";

export interface SlotLimits {
  perUser: number;
  all: number;
  /** Further ones of a user that may wait. */
  waitingPerUser: number;
}

interface Waiter {
  uid: Uid;
  start(): void;
}

export class Slots {
  readonly #limits: SlotLimits;
  readonly #held = new Map<Uid, number>();
  #all = 0;
  #waiting: Waiter[] = [];

  constructor(limits: SlotLimits) {
    this.#limits = limits;
  }

  /** Does the work when there is a slot. Rejects at once when too many of this user wait. */
  async run<T>(uid: Uid, work: () => Promise<T>): Promise<T> {
    if (!this.#isFree(uid)) {
      await this.#wait(uid);
    } else {
      this.#take(uid);
    }
    try {
      return await work();
    } finally {
      this.#release(uid);
    }
  }

  #isFree(uid: Uid): boolean {
    return this.#all < this.#limits.all && (this.#held.get(uid) ?? 0) < this.#limits.perUser;
  }

  #take(uid: Uid): void {
    this.#all += 1;
    this.#held.set(uid, (this.#held.get(uid) ?? 0) + 1);
  }

  #wait(uid: Uid): Promise<void> {
    if (this.#waiting.filter((waiter) => waiter.uid === uid).length >= this.#limits.waitingPerUser) {
      return Promise.reject(
        new SkyError("ServerUnavailableError", "You have too many uploads under way.", "Try again when some are done."),
      );
    }
    return new Promise((resolve) => this.#waiting.push({ uid, start: resolve }));
  }

  #release(uid: Uid): void {
    this.#all -= 1;
    const left = (this.#held.get(uid) ?? 1) - 1;
    if (left > 0) {
      this.#held.set(uid, left);
    } else {
      this.#held.delete(uid);
    }
    const next = this.#waiting.findIndex((waiter) => this.#isFree(waiter.uid));
    const [waiter] = next < 0 ? [] : this.#waiting.splice(next, 1);
    if (waiter !== undefined) {
      this.#take(waiter.uid);
      waiter.start();
    }
  }
}
