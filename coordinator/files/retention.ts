/**
 * When uploads that nobody needs are forgotten: a while after each start of a generation, and then a few times a day. It
 * must never forget what an unfinished job needs, so it does nothing while the jobs are not known. Started with each
 * generation of the coordinator.
 */
import type { ManifestsInUse } from "../parts.ts";
import type { DiskFileStore } from "./store.ts";

/** Milliseconds. */
const firstMs = 10 * 60_000;
const intervalMs = 6 * 3_600_000;

/** Sweeps until the returned function is called. */
export function startFileRetention(files: Pick<DiskFileStore, "sweep">, inUse: ManifestsInUse): () => void {
  let stopped = false;
  let timer: NodeJS.Timeout;
  const after = (ms: number): void => {
    timer = setTimeout(() => {
      void files
        .sweep(inUse, () => stopped)
        .finally(() => {
          if (!stopped) {
            after(intervalMs);
          }
        });
    }, ms);
    timer.unref();
  };
  after(firstMs);
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
