/**
 * Writes of which only the newest under each name matters, brought together: while one batch is on its way to disk, what
 * is put meanwhile waits and leaves with the next one. So thousands of changes of a few things cost a few writes. It
 * must never hold back a value longer than the write before it takes. Used by coordinator/effects.ts.
 */

export class LatestWrites<Value> {
  readonly #write: (values: Value[]) => Promise<void>;
  #waiting = new Map<string, Value>();
  /** The batch that has not left yet; null: nothing waits. */
  #next: Promise<void> | null = null;
  #underWay: Promise<void> = Promise.resolve();

  /** `write` makes the values durable; it is never called while an earlier call is under way. */
  constructor(write: (values: Value[]) => Promise<void>) {
    this.#write = write;
  }

  /** Resolves when this value, or a newer one of the same name, is durable; rejects when its write failed. */
  put(name: string, value: Value): Promise<void> {
    this.#waiting.set(name, value);
    if (this.#next === null) {
      this.#next = this.#underWay.then(() => {
        const values = [...this.#waiting.values()];
        this.#waiting = new Map();
        this.#next = null;
        return this.#write(values);
      });
      this.#underWay = this.#next.catch(() => {});
    }
    return this.#next;
  }
}
