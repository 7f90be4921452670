/**
 * The published document, and every route that it describes: that nobody calls one without an identity, that bodies are
 * checked as described, and that refusals are the documented ones.
 */
import { chmodSync } from "node:fs";
import { connect } from "node:net";
import { execFile } from "node:child_process";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as z from "zod";
import { type Reply, startTestCluster, type TestCluster } from "../../test/help/api-parts.ts";

const run = promisify(execFile);
const isRoot = process.getuid?.() === 0;

/** The structure that OpenAPI 3.1 demands, as far as this document uses it; nothing else may stand in it. */
const schemaObject = z.record(z.string(), z.unknown());
const mediaSchema = z.record(z.string().regex(/^[a-z]+\/[a-z-]+$/), z.strictObject({ schema: schemaObject }));
const operationSchema = z.strictObject({
  operationId: z.string().regex(/^[a-z0-9_]+$/i),
  summary: z.string().min(1),
  description: z.string().min(1),
  parameters: z
    .array(
      z.strictObject({
        name: z.string(),
        in: z.enum(["path", "query"]),
        required: z.boolean().optional(),
        schema: schemaObject,
        description: z.string().optional(),
      }),
    )
    .optional(),
  requestBody: z.strictObject({ required: z.boolean(), content: mediaSchema }).optional(),
  responses: z.record(
    z.string().regex(/^[1-5]\d\d$/),
    z.strictObject({
      description: z.string().min(1),
      headers: z
        .record(
          z.string(),
          z.strictObject({
            schema: schemaObject,
            required: z.boolean().optional(),
            description: z.string().optional(),
          }),
        )
        .optional(),
      content: mediaSchema.optional(),
    }),
  ),
});
const documentSchema = z.strictObject({
  openapi: z.literal("3.1.0"),
  info: z.strictObject({ title: z.string(), version: z.string(), description: z.string() }),
  paths: z.record(
    z.string().startsWith("/"),
    z.strictObject({
      get: operationSchema.optional(),
      post: operationSchema.optional(),
    }),
  ),
  components: z.record(z.string(), schemaObject).optional(),
  webhooks: z.strictObject({}).optional(),
});
type Operation = z.infer<typeof operationSchema>;

let cluster: TestCluster;
let routes: { method: string; path: string; operation: Operation }[];

beforeAll(async () => {
  cluster = await startTestCluster();
  const { paths } = documentSchema.parse((await cluster.call("GET", "/api/openapi.json")).json);
  routes = Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item as Record<string, Operation>).map(([method, operation]) => ({
      method: method.toUpperCase(),
      path,
      operation,
    })),
  );
});
afterAll(async () => await cluster.close());

/** A path that the router takes for this one. */
function concrete(path: string): string {
  return path.replaceAll(/\{\w+\}/g, "0".repeat(64));
}

/** Every reference in the document leads somewhere. */
function references(value: unknown): string[] {
  if (typeof value !== "object" || value === null) {
    return [];
  }
  return Object.entries(value).flatMap(([key, item]) => (key === "$ref" ? [String(item)] : references(item)));
}

describe("the document", () => {
  it("is OpenAPI 3.1, describes more than the main routes, and refers to nothing that is not in it", async () => {
    const reply = await cluster.call("GET", "/api/openapi.json");
    const document = documentSchema.parse(reply.json);
    expect(routes.length).toBeGreaterThan(70);
    expect(new Set(routes.map(({ operation }) => operation.operationId)).size).toBe(routes.length);
    const known = Object.entries(document.components ?? {}).flatMap(([group, items]) =>
      Object.keys(items).map((name) => `#/components/${group}/${name}`),
    );
    expect(references(document).filter((one) => !known.includes(one))).toEqual([]);
    for (const { path, operation } of routes) {
      const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      const parameters = (operation.parameters ?? []).filter((one) => one.in === "path" && one.required === true);
      expect(
        parameters.map(({ name }) => name),
        path,
      ).toEqual(named);
    }
  });

  it("says which bodies are strict: ours, not SkyPilot's", () => {
    for (const { path, operation } of routes) {
      const schema = operation.requestBody?.content["application/json"]?.schema;
      if (schema !== undefined) {
        expect(schema["type"], path).toBe("object");
        expect(schema["additionalProperties"] === false, path).toBe(path.startsWith("/onprem/"));
      }
    }
  });
});

/** A 200 is of the documented form: the id of a request and null, or a body that fits its schema. */
function mustFit(reply: Reply, path: string, { responses }: Operation): void {
  const success = responses["200"];
  const schema = success?.content?.["application/json"]?.schema;
  if (schema !== undefined) {
    const isRequest = success?.headers?.["X-Skypilot-Request-ID"] !== undefined;
    expect(reply.headers["x-skypilot-request-id"] !== undefined, path).toBe(isRequest);
    const parsed = z.fromJSONSchema(schema).safeParse(reply.json);
    expect(parsed.error?.issues ?? [], `${path} answered ${reply.text.slice(0, 500)}`).toEqual([]);
  }
}

/** The status is one that the document names, and a refusal has the documented form. */
function mustBeDocumented(reply: Reply, path: string, operation: Operation): void {
  expect(Object.keys(operation.responses), `${path} answered ${reply.status} ${reply.text.slice(0, 200)}`).toContain(
    String(reply.status),
  );
  if (reply.status === 200) {
    mustFit(reply, path, operation);
  }
  if (reply.status >= 400 && path !== "/validate") {
    expect(reply.json, path).toMatchObject({ detail: { type: expect.any(String), message: expect.any(String) } });
  }
}

/** A query with which a route answers; others answer without one. */
const questions: Record<string, string> = {
  "/onprem/explain": "?job=1&cluster=mine",
  "/onprem/logs/files": "?job=1",
  "/onprem/usage": "?by=user,kind&from=0",
  "/onprem/policies/get": "?name=builtin",
  "/onprem/policies/history": "?name=builtin",
  "/onprem/policies/effective": "?kind=training",
  "/upload_v2/blob": `?blob_id=${"0".repeat(64)}`,
  "/api/status": "?request_ids=REQUEST&limit=3",
  "/api/get": "?request_id=REQUEST",
  "/api/stream": "?request_id=REQUEST&follow=False&tail=1",
};

describe("every route", () => {
  it("says what a 200 is: the id of a request, or a body with its form", () => {
    const bare = routes.filter(({ operation }) => {
      const { content = {}, headers = {} } = operation.responses["200"] ?? {};
      const schema = content["application/json"]?.schema;
      const isStream = Object.keys(content).some((type) => type !== "application/json");
      return !isStream && (schema === undefined || (schema["type"] === "null") !== "X-Skypilot-Request-ID" in headers);
    });
    expect(bare.map(({ path }) => path)).toEqual(["/validate"]);
  });

  it("answers what it says, also where a job and a request are there to be told of", async () => {
    const task = "name: min\nresources: {accelerators: V100:1}\nrun: sleep 1000\n";
    const launched = await cluster.result("/launch", { task, cluster_name: "lab" });
    expect(launched.status).toBe("SUCCEEDED");
    const answered: string[] = [];
    for (const { method, path, operation } of routes.filter(({ method }) => method === "GET")) {
      const question = (questions[path] ?? "").replace("REQUEST", launched.request_id);
      const reply = await cluster.call(method, concrete(path) + question);
      mustBeDocumented(reply, path, operation);
      answered.push(...(reply.status === 200 ? [path] : []));
    }
    expect(Object.keys(questions).filter((path) => !answered.includes(path))).toEqual([]);
  });

  it("names what may stand behind the ?, and of ours refuses the rest", async () => {
    const named = (path: string): string[] =>
      (routes.find((one) => one.path === path)?.operation.parameters ?? [])
        .filter((one) => one.in === "query")
        .map(({ name }) => name);
    expect(named("/api/status")).toEqual(["request_ids", "all_status", "limit", "fields", "cluster_name"]);
    expect(named("/api/stream")).toEqual(["request_id", "follow", "tail", "log_path"]);
    expect(named("/onprem/explain")).toEqual(["job", "user", "cluster"]);
    const required = (path: string): string[] =>
      (routes.find((one) => one.path === path)?.operation.parameters ?? [])
        .filter((one) => one.required === true)
        .map(({ name }) => name);
    expect(required("/upload_v2")).toEqual(["upload_id", "chunk_index", "total_chunks"]);
    expect(required("/onprem/logs/raw")).toEqual(["job", "attempt", "rank", "part"]);
    const misfits = routes.flatMap(({ path, operation }) =>
      (operation.parameters ?? [])
        .filter(({ schema }) => "default" in schema && !z.fromJSONSchema(schema).safeParse(schema["default"]).success)
        .map(({ name }) => `${path} ${name}`),
    );
    expect(misfits).toEqual([]);
    const withQuery = routes.filter(({ path }) => named(path).length > 0);
    expect(withQuery.length).toBeGreaterThan(10);
    for (const { method, path } of withQuery.filter(({ path }) => path !== "/api/stream" && path !== "/upload_v2")) {
      const raw = "?job=1&attempt=00000000-1&rank=0&part=run";
      const question = `${path === "/onprem/logs/raw" ? raw : (questions[path] ?? "?")}&tomorrow=1`;
      const reply = await cluster.call(method, concrete(path) + question);
      expect(reply.status === 400 && reply.text.includes("tomorrow"), `${path} ${reply.text}`).toBe(
        path.startsWith("/onprem/"),
      );
    }
  });

  it.skipIf(!isRoot)("refuses who has no account", async () => {
    chmodSync(dirname(cluster.socket), 0o755);
    const asker = `const {request}=require("node:http");const all=JSON.parse(process.argv[2]);
      Promise.all(all.map(([method,path])=>new Promise((done)=>{const call=request({socketPath:process.argv[1],path,method},
      (reply)=>{reply.resume();reply.on("end",()=>done(reply.statusCode));});call.on("error",()=>done(0));call.end();})))
      .then((codes)=>console.log(JSON.stringify(codes)));`;
    const asked = JSON.stringify(routes.map(({ method, path }) => [method, concrete(path)]));
    const ids = ["--reuid=65533", "--regid=65533", "--clear-groups"];
    const { stdout } = await run("setpriv", [...ids, process.execPath, "-e", asker, cluster.socket, asked]);
    expect(JSON.parse(stdout)).toEqual(routes.map(() => 403));
  });

  it("refuses web pages and clients that are too old", async () => {
    for (const { method, path } of routes) {
      const page = await cluster.call(method, concrete(path), undefined, { Origin: "https://example.org" });
      expect(page.status, path).toBe(403);
      const old = await cluster.call(method, concrete(path), undefined, { "X-SkyPilot-API-Version": "3" });
      expect(old, path).toMatchObject({ status: 400, json: { error: "version_mismatch" } });
    }
  });

  it("checks its body: what is no JSON, no map or of another type is refused, and says so as documented", async () => {
    for (const { method, path, operation } of routes.filter(({ operation }) => operation.requestBody !== undefined)) {
      if (operation.requestBody?.content["application/json"] === undefined) {
        continue;
      }
      for (const body of ["{", "null", "[]", '"text"', "7"]) {
        const reply = await cluster.call(method, concrete(path), body);
        expect(reply.status, `${path} ${body}`).toBe(422);
        mustBeDocumented(reply, path, operation);
      }
      const extra = await cluster.call(method, concrete(path), { a_key_of_tomorrow: 1 });
      const isOurs = path.startsWith("/onprem/");
      expect(isOurs ? extra.status : extra.text, path).not.toBe(isOurs ? 200 : "");
      expect(isOurs || !extra.text.includes("a_key_of_tomorrow"), `${path}: ${extra.text}`).toBe(true);
      mustBeDocumented(extra, path, operation);
    }
  });

  it("answers without a body, or with an empty one, as documented", async () => {
    for (const { method, path, operation } of routes.filter(({ path }) => path !== "/api/stream")) {
      const reply = await cluster.call(method, concrete(path), method === "POST" ? {} : undefined);
      mustBeDocumented(reply, path, operation);
    }
  });

  it("says that the coordinator is not ready in the documented form", async () => {
    cluster.unavailable.cause = "Redis does not answer";
    try {
      for (const { method, path, operation } of routes) {
        mustBeDocumented(
          await cluster.call(method, concrete(path), method === "POST" ? {} : undefined),
          path,
          operation,
        );
      }
    } finally {
      cluster.unavailable.cause = null;
    }
  });
});

it("a body without an end does not hold a connection's memory: what is beyond the limit is not read", async () => {
  const socket = connect(cluster.socket);
  const closed = new Promise<string>((resolve) => {
    const chunks: Buffer[] = [];
    socket.on("data", (chunk) => chunks.push(chunk));
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(Buffer.concat(chunks).toString()));
  });
  socket.write("POST /queue HTTP/1.1\r\nHost: sky\r\nContent-Length: 99999999999\r\n\r\n");
  expect(await closed).toMatch(/^HTTP\/1.1 413/);
});
