/**
 * GET /api/health: what every client asks first. It answers also while the store is away, saying why, so that a person
 * learns the cause instead of a time-out. It must never name anything but versions and the caller.
 */
import * as z from "zod";
import { apiVersion } from "../../shared/api.ts";
import { userHash } from "./request-payload.ts";
import { type Route, json, plainRoute } from "./route.ts";

/** SkyPilot's fields, all of which its client may read, and the cluster's name. */
const healthSchema = z.object({
  status: z.enum(["healthy", "unhealthy"]),
  message: z.string().nullable(),
  ...{ api_version: z.string(), version: z.string(), version_on_disk: z.string(), commit: z.string() },
  latest_version: z.null(),
  user: z.object({ id: z.string(), name: z.string() }),
  ...{ basic_auth_enabled: z.literal(false), ingress_basic_auth_enabled: z.literal(false) },
  ...{ service_account_token_enabled: z.literal(false), external_proxy_auth_enabled: z.literal(false) },
  ...{ telemetry_enabled: z.literal(false), restrict_config_to_admins: z.literal(false) },
  cluster: z.string(),
});

export const healthRoutes: Route[] = [
  plainRoute({
    method: "GET",
    path: "/api/health",
    identity: "account",
    summary: "Whether the coordinator is ready, its versions, and who the caller is.",
    reply: healthSchema,
    handle: async ({ context, account }) => {
      const now = context.parts.current();
      const unavailable = "unavailable" in now ? now.unavailable : null;
      return json({
        status: unavailable === null ? "healthy" : "unhealthy",
        message: unavailable,
        api_version: String(apiVersion),
        version: context.build.version,
        version_on_disk: context.build.version,
        commit: context.build.commit,
        basic_auth_enabled: false,
        user: { id: userHash(account.uid), name: account.name },
        service_account_token_enabled: false,
        ingress_basic_auth_enabled: false,
        external_proxy_auth_enabled: false,
        telemetry_enabled: false,
        restrict_config_to_admins: false,
        latest_version: null,
        cluster: context.config.cluster,
      });
    },
  }),
];
