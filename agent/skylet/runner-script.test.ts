/**
 * The generated runner under the shells that stand behind /bin/sh on different systems.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { attemptFiles, type RunnerPlan, runnerScript, userScript } from "./runner-script.ts";

let root: string;
let plan: RunnerPlan;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "runner it's $HOME "));
  plan = {
    folder: root,
    home: root,
    nofile: "500",
    setup: true,
    run: true,
    lease: null,
    setupLog: join(root, "setup.log"),
    runLog: join(root, "run.log"),
  };
});

afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

function put(name: string, text: string): void {
  writeFileSync(join(root, name), text);
}

function runnerWith(shell: string[], input: string, setup: string, run: string): void {
  put(attemptFiles.runnerScript, runnerScript(plan));
  put(attemptFiles.setupEnvironment, "builtin export A=setup\n");
  put(attemptFiles.runEnvironment, "builtin export A=run\n");
  put(attemptFiles.setupScript, userScript(plan, attemptFiles.setupEnvironment, setup));
  put(attemptFiles.runScript, userScript(plan, attemptFiles.runEnvironment, run));
  const [file = "", ...argv] = shell;
  const env = { PATH: process.env["PATH"], HOME: root };
  spawnSync(file, [...argv, join(root, attemptFiles.runnerScript)], { input, env, cwd: root, timeout: 20_000 });
}

function text(name: string): string | null {
  return existsSync(join(root, name)) ? readFileSync(join(root, name), "utf8") : null;
}

const shells = [["/bin/sh"], ["/bin/bash", "--posix"]];

describe.each(shells)("%s %s", (...shell) => {
  test("setup, run, limits and exit codes", () => {
    put(attemptFiles.mayRun, "");
    runnerWith(shell, "go\n", "echo $A", "echo $A; ulimit -Sn; pwd; exit 42");
    expect(text("setup.log")).toBe("setup\n");
    expect(text("run.log")).toBe(`run\n500\n${root}/sky_workdir\n`);
    expect([text(attemptFiles.setupExit), text(attemptFiles.exit)]).toEqual(["0\n", "42\n"]);
  });

  test("no go, no start: the end of the input, another word, an earlier start", () => {
    for (const input of ["", "g", "stop\n"]) {
      runnerWith(shell, input, "echo ran", "echo ran");
      expect([text(attemptFiles.started), text("setup.log"), text(attemptFiles.exit)]).toEqual([null, null, null]);
    }
    put(attemptFiles.started, "");
    runnerWith(shell, "go\n", "echo ran", "echo ran");
    expect([text("setup.log"), text(attemptFiles.exit)]).toEqual([null, null]);
  });

  test("stopped before go, a failing setup, a log that cannot be written", () => {
    put(attemptFiles.stopped, "");
    runnerWith(shell, "go\n", "echo ran", "echo ran");
    expect([text("setup.log"), text(attemptFiles.exit)]).toEqual([null, "-\n"]);
    rmSync(join(root, attemptFiles.stopped));
    rmSync(join(root, attemptFiles.started));
    runnerWith(shell, "go\n", "exit 9", "echo ran");
    expect([text(attemptFiles.setupExit), text(attemptFiles.exit), text("run.log")]).toEqual(["9\n", "-\n", null]);
    rmSync(join(root, attemptFiles.started));
    plan = { ...plan, setupLog: join(root, "missing/setup.log") };
    runnerWith(shell, "go\n", "echo ran", "echo ran");
    expect(text(attemptFiles.fault)).toContain("cannot write");
    expect(text(attemptFiles.exit)).toBe("-\n");
  });
});
