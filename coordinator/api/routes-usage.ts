/**
 * Usage: who has had how much of the cluster in a period, and which accelerators are held and do nothing. Ordinary users
 * are told of their own use; admins of everybody's. It must never show a name that the config hides.
 */
import type { Account } from "../../shared/users-policy.ts";
import {
  type IdleResult,
  idleResultSchema,
  type UsageResult,
  usageQuerySchema,
  usageResultSchema,
} from "../../shared/usage-api.ts";
import { heldLines } from "../core/counted.ts";
import { idleRows } from "../core/idle.ts";
import { readUsage } from "../usage-reader.ts";
import { isAdmin, requireAdminNow } from "./identity.ts";
import { liveParts } from "./job-watch.ts";
import { type ApiContext, json, plainRoute, type Route } from "./route.ts";

const dayMs = 86_400_000;
const defaultDays = 7;
/** Rows in one answer. */
const rowsMax = 10_000;

/** Admins by the groups that they have at this moment. */
async function seesAll(account: Account, { config, parts }: ApiContext): Promise<boolean> {
  if (!isAdmin(account, config.admin_group)) {
    return false;
  }
  return requireAdminNow(account, config.admin_group, parts.accounts).then(
    () => true,
    () => false,
  );
}

export const usageRoutes: Route[] = [
  plainRoute({
    method: "GET",
    path: "/onprem/usage",
    identity: "account",
    summary:
      "Accelerator-hours and CPU-hours of a period: one's own, for admins everybody's. What runs counts up to now.",
    query: usageQuerySchema,
    reply: usageResultSchema,
    handle: async ({ context, account, query }) => {
      const now = Date.now();
      const { loop, store } = liveParts(context.parts);
      const all = await seesAll(account, context);
      const to = Math.round(query.to === undefined ? now : query.to * 1000);
      const from = Math.round(query.from === undefined ? to - defaultDays * dayMs : query.from * 1000);
      const { by } = query;
      const held = heldLines(loop.state, now);
      const pending = await store.admin.pendingUsage();
      const question = { from: Math.max(0, from), to, by, uid: all ? null : account.uid };
      const { rows, total, damaged } = await readUsage(context.config.state_dir, question, [
        ...pending.values(),
        ...held,
      ]);
      const result: UsageResult = {
        ...{
          cluster: context.config.cluster,
          from: question.from / 1000,
          to: to / 1000,
          by,
          scope: all ? "all" : "own",
        },
        ...{ rows: rows.slice(0, rowsMax), more: Math.max(0, rows.length - rowsMax), total, damaged },
      };
      return json(result);
    },
  }),
  plainRoute({
    method: "GET",
    path: "/onprem/usage/idle",
    identity: "account",
    summary: "Accelerators that are held and idle, longest first; whose they are, where the caller may know it.",
    reply: idleResultSchema,
    handle: async ({ context, account }) => {
      const { loop } = liveParts(context.parts);
      const asker = { uid: account.uid, groups: account.groups, isAdmin: await seesAll(account, context) };
      const now = Date.now();
      const idle = idleRows(loop.state, asker, now);
      const result: IdleResult = { cluster: context.config.cluster, now: now / 1000, idle };
      return json(result);
    },
  }),
];
