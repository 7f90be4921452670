/**
 * A node that disappears, with real processes: its jobs are unknown, then end with the cause, or start elsewhere once their
 * first copy is certainly dead. What a copy does is written down by itself, with the time, whatever the programs claim.
 * The machine is "away" when its agent is killed and its skylet halted: only the runner is left to do anything.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { clusterName, plain, queueOf, type Site, startSite, submit, tell, untilStatus } from "../help/site.ts";
import { runAs, sky } from "../help/sky.ts";
import { until } from "../help/until.ts";
import { processesOf, type TestUser, writeHomeFile } from "../help/users.ts";

let site: Site;
let user: TestUser;

beforeAll(async () => {
  const coordinatorConfig = { lost_node_seconds: 6, lease_seconds: 10, grace_seconds: 2 };
  site = await startSite({ accelerators: "V100:1,V100:1", coordinatorConfig });
  user = site.users[0] as TestUser;
  await runAs(user, ["mkdir", join(user.home, "runs")]);
});
afterAll(async () => await site?.stop());
beforeEach(({ onTestFailed }) => {
  onTestFailed(async () => await tell(site));
});

/** Each copy writes the time into a file of its own, ten times a second, until it is released; it ignores TERM. */
const run = [
  "trap '' TERM",
  'mkdir -p ~/runs/$SKYPILOT_INTERNAL_JOB_ID && cd ~/runs/$SKYPILOT_INTERNAL_JOB_ID && f="$SKY_ONPREM_ATTEMPT"',
  // A helper in a session of its own, which outlives the script unless somebody ends it.
  'setsid bash -c \'while :; do date +%s%3N >> "$0"; sleep 0.1; done\' "$f.helper" >/dev/null 2>&1 &',
  'while [ ! -e go ]; do date +%s%3N >> "$f"; sleep 0.1; done',
].join("\n  ");

function taskFile(name: string, recovery: string): string {
  writeHomeFile(user, name, `resources:\n  accelerators: V100:1\n  job_recovery: ${recovery}\nrun: |\n  ${run}\n`);
  return name;
}

/** Times (ms since 1970) that one copy has written, by the copy's file. */
function written(id: number): Map<string, number[]> {
  const folder = join(user.home, "runs", String(id));
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => name !== "go") : [];
  const times = (name: string): number[] => readFileSync(join(folder, name), "utf8").trim().split("\n").map(Number);
  return new Map(names.sort().map((name) => [name, times(name)]));
}

/** Processes of the user whose command line or environment names this. */
function processesWith(text: string): number[] {
  return processesOf(user.uid).filter((pid) => {
    try {
      return ["cmdline", "environ"].some((file) => readFileSync(`/proc/${pid}/${file}`, "utf8").includes(text));
    } catch {
      return false;
    }
  });
}

/** Node processes that work for this node: the user's skylet there. */
function skyletsOf(node: string): number[] {
  return processesOf(user.uid).filter((pid) => {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      const isSkylet = words.some((word) => /skylet[^/]*\.mjs$/.test(word));
      return isSkylet && words.some((word) => word.includes(`/nodes/${node}/`));
    } catch {
      return false;
    }
  });
}

async function goesAway(node: string): Promise<() => void> {
  const skylets = skyletsOf(node);
  expect(skylets).not.toEqual([]);
  for (const pid of skylets) {
    process.kill(pid, "SIGSTOP");
  }
  await site.cluster.kill(`agent:${node}`);
  return () => {
    for (const pid of skylets) {
      process.kill(pid, "SIGCONT");
    }
    site.cluster.startPart(`agent:${node}`);
  };
}

test("jobs without job_recovery are unknown, then FAILED_DRIVER with the cause, and are cleaned away when the node is back", async () => {
  const id = await submit(user, [taskFile("plain.yaml", "none")]);
  await until(() => written(id).size === 2, "the job's begin", 30_000);
  expect((await queueOf(user)).get(id)?.nodes).toEqual(["n1"]);
  const comesBack = await goesAway("n1");
  await until(
    async () => (await queueOf(user)).get(id)?.reason?.includes("is unreachable") === true,
    "unknown",
    20_000,
  );
  const row = (await queueOf(user)).get(id);
  expect(row?.status).toBe("RUNNING");
  expect(row?.reason).toMatch(/^n1 is unreachable .*what the job does there is not known$/);
  await untilStatus(user, id, "FAILED_DRIVER", 30_000);
  expect((await queueOf(user)).get(id)?.reason).toMatch(/^n1 was lost: no report came from it for \d+ s/);
  const [attempt = ""] = [...written(id).keys()];
  expect(processesWith(attempt)).not.toEqual([]);

  // Both machines' accelerators are wanted; the lost one's are given out only when nothing of the old job is left.
  const both = await submit(user, [
    "--gpus",
    "V100:1",
    "--num-nodes",
    "2",
    `pgrep -f '${attempt}' | grep -v $$ || echo none`,
  ]);
  comesBack();
  await untilStatus(user, both, "SUCCEEDED", 60_000);
  expect(processesWith(attempt)).toEqual([]);
}, 180_000);

test("a job with job_recovery starts elsewhere, after its first copy has died by its own lease", async () => {
  const id = await submit(user, [taskFile("recovers.yaml", "EAGER_NEXT_REGION")]);
  await until(() => written(id).size === 2, "the job's begin", 30_000);
  const [first = ""] = [...written(id).keys()];
  const [from = ""] = (await queueOf(user)).get(id)?.nodes ?? [];
  const to = from === "n1" ? "n2" : "n1";
  const comesBack = await goesAway(from);

  await until(async () => (await queueOf(user)).get(id)?.status === "PENDING", "the job to wait", 30_000);
  expect((await queueOf(user)).get(id)?.reason).toMatch(
    /^it is started again elsewhere in \d+ s, when its lease on n\d/,
  );
  await until(() => written(id).size === 4, "the second copy", 90_000);
  const copies = written(id);
  const second = [...copies.keys()].find((name) => !name.startsWith(first) && !name.endsWith(".helper")) ?? "";
  const begun = Math.min(copies.get(second)?.[0] ?? 0, copies.get(`${second}.helper`)?.[0] ?? 0);
  const died = Math.max(
    ...[first, `${first}.helper`].map((name) => copies.get(name)?.at(-1) ?? Number.POSITIVE_INFINITY),
  );
  expect(died).toBeLessThan(begun);
  expect(processesWith(first)).toEqual([]);
  await untilStatus(user, id, "RUNNING", 20_000);
  expect((await queueOf(user)).get(id)?.nodes).toEqual([to]);

  // Back late: what it still holds of the job is cleared away, and the job goes on where it is.
  comesBack();
  await site.cluster.ready();
  const other = await submit(user, ["--gpus", "V100:1", "hostname"]);
  await untilStatus(user, other, "SUCCEEDED", 60_000);
  await runAs(user, ["touch", join(user.home, "runs", String(id), "go")]);
  await untilStatus(user, id, "SUCCEEDED", 30_000);
  expect([...written(id).keys()].length).toBe(4);
  const log = plain((await sky(user, ["queue", clusterName, "-o", "json"])).stdout);
  expect(log).not.toContain("is started again");
}, 240_000);

test("a recoverable job that is renewed runs for longer than its lease, also while coordinator and agent are restarted", async () => {
  const id = await submit(user, [taskFile("renewed.yaml", "FAILOVER")]);
  await until(() => written(id).size === 2, "the job's begin", 30_000);
  const [node = ""] = (await queueOf(user)).get(id)?.nodes ?? [];
  await site.cluster.kill("coordinator");
  site.cluster.startPart("coordinator");
  await site.cluster.ready();
  await site.cluster.kill(`agent:${node}`);
  site.cluster.startPart(`agent:${node}`);
  await site.cluster.ready();
  const last = (): number => Math.max(...[...written(id).values()].map((times) => times.at(-1) ?? 0));
  const begun = Math.min(...[...written(id).values()].map((times) => times[0] ?? 0));
  await until(() => last() > begun + 20_000, "twice the lease", 60_000);
  expect([...written(id).keys()].length).toBe(2);
  await runAs(user, ["touch", join(user.home, "runs", String(id), "go")]);
  await untilStatus(user, id, "SUCCEEDED", 30_000);
}, 180_000);
