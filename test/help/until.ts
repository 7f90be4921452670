/**
 * Waiting in tests: ask again until something holds, never sleep for a guess. Limits are generous because they only
 * matter when a test fails. Used by every test that touches real processes, sockets or files.
 */
import { setTimeout as delay } from "node:timers/promises";

/** Waits until `condition` gives something truthy and returns it; throws with `what` after `limitMs` (default 20 s). */
export async function until<T>(
  condition: () => T | Promise<T>,
  what = "condition",
  limitMs = 20_000,
): Promise<Exclude<T, false | null | undefined | 0 | "">> {
  const end = performance.now() + limitMs;
  let lastError: unknown = null;
  for (;;) {
    try {
      const value = await condition();
      if (value) {
        return value as Exclude<T, false | null | undefined | 0 | "">;
      }
      lastError = null;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() > end) {
      const cause = lastError instanceof Error ? ` (last error: ${lastError.message})` : "";
      throw new Error(`gave up after ${limitMs} ms waiting for ${what}${cause}`);
    }
    await delay(10);
  }
}
