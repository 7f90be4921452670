/** What SkyPilot's client may ask of requests beside their ids: last lines, filters, and what it must not be given. */
import { afterEach, beforeEach, expect, it } from "vitest";
import type { RequestPayload } from "../../shared/api.ts";
import { startTestCluster, type TestCluster } from "../../test/help/api-parts.ts";

let cluster: TestCluster;
beforeEach(async () => {
  cluster = await startTestCluster();
});
afterEach(() => cluster.close());

const get = (path: string): ReturnType<TestCluster["call"]> => cluster.call("GET", path);

it("streams the last lines of what a request has said", async () => {
  const { request_id: id } = await cluster.result("/launch", { task: "run: sleep 1000\n", cluster_name: "lab" });
  const { text } = await get(`/api/stream?request_id=${id}`);
  const lines = text.split("\n").slice(0, -1);
  expect(lines.length).toBeGreaterThan(2);
  for (const [tail, count] of [
    ["1", 1],
    ["2", 2],
    ["999", lines.length],
    ["0", lines.length],
    ["None", lines.length],
  ] as const) {
    const told = await get(`/api/stream?request_id=${id}&follow=False&format=console&tail=${tail}`);
    expect([tail, told.status, told.text]).toEqual([tail, 200, `${lines.slice(-count).join("\n")}\n`]);
  }
});

it("shows no file of the server, whatever it is called", async () => {
  await cluster.result("/launch", { task: "run: sleep 1000\n", cluster_name: "lab" });
  const refused = await get("/api/stream?log_path=/etc/passwd");
  expect([refused.status, refused.text]).toEqual([400, expect.stringContaining("'log_path' cannot be used here")]);
});

it("lists by cluster, at most so many, and without errors where they were not asked for", async () => {
  const failed = await cluster.result("/launch", { task: "rum: x", cluster_name: "lab" });
  const other = await cluster.result("/launch", { task: "run: sleep 1000\n", cluster_name: "mine" });
  const listed = async (query: string): Promise<RequestPayload[]> =>
    (await get(`/api/status?all_status=True&${query}`)).json as RequestPayload[];
  const ids = async (query: string): Promise<string[]> => (await listed(query)).map((row) => row.request_id);
  expect(await ids("limit=None")).toEqual([other.request_id, failed.request_id]);
  expect(await ids("limit=1")).toEqual([other.request_id]);
  expect(await ids("cluster_name=lab")).toEqual([failed.request_id]);
  expect(await ids("cluster_name=nowhere")).toEqual([]);
  expect(await ids(`request_ids=${failed.request_id}&request_ids=${other.request_id}`)).toEqual([
    failed.request_id,
    other.request_id,
  ]);
  const errors = async (query: string): Promise<string[]> => (await listed(query)).map((row) => row.error);
  expect(await errors("cluster_name=lab")).toEqual([expect.stringContaining("InvalidTaskError")]);
  expect(await errors("cluster_name=lab&fields=request_id&fields=error")).toEqual([
    expect.stringContaining("InvalidTaskError"),
  ]);
  expect(await errors("cluster_name=lab&fields=request_id&fields=status")).toEqual(["null"]);
});
