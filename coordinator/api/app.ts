/**
 * Puts the declared routes into a router and does for every call what no route may forget: refuse browsers, agree on the
 * API version, know the account, apply the users policy, bound and check the body. It must never register a handler in
 * another way than through a declared Route. Called by server.ts; the router is also read by the test of identities.
 */
import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import type { HttpBindings } from "@hono/node-server";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import { apiBodyBytesMax, apiVersion, headers } from "../../shared/api.ts";
import { SkyError } from "../../shared/errors.ts";
import type { Uid } from "../../shared/ids.ts";
import type { Account } from "../../shared/users-policy.ts";
import { accountOf, isAdmin, type Peer, requireAdminNow, requireJobUser } from "./identity.ts";
import { errorForUser } from "./request-entry.ts";
import type { Recall } from "./request-keeper.ts";
import { type ApiContext, type Route, type RouteReply, bodyComplaint, errorReply, json, queryOf } from "./route.ts";
import { documentRoute, publish } from "./openapi.ts";
import { adminRoutes } from "./routes-admin.ts";
import { clusterRoutes } from "./routes-cluster.ts";
import { explainRoutes } from "./routes-explain.ts";
import { inspectRoutes } from "./routes-inspect.ts";
import { fileRoutes } from "./routes-files.ts";
import { heldRoutes } from "./routes-held.ts";
import { healthRoutes } from "./routes-health.ts";
import { jobRoutes } from "./routes-jobs.ts";
import { logFileRoutes } from "./routes-log-files.ts";
import { logRoutes } from "./routes-logs.ts";
import { onpremRoutes } from "./routes-onprem.ts";
import { policyRoutes } from "./routes-policies.ts";
import { policyChangeRoutes } from "./routes-policy-changes.ts";
import { quotaRoutes } from "./routes-quotas.ts";
import { requestRoutes } from "./routes-requests.ts";
import { skypilotFileRoutes } from "./routes-skypilot-files.ts";
import { skypilotGpuRoutes } from "./routes-skypilot-gpus.ts";
import { skypilotRoutes } from "./routes-skypilot.ts";
import { submitRoutes } from "./routes-submit.ts";
import { configRoutes } from "./routes-config.ts";
import { isPythonClient, pythonRefusal, requireThisCluster } from "./skypilot-dialect.ts";
import { usageRoutes } from "./routes-usage.ts";
import { windowRoutes } from "./routes-windows.ts";

type Bindings = { Bindings: HttpBindings };

/** The oldest client that is served. Source: SkyPilot's MIN_COMPATIBLE_API_VERSION. */
const oldestApiVersion = 24;

/** Bytes of bodies that one user may have on the way at a time, so that one user cannot fill the memory. */
const bodyBytesPerUserMax = 3 * apiBodyBytesMax;
const smallBodyBytes = 64 * 1024;

/** Every route but the document, which describes them. */
const routes: Route[] = [
  ...healthRoutes,
  ...requestRoutes,
  ...submitRoutes,
  ...jobRoutes,
  ...logRoutes,
  ...logFileRoutes,
  ...clusterRoutes,
  ...skypilotRoutes,
  ...skypilotGpuRoutes,
  ...skypilotFileRoutes,
  ...onpremRoutes,
  ...explainRoutes,
  ...configRoutes,
  ...usageRoutes,
  ...adminRoutes,
  ...inspectRoutes,
  ...heldRoutes,
  ...quotaRoutes,
  ...windowRoutes,
  ...policyRoutes,
  ...policyChangeRoutes,
  ...fileRoutes,
];

function asResponse(reply: RouteReply): Response {
  if (reply.kind === "streamed") {
    return RESPONSE_ALREADY_SENT;
  }
  return Response.json(reply.body, { status: reply.status, headers: reply.headers ?? {} });
}

/** The reply to a client of a version that is not served, or null. A client that names none is served. */
function versionRefusal(declared: string | undefined): RouteReply | null {
  if (declared === undefined) {
    return null;
  }
  const version = /^[0-9]{1,6}$/.test(declared) ? Number(declared) : Number.NaN;
  if (version >= oldestApiVersion) {
    return null;
  }
  const message = Number.isNaN(version)
    ? `The header ${headers.apiVersion} is not a number.`
    : `The client's API version ${version} is too old; this server speaks ${apiVersion} and serves clients from ${oldestApiVersion} on. Upgrade the client.`;
  return json({ error: "version_mismatch", message }, 400);
}

/** Sums the bodies that each user has on the way. */
class BodyBudget {
  readonly #bytes = new Map<number, number>();

  /** Takes the bytes and returns the function that gives them back; null when it is too much. */
  take(uid: number, bytes: number): (() => void) | null {
    const taken = (this.#bytes.get(uid) ?? 0) + bytes;
    if (taken > bodyBytesPerUserMax) {
      return null;
    }
    this.#bytes.set(uid, taken);
    return () => {
      const left = (this.#bytes.get(uid) ?? 0) - bytes;
      if (left > 0) {
        this.#bytes.set(uid, left);
      } else {
        this.#bytes.delete(uid);
      }
    };
  }
}

const tooLarge = (bytesMax = apiBodyBytesMax): RouteReply =>
  errorReply(
    new SkyError(
      "ValueError",
      `The body is over ${bytesMax / 1024 / 1024} MB.`,
      "Put large data into files, not into the task.",
    ),
    413,
  );

/** The body's bytes, or null when there are more than may be. */
async function readBody(incoming: IncomingMessage, bytesMax: number): Promise<Buffer | null> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming) {
    size += (chunk as Buffer).length;
    if (size > bytesMax) {
      return null;
    }
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

/** Reads and checks the body of a route; a reply when it is refused. */
async function bodyOf(
  route: Route,
  incoming: IncomingMessage,
  context: ApiContext,
  uid: Uid,
): Promise<{ body: unknown } | RouteReply> {
  if (route.bodySchema === null) {
    return { body: null };
  }
  const bytes = await readBody(incoming, apiBodyBytesMax);
  if (bytes === null) {
    return tooLarge();
  }
  let value: unknown;
  try {
    const parse = (): unknown => JSON.parse(bytes.toString("utf8"));
    value = bytes.length > smallBodyBytes ? await context.turns.run(uid, parse) : parse();
  } catch {
    return errorReply(new SkyError("ValueError", `${route.path}: the body is not JSON.`), 422);
  }
  const parsed = route.bodySchema.safeParse(value);
  if (!parsed.success) {
    return errorReply(bodyComplaint(route.path, parsed.error), 422);
  }
  context.unknownKeys.note(route.path, value as object, route.bodySchema.shape);
  return { body: parsed.data };
}

/** Throws when this account may not call this route. */
async function requireIdentity(route: Route, account: Account, context: ApiContext): Promise<void> {
  if (route.identity === "jobUser") {
    requireJobUser(account, context.config.users);
  }
  if (route.identity === "admin") {
    if (!isAdmin(account, context.config.admin_group)) {
      context.log.warn({ user: account.name, uid: account.uid, path: route.path }, "refused: not an admin");
    }
    await requireAdminNow(account, context.config.admin_group, context.parts.accounts);
  }
}

/** Answers one call of one route. */
async function answer(route: Route, c: Context<Bindings>, account: Account, context: ApiContext): Promise<RouteReply> {
  await requireIdentity(route, account, context);
  const body = await bodyOf(route, c.env.incoming, context, account.uid);
  if ("kind" in body) {
    return body;
  }
  if (isPythonClient(c.req.header("user-agent"))) {
    requireThisCluster(route.path, body.body, context.config.cluster);
  }
  return route.handle({
    context,
    account,
    path: route.path,
    body: body.body,
    query: queryOf(route, new URL(c.req.url).searchParams),
    header: (name) => c.req.header(name),
    incoming: c.env.incoming,
    outgoing: c.env.outgoing,
  });
}

/** How a stored request is carried out again: as its route does it, with the rights that the account has now. */
function recallFor(context: ApiContext): Recall {
  return async (path, account, body, id) => {
    const known = routes.find((one) => one.method === "POST" && one.path === path);
    if (known?.bodySchema === null || known === undefined) {
      throw new SkyError("NotSupportedError", `This coordinator knows no '${path}' any more.`, "Make the call again.");
    }
    await requireIdentity(known, account, context);
    const parsed = known.bodySchema.safeParse(JSON.parse(body));
    if (!parsed.success) {
      throw bodyComplaint(path, parsed.error);
    }
    const incoming = new IncomingMessage(new Socket());
    await known.handle({
      ...{ context, account, path, body: parsed.data, query: {} },
      header: (name) => (name === headers.requestId.toLowerCase() ? id : undefined),
      // Such routes answer with a value; nobody reads what they would write here.
      ...{ incoming, outgoing: new ServerResponse(incoming) },
    });
  };
}

/** The router and the routes that were declared in it. `peerOf` gives what the kernel said about a connection. */
export function buildApp(
  context: ApiContext,
  peerOf: (incoming: IncomingMessage) => Peer | null,
): { app: OpenAPIHono<Bindings>; declared: readonly Route[]; recall: Recall } {
  const app = new OpenAPIHono<Bindings>();
  const budget = new BodyBudget();
  const call = async (route: Route, c: Context<Bindings>): Promise<RouteReply> => {
    const { incoming, outgoing } = c.env;
    const peer = peerOf(incoming);
    if (peer === null) {
      outgoing.destroy();
      return { kind: "streamed" };
    }
    const refusal = peer.refusal ?? (incoming.headers.origin === undefined ? null : 403);
    if (refusal !== null) {
      outgoing.shouldKeepAlive = false;
      return errorReply(refusalError(refusal), refusal);
    }
    const mismatch = versionRefusal(c.req.header(headers.apiVersion));
    if (mismatch !== null) {
      return mismatch;
    }
    const unsaid = route.rawBytesMax === undefined ? apiBodyBytesMax : 0;
    const declaredBytes = Number(incoming.headers["content-length"] ?? unsaid);
    if (declaredBytes > (route.rawBytesMax ?? apiBodyBytesMax)) {
      outgoing.shouldKeepAlive = false;
      return tooLarge(route.rawBytesMax);
    }
    const release =
      route.bodySchema === null ? () => undefined : budget.take(peer.uid, Math.max(declaredBytes, smallBodyBytes));
    if (release === null) {
      outgoing.shouldKeepAlive = false;
      return errorReply(
        new SkyError("ServerUnavailableError", "You have too many large bodies on the way.", "Try again."),
        429,
      );
    }
    let account: Account | null = null;
    try {
      account = await accountOf(peer.uid, context.parts.accounts);
      return await answer(route, c, account, context);
    } catch (error) {
      const refusal = errorForUser(error, context.log);
      const isPython = isPythonClient(c.req.header("user-agent"));
      return isPython ? pythonRefusal(route, refusal, account, context) : errorReply(refusal);
    } finally {
      release();
    }
  };
  const handler =
    (route: Route) =>
    async (c: Context<Bindings>): Promise<Response> => {
      try {
        return asResponse(await call(route, c));
      } catch (error) {
        return asResponse(errorReply(errorForUser(error, context.log)));
      }
    };
  const declared = [...routes, documentRoute(app, context.build.version)];
  for (const route of declared) {
    app.on(route.method, route.path, handler(route));
    publish(app, route);
  }
  app.notFound((c) =>
    asResponse(errorReply(new SkyError("NotSupportedError", `There is no ${c.req.method} ${c.req.path} here.`), 404)),
  );
  return { app, declared, recall: recallFor(context) };
}

function refusalError(status: 403 | 429 | 503): SkyError {
  if (status === 403) {
    return new SkyError("PermissionDeniedError", "Calls from web pages (with an Origin header) are refused.");
  }
  const text =
    status === 429
      ? "You have too many open connections to the coordinator."
      : "The coordinator has too many open connections.";
  return new SkyError("ServerUnavailableError", text, "Close some, or try again in a moment.");
}
