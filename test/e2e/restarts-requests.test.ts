/**
 * Requests that nobody waits for, and a coordinator that is killed under them: what was taken is done, once, and what a
 * plain cancel meant is cancelled and nothing else. Jobs write into files of their own, so that what ran can be counted.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { clusterName, plain, type Site, startSite, statusOf, submit, tell, untilStatus } from "../help/site.ts";
import { runAs, sky, skyOk } from "../help/sky.ts";
import { until } from "../help/until.ts";
import type { TestUser } from "../help/users.ts";

let site: Site;
let user: TestUser;

beforeAll(async () => {
  site = await startSite({ accelerators: "-" });
  user = site.users[0] as TestUser;
  await runAs(user, ["mkdir", join(user.home, "runs")]);
});
afterAll(async () => await site?.stop());
beforeEach(({ onTestFailed }) => {
  onTestFailed(async () => await tell(site));
});

/** The id of the request that the command has left behind. */
async function leave(words: readonly string[]): Promise<string> {
  const [verb = "", ...rest] = words;
  const text = plain(await skyOk(user, [verb, "--async", ...rest]));
  const id = new RegExp(`Submitted sky\\.${verb} request: ([0-9a-f-]{36})`).exec(text)?.[1];
  expect(id, text).toBeDefined();
  return id ?? "";
}

async function killed(): Promise<void> {
  await site.cluster.kill("coordinator");
  site.cluster.startPart("coordinator");
  await site.cluster.ready();
}

/** How often a job with this tag has run. */
function ran(tag: string): number {
  const folder = join(user.home, "runs");
  return readdirSync(folder)
    .filter((name) => name.startsWith(`${tag}.`))
    .reduce((sum, name) => sum + readFileSync(join(folder, name), "utf8").trim().split("\n").length, 0);
}

const marks = (tag: string): string => `echo ran >> ~/runs/${tag}.$SKYPILOT_INTERNAL_JOB_ID`;

test("a request that nobody waits for is done, and its text tells the job", async () => {
  const id = await leave(["exec", clusterName, "--", marks("left")]);
  const logs = await sky(user, ["api", "logs", id.slice(0, 10)]);
  expect(logs.code).toBe(0);
  expect(plain(logs.stdout)).toMatch(/Job submitted, ID: \d+/);
  await until(() => ran("left") === 1, "the job to run");
  const rows = JSON.parse(await skyOk(user, ["api", "status", "-a", "-o", "json"])) as { request_id: string }[];
  expect(rows.map((row) => row.request_id)).toContain(id);
});

test("a coordinator that is killed when it has taken a launch queues its job once", async () => {
  for (const [round, waitMs] of [0, 0, 3, 10, 40].entries()) {
    const tag = `launch${round}`;
    const id = await leave(["launch", "-c", clusterName, "-y", "--", marks(tag)]);
    await sleep(waitMs);
    await killed();
    const logs = await sky(user, ["api", "logs", id]);
    expect(logs.code, logs.stderr).toBe(0);
    const job = Number(/Job submitted, ID: (\d+)/.exec(plain(logs.stdout))?.[1]);
    await untilStatus(user, job, "SUCCEEDED", 60_000);
    expect(ran(tag)).toBe(1);
  }
});

test("a plain cancel ends the job that it meant, also when the coordinator is killed, and never the next one", async () => {
  const waits =
    'for i in $(seq 1200); do [ -e ~/runs/go ] && break; sleep 0.05; done; echo "$SKYPILOT_INTERNAL_JOB_ID"';
  const jobs: number[] = [];
  for (let count = 0; count < 3; count += 1) {
    jobs.push(await submit(user, ["--", waits]));
  }
  for (const job of jobs) {
    await untilStatus(user, job, "RUNNING");
  }
  const id = await leave(["cancel", clusterName, "-y"]);
  await killed();
  expect((await sky(user, ["api", "logs", id])).code).toBe(0);
  await untilStatus(user, jobs[2] ?? 0, "CANCELLED", 60_000);
  await killed();
  expect(await Promise.all(jobs.slice(0, 2).map((job) => statusOf(user, job)))).toEqual(["RUNNING", "RUNNING"]);
  await runAs(user, ["touch", join(user.home, "runs/go")]);
  for (const job of jobs.slice(0, 2)) {
    await untilStatus(user, job, "SUCCEEDED", 60_000);
  }
});

test("a request that is cancelled says so to whoever asks, and one that has ended cannot be", async () => {
  const id = await leave(["exec", clusterName, "--", "true"]);
  expect((await sky(user, ["api", "logs", id])).code).toBe(0);
  expect(plain(await skyOk(user, ["api", "cancel", id]))).toContain("had ended already");
  const unknown = await sky(user, ["api", "logs", "0000aaaa"]);
  expect([unknown.code, unknown.stderr]).toEqual([1, expect.stringContaining("knows no request '0000aaaa'")]);
  expect(plain(await skyOk(user, ["api", "info"]))).toContain("Status: healthy");
});
