/**
 * Usage with real programs: jobs of two users, figures while they run and afterwards, a coordinator that is killed in
 * between, the history's files, and a device that is held and does nothing. Everybody sees their own, an admin all.
 */
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { type UsageLine, usageLineSchema } from "../../shared/scheduling.ts";
import type { IdleResult, UsageResult } from "../../shared/usage-api.ts";
import { must, run } from "../help/run.ts";
import { clusterName, plain, type Site, startSite, submit, tell, untilStatus } from "../help/site.ts";
import { runAs, sky, skyOk } from "../help/sky.ts";
import { until } from "../help/until.ts";
import type { TestUser } from "../help/users.ts";

const group = `skytest${randomBytes(3).toString("hex")}`;
const hour = 3_600_000;
const byName = (a: string | null | undefined, b: string | null | undefined): number => ((a ?? "") < (b ?? "") ? -1 : 1);

let site: Site;
let admin: TestUser;
let user: TestUser;

beforeAll(async () => {
  await must(["groupadd", group]);
  site = await startSite({ users: 2, accelerators: "V100:4,-", coordinatorConfig: { admin_group: group } });
  [admin, user] = site.users as [TestUser, TestUser];
  await must(["usermod", "-aG", group, admin.name]);
  await until(async () => (await sky(admin, ["admin", "nodes"])).code === 0, "the admin to be one", 60_000);
});
afterAll(async () => {
  await site?.stop();
  await run(["groupdel", group]);
});
beforeEach(({ onTestFailed }) => {
  onTestFailed(async () => await tell(site));
});

async function usageOf(who: TestUser, ...flags: string[]): Promise<UsageResult> {
  const text = await skyOk(who, ["usage", clusterName, "-o", "json", ...flags]);
  return (JSON.parse(text) as Record<string, UsageResult>)[clusterName] as UsageResult;
}

const folder = (): string => join(site.cluster.dir, "state/usage");

/** Every line of the history. */
function history(): UsageLine[] {
  const names = existsSync(folder()) ? readdirSync(folder()) : [];
  return names.flatMap((name) =>
    readFileSync(join(folder(), name), "utf8")
      .split("\n")
      .filter((text) => text !== "")
      .map((text) => usageLineSchema.parse(JSON.parse(text))),
  );
}

test("what runs counts at once, goes on over a restart, and stays in the history when it is over", async () => {
  const begun = Date.now();
  const held = await submit(user, ["--gpus", "V100:2", "--cpus", "2", "--", "sleep 1000"]);
  await untilStatus(user, held, "RUNNING");
  const first = await until(async () => {
    const result = await usageOf(user, "--by", "kind");
    return result.total.accelerator_hours > 0 ? result : null;
  }, "the first figure");
  expect(first).toMatchObject({ scope: "own", rows: [{ keys: { kind: "V100" } }] });

  await site.cluster.kill("coordinator");
  site.cluster.startPart("coordinator");
  await site.cluster.ready();
  const later = await usageOf(user, "--by", "kind");
  expect(later.total.accelerator_hours).toBeGreaterThan(first.total.accelerator_hours);

  await skyOk(user, ["cancel", clusterName, String(held), "-y"]);
  const short = await submit(admin, ["--", "true"]);
  await untilStatus(admin, short, "SUCCEEDED");
  const lines = await until(() => (history().length >= 2 ? history() : null), "two lines in the history", 60_000);
  const line = lines.find((one) => one.user === user.name);
  expect(line).toMatchObject({ jobId: held, node: "n1", kind: "V100", accelerators: 2, cpus: 2 });
  const { from, to } = line as UsageLine;
  expect(from).toBeGreaterThanOrEqual(begun);
  expect(to).toBeLessThanOrEqual(Date.now());

  const over = await usageOf(user, "--by", "kind");
  expect(over.total.accelerator_hours).toBeCloseTo((2 * (to - from)) / hour, 9);
  expect(over.total.cpu_hours).toBeCloseTo((2 * (to - from)) / hour, 9);
  const half = new Date(from + Math.floor((to - from) / 2000) * 1000);
  const stamp = `${half.toISOString().slice(0, 19)}Z`;
  const parts = [await usageOf(user, "--to", stamp), await usageOf(user, "--from", stamp)];
  const sum = parts.reduce((hours, part) => hours + part.total.accelerator_hours, 0);
  expect(sum).toBeCloseTo(over.total.accelerator_hours, 9);
});

test("an admin sees everybody's, as table, JSON and CSV; a user only their own", async () => {
  expect((await usageOf(admin)).rows.map((row) => row.keys.user).toSorted(byName)).toEqual(
    [admin.name, user.name].toSorted(byName),
  );
  expect((await usageOf(user)).rows.map((row) => row.keys.user)).toEqual([user.name]);
  const table = plain(await skyOk(admin, ["usage"]));
  expect(table).toMatch(/^Cluster lab: usage, .* to now\nUSER +ACCELERATOR_HOURS +CPU_HOURS\n/);
  expect(table).toMatch(/\ntotal +\S+ +\S+\n$/);
  const csv = await skyOk(admin, ["usage", clusterName, "--by", "user,kind", "-o", "csv", "--last", "2h"]);
  const [header, ...rows] = csv.split("\r\n");
  expect(header).toBe("cluster,from,to,user,accelerator,accelerator_hours,cpu_hours,memory_gb_hours");
  expect(rows.at(-1)).toBe("");
  expect(rows[0]).toMatch(new RegExp(`^lab,[^,]+Z,[^,]+Z,${user.name},V100,0\\.`));
  const groups = await usageOf(user, "--by", "group");
  const { stdout } = await runAs(user, ["id", "-Gn"]);
  expect(groups.rows.map((row) => row.keys.group).toSorted(byName)).toEqual(stdout.trim().split(" ").toSorted(byName));
});

test("idle accelerators: an answer in every form", async () => {
  const held = await submit(user, ["--gpus", "V100:1", "--", "sleep 1000"]);
  await untilStatus(user, held, "RUNNING");
  const result = JSON.parse(await skyOk(admin, ["usage", clusterName, "--idle", "-o", "json"])) as {
    lab: IdleResult;
  };
  expect(Array.isArray(result.lab.idle)).toBe(true);
  expect(plain(await skyOk(user, ["usage", "--idle"]))).toContain("accelerators that are held and idle");
  expect(await skyOk(user, ["usage", clusterName, "--idle", "-o", "csv"])).toContain("cluster,node,device,");
  await skyOk(user, ["cancel", clusterName, String(held), "-y"]);
});

test("the history is the coordinator's alone, and damage in it is said, not fatal", async () => {
  expect(statSync(folder()).mode & 0o777).toBe(0o700);
  for (const name of readdirSync(folder())) {
    expect(statSync(join(folder(), name)).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder(), name)).uid).toBe(statSync(join(site.cluster.dir, "state")).uid);
  }
  const [name = ""] = readdirSync(folder());
  expect((await runAs(user, ["cat", join(folder(), name)])).code).not.toBe(0);
  const before = await usageOf(admin);
  await must(["bash", "-c", `printf 'garbage\\n' >> ${join(folder(), name)}`]);
  const result = await sky(admin, ["usage", clusterName, "-o", "json"]);
  expect(result).toMatchObject({ code: 0, stderr: expect.stringContaining(`cannot be read: usage/${name}:`) });
  const after = (JSON.parse(result.stdout) as Record<string, UsageResult>)[clusterName];
  expect(after?.damaged.lines).toBe(1);
  expect(after?.total.accelerator_hours).toBeGreaterThanOrEqual(before.total.accelerator_hours);
});

test.each([
  [["--by", "colour"], 2, "'colour' is nothing to sum by."],
  [["--from", "yesterday"], 2, "'yesterday' is not a moment."],
  [["--last", "7d", "--from", "2026-11-01"], 2, "exclude each other"],
  [["--from", "2026-12-01", "--to", "2026-11-01"], 2, "ends before it begins"],
  [["--idle", "--by", "user"], 2, "takes no period"],
  [["--last", "soon"], 1, "soon"],
])("%j is refused", async (flags, code, text) => {
  const result = await sky(user, ["usage", clusterName, ...flags]);
  expect(result.code).toBe(code);
  expect(plain(result.stderr)).toContain(text);
});
