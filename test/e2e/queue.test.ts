/**
 * What jobs get and what they wait for: devices, reasons, order, refusals. Nodes: four V100, four V100, none.
 */
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { sky, skyOk } from "../help/sky.ts";
import { clusterName, jobLines, plain, queueOf, type Site, startSite, submit, untilStatus } from "../help/site.ts";
import { until } from "../help/until.ts";
import type { TestUser } from "../help/users.ts";

let site: Site;
let user: TestUser;

beforeAll(async () => {
  site = await startSite();
  user = site.users[0] as TestUser;
});
afterAll(async () => await site?.stop());
afterEach(async () => {
  await sky(user, ["cancel", clusterName, "-a", "-y"]);
  await until(async () => {
    return [...(await queueOf(user)).values()].every(
      (row) => !["PENDING", "INIT", "SETTING_UP", "RUNNING"].includes(row.status),
    );
  }, "an empty queue");
});

const gpuJob = (count: number, script: string): string[] => ["--gpus", `V100:${count}`, "--", script];

test("a job sees its own devices only", async () => {
  const holder = await submit(user, gpuJob(3, "echo $CUDA_VISIBLE_DEVICES > ~/holder; sleep 1000"));
  await untilStatus(user, holder, "RUNNING");
  const result = await sky(user, [
    "exec",
    clusterName,
    ...gpuJob(4, "echo devices=$CUDA_VISIBLE_DEVICES; echo n=$SKYPILOT_NUM_GPUS_PER_NODE"),
  ]);
  expect(jobLines(result.stdout)).toEqual(["devices=0,1,2,3", "n=4"]);
  const none = await sky(user, [
    "exec",
    clusterName,
    "--",
    'echo "[${CUDA_VISIBLE_DEVICES-unset}]" $SKYPILOT_NUM_GPUS_PER_NODE',
  ]);
  expect(jobLines(none.stdout)).toEqual(["[] 0"]);
});

test("two halves of a device share it, and count as one", async () => {
  const script =
    "echo $CUDA_VISIBLE_DEVICES n=$SKYPILOT_NUM_GPUS_PER_NODE > ~/half.$SKYPILOT_INTERNAL_JOB_ID; sleep 1000";
  const half = ["--gpus", "V100:0.5", "--", script];
  const ids = [await submit(user, half), await submit(user, half)];
  await Promise.all(ids.map((id) => untilStatus(user, id, "RUNNING")));
  const { readFileSync } = await import("node:fs");
  const seen = await until(() => {
    const texts = ids.map((id) => readFileSync(`${user.home}/half.${id}`, "utf8").trim());
    return texts.every((text) => text !== "") ? texts : null;
  }, "both to say what they have");
  expect(seen[0]).toMatch(/^\d n=1$/);
  expect(seen[1]).toBe(seen[0]);
  expect(plain(await skyOk(user, ["gpus", "list"]))).toMatch(/V100.*7 of 8 free/);
});

test("what does not fit waits, with the reason; what fits starts before it", async () => {
  const holders = [await submit(user, gpuJob(3, "sleep 1000")), await submit(user, gpuJob(3, "sleep 1000"))];
  await Promise.all(holders.map((id) => untilStatus(user, id, "RUNNING")));
  const large = await submit(user, gpuJob(4, "sleep 1000"));
  const small = await submit(user, gpuJob(1, "sleep 1000"));
  await untilStatus(user, small, "RUNNING");
  const row = (await queueOf(user)).get(large);
  expect(row?.status).toBe("PENDING");
  expect(row?.position).toBe(1);
  expect(row?.reason).toMatch(/V100/);
  expect(plain(await skyOk(user, ["queue", clusterName]))).toContain(`Job ${large} (PENDING, 1 of yours, 1 in line)`);
  await skyOk(user, ["cancel", clusterName, ...holders.map(String), String(small), "-y"]);
  await untilStatus(user, large, "RUNNING");
});

test("all nodes of a job at once, or none", async () => {
  const holder = await submit(user, gpuJob(4, "sleep 1000"));
  await untilStatus(user, holder, "RUNNING");
  const both = await submit(user, ["--num-nodes", "2", ...gpuJob(1, "sleep 1000")]);
  expect((await queueOf(user)).get(both)?.status).toBe("PENDING");
  await skyOk(user, ["cancel", clusterName, String(holder), "-y"]);
  await untilStatus(user, both, "RUNNING");
  expect(new Set((await queueOf(user)).get(both)?.nodes).size).toBe(2);
});

test("what can never fit is refused at once, saying what there is", async () => {
  const cases = [
    gpuJob(256, "true"),
    ["--gpus", "H100:1", "--", "true"],
    ["--num-nodes", "4", "--", "true"],
    ["--cpus", "64", "--", "true"],
  ];
  for (const args of cases) {
    const result = await sky(user, ["exec", clusterName, ...args]);
    const text = plain(result.stderr);
    expect(result.code, text).toBe(1);
    expect(text).toContain("Requested resources do not match the existing cluster.");
    expect(text).toMatch(/Requested:.*\n?.*Existing:/s);
  }
  expect((await sky(user, ["exec", clusterName, ...gpuJob(256, "true")])).stderr).toContain("V100");
});

test("jobs start in the order in which they came", async () => {
  const holders = [await submit(user, gpuJob(4, "sleep 1000")), await submit(user, gpuJob(4, "sleep 1000"))];
  await Promise.all(holders.map((id) => untilStatus(user, id, "RUNNING")));
  const queued: number[] = [];
  for (let count = 0; count < 4; count += 1) {
    queued.push(await submit(user, gpuJob(4, "echo $SKYPILOT_INTERNAL_JOB_ID >> ~/order")));
  }
  await skyOk(user, ["cancel", clusterName, String(holders[0]), "-y"]);
  await Promise.all(queued.map((id) => untilStatus(user, id, "SUCCEEDED")));
  const { readFileSync } = await import("node:fs");
  expect(readFileSync(`${user.home}/order`, "utf8").trim().split("\n").map(Number)).toEqual(queued);
});
