/**
 * The call about the server's part of SkyPilot's config, as a typed function. It must never print. Used by
 * client/commands/config.ts.
 */
import { type ServerConfigResult, serverConfigResultSchema } from "../../shared/config-api.ts";
import { type Patience, read } from "./requests.ts";
import type { Transport } from "./transport.ts";

const readLimitMs = 10_000;

export interface ConfigCalls {
  serverConfig(): Promise<ServerConfigResult>;
  close(): void;
}

/** The calls over one transport. `say` gets a line for the person each time a lost call is sent again. */
export function createConfigCalls(transport: Transport, say: (text: string) => void): ConfigCalls {
  const reading: Patience = { limitMs: readLimitMs, say, afterGivingUp: null };
  return {
    serverConfig: () => read(transport, "/onprem/config", serverConfigResultSchema, reading),
    close: () => transport.close(),
  };
}
