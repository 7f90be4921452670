/**
 * The calls about jobs that a restore has put back, for admins. It must never print. Used by
 * client/commands/admin/release.ts.
 */
import type { z } from "zod";
import {
  type HeldResult,
  heldResultSchema,
  type ReleaseResult,
  type releaseBodySchema,
  releaseResultSchema,
} from "../../shared/held-api.ts";
import { type Patience, read, submit } from "./requests.ts";
import type { Transport } from "./transport.ts";

const limitMs = 30_000;

export interface HeldCalls {
  held(): Promise<HeldResult>;
  release(body: z.input<typeof releaseBodySchema>): Promise<ReleaseResult>;
  /** Ends the connection. */
  close(): void;
}

/** The calls over one transport. `say` gets a line for the person each time a lost call is sent again. */
export function createHeldCalls(transport: Transport, say: (text: string) => void): HeldCalls {
  const afterGivingUp = "It may or may not have been done: `sky admin release` lists what is still held.";
  const change: Patience = { limitMs, say, afterGivingUp, changes: true };
  return {
    held: () => read(transport, "/onprem/admin/held", heldResultSchema, { limitMs, say, afterGivingUp: null }),
    release: (body) => submit(transport, "/onprem/admin/release", { ...body }, releaseResultSchema, change),
    close: () => transport.close(),
  };
}
