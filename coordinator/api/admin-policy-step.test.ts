/** What the decision log says of requests that an admin policy had in hand: its refusals, and nobody else's. */
import { randomUUID } from "node:crypto";
import { afterEach, expect, test } from "vitest";
import { headers } from "../../shared/api.ts";
import { SkyError } from "../../shared/errors.ts";
import { rejectedByPolicy } from "../../shared/admin-policy/outcomes.ts";
import type { DecisionsResult } from "../../shared/policy-api.ts";
import type { AdminPolicyRunner } from "../policy/parts.ts";
import { startTestCluster, type TestCluster } from "../../test/help/api-parts.ts";
import { until } from "../../test/help/until.ts";

let cluster: TestCluster;
afterEach(() => cluster.close());

const runner = (apply: AdminPolicyRunner["apply"]): AdminPolicyRunner => ({
  name: "house.Rules",
  apply,
  close: async () => undefined,
});
const job = { task: "run: sleep 1000\n", cluster_name: "lab" };

async function decisions(): Promise<DecisionsResult["decisions"]> {
  return ((await cluster.call("GET", "/onprem/policies/log")).json as DecisionsResult).decisions;
}

test("a refusal is logged with its words; a policy that was not asked has refused nothing", async () => {
  const busy = new SkyError("ServerUnavailableError", "1000 requests wait for the admin policy already.");
  const answers: SkyError[] = [rejectedByPolicy("house.Rules", "ValueError", "no"), busy];
  const adminPolicy = runner(() => Promise.reject(answers.shift() ?? new Error("asked once more")));
  cluster = await startTestCluster(["one"], {}, { adminPolicy });
  expect((await cluster.result("/launch", job)).status).toBe("FAILED");
  expect((await cluster.result("/launch", job)).status).toBe("FAILED");
  expect(answers).toEqual([]);
  const text = "User request rejected by policy house.Rules: [ValueError] no";
  expect(await decisions()).toMatchObject([{ outcome: "rejected", by: "admin policy", text }]);
});

test("a user who cancels while the policy looks is refused by nobody, and nothing is queued", async () => {
  let isAsked = false;
  let wasLeft = false;
  const adminPolicy = runner(
    ({ signal }) =>
      new Promise((_, reject) => {
        isAsked = true;
        signal.addEventListener("abort", () => {
          wasLeft = true;
          // As the process of a policy that nobody waits for any more does.
          reject(rejectedByPolicy("house.Rules", "ProcessEnded", "nobody waits"));
        });
      }),
  );
  cluster = await startTestCluster(["one"], {}, { adminPolicy });
  const id = randomUUID();
  await cluster.call("POST", "/launch", job, { [headers.requestId]: id });
  await until(() => isAsked, "the policy is asked");
  const cancelled = await cluster.result("/api/cancel", { request_ids: [id] });
  expect(JSON.parse(cancelled.return_value)).toEqual([id]);
  await until(() => wasLeft, "the policy is left");
  expect([await decisions(), cluster.queue.records.size]).toEqual([[], 0]);
});
