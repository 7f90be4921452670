/**
 * Drops records of ended jobs whose policies keep them for a shorter time than others, and stored scripts and secrets that
 * no job and no setup refers to any more: one user at a time, now and then, so a large history costs nobody a delay. It
 * must never drop what a submission has just put and is about to refer to, hence the minimum age, nor anything that is a
 * user's. Started with each generation of the coordinator.
 */
import type { Log } from "./log.ts";
import type { UserQueues } from "./queue.ts";
import type { RedisStore } from "./store.ts";

/** Milliseconds between two passes over all users; the first comes after one such time. */
const intervalMs = 3_600_000;
/** Younger payloads are left alone: the longest time between putting a payload and queueing its job, many times over. */
const minimumAgeMs = 3_600_000;

/** One pass. Ends early when `stopped` says so; throws StoreUnavailable when Redis does not answer. */
export async function sweep(
  queue: UserQueues,
  store: RedisStore,
  log: Log,
  now: number,
  stopped: () => boolean = () => false,
): Promise<void> {
  for (const uid of await queue.users()) {
    if (stopped()) {
      return;
    }
    const jobs = await queue.dropShortKept(uid, now);
    if (jobs > 0) {
      log.info({ uid, jobs }, "records of jobs dropped at the end of the time for which they were kept");
    }
    const dropped = await store.sweepPayloads(uid, await queue.payloadRefs(uid), now - minimumAgeMs);
    if (dropped > 0) {
      log.info({ uid, dropped }, "stored tasks of finished jobs dropped");
    }
  }
}

/** Sweeps until the returned function is called. A failure is left to the links, which end the generation. */
export function startRetention(queue: UserQueues, store: RedisStore, log: Log): () => void {
  let stopped = false;
  let sweeping = false;
  const timer = setInterval(() => {
    if (sweeping) {
      return;
    }
    sweeping = true;
    sweep(queue, store, log, Date.now(), () => stopped)
      .catch(() => {})
      .finally(() => {
        sweeping = false;
      });
  }, intervalMs);
  return () => {
    stopped = true;
    clearInterval(timer);
  };
}
