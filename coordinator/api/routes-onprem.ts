/**
 * What on-prem adds under its own paths: the nodes, and who the caller is here. Replies are the results themselves,
 * without a request in between. Unknown keys are errors on these routes.
 */
import { type NodesResult, nodesResultSchema, whoamiResultSchema } from "../../shared/api.ts";
import { refusalOf } from "../../shared/users-policy.ts";
import type { z } from "zod";
import { nodeRows, unknownAttempts } from "../core/views.ts";
import { windowSeenBy } from "../core/window-views.ts";
import { isAdmin } from "./identity.ts";
import { liveParts } from "./job-watch.ts";
import { type Route, json, plainRoute } from "./route.ts";

export const onpremRoutes: Route[] = [
  plainRoute({
    method: "GET",
    path: "/onprem/nodes",
    identity: "account",
    summary: "The cluster's nodes with what they have and what is free.",
    reply: nodesResultSchema,
    handle: async ({ context, account }) => {
      const { state } = liveParts(context.parts).loop;
      const viewer = { uid: account.uid, isAdmin: isAdmin(account, context.config.admin_group) };
      const nodes = nodeRows(state, Date.now()).map((row) => {
        return { ...row, windows: row.windows.map((window) => windowSeenBy(state, viewer, window)) };
      });
      const result: NodesResult = {
        cluster: context.config.cluster,
        unknown_attempts: unknownAttempts(state),
        nodes,
      };
      return json(result);
    },
  }),
  plainRoute({
    method: "GET",
    path: "/onprem/whoami",
    identity: "account",
    summary: "Who the kernel says that the caller is, and whether jobs of theirs are allowed.",
    reply: whoamiResultSchema,
    handle: async ({ context, account }) => {
      const result: z.infer<typeof whoamiResultSchema> = {
        uid: account.uid,
        user: account.name,
        groups: account.groups,
        cluster: context.config.cluster,
        version: context.build.version,
        refused: refusalOf(account, context.config.users),
      };
      return json(result);
    },
  }),
];
