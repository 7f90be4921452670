/**
 * The calls about usage. Every result is checked by its schema in shared/usage-api.ts. It must never print. Used by
 * client/commands/usage.ts.
 */
import {
  type IdleResult,
  idleResultSchema,
  type UsageKey,
  type UsageResult,
  usageResultSchema,
} from "../../shared/usage-api.ts";
import { type Patience, read } from "./requests.ts";
import type { Transport } from "./transport.ts";

/** Reading a long history takes a while. */
const limitMs = 120_000;

export interface UsageCalls {
  /** Times in seconds since 1970; null: the coordinator's defaults (up to now; the 7 days before). */
  usage(period: { from: number | null; to: number | null }, by: readonly UsageKey[]): Promise<UsageResult>;
  idle(): Promise<IdleResult>;
  /** Ends the connection. */
  close(): void;
}

/** The calls over one transport. `say` gets a line for the person each time a lost call is sent again. */
export function createUsageCalls(transport: Transport, say: (text: string) => void): UsageCalls {
  const reading: Patience = { limitMs, say, afterGivingUp: null };
  return {
    usage: ({ from, to }, by) => {
      const query = new URLSearchParams({
        by: by.join(","),
        ...(from === null ? {} : { from: String(from) }),
        ...(to === null ? {} : { to: String(to) }),
      });
      return read(transport, `/onprem/usage?${query.toString()}`, usageResultSchema, reading);
    },
    idle: () => read(transport, "/onprem/usage/idle", idleResultSchema, reading),
    close: () => transport.close(),
  };
}
