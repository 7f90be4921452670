/**
 * Bodies of the routes about SkyPilot's layered config. Used by coordinator/api/routes-config.ts and client/sdk.
 */
import * as z from "zod";

/** In launch and exec bodies: what the caller's machine says (shared/config-layers.ts); what only the server says is ignored. */
export const overrideConfigSchema = z.record(z.string(), z.unknown());

/** `GET /onprem/config`: the server's own layer, without what is not for users. */
export const serverConfigResultSchema = z.strictObject({ cluster: z.string(), config: overrideConfigSchema });
export type ServerConfigResult = z.infer<typeof serverConfigResultSchema>;
