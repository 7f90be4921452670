/**
 * The calls about quotas and windows of nodes as typed functions. Every result is checked by its schema in
 * shared/scheduling-api.ts; changes carry a request id, so a call that was cut is sent again and taken once. It must never
 * print. Used by client/commands/quota.ts and client/commands/admin/.
 */
import type { z } from "zod";
import {
  type OwnQuotaResult,
  ownQuotaResultSchema,
  type QuotaChangeResult,
  quotaChangeResultSchema,
  type quotaSetBodySchema,
  type QuotasResult,
  quotasResultSchema,
  type WindowAddResult,
  windowAddResultSchema,
  type windowBodySchema,
  windowRemoveResultSchema,
  type WindowRow,
  type WindowsResult,
  windowsResultSchema,
} from "../../shared/scheduling-api.ts";
import { type Patience, read, submit } from "./requests.ts";
import type { Transport } from "./transport.ts";

/** How long calls that change something are tried again, and those that only read. */
const changeLimitMs = 30_000;
const readLimitMs = 10_000;

/** The calls to one cluster. Every function rejects with a SkyError whose text is meant for the person. */
export interface SchedulingCalls {
  /** What binds the caller, and what the caller holds. */
  ownQuota(): Promise<OwnQuotaResult>;
  quotas(): Promise<QuotasResult>;
  setQuota(body: z.input<typeof quotaSetBodySchema>): Promise<QuotaChangeResult>;
  unsetQuota(subject: string): Promise<QuotaChangeResult>;
  windows(): Promise<WindowsResult>;
  addWindow(body: z.input<typeof windowBodySchema>): Promise<WindowAddResult>;
  /** The windows that are gone now. */
  removeWindows(ids: string[]): Promise<WindowRow[]>;
  /** Ends the connection. */
  close(): void;
}

/** The calls over one transport. `say` gets a line for the person each time a lost call is sent again. */
export function createSchedulingCalls(transport: Transport, say: (text: string) => void): SchedulingCalls {
  const reading: Patience = { limitMs: readLimitMs, say, afterGivingUp: null };
  const changing = (verb: string): Patience => ({
    limitMs: changeLimitMs,
    say,
    afterGivingUp: `It may or may not have been done: \`sky admin ${verb}\` shows it once the cluster answers.`,
    changes: true,
  });
  const [quota, windows] = [changing("quota"), changing("windows")];
  return {
    ownQuota: () => read(transport, "/onprem/quota", ownQuotaResultSchema, reading),
    quotas: () => read(transport, "/onprem/admin/quotas", quotasResultSchema, reading),
    setQuota: (body) => submit(transport, "/onprem/admin/quota/set", body, quotaChangeResultSchema, quota),
    unsetQuota: (subject) =>
      submit(transport, "/onprem/admin/quota/unset", { subject }, quotaChangeResultSchema, quota),
    windows: () => read(transport, "/onprem/admin/windows", windowsResultSchema, reading),
    addWindow: (body) => submit(transport, "/onprem/admin/window", body, windowAddResultSchema, windows),
    removeWindows: (ids) =>
      submit(transport, "/onprem/admin/window/remove", { ids }, windowRemoveResultSchema, windows),
    close: () => transport.close(),
  };
}
