/**
 * What a route of the API is: a method, a path, the identity it demands, what it takes, answers and does. Every route
 * is declared by one of these values, so the router, the checks of identity and the published document cannot differ.
 * It must never be possible to add a route without saying who may call it. Used by server.ts and every routes-*.ts.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import * as z from "zod";
import type { RequestTable } from "./requests.ts";
import type { CoordinatorConfig } from "../config.ts";
import type { Log } from "../log.ts";
import type { ApiParts } from "../parts.ts";
import type { PolicyChanges } from "../policy/policy-changes.ts";
import type { WorkloadPolicies } from "../policy/workload-policies.ts";
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
  /** Declared policies: the gate of every submission, and what admins change of them. */
  policies: WorkloadPolicies;
  policyChanges: PolicyChanges;
  log: Log;
}

/** One call as a route sees it. `body` and `query` are checked by the route's own schemas. */
export interface RouteCall<Body, Query = unknown> {
  context: ApiContext;
  account: Account;
  /** Of the route itself. */
  path: string;
  body: Body;
  query: Query;
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
  /** What may stand behind the `?`, all of it as text; null: nothing that the route would read. */
  querySchema: z.ZodObject | null;
  /**
   * What a 200 answers: JSON of this form, text or bytes that are streamed, or `null` and the id of a request in a header,
   * whose result waits for /api/get.
   */
  reply: z.ZodType | "text" | "bytes" | "request";
  /** The body is bytes (octet-stream), at most so many; the route reads them from `incoming`. Absent: no bytes. */
  rawBytesMax?: number;
  handle: (call: RouteCall<unknown>) => Promise<RouteReply>;
}

/** Declares a route; the handler's body has the type of its schema. */
export function route<Schema extends z.ZodObject>(
  definition: Omit<Route, "bodySchema" | "querySchema" | "reply" | "handle"> & {
    body: Schema;
    /** Default: a request. */
    reply?: Route["reply"];
    handle: (call: RouteCall<z.infer<Schema>>) => Promise<RouteReply>;
  },
): Route {
  const { body, handle, reply = "request", ...rest } = definition;
  return {
    ...rest,
    reply,
    bodySchema: body,
    querySchema: null,
    handle: (call) => handle(call as RouteCall<z.infer<Schema>>),
  };
}

/** Declares a route without a body, or with `rawBytesMax` one whose body is bytes. */
export function plainRoute<Query extends z.ZodObject>(
  definition: Omit<Route, "bodySchema" | "querySchema" | "handle"> & {
    query?: Query;
    handle: (call: RouteCall<null, z.infer<Query>>) => Promise<RouteReply>;
  },
): Route {
  const { query = null, handle, ...rest } = definition;
  return {
    ...rest,
    bodySchema: null,
    querySchema: query,
    handle: (call) => handle(call as RouteCall<null, z.infer<Query>>),
  };
}

/** True or false as Python's client writes it into a query; anything else than true, and nothing, is false. */
export const flagSchema = z
  .string()
  .optional()
  .transform((text) => text?.toLowerCase() === "true");

/** Whether a schema of a query takes every value of a name; others take the last one. */
function isList(schema: z.core.$ZodType): boolean {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  return "innerType" in def ? isList(def.innerType) : def.type === "array";
}

/** What stands behind the `?`, as the route's schema has it. Throws SkyError("ValueError") that names the place. */
export function queryOf({ path, querySchema }: Route, params: URLSearchParams): unknown {
  if (querySchema === null) {
    return {};
  }
  const shape: Record<string, z.core.$ZodType | undefined> = querySchema.shape;
  const named = [...new Set(params.keys())].map((name) => {
    const values = params.getAll(name);
    const schema = Object.hasOwn(shape, name) ? shape[name] : undefined;
    return [name, schema !== undefined && isList(schema) ? values : values.at(-1)];
  });
  const parsed = querySchema.safeParse(Object.fromEntries(named));
  if (!parsed.success) {
    throw bodyComplaint(path, parsed.error, "the query");
  }
  return parsed.data;
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

/** The first complaint of a schema, as a sentence that names the place; `whole` is what has no place inside. */
export function bodyComplaint(path: string, error: z.ZodError, whole = "the body"): SkyError {
  const issue = error.issues[0];
  const place = issue === undefined || issue.path.length === 0 ? whole : `'${issue.path.join(".")}'`;
  return new SkyError("ValueError", `${path}: ${place}: ${issue?.message ?? "is not valid"}.`.slice(0, 1000));
}
