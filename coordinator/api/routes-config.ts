/**
 * SkyPilot's config on the server's side: what this server says to everybody, and what counts for one request. A client's
 * values never reach what only the server may say, above all its policy.
 */
import { type ServerConfigResult, serverConfigResultSchema } from "../../shared/config-api.ts";
import { configForRequest, type ConfigTree } from "../../shared/config-layers.ts";
import type { CoordinatorConfig } from "../config.ts";
import { type Route, json, plainRoute } from "./route.ts";

/** Not for users' eyes: these may hold addresses and tokens. */
export const serverOnlyKeys: readonly string[] = ["admin_policy", "api_server", "db", "daemons", "workspaces"];

/** What counts for a request that brought this config along; `warning` is for the caller. */
export function configOf(config: CoordinatorConfig, sent: ConfigTree): { tree: ConfigTree; warning: string | null } {
  return configForRequest(config.sky_config, sent);
}

export const configRoutes: Route[] = [
  plainRoute({
    method: "GET",
    path: "/onprem/config",
    identity: "account",
    summary: "The server's layer of SkyPilot's config, as far as it is for users.",
    reply: serverConfigResultSchema,
    handle: async ({ context }) => {
      const shown = Object.entries(context.config.sky_config).filter(([key]) => !serverOnlyKeys.includes(key));
      const result: ServerConfigResult = { cluster: context.config.cluster, config: Object.fromEntries(shown) };
      return json(result);
    },
  }),
];
