/**
 * How a POST becomes a request: it is started in the table under the client's own id or a new one, the reply is `null`
 * with the id in a header, and the result waits for `/api/get`. It must never wait for the call itself. Used by routes.
 */
import { headers } from "../../shared/api.ts";
import type { RouteCall, RouteReply } from "./route.ts";
import { json } from "./route.ts";
import { liveParts } from "./job-watch.ts";
import { type Call, type RequestSpec, requestedId } from "./requests.ts";

/** Starts the call and answers with its id. Throws when the coordinator is not ready or holds too many requests. */
export function startCall(
  call: RouteCall<unknown>,
  spec: Pick<RequestSpec, "name" | "cluster" | "readOnly">,
  run: (running: Call) => Promise<unknown>,
): RouteReply {
  liveParts(call.context.parts);
  const entry = call.context.requests.start(
    { ...spec, account: call.account, id: requestedId(call.header(headers.requestId.toLowerCase())), stream: false },
    run,
  );
  return json(null, 200, { [headers.requestId]: entry.id });
}
