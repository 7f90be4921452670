/**
 * The command that a task's generator gives on a node, and how the runner gets it.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type GeneratorOrder, generatedCommand } from "./command-generator.ts";
import { attemptFiles, runnerScript } from "./runner-script.ts";

const order = (source: string, rank = 0): GeneratorOrder => ({
  ...{ format: 1, source, rank, addresses: ["10.0.0.1", "10.0.0.2"], home: "/home/alice" },
});

describe("a generator on a node", () => {
  test("is called with rank and addresses", () => {
    const source = '(rank, ips) => (rank === 0 ? `serve ${ips.join()}` : "join " + ips[0])';
    expect(generatedCommand(order(source))).toBe("serve 10.0.0.1,10.0.0.2");
    expect(generatedCommand(order(source, 1))).toBe("join 10.0.0.1");
    expect(generatedCommand(order("function (rank) { return rank ? 'a' : null; }"))).toBeNull();
    expect(generatedCommand(order("() => undefined"))).toBeNull();
    expect(generatedCommand(order("() => process.platform"))).toBe(process.platform);
  });

  test.each([
    ["gives no text", "() => 5", /gave a number/],
    ["gives what no shell takes", '() => "a\\u0000b"', /NUL/],
    ["is none", "run() {", /Unexpected/],
    ["throws", "() => { throw new Error('out of luck'); }", /out of luck/],
    ["uses what is not there", "() => words", /words is not defined/],
  ])("that %s fails with the reason", (_what, source, text) => {
    expect(() => generatedCommand(order(source))).toThrow(text);
  });
});

describe("the runner of a task with a generator", () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "sky generator's "));
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  /** Runs the runner with `program` in the skylet's place; gives exit code and log. */
  function ran(program: string): [exit: string, log: string] {
    const file = (name: string): string => join(root, name);
    writeFileSync(file("program.sh"), program);
    const plan = {
      ...{ folder: root, home: root, nofile: "500", setup: false, run: true, lease: null },
      ...{
        setupLog: file("setup.log"),
        runLog: file("run.log"),
        generator: { node: "/bin/sh", program: file("program.sh") },
      },
    };
    for (const name of [attemptFiles.mayRun, attemptFiles.runEnvironment]) {
      writeFileSync(file(name), "");
    }
    writeFileSync(file(attemptFiles.runnerScript), runnerScript(plan));
    const env = { PATH: process.env["PATH"] ?? "", HOME: root };
    spawnSync("/bin/sh", [file(attemptFiles.runnerScript)], { input: "go\n", env, cwd: root, timeout: 20_000 });
    expect(existsSync(file(attemptFiles.running))).toBe(true);
    return [readFileSync(file(attemptFiles.exit), "utf8"), readFileSync(file("run.log"), "utf8")];
  }

  test("runs what was made, nothing where nothing was, and fails with the generator", () => {
    expect(ran('[ "$1" = command ] && echo "echo made; exit 3" >"$2/run.sh"')[0]).toBe("3\n");
    rmSync(join(root, attemptFiles.runScript));
    for (const name of [attemptFiles.exit, attemptFiles.started]) {
      rmSync(join(root, name));
    }
    expect(ran("exit 0")[0]).toBe("0\n");
    for (const name of [attemptFiles.exit, attemptFiles.started]) {
      rmSync(join(root, name));
    }
    const [exit, log] = ran("echo it is broken; exit 1");
    expect(exit).toBe("1\n");
    expect(log).toContain("it is broken");
  });
});
