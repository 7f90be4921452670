/**
 * The watcher of a lease, run for real behind a real runner: it lets a job go on while renewals come, and leaves nothing
 * of it when they stop, whatever the job has done to get away.
 */
import { type ChildProcess, spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isLostFault } from "../../shared/agent-wire.ts";
import { until } from "../../test/help/until.ts";
import { cgroup2Mount } from "../cgroup.ts";
import { writeLease } from "./attempt-folder.ts";
import { folderVariable } from "./environment.ts";
import { processesOf } from "./processes.ts";
import { attemptFiles, type RunnerPlan, runnerScript, userScript } from "./runner-script.ts";
import { watcherScript } from "./watcher-script.ts";

let folder: string;
let runner: ChildProcess | null = null;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "lease it's $HOME "));
});

afterEach(async () => {
  for (const each of await processesOf(folder, runner?.pid ?? null)) {
    process.kill(each.pid, "SIGKILL");
  }
  rmSync(folder, { recursive: true, force: true });
});

function uptime(): number {
  return Number.parseFloat(readFileSync("/proc/uptime", "utf8"));
}

/** Renews until so many seconds from now. */
function lease(seconds: number): void {
  writeLease(folder, (uptime() + seconds) * 1000);
}

function text(name: string): string | null {
  return existsSync(join(folder, name)) ? readFileSync(join(folder, name), "utf8") : null;
}

/** Starts a runner with this run script behind a lease, and lets it go. */
function start(run: string, graceSeconds = 1, before: (pid: number) => void = () => undefined): number {
  const logs = { setupLog: join(folder, "setup.log"), runLog: join(folder, "run.log") };
  const plan: RunnerPlan = {
    folder,
    home: folder,
    nofile: "500",
    setup: false,
    run: true,
    lease: { graceSeconds },
    ...logs,
  };
  const put = (name: string, content: string): void => writeFileSync(join(folder, name), content);
  put(attemptFiles.runnerScript, runnerScript(plan));
  put(attemptFiles.watcherScript, watcherScript(folder, { graceSeconds }));
  put(attemptFiles.runEnvironment, "");
  put(attemptFiles.runScript, userScript(plan, attemptFiles.runEnvironment, run));
  put(attemptFiles.mayRun, "");
  const env = { PATH: process.env["PATH"], HOME: folder, [folderVariable]: folder };
  runner = spawn("/bin/sh", [join(folder, attemptFiles.runnerScript)], {
    ...{ env, cwd: folder, detached: true, stdio: ["pipe", "ignore", "ignore"] },
  });
  before(runner.pid ?? 0);
  runner.stdin?.end("go\n");
  return runner.pid ?? 0;
}

async function nothingLeft(pid: number): Promise<boolean> {
  return (await processesOf(folder, pid)).length === 0;
}

/** The watcher: bash with its script. */
function watcherPid(): number {
  const found = readdirSync("/proc").filter((name) => {
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0");
      return words[0] === "/bin/bash" && words.includes(join(folder, attemptFiles.watcherScript));
    } catch {
      return false;
    }
  });
  return Number(found[0] ?? 0);
}

test("a job goes on while it is renewed, ends by itself, and its watcher ends with it", async () => {
  lease(2);
  const pid = start(`for i in 1 2 3 4 5 6; do sleep 0.5; echo $i; done; exit 7`);
  const renewing = setInterval(() => lease(2), 300);
  try {
    await until(() => text(attemptFiles.exit) !== null, "the job's end", 20_000);
  } finally {
    clearInterval(renewing);
  }
  expect([text(attemptFiles.exit), text(attemptFiles.fault), text("run.log")]).toEqual([
    "7\n",
    null,
    "1\n2\n3\n4\n5\n6\n",
  ]);
  await until(() => nothingLeft(pid), "the watcher's end", 20_000);
});

test("without renewals everything ends, also what ignores TERM or has left session and parent behind", async () => {
  lease(2);
  const pid = start(
    `(trap '' TERM; exec setsid sleep 1000) & setsid setsid bash -c 'trap "" TERM; while :; do sleep 1; done' & echo begun; trap '' TERM; sleep 1000; sleep 1000`,
  );
  await until(() => text("run.log") === "begun\n", "the job's begin", 10_000);
  expect(text(attemptFiles.stopped)).toBe(null);
  await until(() => nothingLeft(pid), "the job's end", 30_000);
  expect(isLostFault(text(attemptFiles.fault)?.trim() ?? null)).toBe(true);
  expect(text(attemptFiles.stopped)).toBe("");
  expect(text(attemptFiles.exit)).toMatch(/^1(37|43)\n$/);
});

const cgroups = cgroup2Mount(readFileSync("/proc/self/mounts", "utf8")) ?? "";
const usual = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].includes(cgroups) && process.getuid?.() === 0;

test.skipIf(!usual)("in a cgroup nothing escapes, without session, parent or environment", async () => {
  const group = join(cgroups, `sky-watcher-test-${process.pid}`);
  const own = join(group, basename(folder));
  mkdirSync(own, { recursive: true });
  try {
    lease(3);
    const run = "(setsid env -i sh -c 'sleep 1000 & sleep 1000' >/dev/null 2>&1 &); echo begun; sleep 1000";
    const pid = start(run, 1, (runnerPid) => writeFileSync(join(own, "cgroup.procs"), String(runnerPid)));
    await until(() => text("run.log") === "begun\n", "the job's begin", 10_000);
    await until(() => nothingLeft(pid), "the job's end", 30_000);
    await until(() => readFileSync(join(own, "cgroup.procs"), "utf8") === "", "an empty cgroup", 10_000);
  } finally {
    rmdirSync(own);
    rmdirSync(group);
  }
});

test("what a job leaves behind is watched on after its end", async () => {
  lease(3);
  const pid = start("setsid sleep 1000 >/dev/null 2>&1 & exit 0");
  await until(() => text(attemptFiles.exit) === "0\n", "the job's end", 10_000);
  expect(await nothingLeft(pid)).toBe(false);
  await until(() => nothingLeft(pid), "the end of what it left behind", 30_000);
  expect(text(attemptFiles.fault)).toBe(null);
});

test("signals to the job's groups do not reach the watcher, which keeps no file open", async () => {
  lease(4);
  const pid = start("echo begun; kill 0; sleep 1000");
  await until(() => watcherPid() !== 0, "the watcher", 10_000);
  const watcher = watcherPid();
  for (const name of ["SIGTERM", "SIGHUP", "SIGINT"] as const) {
    process.kill(watcher, name);
  }
  const open = readdirSync(`/proc/${watcher}/fd`).map((fd) => readlinkSync(`/proc/${watcher}/fd/${fd}`));
  await until(() => text(attemptFiles.exit) !== null, "the end of the script", 20_000);
  const own = ["/dev/null", join(folder, attemptFiles.watcherScript)];
  expect(open.filter((target) => !target.startsWith("pipe:") && !own.includes(target))).toEqual([]);
  expect(text("run.log")).toBe("begun\n");
  await until(() => nothingLeft(pid), "the watcher's end", 20_000);
});

test("an attempt whose lease has run out before it began is not begun", async () => {
  lease(-1);
  const pid = start("echo begun");
  await until(() => text(attemptFiles.exit) === "-\n", "the refusal", 10_000);
  expect(isLostFault(text(attemptFiles.fault))).toBe(true);
  expect(text("run.log")).toBe(null);
  await until(() => nothingLeft(pid), "the end", 10_000);
});

test("a lease is never made shorter", () => {
  writeLease(folder, 50_999);
  writeLease(folder, 20_000);
  expect(text(attemptFiles.lease)).toBe("50\n");
});
