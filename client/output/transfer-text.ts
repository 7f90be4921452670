/**
 * How fast bytes go and the time that is left, as people read them. Pure; the caller gives the moments. Used by
 * client/commands/uploading.ts and client/commands/cp.ts.
 */

/** `, 12 s left`, `, 3 min left`; empty when it is not known or hardly anything. */
export function timeLeftText(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 1) {
    return "";
  }
  if (seconds < 100) {
    return `, ${Math.round(seconds)} s left`;
  }
  return seconds < 5400 ? `, ${Math.round(seconds / 60)} min left` : `, ${(seconds / 3600).toFixed(1)} h left`;
}

const spanMs = 5000;
const shortestMs = 500;

/** How fast a sum grows, over the last five seconds. */
export class Rate {
  #samples: { at: number; sum: number }[] = [];

  /** Milliseconds on a clock that never jumps. */
  add(sum: number, at: number): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && at - last.at < 50) {
      last.sum = sum;
      return;
    }
    this.#samples.push({ at, sum });
    while (this.#samples.length > 2 && at - (this.#samples[1]?.at ?? at) >= spanMs) {
      this.#samples.shift();
    }
  }

  /** Null: too early to say. */
  perSecond(now: number): number | null {
    const [first] = this.#samples;
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || now - first.at < shortestMs) {
      return null;
    }
    const rate = ((last.sum - first.sum) * 1000) / (now - first.at);
    return rate > 0 ? rate : null;
  }
}
