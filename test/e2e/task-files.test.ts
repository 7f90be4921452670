/**
 * What a task file brings along, end to end: mounts, the working folder, git, volumes, secrets; files of an earlier
 * launch on a later exec; and upstream's test files of these fields, whose observed results are asserted. Those files'
 * equivalents lie in tasks/.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { checkout } from "../../scripts/cluster/layout.ts";
import { runAs, sky, skyOk } from "../help/sky.ts";
import { clusterName, jobLines, plain, queueOf, type Site, startSite, untilStatus } from "../help/site.ts";
import { type TestUser, writeHomeFile } from "../help/users.ts";

let site: Site;
let user: TestUser;
/** A folder as an admin would publish it. */
let published: string;

beforeAll(async () => {
  published = mkdtempSync(join(tmpdir(), "sky-volume-"));
  mkdirSync(join(published, "sets"));
  writeFileSync(join(published, "sets/one.txt"), "from the volume\n");
  await runRoot(["chmod", "-R", "a+rX", published]);
  const volumes = [
    { name: "shared", path: published, read_only: false },
    { name: "closed", path: published, users: ["nobody-here"], read_only: false },
  ];
  site = await startSite({ coordinatorConfig: { volumes } });
  user = site.users[0] as TestUser;
  await shell(
    "mkdir -p source/folder/sub source/ignoring; cd source; echo one > folder/one.txt; echo two > folder/sub/two",
  );
});
afterAll(async () => {
  await site?.stop();
  rmSync(published, { recursive: true, force: true });
});

async function runRoot(argv: readonly string[]): Promise<void> {
  const { execFileSync } = await import("node:child_process");
  execFileSync(argv[0] ?? "", argv.slice(1));
}

async function shell(script: string): Promise<string> {
  const result = await runAs(user, ["bash", "-ec", script]);
  expect([result.code, result.stderr]).toEqual([0, ""]);
  return result.stdout;
}

/** What the job's own script wrote; how its files came is told under `setup`. */
const runLines = (text: string): string[] => jobLines(text, "(?!setup)[^ ,)]+");
const file = (name: string): string => join(checkout, "test/e2e/tasks", name);
const launch = async (name: string, ...more: string[]) =>
  await sky(user, ["launch", "-c", clusterName, "-y", ...more, file(name)], { limitMs: 120_000 });

test("parallel launches with file mounts", async () => {
  const results = await Promise.all([1, 2, 3].map(() => launch("concurrent_file_mounts.yaml")));
  for (const result of results) {
    expect(runLines(result.stdout), plain(result.stdout + result.stderr)).toEqual(["file mounts OK"]);
    expect(result.code).toBe(0);
  }
});

test("variables in mounts, and a secret that must be given", async () => {
  const missing = await launch("env_in_file_mounts.yaml");
  expect([missing.code, plain(missing.stderr)]).toEqual([
    1,
    expect.stringContaining("Secret variable 'TOKEN' is None. Please set a value for it in task YAML or with --secret"),
  ]);
  const result = await launch("env_in_file_mounts.yaml", "--secret", "TOKEN=s3cret");
  expect(runLines(result.stdout), plain(result.stdout + result.stderr)).toEqual(["one", "token is right"]);
});

test(".skyignore decides what goes along", async () => {
  await shell("cd source/ignoring; mkdir -p keep drop; touch a.py b.log keep/c drop/d .hidden");
  await shell("cd source/ignoring; printf '*.log\\n/drop/\\n' > .skyignore; printf '*.py\\n' > .gitignore");
  const result = await launch("skyignore.yaml");
  expect(runLines(result.stdout), plain(result.stdout + result.stderr)).toEqual([
    "./.gitignore",
    "./.hidden",
    "./.skyignore",
    "./a.py",
    "./keep/c",
  ]);
});

test("the working folder from a git repository", async () => {
  // What is there of another kind would be refused, not replaced.
  await shell("rm -rf sky_workdir");
  await shell(`git init -q repo; cd repo; git config user.email a@b; git config user.name a
    echo first > version.txt; git add .; git commit -qm one; git tag v1
    echo second > version.txt; git commit -qam two`);
  const result = await launch("git_workdir.yaml", "--env", `URL=file://${user.home}/repo`);
  expect(runLines(result.stdout), plain(result.stdout + result.stderr)).toContain("first");
  expect(result.code).toBe(0);
});

test("a volume that an admin publishes, and those that are not there or not open", async () => {
  const task = (volume: string): string => `volumes:\n  ~/volume: ${volume}\nrun: cat ~/volume/one.txt\n`;
  const used = writeHomeFile(user, "volume.yaml", task("{name: shared, sub_path: sets}"));
  const result = await sky(user, ["launch", "-c", clusterName, "-y", used]);
  expect(runLines(result.stdout), plain(result.stdout + result.stderr)).toEqual(["from the volume"]);
  const faults: [string, string][] = [
    ["shard", "There is no volume 'shard' on cluster 'lab'."],
    ["closed", `Volume 'closed' of cluster 'lab' is not open to ${user.name}.`],
  ];
  for (const [volume, text] of faults) {
    const refused = await sky(user, ["launch", "-c", clusterName, "-y", writeHomeFile(user, "v.yaml", task(volume))]);
    expect([refused.code, plain(refused.stderr)]).toEqual([1, expect.stringContaining(text)]);
  }
});

test("an exec brings its working folder and no mounts; it works in the last one without", async () => {
  await shell("mkdir -p work; echo new > work/state; rm -rf ~/mounted ~/sky_workdir");
  const text = "workdir: ~/work\nfile_mounts: {~/mounted: ~/source}\nrun: cat state; ls ~/mounted 2>&1 | head -1\n";
  const task = writeHomeFile(user, "exec.yaml", text);
  const lines = runLines(await skyOk(user, ["exec", clusterName, task]));
  expect(lines).toEqual(["new", expect.stringContaining("No such file")]);
  expect(runLines(await skyOk(user, ["exec", clusterName, "--", "cat state"]))).toEqual(["new"]);
});

test("an exec elsewhere gets the last launch's files and setup first", async () => {
  const text = "file_mounts: {~/tools: ~/source/folder}\nsetup: echo setup of $(cat ~/tools/one.txt)\nrun: echo ran\n";
  const task = writeHomeFile(user, "setup.yaml", text);
  await skyOk(user, ["launch", "-c", clusterName, "-y", "--label", "node=n1", task]);
  // As on a machine with a home of its own, where the launch has not been.
  await shell("rm -rf tools");
  const first = await skyOk(user, ["exec", clusterName, "--label", "node=n3", "--", "cat ~/tools/sub/two"]);
  expect(jobLines(first, "setup")).toContain("setup of one");
  expect(runLines(first)).toEqual(["two"]);
  const again = await skyOk(user, ["exec", clusterName, "--label", "node=n3", "--", "cat ~/tools/sub/two"]);
  expect(jobLines(again)).toEqual(["two"]);
});

test("a job has its files as they were when it was sent", async () => {
  await shell("echo before > work/state");
  const holder = await sky(user, ["exec", clusterName, "-d", "--cpus", "4", "--num-nodes", "3", "--", "sleep 60"]);
  const holderId = Number(/ID: (\d+)/.exec(plain(holder.stdout))?.[1]);
  await untilStatus(user, holderId, "RUNNING");
  const waiting = await sky(user, ["exec", clusterName, "-d", "--workdir", "work", "--", "cat state > ~/seen"]);
  const id = Number(/ID: (\d+)/.exec(plain(waiting.stdout))?.[1]);
  await shell("echo after > work/state");
  expect((await queueOf(user)).get(id)?.status).toBe("PENDING");
  await skyOk(user, ["cancel", clusterName, String(holderId), "-y"]);
  await untilStatus(user, id, "SUCCEEDED");
  expect(readFileSync(join(user.home, "seen"), "utf8")).toBe("before\n");
});

test("secrets are shown nowhere but in the job", async () => {
  const id = /ID: (\d+)/.exec(
    plain(await skyOk(user, ["exec", clusterName, "-d", "--secret", "KEY=hunter2", "--", 'echo "${#KEY} letters"'])),
  )?.[1];
  await untilStatus(user, Number(id), "SUCCEEDED");
  expect(runLines(await skyOk(user, ["logs", clusterName, String(id), "--no-follow"]))).toEqual(["7 letters"]);
  const shown = await Promise.all(
    [
      ["queue", clusterName, "-o", "json"],
      ["explain", clusterName, String(id), "-o", "json"],
      ["exec", clusterName, "--dryrun", "--secret", "KEY=hunter2", "--", "true"],
    ].map((args) => skyOk(user, args)),
  );
  expect(shown.join("\n")).not.toContain("hunter2");
});

test("autostop is refused with its reason", async () => {
  const result = await launch("autostop.yaml");
  expect(result.code).toBe(1);
  expect(plain(result.stderr)).toContain(
    "autostop.yaml:3: 'resources.autostop' cannot be used here. The machines are never stopped; ",
  );
});

test("what a finished rank left in the background runs on until the job ends", async () => {
  const result = await launch("background_process.yaml");
  const lines = runLines(result.stdout);
  expect(lines, plain(result.stdout + result.stderr)).toContain("rank 0 is done");
  expect(lines).toContain("it beats after rank 0 is done");
  expect(result.code).toBe(0);
});

test("a host name from each rank", async () => {
  const result = await launch("multi_hostname.yaml", "--ports", "8080");
  expect(runLines(result.stdout).filter((line) => line.startsWith("My hostname:"))).toHaveLength(2);
  expect(plain(result.stdout)).toContain("Port 8080: at the addresses of the job's nodes");
});

test.each([
  ["multiple_resources.yaml", /^multiple resources$/],
  ["multiple_accelerators_ordered.yaml", /^devices [0-3]$/],
  ["multiple_accelerators_unordered.yaml", /^devices [0-3]$/],
])("%s", async (name, line) => {
  const result = await launch(name);
  expect(runLines(result.stdout), plain(result.stdout + result.stderr)).toEqual([expect.stringMatching(line)]);
  expect(result.code).toBe(0);
});
