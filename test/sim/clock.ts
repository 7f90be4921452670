/**
 * Virtual time and chance for the simulator: a queue of what happens when, and numbers drawn from a seed. Nothing in
 * test/sim may read the real clock or Math.random, or a failing seed could not be played again. Used by every model.
 */

interface Entry {
  at: number;
  order: number;
  run: () => void;
}

/** Runs callbacks in the order of their times; equal times in the order in which they were asked for. */
export class Clock {
  now = 1_000_000;
  #order = 0;
  #heap: Entry[] = [];

  /** Runs `run` after `delayMs` of virtual time. */
  after(delayMs: number, run: () => void): void {
    const entry = { at: this.now + Math.round(delayMs), order: (this.#order += 1), run };
    const heap = this.#heap;
    let at = heap.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(entry, heap[parent] as Entry)) {
        break;
      }
      heap[at] = heap[parent] as Entry;
      at = parent;
    }
    heap[at] = entry;
  }

  /** Runs the next callback; false when nothing is left or the next lies after `limit`. */
  step(limit: number): boolean {
    const first = this.#heap[0];
    if (first === undefined || first.at > limit) {
      return false;
    }
    const last = this.#heap.pop() as Entry;
    if (last !== first) {
      this.#sink(last);
    }
    this.now = first.at;
    first.run();
    return true;
  }

  #sink(entry: Entry): void {
    const heap = this.#heap;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) {
        break;
      }
      if (child + 1 < heap.length && before(heap[child + 1] as Entry, heap[child] as Entry)) {
        child += 1;
      }
      if (!before(heap[child] as Entry, entry)) {
        break;
      }
      heap[at] = heap[child] as Entry;
      at = child;
    }
    heap[at] = entry;
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/** Numbers from a seed (mulberry32). */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to but without 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  }

  /** A whole number from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  /** True with this probability. */
  happens(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.between(0, list.length - 1)] as T;
  }

  /** Letters and digits. */
  word(length: number): string {
    return Array.from({ length }, () => "abcdefghijklmnopqrstuvwxyz0123456789"[this.between(0, 35)]).join("");
  }
}
