/**
 * What admins do with nodes: look at them, drain, resume and remove them, give them a new key, and end what the state
 * does not know. Every change is on disk before it is answered, and every one is a line in the log that says who did what
 * and why. It must never act for a caller whom the route's identity has not let through. Unknown keys are errors.
 */
import { setTimeout as delay } from "node:timers/promises";
import {
  type AdminNodeRow,
  type AdminNodesResult,
  adminNodesResultSchema,
  drainBodySchema,
  endUnknownBodySchema,
  removeBodySchema,
  resumeBodySchema,
  rotateKeyBodySchema,
  type RotateKeyResult,
  type UnknownResult,
  unknownResultSchema,
} from "../../shared/admin-api.ts";
import { SkyError } from "../../shared/errors.ts";
import { didYouMean } from "../../shared/near-match.ts";
import { build } from "../../shared/version.ts";
import { adminNodeRows, unknownRows } from "../core/admin-views.ts";
import { knowsAdmin } from "../core/node-keys.ts";
import type { AdminWish, State } from "../core/state.ts";
import type { Loop } from "../parts.ts";
import { startCall } from "./call.ts";
import { liveParts } from "./job-watch.ts";
import { json, plainRoute, type Route, route, type RouteCall } from "./route.ts";

/** How long a node is given to come back with its new key. */
const keyUsedMs = 15_000;
const lookEveryMs = 100;
/** Nodes that exchange their key now: of two keys at a time, the node could keep the one that is not expected. */
const rotating = new Set<string>();

/** One line for each thing that an admin did. */
export function record(call: RouteCall<unknown>, action: string, fields: Record<string, unknown>): void {
  const { account, context } = call;
  context.log.info({ admin: account.name, uid: account.uid, action, ...fields }, "an admin acted");
}

/** Throws when one of them is no node of this cluster; nothing has been done then. */
export function requireNodes(state: State, names: readonly string[]): void {
  for (const name of names) {
    if (!state.nodes.has(name)) {
      const known = [...state.nodes.keys()];
      const near = didYouMean(name, known);
      const text = `There is no node '${name}' in this cluster.`;
      throw new SkyError("ValueError", text, near ?? `Its nodes: ${known.slice(0, 20).join(", ")}.`);
    }
  }
}

function rowsOf(state: State, names: readonly string[]): AdminNodeRow[] {
  return adminNodeRows(state, Date.now()).filter((row) => names.includes(row.name));
}

/** Makes the same wish for each of the nodes; resolves when all of it is on disk. */
async function wishFor(loop: Loop, names: readonly string[], wish: AdminWish): Promise<AdminNodeRow[]> {
  await Promise.all(names.map((node) => loop.dispatch({ type: "nodeAdminChanged", node, wish })));
  return rowsOf(loop.state, names);
}

/** `alice's job 3, bob's job 1 and 4 more`. */
function jobsText(row: AdminNodeRow): string {
  const jobs = [...row.jobs, ...row.unknown];
  const named = jobs.slice(0, 5).map((job) => `${job.user}'s job ${job.job_id}`);
  const rest = jobs.length - named.length;
  return `${named.join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
}

/** Throws while jobs run on one of the nodes. */
function requireEmpty(rows: readonly AdminNodeRow[]): void {
  const row = rows.find((one) => one.jobs.length + one.unknown.length > 0);
  if (row !== undefined) {
    throw new SkyError(
      "ValueError",
      `Node '${row.name}' still runs ${jobsText(row)}. Nothing was removed.`,
      `Empty it first: sky admin drain ${row.name} --reason '…' --wait\n` +
        `Or end them now: sky admin remove ${row.name} --force`,
    );
  }
}

/** Throws for a node that is removed: draining it would let it in again. */
function requireNotRemoved(state: State, names: readonly string[]): void {
  const removed = names.find((name) => state.nodes.get(name)?.admin.state === "removed");
  if (removed !== undefined) {
    const hint = `Take it in again first: sky admin resume ${removed}`;
    throw new SkyError("ValueError", `Node '${removed}' is removed.`, hint);
  }
}

/** Everything that is asked of a node before it is told to make a key. */
async function rotateKey(call: RouteCall<{ node: string }>): Promise<RotateKeyResult> {
  const { loop } = liveParts(call.context.parts);
  const name = call.body.node;
  requireNodes(loop.state, [name]);
  requireNotRemoved(loop.state, [name]);
  const node = loop.state.nodes.get(name);
  if (node?.connected !== true) {
    const hint = `A new key is made by the node itself: start its agent (systemctl start sky-agent on ${name}).`;
    throw new SkyError("ValueError", `Node '${name}' is not connected, so it cannot make a new key.`, hint);
  }
  if (!knowsAdmin(node)) {
    const hint = "Upgrade the agent on that machine first.";
    throw new SkyError("NotSupportedError", `The agent of '${name}' (${node.version}) knows no new keys.`, hint);
  }
  if (rotating.has(name)) {
    throw new SkyError("ValueError", `Node '${name}' is exchanging its key already.`, "Try again in a quarter minute.");
  }
  rotating.add(name);
  try {
    return await exchangeKey(call, name);
  } finally {
    rotating.delete(name);
  }
}

async function exchangeKey(call: RouteCall<unknown>, name: string): Promise<RotateKeyResult> {
  const { loop, fleet } = liveParts(call.context.parts);
  const key = await fleet.makeKey(name);
  record(call, "rotate-key", { node: name, key });
  await loop.dispatch({ type: "keyMade", node: name, key });
  const until = performance.now() + keyUsedMs;
  const change = (): { key: string; used: boolean } | null => loop.state.nodes.get(name)?.admin.key ?? null;
  while (change()?.key === key && change()?.used === false && performance.now() < until) {
    await delay(lookEveryMs);
  }
  return { node: name, key, used: change()?.key === key && change()?.used === true };
}

async function endUnknown(call: RouteCall<{ attempt: string }>): Promise<UnknownResult["attempts"]> {
  const { loop } = liveParts(call.context.parts);
  const rows = unknownRows(loop.state).filter((row) => row.attempt === call.body.attempt);
  if (rows.length === 0) {
    const text = `No node reports an attempt '${call.body.attempt}' that the coordinator does not know.`;
    throw new SkyError("ValueError", text, "`sky admin unknown` lists those that there are.");
  }
  record(call, "end-unknown", { attempt: call.body.attempt, nodes: rows[0]?.nodes });
  await loop.dispatch({ type: "unknownEnded", attempt: call.body.attempt });
  return rows;
}

const changes: Route[] = [
  route({
    method: "POST",
    path: "/onprem/admin/drain",
    identity: "admin",
    summary: "Starts nothing new on the nodes; what still runs at the deadline is ended.",
    body: drainBodySchema,
    handle: async (call) =>
      startCall(call, { name: "admin.drain", cluster: null, readOnly: false }, async () => {
        const { loop } = liveParts(call.context.parts);
        const { nodes, reason, deadline_seconds } = call.body;
        requireNodes(loop.state, nodes);
        requireNotRemoved(loop.state, nodes);
        record(call, "drain", { nodes, reason, deadlineSeconds: deadline_seconds });
        const deadline = deadline_seconds === null ? null : Date.now() + Math.round(deadline_seconds * 1000);
        return wishFor(loop, nodes, { state: "draining", reason, by: call.account.name, deadline });
      }),
  }),
  route({
    method: "POST",
    path: "/onprem/admin/resume",
    identity: "admin",
    summary: "Lets drained or removed nodes take jobs again.",
    body: resumeBodySchema,
    handle: async (call) =>
      startCall(call, { name: "admin.resume", cluster: null, readOnly: false }, async () => {
        const { loop } = liveParts(call.context.parts);
        const { nodes } = call.body;
        requireNodes(loop.state, nodes);
        record(call, "resume", { nodes });
        return wishFor(loop, nodes, { state: "open", reason: null, by: call.account.name, deadline: null });
      }),
  }),
  route({
    method: "POST",
    path: "/onprem/admin/remove",
    identity: "admin",
    summary: "Refuses the nodes' keys and treats the nodes as absent until they are resumed.",
    body: removeBodySchema,
    handle: async (call) =>
      startCall(call, { name: "admin.remove", cluster: null, readOnly: false }, async () => {
        const { loop } = liveParts(call.context.parts);
        const { nodes, reason, force } = call.body;
        requireNodes(loop.state, nodes);
        if (!force) {
          requireEmpty(rowsOf(loop.state, nodes));
        }
        record(call, "remove", { nodes, reason, force });
        return wishFor(loop, nodes, { state: "removed", reason, by: call.account.name, deadline: null });
      }),
  }),
  route({
    method: "POST",
    path: "/onprem/admin/rotate-key",
    identity: "admin",
    summary: "Has a node make a new key; the old one is refused once the node has connected with the new one.",
    body: rotateKeyBodySchema,
    handle: async (call) =>
      startCall(call, { name: "admin.rotate-key", cluster: null, readOnly: false }, () => rotateKey(call)),
  }),
  route({
    method: "POST",
    path: "/onprem/admin/unknown/end",
    identity: "admin",
    summary: "Ends an attempt that nodes run and the coordinator's state does not know.",
    body: endUnknownBodySchema,
    handle: async (call) =>
      startCall(call, { name: "admin.end-unknown", cluster: null, readOnly: false }, () => endUnknown(call)),
  }),
];

export const adminRoutes: Route[] = [
  ...changes,
  plainRoute({
    method: "GET",
    path: "/onprem/admin/nodes",
    identity: "admin",
    summary: "The nodes with everything that is known of them.",
    reply: adminNodesResultSchema,
    handle: async ({ context }) => {
      const { loop } = liveParts(context.parts);
      const nodes = adminNodeRows(loop.state, Date.now());
      const result: AdminNodesResult = { cluster: context.config.cluster, version: build, nodes };
      return json(result);
    },
  }),
  plainRoute({
    method: "GET",
    path: "/onprem/admin/unknown",
    identity: "admin",
    summary: "Attempts that nodes run and the coordinator's state does not know.",
    reply: unknownResultSchema,
    handle: async ({ context }) => {
      const { loop } = liveParts(context.parts);
      const result: UnknownResult = { cluster: context.config.cluster, attempts: unknownRows(loop.state) };
      return json(result);
    },
  }),
];
