/**
 * How much is done at one time: a little of each owner (a user, a node) and not too much of all, in the order in which
 * it came, so that one owner's work only ever holds back its own. It must never hold a slot longer than its work. Used by
 * store.ts for uploads and by coordinator/fleet-files.ts for what nodes ask for.
 */
import { SkyError } from "../../shared/errors.ts";

export interface SlotLimits {
  perOwner: number;
  all: number;
  /** Further ones of an owner that may wait. */
  waitingPerOwner: number;
}

interface Waiter<Owner> {
  owner: Owner;
  start(): void;
}

export class Slots<Owner> {
  readonly #limits: SlotLimits;
  readonly #held = new Map<Owner, number>();
  #all = 0;
  #waiting: Waiter<Owner>[] = [];

  constructor(limits: SlotLimits) {
    this.#limits = limits;
  }

  /** Does the work when there is a slot. Rejects at once when too many of this owner wait. */
  async run<T>(owner: Owner, work: () => Promise<T>): Promise<T> {
    if (!this.#isFree(owner)) {
      await this.#wait(owner);
    } else {
      this.#take(owner);
    }
    try {
      return await work();
    } finally {
      this.#release(owner);
    }
  }

  #isFree(owner: Owner): boolean {
    return this.#all < this.#limits.all && (this.#held.get(owner) ?? 0) < this.#limits.perOwner;
  }

  #take(owner: Owner): void {
    this.#all += 1;
    this.#held.set(owner, (this.#held.get(owner) ?? 0) + 1);
  }

  #wait(owner: Owner): Promise<void> {
    if (this.#waiting.filter((waiter) => waiter.owner === owner).length >= this.#limits.waitingPerOwner) {
      return Promise.reject(
        new SkyError("ServerUnavailableError", "Too much of yours is under way.", "Try again when some of it is done."),
      );
    }
    return new Promise((resolve) => this.#waiting.push({ owner, start: resolve }));
  }

  #release(owner: Owner): void {
    this.#all -= 1;
    const left = (this.#held.get(owner) ?? 1) - 1;
    if (left > 0) {
      this.#held.set(owner, left);
    } else {
      this.#held.delete(owner);
    }
    const next = this.#waiting.findIndex((waiter) => this.#isFree(waiter.owner));
    const [waiter] = next < 0 ? [] : this.#waiting.splice(next, 1);
    if (waiter !== undefined) {
      this.#take(waiter.owner);
      waiter.start();
    }
  }
}
