/**
 * The routes that manage requests: wait for a result, stream its text, list and cancel. While the store is away they know
 * what is in memory, and of nothing else say that it does not exist. They must never show a request of another user: an unknown id and somebody
 * else's look the same.
 */
import * as z from "zod";
import { headers } from "../../shared/api.ts";
import { SkyError } from "../../shared/errors.ts";
import { liveParts } from "./job-watch.ts";
import type { RequestEntry } from "./request-entry.ts";
import { payloadOf } from "./request-payload.ts";
import { requestedId } from "./requests.ts";
import { type Route, type RouteCall, type RouteReply, json, plainRoute, route } from "./route.ts";

const apiCancelBodySchema = z.object({ request_ids: z.array(z.string().max(100)).max(1000).nullable().default(null) });

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
async function asked(call: RouteCall<unknown>): Promise<RequestEntry> {
  await known(call);
  return lookUp(call, () => askedNow(call));
}

function askedNow(call: RouteCall<unknown>): RequestEntry {
  const { requests } = call.context;
  const id = call.query.get("request_id");
  const entry = id === null ? requests.list(call.account.uid, { all: true })[0] : requests.find(call.account.uid, id);
  if (entry === undefined) {
    throw new SkyError("JobNotFoundError", "You have no requests.");
  }
  return entry;
}

async function get(call: RouteCall<null>): Promise<RouteReply> {
  const entry = await asked(call);
  await entry.done;
  call.context.requests.fetched(entry);
  const payload = payloadOf(entry, false);
  return entry.status === "FAILED" ? json({ detail: payload }, 500) : json(payload);
}

/** Sends what the request has printed; with `follow` (the default) until it ends. */
async function stream(call: RouteCall<null>): Promise<RouteReply> {
  const entry = await asked(call);
  const { outgoing } = call;
  outgoing.writeHead(200, { "Content-Type": "text/plain; charset=utf-8", [headers.streamRequestId]: entry.id });
  outgoing.flushHeaders();
  let sent = 0;
  // A request's text is bounded, so it may wait in the socket's buffer.
  const send = (): void => {
    if (entry.text.length > sent) {
      outgoing.write(entry.text.slice(sent));
      sent = entry.text.length;
    }
  };
  send();
  if (call.query.get("follow")?.toLowerCase() !== "false") {
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
    handle: get,
  }),
  plainRoute({
    method: "GET",
    path: "/api/stream",
    identity: "account",
    summary: "The text that a request prints.",
    handle: stream,
  }),
  plainRoute({
    method: "GET",
    path: "/api/status",
    identity: "account",
    summary: "The caller's requests, newest first; all_status=false: those that have not ended; limit: so many.",
    handle: async (call) => {
      await known(call);
      const { context, account, query } = call;
      const ids = query.getAll("request_ids");
      const entries =
        ids.length === 0
          ? context.requests.list(account.uid, { all: false })
          : ids.map((id) => lookUp(call, () => context.requests.find(account.uid, id)));
      const isOpen = query.get("all_status")?.toLowerCase() === "false" && ids.length === 0;
      const shown = entries.filter((entry) => !isOpen || entry.finishedAt === null);
      const limit = query.get("limit") ?? "";
      const rows = /^[1-9][0-9]{0,5}$/.test(limit) ? shown.slice(0, Number(limit)) : shown;
      return json(rows.map((entry) => payloadOf(entry, true)));
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
