/**
 * The routes that manage requests: wait for a result, stream its text, list and cancel. They work while the store is
 * away, because results are in memory. They must never show a request of another user: an unknown id and somebody
 * else's look the same.
 */
import * as z from "zod";
import { headers } from "../../shared/api.ts";
import { SkyError } from "../../shared/errors.ts";
import type { RequestEntry } from "./requests.ts";
import { payloadOf, requestedId } from "./requests.ts";
import { type Route, type RouteCall, type RouteReply, json, plainRoute, route } from "./route.ts";

const apiCancelBodySchema = z.object({ request_ids: z.array(z.string().max(100)).max(1000).nullable().default(null) });

/** The request that `request_id` names; without it the caller's latest. */
function asked(call: RouteCall<unknown>): RequestEntry {
  const { requests } = call.context;
  const id = call.query.get("request_id");
  const entry = id === null ? requests.list(call.account.uid, { all: true })[0] : requests.find(call.account.uid, id);
  if (entry === undefined) {
    throw new SkyError("JobNotFoundError", "You have no requests.");
  }
  return entry;
}

async function get(call: RouteCall<null>): Promise<RouteReply> {
  const entry = asked(call);
  await entry.done;
  call.context.requests.fetched(entry);
  const payload = payloadOf(entry, false);
  return entry.status === "FAILED" ? json({ detail: payload }, 500) : json(payload);
}

/** Sends what the request has printed; with `follow` (the default) until it ends. */
async function stream(call: RouteCall<null>): Promise<RouteReply> {
  const entry = asked(call);
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
  if (call.query.get("follow") !== "false") {
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
    summary: "The caller's requests, newest first.",
    handle: async ({ context, account, query }) => {
      const ids = query.getAll("request_ids");
      const entries =
        ids.length === 0
          ? context.requests.list(account.uid, { all: false })
          : ids.map((id) => context.requests.find(account.uid, id));
      return json(entries.map((entry) => payloadOf(entry, true)));
    },
  }),
  route({
    method: "POST",
    path: "/api/cancel",
    identity: "account",
    summary: "Cancels running requests of the caller (jobs are cancelled by /cancel).",
    body: apiCancelBodySchema,
    handle: async ({ context, account, body, header }) => {
      const cancelled = context.requests.cancel(account.uid, body.request_ids);
      const id = requestedId(header(headers.requestId.toLowerCase()));
      const entry = context.requests.start(
        { name: "api_cancel", cluster: null, account, id, readOnly: true, stream: false },
        async () => cancelled,
      );
      return json(null, 200, { [headers.requestId]: entry.id });
    },
  }),
];
