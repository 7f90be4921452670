/**
 * Why a job waits, as users read it: the machines and who holds them, names only as the config shows them, quotas, what
 * would help, dry runs; and what is said of running and ended jobs. Two users and an admin on four V100 and a node
 * without any.
 */
import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type ExplainResult, explainResultSchema } from "../../shared/explain-api.ts";
import { must } from "../help/run.ts";
import { sky, skyOk, startSkyAtTerminal } from "../help/sky.ts";
import { clusterName, plain, queueOf, type Site, startSite, submit, untilStatus } from "../help/site.ts";
import { until } from "../help/until.ts";
import type { TestUser } from "../help/users.ts";

const group = `skytest${randomBytes(3).toString("hex")}`;
let site: Site;
let alice: TestUser;
let bob: TestUser;
let admin: TestUser;

beforeAll(async () => {
  await must(["groupadd", group]);
  site = await startSite({ users: 3, accelerators: "V100:4,-", coordinatorConfig: { admin_group: group } });
  [alice, bob, admin] = site.users as [TestUser, TestUser, TestUser];
  await must(["usermod", "-aG", group, admin.name]);
  await until(async () => (await sky(admin, ["admin", "nodes"])).code === 0, "the admin to be one", 60_000);
});
afterAll(async () => {
  await site?.stop();
  await must(["groupdel", group]);
});
afterEach(async () => {
  for (const user of [alice, bob]) {
    await sky(user, ["cancel", clusterName, "-a", "-y"]);
    await until(async () => {
      return [...(await queueOf(user)).values()].every((row) => !/PENDING|INIT|SETTING_UP|RUNNING/.test(row.status));
    }, "an empty queue");
  }
});

const gpuJob = (count: number, script: string): string[] => ["--gpus", `V100:${count}`, "--", script];

async function explained(user: TestUser, words: readonly string[]): Promise<ExplainResult> {
  return explainResultSchema.parse(JSON.parse(await skyOk(user, ["explain", ...words, "-o", "json"])));
}

test("who holds what, one's own jobs by number and others' not by name, and what would help", async () => {
  const own = await submit(alice, gpuJob(1, "sleep 1000"));
  const other = await submit(bob, ["--time", "1h", ...gpuJob(2, "sleep 1000")]);
  await untilStatus(alice, own, "RUNNING");
  await untilStatus(bob, other, "RUNNING");
  const waiting = await submit(alice, gpuJob(4, "true"));
  const answer = await explained(alice, [clusterName, String(waiting)]);
  expect(answer).toMatchObject({ status: "PENDING", starts_now: false, position: 1, position_over_all: 1 });
  expect(answer.reason).toContain("needs 4 x V100");
  expect(answer.reason).toContain(`1 held by your job ${own}`);
  expect(answer.reason).toMatch(/2 held by another user's job for (1h|59m [0-9]+s) at most/);
  expect(answer.constraints[0]).toMatchObject({ type: "accelerators", nodes: ["n1"] });
  expect(answer.actions.join("\n")).toContain("ask for 1 instead of 4: that would start now on n1");
  expect(JSON.stringify(answer)).not.toContain(bob.name);
  // The admin sees whose jobs they are, and asks about anybody's.
  const seen = await explained(admin, [clusterName, String(waiting), "--user", alice.name]);
  expect(seen.reason).toContain(`2 held by ${bob.name}'s job ${other}`);
  const refused = await sky(bob, ["explain", clusterName, String(waiting), "--user", alice.name]);
  expect([refused.code, plain(refused.stderr)]).toEqual([
    1,
    expect.stringContaining(`members of the group '${group}'`),
  ]);
  // What is offered is true.
  const small = await submit(alice, gpuJob(1, "sleep 1000"));
  await untilStatus(alice, small, "RUNNING");
});

test("texts fit a terminal, the queue shows places, and the cluster may be left out", async () => {
  const holder = await submit(bob, gpuJob(4, "sleep 1000"));
  await untilStatus(bob, holder, "RUNNING");
  const first = await submit(alice, gpuJob(4, "true"));
  const second = await submit(alice, gpuJob(2, "true"));
  const queue = await queueOf(alice);
  expect([queue.get(first)?.position, queue.get(second)?.position]).toEqual([1, 2]);
  for (const words of [
    ["queue", clusterName],
    ["explain", String(second)],
  ]) {
    const shown = plain((await startSkyAtTerminal(alice, words).ended).stdout);
    expect(Math.max(...shown.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
    expect(shown).not.toContain(bob.name);
    expect(shown).toContain(words[0] === "queue" ? `sky explain ${clusterName}` : "What it waits for:");
  }
  const text = await skyOk(alice, ["explain", clusterName, String(second)]);
  expect(text).toContain("ahead of it for the same machines: 1 that you sent earlier");
});

test("a quota is the reason while it is one", async () => {
  await skyOk(admin, ["admin", "quota", "set", `user:${alice.name}`, "V100=1"]);
  try {
    const running = await submit(alice, gpuJob(1, "sleep 1000"));
    await untilStatus(alice, running, "RUNNING");
    const dry = await skyOk(alice, ["exec", clusterName, "--dryrun", ...gpuJob(1, "true")]);
    expect(dry).toContain("the quota of yours allows 1 V100 at a time; 1 is held and the job wants 1");
    const waiting = await submit(alice, gpuJob(1, "sleep 1000"));
    const answer = await explained(alice, [clusterName, String(waiting)]);
    expect(answer.constraints.map((one) => one.type)).toEqual(["quota"]);
    expect((await queueOf(alice)).get(waiting)?.reason).toContain("the quota of yours allows 1 V100");
    await skyOk(admin, ["admin", "quota", "unset", `user:${alice.name}`]);
    await untilStatus(alice, waiting, "RUNNING");
  } finally {
    await sky(admin, ["admin", "quota", "unset", `user:${alice.name}`]);
  }
});

test("a dry run says where it would start, or why not and when, and submits nothing", async () => {
  const now = await skyOk(alice, ["exec", clusterName, "--dryrun", ...gpuJob(2, "true")]);
  expect(now).toMatch(/starts +at once/);
  expect(now).toContain("n1: V100 0,1");
  const holder = await submit(bob, ["--time", "2h", ...gpuJob(4, "sleep 1000")]);
  await untilStatus(bob, holder, "RUNNING");
  const later = await skyOk(alice, ["launch", "-c", clusterName, "--dryrun", ...gpuJob(2, "true")]);
  expect(later).toContain("Dry run");
  expect(later).toMatch(/starts +in 1h 59m|starts +in 2h/);
  expect(later).toContain("n1 has 0 of 4 V100 free");
  expect(later).not.toContain(bob.name);
  expect((await queueOf(alice)).size).toBeGreaterThan(0);
  expect([...(await queueOf(alice)).values()].some((row) => row.status === "PENDING")).toBe(false);
});

test("running and ended jobs say where they are, how they ended, and what to type next", async () => {
  const running = await submit(alice, ["--time", "1h", ...gpuJob(2, "sleep 1000")]);
  await untilStatus(alice, running, "RUNNING");
  const text = await skyOk(alice, ["explain", clusterName, String(running)]);
  expect(text).toMatch(/runs on +n1: V100 0,1/);
  expect(text).toMatch(/ends +in (1h|59m).*at its time limit/);
  expect(text).toContain(`sky logs ${clusterName} ${running}`);
  const failing = await submit(alice, ["--", "exit 3"]);
  await untilStatus(alice, failing, "FAILED");
  const ended = await explained(alice, [clusterName, String(failing)]);
  expect(ended).toMatchObject({ status: "FAILED", reason: "run ended with exit code 3", constraints: [] });
  expect(ended.actions[0]).toBe(`its output: sky logs ${clusterName} ${failing}`);
  const none = await sky(alice, ["explain", clusterName, "999"]);
  expect([none.code, plain(none.stderr)]).toEqual([1, expect.stringContaining("You have no job 999")]);
});
