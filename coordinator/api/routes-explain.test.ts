/** GET /onprem/explain and dry runs through the API, with the real loop and reducer behind it. */
import { afterEach, beforeEach, expect, it } from "vitest";
import type { RequestPayload } from "../../shared/api.ts";
import { explainResultSchema } from "../../shared/explain-api.ts";
import { startTestCluster, type TestCluster } from "../../test/help/api-parts.ts";

let cluster: TestCluster;
beforeEach(async () => {
  cluster = await startTestCluster();
});
afterEach(() => cluster.close());

const body = { task: "name: min\nrun: sleep 1000\n", cluster_name: "lab" };

async function submitted(more: Record<string, unknown> = {}): Promise<{ job_id: number | null; explain?: unknown }> {
  const payload: RequestPayload = await cluster.result("/exec", { ...body, ...more });
  expect(payload.status).toBe("SUCCEEDED");
  return JSON.parse(payload.return_value) as { job_id: number | null; explain?: unknown };
}

it("explains the caller's own job, with the cluster as the caller calls it", async () => {
  const { job_id } = await submitted();
  const reply = await cluster.call("GET", `/onprem/explain?job=${job_id}&cluster=mine`);
  expect(reply.status).toBe(200);
  const answer = explainResultSchema.parse(reply.json);
  expect(answer).toMatchObject({ cluster: "mine", job_id, user: "root", name: "min" });
  expect(answer.actions.join()).toContain(`mine ${job_id}`);
});

it("says what is wrong with a question", async () => {
  for (const [query, status, text] of [
    ["job=77", 404, "You have no job 77"],
    ["job=0", 400, "'job'"],
    ["", 400, "'job'"],
    ["job=1&what=else", 400, "what"],
    ["job=1&user=nobody-here", 404, "No user 'nobody-here'"],
  ] as const) {
    const reply = await cluster.call("GET", `/onprem/explain?${query}`);
    expect([query, reply.status, reply.text]).toEqual([query, status, expect.stringContaining(text)]);
  }
});

it("a dry run is explained and leaves nothing behind", async () => {
  const dry = await submitted({ dryrun: true });
  expect(dry.job_id).toBeNull();
  expect(explainResultSchema.parse(dry.explain)).toMatchObject({ job_id: null, status: null, cluster: "lab" });
  expect(cluster.queue.records.size).toBe(0);
  expect((await submitted()).job_id).toBe(1);
});
