/**
 * A binary heap: the least of many values without sorting them all. Pure and without any knowledge of jobs. Used by the
 * order of turns.
 */
export class Heap<T> {
  readonly #items: T[];
  readonly #compare: (a: T, b: T) => number;

  /** Takes over `items`. `compare`: negative when `a` comes out before `b`. */
  constructor(items: T[], compare: (a: T, b: T) => number) {
    this.#items = items;
    this.#compare = compare;
    for (let at = (items.length >> 1) - 1; at >= 0; at -= 1) {
      this.#sink(at);
    }
  }

  get first(): T | undefined {
    return this.#items[0];
  }

  push(item: T): void {
    const items = this.#items;
    let at = items.push(item) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = items[parent] as T;
      if (this.#compare(item, above) >= 0) {
        break;
      }
      items[at] = above;
      at = parent;
    }
    items[at] = item;
  }

  /** The first has become greater: it is put in its new place. */
  sinkFirst(): void {
    this.#sink(0);
  }

  dropFirst(): void {
    const last = this.#items.pop();
    if (last !== undefined && this.#items.length > 0) {
      this.#items[0] = last;
      this.#sink(0);
    }
  }

  #sink(start: number): void {
    const items = this.#items;
    const item = items[start];
    if (item === undefined) {
      return;
    }
    let at = start;
    for (;;) {
      let child = 2 * at + 1;
      const left = items[child];
      const right = items[child + 1];
      if (left === undefined) {
        break;
      }
      let least = left;
      if (right !== undefined && this.#compare(right, left) < 0) {
        child += 1;
        least = right;
      }
      if (this.#compare(least, item) >= 0) {
        break;
      }
      items[at] = least;
      at = child;
    }
    items[at] = item;
  }
}
