/**
 * Brings lines of usage from Redis into the history's files, now and then, a batch at a time: added and synced there, and
 * only then dropped here. A crash in between leaves a line in both, which counts once. It must never drop a line that is
 * not on disk, nor end the coordinator because the disk is full. Started with each generation of the coordinator.
 */
import { join } from "node:path";
import { messageOf } from "../shared/errors.ts";
import type { UsageLine } from "../shared/scheduling.ts";
import type { Log } from "./log.ts";
import { type SchedulingStore, StoreUnavailable } from "./parts.ts";
import { appendUsage, usageFolder } from "./usage-files.ts";

/** Milliseconds between two looks. */
const intervalMs = 15_000;
const batchMax = 5_000;
/** Batches in one look. */
const batchesMax = 100;

/** Its rank is counted on: another line of it will come. */
type IsHeld = (line: UsageLine) => boolean;

/**
 * One look; resolves with how many lines were moved. Lines of ranks that are still held stay, so that nearly every rank
 * has one line in the history. Throws StoreUnavailable when Redis does not answer, else the disk's error.
 */
export async function moveUsage(
  store: SchedulingStore,
  stateDir: string,
  isHeld: IsHeld,
  stopped: () => boolean = () => false,
): Promise<number> {
  const pending = await store.pendingUsage();
  const moving = [...pending]
    .filter(([, line]) => !isHeld(line))
    .sort(([, a], [, b]) => a.from - b.from || a.to - b.to);
  let moved = 0;
  for (let at = 0; at < moving.length && at < batchMax * batchesMax && !stopped(); at += batchMax) {
    const batch = moving.slice(at, at + batchMax);
    await appendUsage(join(stateDir, usageFolder), withoutShorter(batch.map(([, line]) => line)));
    await store.dropUsage(batch.map(([name]) => name));
    moved += batch.length;
  }
  return moved;
}

/** Of lines with the same begin the longest. `lines` are in the order of begin and end. */
function withoutShorter(lines: readonly UsageLine[]): UsageLine[] {
  const longest = new Map<string, UsageLine>();
  for (const line of lines) {
    longest.set(`${line.attempt} ${line.node} ${line.from}`, line);
  }
  return [...longest.values()];
}

/** Moves lines every `everyMs` until the returned function is called. */
export function startUsageHistory(
  store: SchedulingStore,
  stateDir: string,
  isHeld: IsHeld,
  log: Log,
  everyMs = intervalMs,
): () => void {
  let stopped = false;
  let moving = false;
  let failing = false;
  const look = async (): Promise<void> => {
    try {
      await moveUsage(store, stateDir, isHeld, () => stopped);
      failing = false;
    } catch (error) {
      // Redis' own failures end the generation elsewhere.
      if (!failing && !stopped && !(error instanceof StoreUnavailable)) {
        failing = true;
        const fields = { cause: messageOf(error).slice(0, 300) };
        log.error(fields, "usage cannot be written to the history; it stays in Redis and is written later");
      }
    } finally {
      moving = false;
    }
  };
  const timer = setInterval(() => {
    if (!moving) {
      moving = true;
      void look();
    }
  }, everyMs);
  return () => {
    stopped = true;
    clearInterval(timer);
  };
}
