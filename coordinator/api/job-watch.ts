/**
 * Reads one job of one user and waits for it to change, across restarts of the coordinator's loop: the loop that is
 * asked is always the present one. Being told of changes is the rule; once a second it looks again, because a loop that
 * was replaced tells nobody. It must never show another user's job: the uid is part of every look-up. Called by logs.ts
 * and by the routes that wait for an end.
 */
import { SkyError } from "../../shared/errors.ts";
import type { JobId, Uid } from "../../shared/ids.ts";
import type { JobRecord } from "../../shared/job.ts";
import { jobKey } from "../core/state.ts";
import type { ApiParts } from "../parts.ts";

export type LiveParts = Exclude<ReturnType<ApiParts["current"]>, { unavailable: string }>;

/** A job as a reader may know it. `ended` is true only when the end is durable. */
export interface JobView {
  record: JobRecord;
  ended: boolean;
}

const lookAgainMs = 1000;
/** A reader is let go when the store has been away for this long. */
const unavailableMaxMs = 300_000;

/** The parts, or ServerUnavailableError naming the cause. */
export function liveParts(parts: ApiParts): LiveParts {
  const now = parts.current();
  if ("unavailable" in now) {
    throw new SkyError(
      "ServerUnavailableError",
      `The coordinator is not ready: ${now.unavailable}`,
      "Jobs on the nodes go on, and what was acknowledged is kept. If it stays so, the cluster's admin must start it there.",
    );
  }
  return now;
}

/** The job, or null when this user has none of this number. */
export async function readJob(live: LiveParts, uid: Uid, id: JobId): Promise<JobView | null> {
  const active = live.loop.state.jobs.get(jobKey(uid, id));
  if (active !== undefined) {
    return { record: active.record, ended: active.record.phase === "ended" && active.commit === "clean" };
  }
  const record = await live.queue.read(uid, id);
  return record === null ? null : { record, ended: record.phase === "ended" };
}

/** As `readJob`, those that there are. */
export async function readJobs(live: LiveParts, uid: Uid, ids: readonly JobId[]): Promise<Map<JobId, JobRecord>> {
  const { jobs } = live.loop.state;
  // Each either as memory has it now, or from the store: a job leaves memory only after its end is stored.
  const held = ids.flatMap((id) => {
    const record = jobs.get(jobKey(uid, id))?.record;
    return record === undefined ? [] : [[id, record] as const];
  });
  const known = new Map(held);
  const stored = await live.queue.readMany(
    uid,
    ids.filter((id) => !known.has(id)),
  );
  return new Map([...stored, ...known]);
}

/** The number of the user's latest job, finished or not; null when there is none. */
export async function latestJob(live: LiveParts, uid: Uid): Promise<JobId | null> {
  let latest: JobId | null = null;
  for (const job of live.loop.state.jobs.values()) {
    if (job.uid === uid && (latest === null || job.id > latest)) {
      latest = job.id;
    }
  }
  const [finished] = await live.queue.finished(uid, 1);
  return finished !== undefined && finished.id > (latest ?? 0) ? finished.id : latest;
}

/** Resolves after `ms`, or when `wake` is called; rejects when the signal is aborted. */
export function pause(ms: number, signal: AbortSignal): { promise: Promise<void>; wake: () => void } {
  let wake = (): void => undefined;
  const promise = new Promise<void>((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
    };
    const finish = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      resolve();
    };
    const timer = setTimeout(finish, ms);
    wake = finish;
    if (signal.aborted) {
      onAbort();
    } else {
      signal.addEventListener("abort", onAbort, { once: true });
    }
  });
  promise.catch(() => undefined);
  return { promise, wake };
}

/**
 * Waits until `accept` holds for the job and returns it; null when the user has no such job. After `limitMs` (default:
 * no limit) the job is returned as it is. While the store is away it waits, at most five minutes.
 */
export async function untilJob(
  parts: ApiParts,
  uid: Uid,
  id: JobId,
  accept: (view: JobView) => boolean,
  signal: AbortSignal,
  limitMs = Number.POSITIVE_INFINITY,
): Promise<JobView | null> {
  const deadline = performance.now() + limitMs;
  let awaySince: number | null = null;
  for (;;) {
    const now = parts.current();
    const left = Math.max(0, Math.min(lookAgainMs, deadline - performance.now()));
    const waiting = pause(left, signal);
    if ("unavailable" in now) {
      awaySince ??= performance.now();
      if (performance.now() - awaySince > unavailableMaxMs) {
        liveParts(parts);
      }
      await waiting.promise;
      continue;
    }
    awaySince = null;
    const unsubscribe = now.loop.onJob(uid, id, waiting.wake);
    try {
      const view = await readJob(now, uid, id);
      if (view === null || accept(view) || performance.now() >= deadline) {
        return view;
      }
      await waiting.promise;
    } finally {
      waiting.wake();
      unsubscribe();
    }
  }
}
