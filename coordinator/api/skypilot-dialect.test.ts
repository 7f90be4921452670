/** Refusals as SkyPilot's Python client can show them, and that its name alone opens nothing. */
import { afterEach, expect, it } from "vitest";
import { startTestCluster, type TestCluster } from "../../test/help/api-parts.ts";

let cluster: TestCluster | null = null;
afterEach(async () => {
  await cluster?.close();
  cluster = null;
});

const python = { "User-Agent": "python-requests/2.32.5" };
const task = { task: "run: x", cluster_name: "lab" };

it("who may not run jobs hears it as the failure of a request, and queues nothing", async () => {
  cluster = await startTestCluster(["one"], { users: { min_uid: 1000 } });
  expect((await cluster.call("POST", "/launch", task)).status).toBe(403);
  const failed = await cluster.result("/launch", task, python);
  expect(failed).toMatchObject({ name: "sky.launch", status: "FAILED", return_value: "null" });
  expect(JSON.parse(failed.error)).toMatchObject({
    type: "PermissionDeniedError",
    message: expect.stringMatching(/system account/),
  });
  expect(cluster.queue.records.size).toBe(0);
  const upload = await cluster.call("POST", `/upload_v2?upload_id=${"0".repeat(64)}`, "x", python);
  expect(upload).toMatchObject({ status: 403, json: { detail: expect.stringMatching(/system account/) } });
});

it("while the store is away it is told to try again, with the cause as text", async () => {
  cluster = await startTestCluster();
  cluster.unavailable.cause = "Redis does not answer";
  const reply = await cluster.call("POST", "/queue", { cluster_name: "lab" }, python);
  expect(reply).toMatchObject({
    status: 503,
    headers: { "retry-after": "1" },
    json: { detail: expect.stringMatching(/Redis does not answer/) },
  });
});

it("web pages and people without an account stay refused under that name", async () => {
  cluster = await startTestCluster();
  const page = await cluster.call("GET", "/api/health", undefined, { ...python, Origin: "http://evil.example" });
  expect(page.status).toBe(403);
  const started = await cluster.call("POST", "/queue", { cluster_name: "lab" });
  const id = String(started.headers["x-skypilot-request-id"]);
  expect((await cluster.call("GET", `/api/get?request_id=${id}`, undefined, python)).status).toBe(200);
  cluster.accounts.clear();
  expect((await cluster.call("GET", `/api/get?request_id=${id}`, undefined, python)).status).toBe(403);
});

it("a piece of an upload that cannot be is refused with its reason", async () => {
  cluster = await startTestCluster();
  const id = "0".repeat(64);
  for (const [query, reason] of [
    [`upload_id=../../etc&chunk_index=0&total_chunks=1`, /upload_id/],
    [`upload_id=${id}&chunk_index=1&total_chunks=1`, /cannot be/],
    [`upload_id=${id}&chunk_index=-1&total_chunks=1`, /chunk_index/],
    [`upload_id=${id}&chunk_index=0&total_chunks=1000000`, /total_chunks/],
    [`upload_id=${id}&chunk_index=0&total_chunks=1`, /uploaded zip cannot be taken/],
  ] as const) {
    const reply = await cluster.call("POST", `/upload_v2?user_hash=x&${query}`, "no zip", python);
    expect(reply).toMatchObject({ status: 400, json: { detail: expect.stringMatching(reason) } });
  }
});
