/**
 * How a POST becomes a request: it is started in the table under the client's own id or a new one, the reply is `null`
 * with the id in a header, and the result waits for `/api/get`. A call that changes something is on disk when its id is
 * given out. It must never wait for the call itself. Used by routes.
 */
import { headers } from "../../shared/api.ts";
import type { RouteCall, RouteReply } from "./route.ts";
import { json } from "./route.ts";
import { liveParts } from "./job-watch.ts";
import type { Call, RequestSpec } from "./request-entry.ts";
import { requestedId } from "./requests.ts";

/** Starts the call and answers with its id. Rejects when the coordinator is not ready or holds too many requests. */
export async function startCall(
  call: RouteCall<unknown>,
  spec: Pick<RequestSpec, "name" | "cluster" | "readOnly" | "early">,
  run: (running: Call) => Promise<unknown>,
): Promise<RouteReply> {
  const { requests } = call.context;
  liveParts(call.context.parts);
  const id = requestedId(call.header(headers.requestId.toLowerCase()));
  const known = { ...spec, account: call.account, id, stream: false };
  if (spec.readOnly) {
    return json(null, 200, { [headers.requestId]: requests.start(known, run).id });
  }
  await requests.ready();
  const stored = { path: call.path, body: () => JSON.stringify(call.body) };
  const entry = requests.start({ ...known, stored }, run);
  await entry.kept;
  return json(null, 200, { [headers.requestId]: entry.id });
}
