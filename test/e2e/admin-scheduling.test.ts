/**
 * Quotas and windows with real programs, real users and real groups: what an admin sets binds the next job, is shown to
 * those whom it binds, survives a kill of the coordinator, and cannot be set by anybody else.
 */
import { randomBytes, randomInt } from "node:crypto";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { NodesResult } from "../../shared/api.ts";
import type { OwnQuotaResult, QuotasResult, WindowsResult } from "../../shared/scheduling-api.ts";
import { must, run } from "../help/run.ts";
import { clusterName, plain, queueOf, type Site, startSite, submit, tell, untilStatus } from "../help/site.ts";
import { sky, skyOk, startSkyAtTerminal } from "../help/sky.ts";
import { until } from "../help/until.ts";
import type { TestUser } from "../help/users.ts";

const tag = randomBytes(3).toString("hex");
const adminGroup = `skyadm${tag}`;
const labGroup = `skylab${tag}`;
/** Debian allows it; no quota, weight or window can have this name. */
const oddGroup = `skyödd$(id)${tag}`;
const sleeper = `sleep ${randomInt(100_000, 1_000_000)}`;

let site: Site;
let admin: TestUser;
let alice: TestUser;
let bob: TestUser;

beforeAll(async () => {
  for (const group of [adminGroup, labGroup, oddGroup]) {
    await must(["groupadd", group]);
  }
  site = await startSite({ users: 3, accelerators: "V100:4,-", coordinatorConfig: { admin_group: adminGroup } });
  [admin, alice, bob] = site.users as [TestUser, TestUser, TestUser];
  await must(["usermod", "-aG", adminGroup, admin.name]);
  await must(["usermod", "-aG", `${labGroup},${oddGroup}`, alice.name]);
  await until(async () => (await sky(admin, ["admin", "nodes"])).code === 0, "the admin to be one", 60_000);
  await until(async () => (await ownQuota(alice)).code === 0, "alice's groups", 60_000);
});
afterAll(async () => {
  await site?.stop();
  for (const group of [adminGroup, labGroup, oddGroup]) {
    await run(["groupdel", group]);
  }
});
beforeEach(({ onTestFailed }) => {
  onTestFailed(async () => await tell(site));
});

async function ownQuota(user: TestUser): Promise<{ code: number | null; result: OwnQuotaResult | undefined }> {
  const { code, stdout } = await sky(user, ["quota", clusterName, "-o", "json"]);
  return { code, result: code === 0 ? (JSON.parse(stdout) as Record<string, OwnQuotaResult>)[clusterName] : undefined };
}

async function quotas(): Promise<QuotasResult["quotas"]> {
  return (JSON.parse(await skyOk(admin, ["admin", "quota", "-o", "json"])) as QuotasResult).quotas;
}

async function windows(): Promise<WindowsResult["windows"]> {
  return (JSON.parse(await skyOk(admin, ["admin", "windows", "-o", "json"])) as WindowsResult).windows;
}

async function removeAllWindows(): Promise<void> {
  const ids = (await windows()).map((window) => window.id);
  if (ids.length > 0) {
    await skyOk(admin, ["admin", "windows", "remove", ...ids]);
  }
}

async function restartCoordinator(): Promise<void> {
  await site.cluster.kill("coordinator");
  site.cluster.startPart("coordinator");
  await site.cluster.ready();
}

async function reasonOf(user: TestUser, id: number): Promise<string> {
  return (await queueOf(user)).get(id)?.reason ?? "";
}

test("every verb is refused to an ordinary user, by the name of the group; their own limits are open to them", async () => {
  const verbs = [
    ["quota"],
    ["quota", "set", "each", "running=1"],
    ["quota", "unset", "each"],
    ["windows"],
    ["windows", "remove", "w1"],
    ["maintenance", "n1", "--for", "1h"],
    ["reserve", "n1", "--for", "1h", "--user", alice.name],
  ];
  for (const verb of verbs) {
    const refused = await sky(alice, ["admin", ...verb]);
    expect([verb.join(" "), refused.code]).toEqual([verb.join(" "), 1]);
    expect(plain(refused.stderr)).toContain(`Only members of the group '${adminGroup}'`);
  }
  expect([await quotas(), await windows()]).toEqual([[], []]);
  expect(plain(await skyOk(alice, ["quota"]))).toContain("No quota limits you.");
});

test("what is typed wrongly is said at once, with what would be right", async () => {
  const cases: [string[], number, RegExp][] = [
    [["quota", "set", "alice", "H100=1"], 2, /'alice' is no subject\.\nWrite user:NAME/],
    [["quota", "set", "group:a\u001b[31mb", "H100=1"], 2, /has no valid group name/],
    [["quota", "set", "each", "H100"], 2, /write KEY=NUMBER/],
    [["quota", "set", "each", "V10=1"], 1, /No node of this cluster has an accelerator 'V10'\.\nDid you mean 'V100'\?/],
    [["quota", "set", `user:nosuch-${tag}`, "cpus=1"], 1, /has no account on the head machine/],
    [["quota", "unset", "each"], 1, /There is no quota for 'each'/],
    [["maintenance", "n1"], 2, /Say when it ends/],
    [["maintenance", "n11", "--for", "1h"], 1, /There is no node 'n11' in this cluster\.\nDid you mean 'n1'\?/],
    [["maintenance", "n1", "--from", "2026-02-30T08:00", "--for", "1h"], 2, /is not a moment/],
    [["maintenance", "n1", "--from", "2020-01-01", "--for", "1h"], 1, /would begin in the past/],
    [["maintenance", "n1", "--for", "1h", "-r", "x".repeat(201)], 1, /reason/],
    [["maintenance", "n1", "--for", "1h", "-r", "a\nb"], 1, /must be one line of text/],
    [["reserve", "n1", "--for", "1h"], 1, /A reservation needs somebody/],
    [["windows", "remove", "n1"], 2, /they are called w1, w2/],
    [["windows", "remove", "w9"], 1, /There is no window 'w9'/],
  ];
  for (const [words, code, text] of cases) {
    const refused = await sky(admin, ["admin", ...words]);
    expect([words.join(" "), refused.code]).toEqual([words.join(" "), code]);
    expect(plain(refused.stderr)).toMatch(text);
  }
  expect([await quotas(), await windows()]).toEqual([[], []]);
});

test("a group's quota binds its members together: the next job waits and says why, until the quota is raised", async () => {
  const set = plain(await skyOk(admin, ["admin", "quota", "set", `group:${labGroup}`, "v100=2", "running=5"]));
  expect(set).toContain(`✓ group:${labGroup}: V100 2 (0 used), running jobs 5 (0 used)`);
  const first = await submit(alice, ["--gpus", "V100:2", "--", sleeper]);
  await untilStatus(alice, first, "RUNNING");
  const second = await submit(alice, ["--gpus", "V100:1", "--", sleeper]);
  await until(async () => (await reasonOf(alice, second)).includes(labGroup), "the quota in the reason");
  expect(await reasonOf(alice, second)).toMatch(/quota .*allows 2 V100/);
  // Who is no member is not bound.
  const others = await submit(bob, ["--gpus", "V100:1", "--", "true"]);
  await untilStatus(bob, others, "SUCCEEDED");
  const own = (await ownQuota(alice)).result;
  expect(own?.quotas).toMatchObject([
    { subject: `group:${labGroup}`, limits: { accelerators: { V100: 2 }, running: 5 } },
  ]);
  expect(own?.use).toMatchObject({ accelerators: { V100: 2 }, running: 1, waiting: 1 });
  await restartCoordinator();
  expect((await quotas())[0]).toMatchObject({
    subject: `group:${labGroup}`,
    use: { accelerators: { V100: 2 }, running: 1, waiting: 1 },
    users: [{ user: alice.name }],
  });
  expect((await queueOf(alice)).get(second)?.status).toBe("PENDING");
  await skyOk(admin, ["admin", "quota", "set", `group:${labGroup}`, "V100=3"]);
  await untilStatus(alice, second, "RUNNING");
  const shown = startSkyAtTerminal(admin, ["admin", "quota"]);
  await shown.ended;
  const text = plain(shown.stdout());
  expect(text).toMatch(/V100 +3 +3\n/);
  expect(Math.max(...text.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
  await skyOk(alice, ["cancel", clusterName, "-a", "-y"]);
  expect(plain(await skyOk(admin, ["admin", "quota", "unset", `group:${labGroup}`]))).toContain("no limits any more");
});

test("a quota of waiting jobs refuses the next submission and names itself", async () => {
  await skyOk(admin, ["admin", "quota", "set", "each", "running=0", "waiting=1"]);
  await submit(bob, ["--", "true"]);
  const refused = await sky(bob, ["exec", clusterName, "-d", "--", "true"]);
  expect(refused.code).toBe(1);
  expect(plain(refused.stderr)).toMatch(/The quota for each user allows 1 waiting jobs on cluster 'lab', and 1 wait\./);
  await skyOk(bob, ["cancel", clusterName, "-a", "-y"]);
  await skyOk(admin, ["admin", "quota", "unset", "each"]);
  const together = await skyOk(admin, ["admin", "quota", "set", `group:${labGroup}`, "gpus=4", "cpus=32"]);
  expect(plain(together)).toContain("all accelerators 4 (0 used), CPUs 32 (0 used)");
  await skyOk(admin, ["admin", "quota", "unset", `group:${labGroup}`]);
});

test("a reservation keeps others off, lets its group run, is shown on the node, and ends by itself", async () => {
  const added = await sky(admin, ["admin", "reserve", "n1", "--group", labGroup, "--for", "1h", "-r", "the course"]);
  expect(added.code).toBe(0);
  expect(plain(added.stdout)).toContain(`✓ n1: reserved for members of ${labGroup} until`);
  expect(plain(added.stderr)).toMatch(/take it back: sky admin windows remove w1/);
  const waits = await submit(bob, ["--gpus", "V100:1", "--", "true"]);
  await untilStatus(alice, await submit(alice, ["--gpus", "V100:1", "--", "true"]), "SUCCEEDED");
  expect((await queueOf(bob)).get(waits)?.status).toBe("PENDING");
  expect(await reasonOf(bob, waits)).toMatch(/reserved/);
  const list = plain(await skyOk(bob, ["gpus", "list"]));
  expect(list).toMatch(/n1 .*RESERVED/);
  expect(list.replace(/\s+/g, " ")).toContain("n1: reserved for others until");
  const members = plain(await skyOk(alice, ["gpus", "list"]));
  expect(members.replace(/\s+/g, " ")).toContain(`n1: reserved for members of ${labGroup} until`);
  await restartCoordinator();
  expect(await windows()).toMatchObject([
    { id: "w1", kind: "reservation", groups: [labGroup], by: admin.name, reason: "the course", on: true },
  ]);
  expect((await queueOf(bob)).get(waits)?.status).toBe("PENDING");
  await skyOk(admin, ["admin", "windows", "remove", "w1"]);
  await untilStatus(bob, waits, "SUCCEEDED");
  // One that is over lets the job start without anybody doing anything.
  await skyOk(admin, ["admin", "reserve", "n1", "--user", alice.name, "--for", "3s"]);
  await untilStatus(bob, await submit(bob, ["--gpus", "V100:1", "--", "true"]), "SUCCEEDED");
  await until(async () => (await windows()).length === 0, "the window to be forgotten");
});

test("before maintenance only what ends in time starts; at its begin what still runs is ended with the reason", async () => {
  const running = await submit(alice, ["--gpus", "V100:1", "--", sleeper]);
  await untilStatus(alice, running, "RUNNING");
  const asked = startSkyAtTerminal(admin, [
    ...["admin", "maintenance", "n1", "--from", "+1d", "--for", "4h", "--end-jobs"],
    ...["--reason", "new disks"],
  ]);
  await until(() => asked.stdout().includes("Proceed?"), "the question");
  asked.type("y\r");
  expect((await asked.ended).code).toBe(0);
  expect(plain(asked.stdout()).replace(/\s+/g, " ")).toContain(`Running there now: ${alice.name}'s job ${running}`);
  const endless = await submit(bob, ["--gpus", "V100:1", "--", "true"]);
  await untilStatus(bob, await submit(bob, ["--gpus", "V100:1", "--time", "1h", "--", "true"]), "SUCCEEDED");
  expect((await queueOf(bob)).get(endless)?.status).toBe("PENDING");
  expect(await reasonOf(bob, endless)).toMatch(/maintenance/);
  await removeAllWindows();
  await untilStatus(bob, endless, "SUCCEEDED");
  await skyOk(admin, [
    "admin",
    "maintenance",
    "n1",
    "--from",
    "+2s",
    "--for",
    "1h",
    "--end-jobs",
    "-y",
    "-r",
    "new disks",
  ]);
  await untilStatus(alice, running, "FAILED_DRIVER");
  expect(await reasonOf(alice, running)).toMatch(/^n1 was set aside for maintenance \(window w\d+\): new disks$/);
  expect(plain(await skyOk(admin, ["admin", "nodes"]))).toMatch(/n1 +MAINTENANCE/);
  const rows = JSON.parse(await skyOk(bob, ["gpus", "list", "-o", "json"])) as Record<string, NodesResult>;
  expect(rows[clusterName]?.nodes[0]?.windows).toMatchObject([{ kind: "maintenance", on: true, reason: "new disks" }]);
  await removeAllWindows();
});

test("each thing that an admin did is one line in the log: who, what, with which words", () => {
  const lines = site.cluster
    .log("coordinator")
    .split("\n")
    .filter((line) => line.includes("an admin acted"))
    .map((line) => JSON.parse(line) as { admin: string; action: string; subject?: string; reason?: string });
  expect(lines.every((line) => line.admin === admin.name)).toBe(true);
  expect(new Set(lines.map((line) => line.action))).toEqual(
    new Set(["quota-set", "quota-unset", "window-add", "window-remove"]),
  );
  expect(lines.find((line) => line.action === "quota-set")?.subject).toBe(`group:${labGroup}`);
  expect(lines.filter((line) => line.action === "window-add").at(-1)?.reason).toBe("new disks");
});
