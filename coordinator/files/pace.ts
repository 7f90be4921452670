/**
 * Long work in short pieces: whoever loops over much asks here now and then, and others get their turn. It must never
 * wait for anything but that turn. Used by everything of this folder that goes through many lines or chunks.
 */
import { setImmediate as turn } from "node:timers/promises";

/** Milliseconds after which others get a turn. */
const pieceMs = 8;
const stepsBetween = 64;

export class Pace {
  #since = performance.now();
  #steps = 0;

  /** For loops of very many short steps: whether to `breathe` now. Looks at the clock only now and then. */
  isDue(): boolean {
    this.#steps += 1;
    return this.#steps % stepsBetween === 0 && performance.now() - this.#since > pieceMs;
  }

  /** Resolves at once, or after the others' turn when this work has had the thread for a while. */
  async breathe(): Promise<void> {
    if (performance.now() - this.#since > pieceMs) {
      await turn();
      this.#since = performance.now();
    }
  }
}
