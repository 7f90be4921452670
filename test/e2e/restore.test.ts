/**
 * A backup that is put back while jobs run: what runs goes on and is taken over, what has run is not run again, and what
 * waited is held until an admin says so. Then the same state on another head. Jobs append to files of their own, so that
 * what really ran can be counted.
 */
import { existsSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { dist } from "../../scripts/cluster/layout.ts";
import { must, run } from "../help/run.ts";
import { clusterName, queueOf, type Site, startSite, statusOf, submit, tell, untilStatus } from "../help/site.ts";
import { runAs, sky, skyOk } from "../help/sky.ts";
import { until } from "../help/until.ts";
import type { TestUser } from "../help/users.ts";

let site: Site;
let user: TestUser;
let file: string;

beforeEach(async () => {
  site = await startSite({
    accelerators: "V100:2,V100:2",
    // Members of this group are admins: the user's own group, so that the test's user is one.
    coordinatorConfig: { admin_group: "users" },
  });
  user = site.users[0] as TestUser;
  await must(["usermod", "-aG", "users", user.name]);
  await runAs(user, ["mkdir", join(user.home, "runs")]);
  file = `${site.cluster.dir}.backup`;
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") {
    await tell(site);
  }
  await site?.stop();
  rmSync(file, { force: true });
});

/** One line in ~/runs/NAME when it begins and one when it ends; ends when ~/runs/NAME.go is there (a minute at most). */
function scriptOf(name: string): string {
  const wait = 'for i in $(seq 1200); do [ -e "$f.go" ] && break; sleep 0.05; done';
  return `f=~/runs/${name}; echo begin >> $f; ${wait}; echo end >> $f`;
}

function ran(name: string): string[] {
  const path = join(user.home, "runs", name);
  return existsSync(path) ? readFileSync(path, "utf8").trim().split("\n") : [];
}

const release = (name: string): Promise<string> => must(["touch", join(user.home, "runs", `${name}.go`)]);
const job = (name: string, gpus = "V100:2"): Promise<number> => submit(user, ["--gpus", gpus, "--", scriptOf(name)]);

function coordinator(...args: string[]) {
  const config = join(site.cluster.dir, "coordinator.yaml");
  return run([process.execPath, join(dist, "coordinator.mjs"), ...args, "--config", config]);
}

async function putBack(): Promise<string> {
  await site.cluster.kill("coordinator");
  await site.cluster.kill("redis");
  const result = await coordinator("restore", file, "--replace");
  expect(result).toMatchObject({ code: 0, stderr: "" });
  site.cluster.startPart("redis");
  site.cluster.startPart("coordinator");
  await site.cluster.ready();
  return result.stdout;
}

test("what ran is not run again, what runs is taken over, what waits is held until it is released", async () => {
  const runs = await job("runs");
  const other = await job("other");
  await until(() => ran("runs").length + ran("other").length === 2, "both nodes to be busy");
  const waits = await job("waits");
  const starts = await job("starts");
  const stays = await job("stays");
  const taken = await coordinator("backup", file);
  expect(taken).toMatchObject({ code: 0 });
  expect(statSync(file).mode & 0o777).toBe(0o600);
  // After the backup: one that ran ends, one that waited runs to its end, one begins, and a new one is submitted.
  await release("runs");
  await untilStatus(user, runs, "SUCCEEDED");
  await release("waits");
  await untilStatus(user, waits, "SUCCEEDED");
  await until(() => ran("starts").length === 1, "the next one to begin");
  const lost = await job("lost");
  expect((await coordinator("restore", file, "--replace")).stderr).toMatch(
    /coordinator .*works here.*\n.*systemctl stop/,
  );
  const said = await putBack();
  expect(said).toMatch(/3 waiting and 2 begun jobs/);
  await untilStatus(user, starts, "RUNNING");
  await untilStatus(user, other, "RUNNING");
  await untilStatus(user, runs, "FAILED_DRIVER");
  const rows = await queueOf(user);
  expect(rows.get(lost)).toBeUndefined();
  expect(rows.get(waits)).toMatchObject({ status: "PENDING" });
  expect(rows.get(waits)?.reason).toMatch(/held after a restore/);
  expect(rows.get(stays)?.reason).toMatch(/held after a restore/);
  const next = await job("next", "V100:1");
  expect(next).toBeGreaterThan(lost);
  await release("starts");
  await untilStatus(user, starts, "SUCCEEDED");
  await until(() => ran("next").length === 1, "a new job to begin");
  await release("next");
  await untilStatus(user, next, "SUCCEEDED");
  expect(await skyOk(user, ["admin", "release"])).toMatch(new RegExp(`${user.name}/${waits} `));
  // The admin knows that the one has run; the other has not.
  await skyOk(user, ["admin", "release", `${user.name}/${waits}`, "--cancel"]);
  await untilStatus(user, waits, "CANCELLED");
  await release("stays");
  expect(ran("stays")).toEqual([]);
  await skyOk(user, ["admin", "release", "--all"]);
  await untilStatus(user, stays, "SUCCEEDED");
  await release("other");
  await untilStatus(user, other, "SUCCEEDED");
  for (const name of ["runs", "other", "waits", "starts", "stays", "next"]) {
    expect(ran(name), name).toEqual(["begin", "end"]);
  }
  expect(ran("lost")).toEqual([]);
  expect(await skyOk(user, ["admin", "release"])).toContain("No jobs are held");
  expect((await sky(user, ["admin", "release", "--all"])).code).toBe(0);
});

test("handed over with its last backup: the old head serves nothing, what waited starts by itself", async () => {
  const runs = await job("runs");
  await until(() => ran("runs").length === 1, "it to begin");
  const second = await job("second");
  await until(() => ran("second").length === 1, "it to begin");
  const waits = await job("waits");
  await site.cluster.kill("coordinator");
  expect(await coordinator("backup", file, "--move")).toMatchObject({ code: 0 });
  site.cluster.startPart("coordinator");
  await until(async () => /handed over/.test((await sky(user, ["queue", clusterName])).stderr), "the refusal", 30_000);
  const said = await putBack();
  expect(said).not.toContain("held");
  await untilStatus(user, runs, "RUNNING");
  expect(await statusOf(user, waits)).toBe("PENDING");
  for (const name of ["runs", "second", "waits"]) {
    await release(name);
  }
  for (const id of [runs, second, waits]) {
    await untilStatus(user, id, "SUCCEEDED");
  }
  for (const name of ["runs", "second", "waits"]) {
    expect(ran(name), name).toEqual(["begin", "end"]);
  }
});
