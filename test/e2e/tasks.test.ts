/**
 * Jobs of several nodes, jobs that fail, and output that is hard to carry. The tasks lie in tasks/.
 */
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { checkout } from "../../scripts/cluster/layout.ts";
import { sky, startSky } from "../help/sky.ts";
import { clusterName, jobLines, plain, type Site, startSite, statusOf } from "../help/site.ts";
import { processesOf, type TestUser, writeHomeFile } from "../help/users.ts";
import { until } from "../help/until.ts";

let site: Site;
let user: TestUser;

beforeAll(async () => {
  site = await startSite();
  user = site.users[0] as TestUser;
});
afterAll(async () => await site?.stop());

const launch = async (name: string) =>
  await sky(user, ["launch", "-c", clusterName, "-y", join(checkout, "test/e2e/tasks", name)], { limitMs: 120_000 });

function jobIdOf(text: string): number {
  return Number(/Job submitted, ID: (\d+)/.exec(plain(text))?.[1]);
}

/** No process of the user sleeps on: the ranks were ended. */
async function nothingSleeps(): Promise<void> {
  const { readFileSync } = await import("node:fs");
  await until(() => {
    return !processesOf(user.uid).some((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").startsWith("sleep\u000010000");
      } catch {
        return false;
      }
    });
  }, "the end of every sleep");
}

test("ranks, addresses and prefixes of a job on three nodes", async () => {
  const script = 'echo "rank=$SKYPILOT_NODE_RANK n=$SKYPILOT_NUM_NODES ips=$(echo "$SKYPILOT_NODE_IPS" | tr "\\n" ,)"';
  const result = await sky(user, ["exec", clusterName, "--num-nodes", "3", "--", script]);
  const text = plain(result.stdout);
  const ips = "ips=127.0.0.1,127.0.0.2,127.0.0.3,";
  expect(text).toMatch(new RegExp(`^\\(head, rank=0, pid=\\d+\\) rank=0 n=3 ${ips}$`, "m"));
  expect(text).toMatch(new RegExp(`^\\(worker1, rank=1, pid=\\d+, ip=127\\.0\\.0\\.2\\) rank=1 n=3 ${ips}$`, "m"));
  expect(text).toMatch(new RegExp(`^\\(worker2, rank=2, pid=\\d+, ip=127\\.0\\.0\\.3\\) rank=2 n=3 ${ips}$`, "m"));
  expect(result.code).toBe(0);
});

test("setup alone is a job", async () => {
  const result = await launch("only_setup.yaml");
  expect(jobLines(result.stdout, "setup")).toContain("hello world");
  expect(result.code).toBe(0);
});

test("a failing setup: FAILED_SETUP, and the run script never begins", async () => {
  const result = await launch("failed_setup.yaml");
  expect(result.code).toBe(100);
  expect(plain(result.stdout)).toMatch(/Job \d+'s setup failed\. Failed workers: \(pid=\d+, returncode=1\)/);
  expect(plain(result.stdout)).toContain("See error logs above for more details.");
  expect(result.stdout).not.toContain("MUST NOT APPEAR");
  expect(await statusOf(user, jobIdOf(result.stdout))).toBe("FAILED_SETUP");
});

test("one rank's setup fails: the others are ended", async () => {
  const result = await launch("failed_worker_setup.yaml");
  expect(result.code).toBe(100);
  expect(await statusOf(user, jobIdOf(result.stdout))).toBe("FAILED_SETUP");
  expect(result.stdout).not.toContain("MUST NOT APPEAR");
  await nothingSleeps();
});

test("one rank fails: the others are ended and show 137", async () => {
  const result = await launch("failed_worker_run.yaml");
  expect(result.code).toBe(100);
  expect(jobLines(result.stdout).filter((line) => line.startsWith("My hostname:"))).toHaveLength(2);
  expect(plain(result.stdout)).toContain("failed with return code list: [137, 1, 137]");
  expect(await statusOf(user, jobIdOf(result.stdout))).toBe("FAILED");
  await nothingSleeps();
});

test("a line of 300,000 characters arrives whole", async () => {
  const result = await launch("long_log_line.yaml");
  const lines = jobLines(result.stdout);
  expect(lines.map((line) => line.length)).toEqual(["LONG_LINE_BEGIN".length, 300_000, "LONG_LINE_END".length]);
});

test("a progress bar with carriage returns arrives with all its frames", async () => {
  const result = await launch("cr_progress_bar.yaml");
  for (const frame of [0, 1, 2, 3, 4]) {
    expect(result.stdout).toContain(`frame ${frame}`);
  }
  expect(jobLines(result.stdout)).toContain("PROGRESS_BAR_DONE");
});

test("lines arrive as they are written", async () => {
  const running = startSky(user, [
    "launch",
    "-c",
    clusterName,
    "-y",
    join(checkout, "test/e2e/tasks/streaming_logs.yaml"),
  ]);
  await until(() => running.stdout().includes("STREAM_TICK_0"), "the first tick");
  const first = performance.now();
  expect(running.stdout()).not.toContain("STREAM_TICK_3");
  await until(() => running.stdout().includes("STREAM_TICK_5"), "the last tick");
  expect(performance.now() - first).toBeGreaterThan(3_000);
  const result = await running.ended;
  expect(jobLines(result.stdout)).toEqual(
    [0, 1, 2, 3, 4, 5].map((tick) => `STREAM_TICK_${tick}`).concat("STREAM_DONE"),
  );
});

test("values reach a job exactly as written", async () => {
  const value = 'it\'s "quoted", $HOME `id` \\ back, tab\t, ünïcödé 你好, two\nlines; *';
  const file = writeHomeFile(
    user,
    "quote.yaml",
    `envs:\n  VALUE: ${JSON.stringify(value)}\nsetup: printf %s "$VALUE" > ~/value.setup\nrun: printf %s "$VALUE" > ~/value.run\n`,
  );
  expect((await sky(user, ["launch", "-c", clusterName, "-y", file])).code).toBe(0);
  const { readFileSync } = await import("node:fs");
  expect(readFileSync(join(user.home, "value.setup"), "utf8")).toBe(value);
  expect(readFileSync(join(user.home, "value.run"), "utf8")).toBe(value);
  await sky(user, ["exec", clusterName, "--env", `VALUE=${value}`, "--", 'printf %s "$VALUE" > ~/value.flag']);
  expect(readFileSync(join(user.home, "value.flag"), "utf8")).toBe(value);
});

test("scripts of 200,000 lines", async () => {
  const lines = Array.from({ length: 200_000 }, (_, at) => `# line ${at} of a long script`).join("\n");
  const block = (tail: string): string => `${lines}\n${tail}`.replace(/^/gm, "  ");
  const file = writeHomeFile(user, "long.yaml", `run: |\n${block("echo reached the end")}\n`);
  const result = await sky(user, ["launch", "-c", clusterName, "-y", file], { limitMs: 120_000 });
  expect(jobLines(result.stdout), result.stderr.slice(0, 500)).toEqual(["reached the end"]);
  expect(result.code).toBe(0);
});
