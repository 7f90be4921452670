/**
 * Chance from a seed, so that a soak that failed can be begun again with the same choices. What the machines make of them
 * is their own timing, which no seed repeats. Used by the files beside it.
 */

export interface Random {
  /** From `low` up to `high`. */
  between: (low: number, high: number) => number;
  /** True with this probability. */
  chance: (probability: number) => boolean;
  /** One of them, by weight where `weight` is given. */
  pick: <T>(items: readonly T[], weight?: (item: T) => number) => T;
}

/** A generator of its own for each part, so that one part's choices do not depend on how many another one made. */
export function randomFrom(seed: number, part: string): Random {
  let state = Buffer.from(part).reduce((sum, byte) => Math.imul(sum ^ byte, 16_777_619), seed | 0) >>> 0;
  // mulberry32
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  const between = (low: number, high: number): number => low + next() * (high - low);
  return {
    between,
    chance: (probability) => next() < probability,
    pick: (items, weight = () => 1) => {
      let left = between(
        0,
        items.reduce((sum, item) => sum + weight(item), 0),
      );
      const found = items.find((item) => {
        left -= weight(item);
        return left < 0;
      });
      const chosen = found ?? items.at(-1);
      if (chosen === undefined) {
        throw new Error("nothing to pick from");
      }
      return chosen;
    },
  };
}
