/**
 * Payloads that the coordinator sent ahead of its order, until the skylet of their attempt is told to start. In memory
 * only, within a bound, and given out once: what is not here any more the skylet fetches. They must never reach the core,
 * the ledger or a log, since secrets are in them. Filled by orders.ts, emptied by skylets.ts.
 */
import type { Desired, GivenPayloads } from "../shared/agent-wire.ts";
import type { AttemptId } from "../shared/ids.ts";

const countMax = 2_000;

export class Payloads {
  /** JSON text of each. */
  private readonly kept = new Map<AttemptId, string>();

  keep({ payloads }: GivenPayloads): void {
    for (const { attempt, text } of payloads) {
      if (this.kept.size < countMax) {
        this.kept.set(attempt, text);
      }
    }
  }

  /** Forgets those of attempts that are not wanted any more. */
  prune(order: Desired): void {
    if (this.kept.size === 0) {
      return;
    }
    const wanted = new Set(order.wanted.map((one) => one.attempt));
    for (const attempt of [...this.kept.keys()].filter((one) => !wanted.has(one))) {
      this.kept.delete(attempt);
    }
  }

  /** The attempt's payload, once; null: it has to be fetched. */
  take(attempt: AttemptId): string | null {
    const text = this.kept.get(attempt) ?? null;
    this.kept.delete(attempt);
    return text;
  }

  clear(): void {
    this.kept.clear();
  }
}
