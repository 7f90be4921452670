/**
 * What a route of the API is: a method, a path, the identity it demands, the body it takes and what it does. Every route
 * is declared by one of these values, so the router, the checks of identity and the published document cannot differ.
 * It must never be possible to add a route without saying who may call it. Used by server.ts and every routes-*.ts.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { z } from "zod";
import type { RequestTable } from "./requests.ts";
import type { CoordinatorConfig } from "../config.ts";
import type { Log } from "../log.ts";
import type { ApiParts } from "../parts.ts";
import { SkyError, type SkyErrorType } from "../../shared/errors.ts";
import type { Account } from "../../shared/users-policy.ts";
import type { LogTimes } from "./log-rank.ts";
import type { WaitingNotices } from "./logs.ts";
import type { ZipUploads } from "../zips/zips.ts";
import type { Turns } from "./turns.ts";
import type { UnknownKeys } from "./unknown-keys.ts";

/**
 * `account`: any account of the head machine. `jobUser`: an account whose jobs the users policy allows. `admin`: root, or
 * a member of the group that the config names.
 */
export type RouteIdentity = "account" | "jobUser" | "admin";

export interface BuildVersion {
  version: string;
  commit: string;
}

/** What every route is given. */
export interface ApiContext {
  parts: ApiParts;
  config: CoordinatorConfig;
  build: BuildVersion;
  requests: RequestTable;
  notices: WaitingNotices;
  logTimes: LogTimes;
  turns: Turns;
  unknownKeys: UnknownKeys;
  zips: ZipUploads;
  log: Log;
}

/** One call as a route sees it. `body` is checked by the route's own schema. */
export interface RouteCall<Body> {
  context: ApiContext;
  account: Account;
  /** Of the route itself. */
  path: string;
  body: Body;
  query: URLSearchParams;
  /** A header by its lower-case name. */
  header: (name: string) => string | undefined;
  /** For routes that read their body themselves (`rawBytesMax`); its length is theirs to bound. */
  incoming: IncomingMessage;
  /** For routes that write their reply themselves. */
  outgoing: ServerResponse;
}

/** A JSON reply; `streamed` when the route has written to `outgoing`. */
export type RouteReply = JsonReply | { kind: "streamed" };
interface JsonReply {
  kind: "json";
  status: number;
  body: unknown;
  headers: Record<string, string>;
}

export interface Route {
  method: "GET" | "POST";
  /** A part `:name` stands for any text; the route reads it from `incoming.url`. */
  path: string;
  identity: RouteIdentity;
  summary: string;
  /** SkyPilot's routes drop unknown keys (newer clients add fields); ours refuse them. */
  bodySchema: z.ZodObject | null;
  /** The body is bytes (octet-stream), at most so many; the route reads them from `incoming`. Absent: no bytes. */
  rawBytesMax?: number;
  handle: (call: RouteCall<unknown>) => Promise<RouteReply>;
}

/** Declares a route; the handler's body has the type of its schema. */
export function route<Schema extends z.ZodObject>(
  definition: Omit<Route, "bodySchema" | "handle"> & {
    body: Schema;
    handle: (call: RouteCall<z.infer<Schema>>) => Promise<RouteReply>;
  },
): Route {
  const { body, handle, ...rest } = definition;
  return { ...rest, bodySchema: body, handle: (call) => handle(call as RouteCall<z.infer<Schema>>) };
}

/** Declares a route without a body, or with `rawBytesMax` one whose body is bytes. */
export function plainRoute(
  definition: Omit<Route, "bodySchema" | "handle"> & { handle: (call: RouteCall<null>) => Promise<RouteReply> },
): Route {
  const { handle, ...rest } = definition;
  return { ...rest, bodySchema: null, handle: (call) => handle(call as RouteCall<null>) };
}

export function json(body: unknown, status = 200, headers: Record<string, string> = {}): JsonReply {
  return { kind: "json", status, body, headers };
}

/** HTTP status of a refusal that is not the failure of a request. */
const statuses: Partial<Record<SkyErrorType, number>> = {
  PermissionDeniedError: 403,
  JobNotFoundError: 404,
  ServerUnavailableError: 503,
  InternalError: 500,
};

/** An error as a reply: `{detail: {type, message, hint}}`. */
export function errorReply(error: SkyError, status = statuses[error.type] ?? 400): JsonReply {
  const body = { detail: { type: error.type, message: error.message, hint: error.hint } };
  return json(body, status, status === 503 || status === 429 ? { "Retry-After": "1" } : {});
}

/** The first complaint of a schema, as a sentence that names the place. */
export function bodyComplaint(path: string, error: z.ZodError): SkyError {
  const issue = error.issues[0];
  const place = issue === undefined || issue.path.length === 0 ? "the body" : `'${issue.path.join(".")}'`;
  return new SkyError("ValueError", `${path}: ${place}: ${issue?.message ?? "is not valid"}.`.slice(0, 1000));
}
