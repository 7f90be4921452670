/**
 * What a person sees of a job's output: at once, whole, with the right prefixes and colours, again afterwards from the
 * files in their home, and what the terminal and `--output json` change. Two clusters: of one node and of three.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkout } from "../../scripts/cluster/layout.ts";
import { sky, skyOk, startSky, startSkyAtTerminal } from "../help/sky.ts";
import { clusterName, jobLines, plain, type Site, startSite, submit, untilStatus } from "../help/site.ts";
import { until } from "../help/until.ts";
import { type TestUser, writeHomeFile } from "../help/users.ts";

let single: Site;
let several: Site;
let alone: TestUser;
let user: TestUser;
beforeAll(async () => {
  single = await startSite({ accelerators: "-" });
  several = await startSite({ accelerators: "-,-,-" });
  alone = single.users[0] as TestUser;
  user = several.users[0] as TestUser;
});
afterAll(async () => {
  await single?.stop();
  await several?.stop();
});

const idOf = (text: string): number => Number(/Job submitted, ID: (\d+)/.exec(plain(text))?.[1]);

/** The user's latest job and its status, as `sky logs --status` says them. */
async function latest(owner: TestUser): Promise<string> {
  return (await sky(owner, ["logs", clusterName, "--status"])).stdout.trim();
}

/** The job's folder in the home, from the queue. */
async function folderOf(owner: TestUser, id: number): Promise<string> {
  const queues = JSON.parse(await skyOk(owner, ["queue", clusterName, "-o", "json"])) as Record<
    string,
    { job_id: number; log_path: string }[]
  >;
  const path = queues[clusterName]?.find((row) => row.job_id === id)?.log_path ?? "";
  expect(path).toMatch(/^~\/sky_logs\//);
  return join(owner.home, path.slice(2));
}

test("following starts with the first byte: the job's second line waits for it", async () => {
  const go = join(alone.home, "go");
  const script = `printf begun; until [ -e ${go} ]; do sleep 0.01; done; echo; echo second`;
  const running = startSky(alone, ["exec", clusterName, "--", script]);
  await until(() => /pid=\d+\) begun$/.test(plain(running.stdout())), "the first bytes, before their line ends");
  writeHomeFile(alone, "go", "");
  expect(jobLines((await running.ended).stdout)).toEqual(["begun", "second"]);
});

describe("prefixes", () => {
  const task = "name: show\nsetup: echo from setup\nrun: echo from run\n";

  test("one node: (setup pid=N) and (NAME, pid=N)", async () => {
    const file = writeHomeFile(alone, "show.yaml", task);
    const lines = plain(await skyOk(alone, ["launch", "-c", clusterName, "-y", file])).split("\n");
    expect(lines.filter((line) => /^\(setup pid=\d+\) from setup$/.test(line))).toHaveLength(1);
    expect(lines.filter((line) => /^\(show, pid=\d+\) from run$/.test(line))).toHaveLength(1);
    const unnamed = writeHomeFile(alone, "unnamed.yaml", "run: echo from run\n");
    expect(await skyOk(alone, ["exec", clusterName, unnamed])).toMatch(/^\(task, pid=\d+\) from run$/m);
  });

  test("several nodes: rank and address, the head without an address", async () => {
    const file = writeHomeFile(user, "show.yaml", `num_nodes: 3\n${task}`);
    const text = plain(await skyOk(user, ["launch", "-c", clusterName, "-y", file]));
    const expected = [
      /^\(setup pid=\d+\) from setup$/m,
      /^\(setup pid=\d+, ip=127\.0\.0\.2\) from setup$/m,
      /^\(setup pid=\d+, ip=127\.0\.0\.3\) from setup$/m,
      /^\(head, rank=0, pid=\d+\) from run$/m,
      /^\(worker1, rank=1, pid=\d+, ip=127\.0\.0\.2\) from run$/m,
      /^\(worker2, rank=2, pid=\d+, ip=127\.0\.0\.3\) from run$/m,
    ];
    for (const pattern of expected) {
      expect(text).toMatch(pattern);
    }
    const id = idOf(text);
    const again = plain(await skyOk(user, ["logs", clusterName, String(id)]));
    expect([...jobLines(again)].sort()).toEqual([...jobLines(text)].sort());
    expect(again.split("\n")[0]).toContain("Waiting for task resources on 3 nodes.");
  });

  test("cyan on a terminal, none where NO_COLOR is set or nobody looks", async () => {
    const id = String(await submit(alone, ["--", "echo hello"]));
    await untilStatus(alone, Number(id), "SUCCEEDED");
    const args = ["logs", clusterName, id];
    const seen = (await startSkyAtTerminal(alone, args).ended).stdout;
    expect(seen).toMatch(/\u001b\[36m\(sky-cmd, pid=\d+\)\u001b\[0m hello/);
    expect((await startSkyAtTerminal(alone, args, { env: { NO_COLOR: "1" } }).ended).stdout).not.toContain("\u001b[");
    expect((await sky(alone, args)).stdout).not.toContain("\u001b[");
  });
});

describe("afterwards", () => {
  test("files: run.log with prefixes, tasks/run.log and setup.log for one node", async () => {
    const file = join(checkout, "examples/minimal.yaml");
    const id = idOf(await skyOk(alone, ["launch", "-c", clusterName, "-y", file]));
    const folder = await folderOf(alone, id);
    expect(folder).toBe(join(alone.home, `sky_logs/${id}-min`));
    expect(readFileSync(join(folder, "tasks/run.log"), "utf8")).toContain("task run finish\n");
    expect(readFileSync(join(folder, "setup.log"), "utf8")).toContain("running setup\n");
    await until(() => existsSync(join(folder, "run.log")), "the merged log");
    const merged = plain(readFileSync(join(folder, "run.log"), "utf8"));
    expect(merged).toMatch(/^\(setup pid=\d+\) running setup$/m);
    expect(merged).toMatch(/^\(min, pid=\d+\) task run finish$/m);
  });

  test("files of several nodes: RANK-NODE.log, setup-IP.log of workers, and one run.log with all of it", async () => {
    // Rank 0 ends first: what the others write later belongs to the merged log too.
    const run = "sleep 0.$SKYPILOT_NODE_RANK; echo rank $SKYPILOT_NODE_RANK";
    const file = writeHomeFile(user, "files.yaml", `name: files\nnum_nodes: 3\nsetup: echo set\nrun: ${run}\n`);
    const id = idOf(await skyOk(user, ["launch", "-c", clusterName, "-y", file]));
    const folder = await folderOf(user, id);
    expect(readdirSync(join(folder, "tasks")).sort()).toEqual(["0-head.log", "1-worker1.log", "2-worker2.log"]);
    expect(readFileSync(join(folder, "tasks/1-worker1.log"), "utf8")).toBe("rank 1\n");
    for (const name of ["setup.log", "setup-127.0.0.2.log", "setup-127.0.0.3.log"]) {
      expect(readFileSync(join(folder, name), "utf8")).toBe("set\n");
    }
    // The nodes of this test share the home, as on a cluster with NFS.
    const merged = (): string => plain(readFileSync(join(folder, "run.log"), "utf8"));
    await until(() => existsSync(join(folder, "run.log")) && jobLines(merged()).length === 6, "the merged log");
    expect([...jobLines(merged())].sort()).toEqual(["rank 0", "rank 1", "rank 2", "set", "set", "set"]);
  });

  test("several ids at once: all are shown, the code is that of the first that is not 0", async () => {
    const good = await submit(alone, ["--", "echo first"]);
    const bad = await submit(alone, ["--", "echo second; exit 3"]);
    await untilStatus(alone, bad, "FAILED");
    const both = await sky(alone, ["logs", clusterName, String(good), String(bad)]);
    expect(both.code).toBe(100);
    expect(jobLines(both.stdout)).toEqual(["first", "second"]);
    const status = await sky(alone, ["logs", clusterName, String(good), String(bad), "--status"]);
    expect(plain(status.stdout)).toBe(`Job ${good}: SUCCEEDED\nJob ${bad}: FAILED\n`);
    expect(status.code).toBe(100);
    const latest = await sky(alone, ["logs", clusterName]);
    expect(jobLines(latest.stdout)).toEqual(["second"]);
  });

  test("--tail of a running job follows on, --no-follow does not", async () => {
    const go = join(alone.home, "go2");
    const id = await submit(alone, ["--", `seq 1 2000; until [ -e ${go} ]; do sleep 0.01; done; echo last`]);
    await untilStatus(alone, id, "RUNNING");
    const log = join(await folderOf(alone, id), "tasks/run.log");
    await until(() => readFileSync(log, "utf8").endsWith("\n2000\n"), "the numbers");
    const now = await sky(alone, ["logs", clusterName, String(id), "--no-follow"]);
    expect(now.code).toBe(101);
    expect(jobLines(now.stdout)).toHaveLength(2000);
    const following = startSky(alone, ["logs", clusterName, String(id), "--tail", "2"]);
    await until(() => jobLines(following.stdout()).length === 2, "the last two lines");
    writeHomeFile(alone, "go2", "");
    const result = await following.ended;
    expect(result.code).toBe(0);
    expect(jobLines(result.stdout)).toEqual(["1999", "2000", "last"]);
  });
});

test("Ctrl-C at a terminal ends the watching, not the job, and says how to come back", async () => {
  const go = join(alone.home, "go3");
  const script = `echo begun; until [ -e ${go} ]; do sleep 0.01; done; echo finished`;
  const running = startSkyAtTerminal(alone, ["exec", clusterName, "--", script]);
  await until(() => /pid=\d+\).* begun/.test(running.stdout()), "the job's first line");
  const id = idOf(running.stdout());
  running.type("\u0003");
  const result = await running.ended;
  expect(result.code).toBe(130);
  expect(plain(result.stdout)).toContain(`Stopped streaming logs. Job ${id} was not killed.`);
  expect(plain(result.stdout)).toContain(`sky logs ${clusterName} ${id}`);
  writeHomeFile(alone, "go3", "");
  const back = await sky(alone, ["logs", clusterName, String(id)]);
  expect(back.code).toBe(0);
  expect(jobLines(back.stdout)).toEqual(["begun", "finished"]);
});

test("a reader that takes little at a time loses nothing of a line of 300,000 characters", async () => {
  const task = join(checkout, "test/e2e/tasks/long_log_line.yaml");
  const before = Number(/Job (\d+):/.exec(await latest(user))?.[1] ?? 0);
  const running = startSky(user, ["launch", "-c", clusterName, "-y", "--num-nodes", "3", task]);
  running.child.stdout?.pause();
  // Until the job has ended: the pipe and everything before it are full by then.
  await until(async () => (await latest(user)) === `Job ${before + 1}: SUCCEEDED`, "the job's end");
  running.child.stdout?.resume();
  const lengths = jobLines((await running.ended).stdout).map((line) => line.length);
  expect(lengths.filter((length) => length === 300_000)).toHaveLength(3);
  expect(lengths).toHaveLength(9);
});

describe("at a terminal of 80 columns", () => {
  test("no line of queue, status, gpus and check is wider", async () => {
    await submit(user, ["--num-nodes", "3", "-n", "a-name-that-is-rather-long-for-a-table", "--", "true"]);
    for (const args of [["queue", clusterName], ["status"], ["gpus", "list"], ["check"]]) {
      const { code, stdout } = await startSkyAtTerminal(user, args).ended;
      expect(code, stdout).toBe(0);
      const wide = plain(stdout)
        .split("\n")
        .filter((line) => Array.from(line).length > 80);
      expect(wide, args.join(" ")).toEqual([]);
    }
  });

  test("--output json is whole and without colours, at a terminal too", async () => {
    for (const args of [["queue"], ["status"], ["gpus", "list"]]) {
      const { stdout } = await startSkyAtTerminal(user, [...args, "-o", "json"]).ended;
      expect(() => JSON.parse(stdout) as unknown, stdout).not.toThrow();
    }
  });
});
