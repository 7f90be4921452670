/**
 * What SkyPilot's Python client needs otherwise than ours: it shows a refusal only when that is the failure of a request
 * or a plain text, and it invents names for clusters. It is known by its User-Agent; nothing is allowed or refused by
 * that which would not be anyway. Called by app.ts and routes-jobs.ts.
 */
import { headers } from "../../shared/api.ts";
import { SkyError } from "../../shared/errors.ts";
import { type ApiContext, errorReply, json, type Route, type RouteReply } from "./route.ts";
import type { Account } from "../../shared/users-policy.ts";

/** `python-requests/2`, `python-httpx/0`, `Python/3.11 aiohttp/3`. */
export function isPythonClient(userAgent: string | undefined): boolean {
  return userAgent !== undefined && /^python/i.test(userAgent);
}

/** Routes whose answer the client reads itself; all others it asks for an id, whose outcome it then fetches. */
const answeredAtOnce = [
  "/api/",
  "/onprem/",
  "/users/",
  "/upload_v2",
  "/validate",
  "/download",
  "/openapi",
  "/api/openapi",
];

function isRequest(path: string): boolean {
  return path === "/download_logs" || !answeredAtOnce.some((start) => path.startsWith(start));
}

function textOf(error: SkyError): string {
  return error.hint === null ? error.message : `${error.message}\n${error.hint}`;
}

/**
 * The refusal as the client can show it: the failure of a request, or text. While the coordinator is not ready the client
 * tries again by itself.
 */
export function pythonRefusal(
  route: Pick<Route, "path">,
  error: SkyError,
  account: Account | null,
  { requests }: ApiContext,
): RouteReply {
  const { status, headers: more } = errorReply(error);
  if (status === 503 || !isRequest(route.path) || account === null) {
    return json({ detail: textOf(error) }, status, more);
  }
  const name = route.path.slice(1).replaceAll("/", ".");
  const spec = { name, account, cluster: null, id: null, readOnly: true, stream: false };
  const entry = requests.start(spec, () => Promise.reject(error));
  return json(null, 200, { [headers.requestId]: entry.id });
}

/** Throws when a call of the Python client is about another cluster than this one, which is all that there is here. */
export function requireThisCluster(path: string, body: unknown, cluster: string): void {
  const { cluster_name, cluster: other } = (body ?? {}) as { cluster_name?: unknown; cluster?: unknown };
  const name = cluster_name ?? other;
  if (typeof name !== "string" || name === cluster || path.startsWith("/onprem/")) {
    return;
  }
  const shown = name.slice(0, 100);
  if (path === "/launch") {
    throw new SkyError(
      "NotSupportedError",
      `There is one cluster here, '${cluster}': a cluster '${shown}' cannot be made from machines of one's own.`,
      `Name it: sky launch -c ${cluster} …`,
    );
  }
  throw new SkyError("ClusterDoesNotExist", `Cluster '${shown}' does not exist.`, `The cluster here is '${cluster}'.`);
}
