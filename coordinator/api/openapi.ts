/**
 * The published document of the API (OpenAPI 3.1), made from the routes as they are declared and the same schemas that
 * check bodies and queries and by which clients read replies, so that it cannot say anything else than what is done.
 * Called by app.ts.
 */
import type { OpenAPIHono } from "@hono/zod-openapi";
import * as z from "zod";
import { headers } from "../../shared/api.ts";
import { json, plainRoute, type Route } from "./route.ts";

const documentPath = "/api/openapi.json";

/** What is needed of the router. */
type Documented = Pick<OpenAPIHono, "openAPIRegistry" | "getOpenAPI31Document">;
type Registered = Parameters<OpenAPIHono["openAPIRegistry"]["registerPath"]>[0];

/** Who may call. */
const callers: Record<Route["identity"], string> = {
  account: "Any account of the head machine.",
  jobUser: "The caller must be allowed to run jobs.",
  admin: "Root, or a member of the admin group.",
};

const refusalSchema = z.object({
  detail: z.object({ type: z.string(), message: z.string(), hint: z.string().nullable() }),
});

function refusal(description: string): {
  description: string;
  content: { "application/json": { schema: typeof refusalSchema } };
} {
  return { description, content: { "application/json": { schema: refusalSchema } } };
}

/** What every route may answer besides 200. The Python client of SkyPilot is told the same by a request that failed. */
function refusalsOf(route: Route): Registered["responses"] {
  const takesBody = route.bodySchema !== null || route.rawBytesMax !== undefined;
  return {
    400: refusal(`Refused, or the client's version (${headers.apiVersion}) is not served.`),
    403: refusal(`Not allowed. ${callers[route.identity]} Calls with an Origin header are always refused.`),
    404: refusal("There is no such thing, or it is not the caller's."),
    ...(takesBody ? { 413: refusal("The body is too large.") } : {}),
    ...(route.bodySchema === null ? {} : { 422: refusal("The body is not as described; the text names the place.") }),
    429: refusal("Too many connections, or too many large bodies on the way."),
    500: refusal("An internal error, or (`/api/get`) the failure of the request, in `detail`."),
    503: refusal("The coordinator is not ready; try again after `Retry-After` seconds."),
  };
}

/** What a 200 says: the same schema by which clients read it. */
function successOf({ reply }: Route): Registered["responses"][200] {
  if (reply === "request") {
    const id = z.string().meta({ description: "The request, whose result waits for /api/get." });
    return {
      description: "Taken as a request; its id is in the header, and there is nothing else yet.",
      headers: z.object({ [headers.requestId]: id }),
      content: { "application/json": { schema: z.null() } },
    };
  }
  if (reply === "text") {
    return { description: "Text, as it comes.", content: { "text/plain": { schema: z.string() } } };
  }
  if (reply === "bytes") {
    const schema = z.string().meta({ format: "binary" });
    return { description: "Bytes, as they come.", content: { "application/octet-stream": { schema } } };
  }
  return { description: "The answer.", content: { "application/json": { schema: reply } } };
}

function bodyOf({ bodySchema, rawBytesMax }: Route): NonNullable<Registered["request"]> {
  if (bodySchema !== null) {
    return { body: { required: true, content: { "application/json": { schema: bodySchema } } } };
  }
  if (rawBytesMax !== undefined) {
    const schema = z.string().meta({ format: "binary", maxLength: rawBytesMax });
    return { body: { required: true, content: { "application/octet-stream": { schema } } } };
  }
  return {};
}

function requestOf(route: Route): Pick<Registered, "request"> {
  const names = [...route.path.matchAll(/:(\w+)/g)].map(([, name = ""]) => name);
  const params = z.object(Object.fromEntries(names.map((name) => [name, z.string()])));
  return {
    request: {
      ...bodyOf(route),
      ...(names.length === 0 ? {} : { params }),
      ...(route.querySchema === null ? {} : { query: route.querySchema }),
    },
  };
}

/** Adds the route to the published document. */
export function publish(app: Documented, route: Route): void {
  app.openAPIRegistry.registerPath({
    method: route.method.toLowerCase() as "get" | "post",
    path: route.path.replaceAll(/:(\w+)/g, "{$1}"),
    operationId: `${route.method.toLowerCase()}${route.path.replaceAll(/[^A-Za-z0-9]+/g, "_")}`,
    summary: route.summary,
    description: callers[route.identity],
    ...requestOf(route),
    responses: { 200: successOf(route), ...refusalsOf(route) },
  });
}

/** The route that gives the document. */
export function documentRoute(app: Documented, version: string): Route {
  return plainRoute({
    method: "GET",
    path: documentPath,
    identity: "account",
    summary: "This document.",
    reply: z.record(z.string(), z.unknown()),
    handle: async () =>
      json(
        app.getOpenAPI31Document({
          openapi: "3.1.0",
          info: {
            title: "sky-onprem",
            version,
            description:
              "SkyPilot's API and what on-prem adds. A POST answers null and a request id in X-Skypilot-Request-ID; " +
              "GET /api/get?request_id=… waits for the result.",
          },
        }),
      ),
  });
}
