/**
 * Requests of this process whose results are on their way: each is known by its id from the moment at which the cluster
 * has taken it, and its result waits here until somebody asks. It must never leave a failure unheard by Node.js: that of
 * a request which nobody asks for ends no program. Used by every function that returns a request id, and by `get`.
 */
import { randomUUID } from "node:crypto";
import type { LocalCluster } from "../../commands/clusters.ts";
import type { Accepted } from "../requests.ts";
import { raised } from "./raise.ts";
import type { RequestId } from "./types.ts";

/** A request that this process has made. */
interface Pending {
  /** Null: it needs no cluster. */
  cluster: LocalCluster | null;
  result: Promise<unknown>;
}

/** Results that are kept; of older ones the cluster is asked. */
const keptMax = 10_000;
const pending = new Map<string, Pending>();

function keep(id: string, one: Pending): void {
  pending.set(id, one);
  for (const oldest of pending.keys()) {
    if (pending.size <= keptMax) {
      return;
    }
    pending.delete(oldest);
  }
}

/**
 * Begins a request. Resolves with its id when the cluster has taken it (or when `work` is done without one); rejects with
 * what went wrong before. What goes wrong later belongs to whoever asks for the result.
 */
export async function begin<Result>(
  cluster: LocalCluster | null,
  work: (accepted: Accepted) => Promise<Result>,
): Promise<RequestId<Result>> {
  return new Promise<RequestId<Result>>((resolve, reject) => {
    let id: string | null = null;
    const result = work((taken) => {
      id = taken;
      keep(taken, { cluster, result });
      resolve(taken);
    });
    result.then(
      () => {
        if (id === null) {
          const own = randomUUID();
          keep(own, { cluster, result });
          resolve(own);
        }
      },
      (error: unknown) => reject(raised(error)),
    );
  });
}

/** A request of this process; null when it is none, or too long ago. */
export function pendingRequest(id: string): Pending | null {
  return pending.get(id) ?? null;
}

/** The whole id that begins like this among the requests of this process; null: none, or several. */
export function pendingId(prefix: string): string | null {
  const matches = [...pending.keys()].filter((id) => id.startsWith(prefix));
  return pending.has(prefix) ? prefix : matches.length === 1 ? (matches[0] ?? null) : null;
}

/** The newest request of this process; null: none. */
export function latestPending(): string | null {
  return [...pending.keys()].at(-1) ?? null;
}
