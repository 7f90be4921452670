/**
 * The routes that manage requests: wait for a result, stream its text, list and cancel. While the store is away they know
 * what is in memory, and of nothing else say that it does not exist. They must never show a request of another user: an unknown id and somebody
 * else's look the same.
 */
import * as z from "zod";
import { headers, requestPayloadSchema } from "../../shared/api.ts";
import { SkyError } from "../../shared/errors.ts";
import { liveParts } from "./job-watch.ts";
import type { RequestEntry } from "./request-entry.ts";
import { payloadOf } from "./request-payload.ts";
import { requestedId } from "./requests.ts";
import { type Route, type RouteCall, type RouteReply, json, plainRoute, route } from "./route.ts";

const apiCancelBodySchema = z.object({ request_ids: z.array(z.string().max(100)).max(1000).nullable().default(null) });

/** True unless it says false. */
const notFalseSchema = z
  .string()
  .optional()
  .transform((text) => text?.toLowerCase() !== "false");
/** A number as Python's client writes it into a query; its `None` and what is no such number are none. */
const countSchema = z
  .string()
  .optional()
  .transform((text) => (text !== undefined && /^[1-9][0-9]{0,5}$/.test(text) ? Number(text) : null));
const requestQuerySchema = z.object({ request_id: z.string().optional() });
const streamQuerySchema = z.object({
  ...requestQuerySchema.shape,
  follow: notFalseSchema,
  tail: countSchema,
  log_path: z.string().optional(),
});
const statusQuerySchema = z.object({
  request_ids: z.array(z.string()).default([]),
  all_status: notFalseSchema,
  limit: countSchema,
  fields: z.array(z.string()).default([]),
  cluster_name: z.string().optional(),
});

/** Waits until what was stored before is in the table; while the store is away, only what is in memory is known. */
async function known(call: RouteCall<unknown>): Promise<void> {
  if (!("unavailable" in call.context.parts.current())) {
    await call.context.requests.ready();
  }
}

/** Does the look-up. Without the store nobody can say of a request that it does not exist. */
function lookUp<T>(call: RouteCall<unknown>, look: () => T): T {
  try {
    return look();
  } catch (error) {
    if (error instanceof SkyError && error.type === "JobNotFoundError") {
      liveParts(call.context.parts);
    }
    throw error;
  }
}

/** The request that `request_id` names; without it the caller's latest. */
async function asked(call: RouteCall<null, z.infer<typeof requestQuerySchema>>): Promise<RequestEntry> {
  await known(call);
  return lookUp(call, () => askedNow(call));
}

function askedNow(call: RouteCall<null, z.infer<typeof requestQuerySchema>>): RequestEntry {
  const { requests } = call.context;
  const { request_id: id } = call.query;
  const entry =
    id === undefined ? requests.list(call.account.uid, { all: true })[0] : requests.find(call.account.uid, id);
  if (entry === undefined) {
    throw new SkyError("JobNotFoundError", "You have no requests.");
  }
  return entry;
}

async function get(call: RouteCall<null, z.infer<typeof requestQuerySchema>>): Promise<RouteReply> {
  const entry = await asked(call);
  await entry.done;
  call.context.requests.fetched(entry);
  const payload = payloadOf(entry, false);
  return entry.status === "FAILED" ? json({ detail: payload }, 500) : json(payload);
}

/** Where the last `lines` lines of a text begin; null or 0: all of it. */
function tailStart(text: string, lines: number | null): number {
  let at = text.endsWith("\n") ? text.length - 1 : text.length;
  for (let left = lines ?? 0; left > 0; left -= 1) {
    at = at <= 0 ? -1 : text.lastIndexOf("\n", at - 1);
    if (at < 0) {
      return 0;
    }
  }
  return lines === null || lines === 0 ? 0 : at + 1;
}

/** Sends what the request has printed, or its last lines; with `follow` (the default) until it ends. */
async function stream(call: RouteCall<null, z.infer<typeof streamQuerySchema>>): Promise<RouteReply> {
  const { outgoing, query } = call;
  if (query.log_path !== undefined) {
    throw new SkyError("NotSupportedError", "'log_path' cannot be used here: files of the server are shown to nobody.");
  }
  const entry = await asked(call);
  outgoing.writeHead(200, { "Content-Type": "text/plain; charset=utf-8", [headers.streamRequestId]: entry.id });
  outgoing.flushHeaders();
  let sent = tailStart(entry.text, query.tail);
  // A request's text is bounded, so it may wait in the socket's buffer.
  const send = (): void => {
    if (entry.text.length > sent) {
      outgoing.write(entry.text.slice(sent));
      sent = entry.text.length;
    }
  };
  send();
  if (query.follow) {
    entry.textListeners.add(send);
    await Promise.race([entry.done, new Promise((resolve) => outgoing.once("close", resolve))]);
    entry.textListeners.delete(send);
    send();
  }
  outgoing.end();
  return { kind: "streamed" };
}

export const requestRoutes: Route[] = [
  plainRoute({
    method: "GET",
    path: "/api/get",
    identity: "account",
    summary: "Waits for a request and gives its result; HTTP 500 with the payload in `detail` when it failed.",
    query: requestQuerySchema,
    reply: requestPayloadSchema,
    handle: get,
  }),
  plainRoute({
    method: "GET",
    path: "/api/stream",
    identity: "account",
    summary: "The text that a request prints; tail: only the last so many lines of what there is.",
    query: streamQuerySchema,
    reply: "text",
    handle: stream,
  }),
  plainRoute({
    method: "GET",
    path: "/api/status",
    identity: "account",
    summary:
      "The caller's requests, newest first; all_status=false: those that have not ended; limit: so many; cluster_name: " +
      "those to this cluster; without `error` among fields, where any are named, errors are left out.",
    query: statusQuerySchema,
    reply: z.array(requestPayloadSchema),
    handle: async (call) => {
      await known(call);
      const { context, account, query } = call;
      const ids = query.request_ids;
      const entries =
        ids.length === 0
          ? context.requests.list(account.uid, { all: false })
          : ids.map((id) => lookUp(call, () => context.requests.find(account.uid, id)));
      const isOpen = !query.all_status && ids.length === 0;
      const shown = entries
        .filter((entry) => !isOpen || entry.finishedAt === null)
        .filter((entry) => query.cluster_name === undefined || entry.spec.cluster === query.cluster_name);
      const rows = query.limit === null ? shown : shown.slice(0, query.limit);
      const withErrors = query.fields.length === 0 || query.fields.includes("error");
      return json(rows.map((entry) => ({ ...payloadOf(entry, true), ...(withErrors ? {} : { error: "null" }) })));
    },
  }),
  route({
    method: "POST",
    path: "/api/cancel",
    identity: "account",
    summary: "Cancels running requests of the caller (jobs are cancelled by /cancel).",
    body: apiCancelBodySchema,
    handle: async (call) => {
      const { context, account, body, header } = call;
      await known(call);
      const cancelled = await context.requests.cancel(account.uid, body.request_ids);
      const id = requestedId(header(headers.requestId.toLowerCase()));
      const entry = context.requests.start(
        { name: "api_cancel", cluster: null, account, id, readOnly: true, stream: false },
        async () => cancelled,
      );
      return json(null, 200, { [headers.requestId]: entry.id });
    },
  }),
];
