/**
 * What upstream's smoke tests observe of queues and of launches that are to be quick, on a cluster like theirs: two nodes
 * of 8 CPUs and one T4. The task files are equivalents of theirs in tasks/; jobs that they send in large numbers are sent
 * by a program of the SDK, as theirs are.
 */
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { checkout } from "../../scripts/cluster/layout.ts";
import { runAs, sky, skyOk } from "../help/sky.ts";
import { clusterName, jobLines, plain, queueOf, type Site, startSite, submit, untilStatus } from "../help/site.ts";
import { until } from "../help/until.ts";
import type { TestUser } from "../help/users.ts";

let site: Site;
let user: TestUser;

beforeAll(async () => {
  site = await startSite({ accelerators: "T4:1,T4:1", agentConfig: { cpus: 8 } });
  user = site.users[0] as TestUser;
  mkdirSync(join(user.home, "node_modules"));
  symlinkSync(checkout, join(user.home, "node_modules/sky-onprem"));
});
afterAll(async () => await site?.stop());
afterEach(async () => {
  await sky(user, ["cancel", clusterName, "-a", "-y"], { limitMs: waitMs });
  await untilCounts("no job left", areOver);
});

/** For many jobs on a machine that has other things to do. */
const waitMs = 120_000;
const file = (name: string): string => join(checkout, "test/e2e/tasks", name);

/** How many jobs have each status. */
type Counts = Partial<Record<string, number>>;

const areOver = (found: Counts): boolean =>
  ["PENDING", "INIT", "SETTING_UP", "RUNNING"].every((status) => found[status] === undefined);

async function counts(): Promise<Counts> {
  const found: Record<string, number> = {};
  for (const { status } of (await queueOf(user)).values()) {
    found[status] = (found[status] ?? 0) + 1;
  }
  return found;
}

async function untilCounts(what: string, holds: (found: Counts) => boolean): Promise<Counts> {
  let last: Counts = {};
  await until(async () => holds((last = await counts())), what, waitMs).catch((error: unknown) => {
    throw new Error(`${String(error)}; there are ${JSON.stringify(last)}`);
  });
  return last;
}

/** Sends `count` jobs in order, 8 requests under way at most, as upstream's program does; gives their ids. */
async function sendMany(count: number, run: string, resources: object): Promise<number[]> {
  const program = `import * as sky from "sky-onprem";
    const ids = [];
    for (let at = 0; at < ${count}; at += 8) {
      const requests = [];
      for (let index = at; index < Math.min(at + 8, ${count}); index += 1) {
        const task = new sky.Task({ name: "many-" + (index + 1), run: ${JSON.stringify(run)} });
        task.setResources(new sky.Resources(${JSON.stringify(resources)}));
        requests.push(await sky.exec(task, { clusterName: "${clusterName}" }));
      }
      ids.push(...(await Promise.all(requests.map((request) => sky.get(request)))).map(({ jobId }) => jobId));
    }
    console.log(JSON.stringify(ids));`;
  const path = join(user.home, "many.mjs");
  writeFileSync(path, program);
  const result = await runAs(user, [process.execPath, path], { limitMs: waitMs });
  expect([result.code, result.stderr]).toEqual([0, ""]);
  return JSON.parse(result.stdout) as number[];
}

test("a second --fast launch prepares nothing, says nothing of it, and runs", async () => {
  const launch = ["launch", "-c", clusterName, "-y", "--fast", join(checkout, "examples/minimal.yaml")];
  const first = plain(await skyOk(user, ["launch", "-c", clusterName, "-y", join(checkout, "examples/minimal.yaml")]));
  expect(first).toMatch(/Launching on .*\n.*is up\./);
  expect(first).toContain("running setup");
  const second = plain(await skyOk(user, launch));
  expect(second).not.toMatch(/Launching on|is up\.|Cluster launched|Setup detached|running setup/);
  expect(second).toMatch(/task run finish\n.*Job finished \(status: SUCCEEDED\)/);
  expect(plain(await skyOk(user, ["status", clusterName]))).toMatch(new RegExp(`\\n${clusterName} +${user.name} `));
});

test("lists of accelerators beside other fields: a list of places, and one that means rented machines", async () => {
  const any = await sky(user, [
    "launch",
    "-c",
    clusterName,
    "-y",
    file("multiple_accelerators_unordered_with_default.yaml"),
  ]);
  expect(jobLines(any.stdout), plain(any.stdout + any.stderr)).toEqual(["devices 0"]);
  expect(any.code).toBe(0);
  const spot = file("multiple_accelerators_ordered_with_default.yaml");
  const refused = await sky(user, ["launch", "-c", clusterName, "-y", spot]);
  expect([refused.code, plain(refused.stderr)]).toEqual([
    1,
    expect.stringMatching(/with_default\.yaml:4: 'resources\.use_spot' cannot be used here\..*preemptible/s),
  ]);
});

test("labels choose among the nodes; where none has them all, the task is refused", async () => {
  const id = await submit(user, [file("labels.yaml")], "launch");
  await untilStatus(user, id, "SUCCEEDED", waitMs);
  expect((await queueOf(user)).get(id)?.nodes).toEqual(["n2"]);
  const refused = await sky(user, ["exec", clusterName, "--label", "rack=c", file("labels.yaml")]);
  expect([refused.code, plain(refused.stderr)]).toEqual([1, expect.stringContaining("rack=c")]);
});

test("halves of a device on two nodes: two jobs run, the third waits, then sets up and can be cancelled", async () => {
  const halves = file("two_nodes_half.yaml");
  const [one, two] = [await submit(user, [halves]), await submit(user, [halves])];
  await Promise.all([one, two].map((id) => untilStatus(user, id, "RUNNING", waitMs)));
  const three = await submit(user, [halves], "launch");
  expect((await queueOf(user)).get(three)?.status).toBe("PENDING");
  await skyOk(user, ["cancel", clusterName, String(one), "-y"]);
  await untilStatus(user, three, "SETTING_UP", waitMs);
  expect(new Set((await queueOf(user)).get(three)?.nodes)).toEqual(new Set(["n1", "n2"]));
  await skyOk(user, ["cancel", clusterName, String(three), "-y"]);
  await untilStatus(user, three, "CANCELLED", waitMs);
  expect((await queueOf(user)).get(two)?.status).toBe("RUNNING");
  await skyOk(user, ["cancel", clusterName, String(two), "-y"]);
  for (const [gpus, nodes] of [
    ["T4:0.2", "1"],
    ["T4:0.2", "2"],
    ["T4:1", "2"],
  ] as const) {
    const words = ["--gpus", gpus, "--num-nodes", nodes, "--", "echo devices: $SKYPILOT_NUM_GPUS_PER_NODE"];
    const seen = jobLines(await skyOk(user, ["exec", clusterName, ...words], { limitMs: waitMs }));
    expect(seen).toEqual(Array.from({ length: Number(nodes) }, () => "devices: 1"));
  }
});

test("32 short jobs all succeed", async () => {
  const ids = await sendMany(32, "echo $SKYPILOT_INTERNAL_JOB_ID", {});
  await until(
    async () => {
      const rows = await queueOf(user);
      return ids.every((id) => rows.get(id)?.status === "SUCCEEDED");
    },
    "the end of 32 jobs",
    waitMs,
  );
});

test("75 sleeping jobs: 16 at a time, in order, whoever of them is cancelled", async () => {
  const ids = await sendMany(75, "sleep 100000", { labels: { node: "n1" } });
  expect(ids).toEqual([...ids].sort((a, b) => a - b));
  const [job, jobs] = [
    (number: number): number => ids[number - 1] as number,
    (from: number, to: number): number[] => ids.slice(from - 1, to),
  ];
  const cancel = async (which: number[]): Promise<string> =>
    await skyOk(user, ["cancel", clusterName, ...which.map(String), "-y"], { limitMs: waitMs });
  const untilAll = async (which: number[], status: string): Promise<void> => {
    const rest = async (): Promise<number[]> => {
      const rows = await queueOf(user);
      return which.filter((id) => rows.get(id)?.status !== status);
    };
    await until(async () => (await rest()).length === 0, `${status}: ${which.join(" ")}`, waitMs);
  };
  await untilAll(jobs(1, 16), "RUNNING");
  await cancel(jobs(1, 16));
  await untilAll(jobs(17, 32), "RUNNING");
  await untilAll(jobs(1, 16), "CANCELLED");
  await untilAll(jobs(33, 75), "PENDING");
  // Four of those that wait, then three that run: the places are taken by the next that are left, in order.
  await cancel([33, 35, 37, 39, 17, 18, 19].map(job));
  await untilAll([33, 35, 37, 39, 17, 18, 19].map(job), "CANCELLED");
  await untilAll([...jobs(20, 32), ...[34, 36, 38].map(job)], "RUNNING");
  await untilAll(jobs(40, 75), "PENDING");
});

test("150 jobs of a tenth of a device: at least 15 run at a time, none fails", async () => {
  // They end when the test lets them, not after a time that a busy machine may not keep.
  await sendMany(150, "while [ ! -e ~/let-go ]; do sleep 0.5; done", { accelerators: "T4:0.1" });
  const busy = await untilCounts("15 that run", ({ RUNNING }) => (RUNNING ?? 0) >= 15);
  expect(busy["RUNNING"]).toBeLessThanOrEqual(20);
  writeFileSync(join(user.home, "let-go"), "");
  const end = await untilCounts("the end of all", areOver);
  expect(Object.keys(end).sort()).toEqual(["CANCELLED", "SUCCEEDED"]);
  expect(end["SUCCEEDED"]).toBeGreaterThanOrEqual(150);
});
