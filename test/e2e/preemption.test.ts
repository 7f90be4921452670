/**
 * Preemption with real processes: a job that declares itself preemptible gives way to a more urgent one, saves its state,
 * and goes on from there afterwards; whoever does not declare it is never stopped.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sky, skyOk } from "../help/sky.ts";
import { clusterName, plain, queueOf, type Site, startSite, statusOf, submit, untilStatus } from "../help/site.ts";
import { until } from "../help/until.ts";
import { type TestUser, writeHomeFile } from "../help/users.ts";

let site: Site;
let modest: TestUser;
let urgent: TestUser;

beforeAll(async () => {
  const scheduling = { preemption: true, preemption_warning_seconds: 3, warning_seconds: 2 };
  site = await startSite({ accelerators: "V100:2", users: 2, coordinatorConfig: { scheduling } });
  [modest, urgent] = site.users as [TestUser, TestUser];
});
afterAll(async () => await site?.stop());

/** Counts its starts and saves what it has done when it is warned. */
function softTask(name: string): string {
  const text = [
    "resources: {accelerators: V100:2, preemptible: true, priority: -10}",
    "run: |",
    `  echo "from $(cat ~/${name}.saved 2>/dev/null || echo nothing)" >>~/${name}.starts`,
    `  trap 'echo a checkpoint >~/${name}.saved' USR1`,
    `  while [ ! -e ~/${name}.stop ]; do sleep 0.2; done`,
    "",
  ].join("\n");
  return writeHomeFile(modest, `${name}.yaml`, text);
}

const linesOf = (user: TestUser, name: string): string[] => {
  const path = join(user.home, name);
  return existsSync(path) ? readFileSync(path, "utf8").trim().split("\n") : [];
};
const cancel = (user: TestUser, id: number): Promise<string> => skyOk(user, ["cancel", clusterName, String(id), "-y"]);

test("it is warned, stopped, started again from its checkpoint, also with a restart of the coordinator in between", async () => {
  const soft = await submit(modest, [softTask("one")]);
  await until(() => linesOf(modest, "one.starts").length === 1, "it runs");
  const first = await submit(urgent, ["--gpus", "V100:2", "--priority", "10", "--", "sleep 1000"]);
  await until(() => linesOf(modest, "one.saved").length === 1, "its checkpoint");
  await site.cluster.kill("coordinator");
  site.cluster.startPart("coordinator");
  await untilStatus(urgent, first, "RUNNING", 60_000);
  expect(await statusOf(modest, soft)).toBe("PENDING");
  expect((await queueOf(modest)).get(soft)?.reason).toMatch(/V100/);
  await cancel(urgent, first);
  await until(() => linesOf(modest, "one.starts").length === 2, "it runs again", 60_000);
  expect(linesOf(modest, "one.starts")).toEqual(["from nothing", "from a checkpoint"]);
  await sky(modest, ["exec", clusterName, "--cpus", "0.5", "--", "touch ~/one.stop"]);
  await untilStatus(modest, soft, "SUCCEEDED", 60_000);
  expect(plain((await sky(modest, ["queue", clusterName])).stdout)).toContain("SUCCEEDED");
});

test("a job that becomes urgent and goes away again stops nobody", async () => {
  const soft = await submit(modest, [softTask("two")]);
  await until(() => linesOf(modest, "two.starts").length === 1, "it runs");
  const id = await submit(urgent, ["--gpus", "V100:2", "--priority", "10", "--", "true"]);
  await until(
    async () => (await queueOf(modest)).get(soft)?.reason?.includes("job") === true,
    "the warning in the queue",
  );
  await cancel(urgent, id);
  await until(async () => (await queueOf(modest)).get(soft)?.reason === null, "no reason any more");
  const next = await submit(modest, ["--gpus", "V100:2", "--priority", "-20", "--", "true"]);
  expect(await statusOf(modest, soft)).toBe("RUNNING");
  expect(linesOf(modest, "two.starts")).toHaveLength(1);
  await cancel(modest, next);
  await cancel(modest, soft);
});

test("a job that does not declare it is never stopped", async () => {
  const firm = await submit(modest, ["--gpus", "V100:2", "--priority", "-10", "--", "sleep 1000"]);
  await untilStatus(modest, firm, "RUNNING");
  const id = await submit(urgent, ["--gpus", "V100:2", "--priority", "10", "--", "true"]);
  await until(async () => (await queueOf(urgent)).get(id)?.reason !== null, "a reason");
  expect((await queueOf(modest)).get(firm)).toMatchObject({ status: "RUNNING", reason: null });
  await cancel(modest, firm);
  await untilStatus(urgent, id, "SUCCEEDED");
});
