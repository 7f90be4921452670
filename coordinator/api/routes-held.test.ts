/** Held jobs through the API: what is refused, what a release and a cancel do. */
import { afterEach, beforeEach, expect, test } from "vitest";
import type { JobRecord } from "../../shared/job.ts";
import { startTestCluster, type TestCluster } from "../../test/help/api-parts.ts";

let cluster: TestCluster;
beforeEach(async () => {
  cluster = await startTestCluster(["one"]);
  await cluster.result("/launch", { task: "run: sleep 1000\n", cluster_name: "lab" });
  const made = cluster.queue.records.get("0/1") as JobRecord;
  for (const id of [5, 6, 7]) {
    const record: JobRecord = { ...made, phase: "waiting", attempt: null, restoredFrom: "2026-02-03T04:05:06.000Z" };
    cluster.queue.records.set(`0/${id}`, record);
    await cluster.loop.dispatch({ type: "jobSubmitted", uid: 0, id, record });
  }
});
afterEach(() => cluster.close());

const phase = (id: number): string | undefined => cluster.queue.records.get(`0/${id}`)?.phase;
const release = (body: unknown) => cluster.result("/onprem/admin/release", body);

test("they are listed, released by number and cancelled by user; others stay held", async () => {
  const listed = (await cluster.call("GET", "/onprem/admin/held")).json;
  expect(listed).toMatchObject({ total: 3, silent: [], jobs: [{ user: "root", job_id: 5 }, {}, {}] });
  const refused = await release({ choices: [{ user: "root", jobs: [5, 1] }] });
  expect(refused.error).toContain("Job 1 of 'root' is not held");
  expect((await release({ choices: [{ user: "nobody" }] })).error).toContain("No job of 'nobody'");
  expect([5, 6, 7].map(phase)).toEqual(["waiting", "waiting", "waiting"]);
  const released = await release({ choices: [{ user: "root", jobs: [6] }] });
  expect(JSON.parse(released.return_value)).toEqual({ jobs: [{ user: "root", job_id: 6 }] });
  expect([5, 6, 7].map(phase)).toEqual(["waiting", "starting", "waiting"]);
  await release({ choices: [{ user: "root" }], cancel: true });
  expect([5, 6, 7].map(phase)).toEqual(["ended", "starting", "ended"]);
});

test("while a node is silent nothing is released, unless it is wanted anyway", async () => {
  const node = cluster.loop.state.nodes.get("one");
  if (node !== undefined) {
    node.reported = false;
  }
  expect((await release({})).error).toContain("one has not reported yet");
  expect([5, 6, 7].map(phase)).toEqual(["waiting", "waiting", "waiting"]);
  expect((await release({ anyway: true })).status).toBe("SUCCEEDED");
  expect(cluster.queue.records.get("0/5")).not.toHaveProperty("restoredFrom");
});

test("an unknown key is refused", async () => {
  expect((await cluster.call("POST", "/onprem/admin/release", { everything: true })).status).toBe(422);
});
