/** What a launch spec promises, by the real skylet and runner: it holds for every script of the job, or nothing starts. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Payload } from "../../shared/job.ts";
import type { LaunchSpec } from "../../shared/launch-spec.ts";
import { StandInAgent } from "../../test/help/stand-in-agent.ts";
import { until } from "../../test/help/until.ts";
import { scratchRoot } from "./scratch.ts";

let agent: StandInAgent;

beforeEach(async () => {
  agent = new StandInAgent();
  await agent.open();
  await agent.start();
});
afterEach(async () => {
  await agent.close();
  rmSync(dirname(scratchRoot(join(agent.dir, "abcdefgh-1"))), { recursive: true, force: true });
});

interface Ran {
  attempt: string;
  setupExit: number | null;
  runExit: number | null;
  setupLog: string;
  runLog: string;
}

/** One rank, with a setup where the payload has one, until its end. */
async function ran(launchSpec: LaunchSpec, payload: Partial<Payload>): Promise<Ran> {
  const wanted = agent.wanted({ setup: typeof payload.setup === "string" });
  const logDir = await agent.launch(wanted, { launchSpec, ...payload });
  const { setupExit, runExit } = await agent.state(wanted.attempt, "exited");
  const read = (path: string): string => (existsSync(path) ? readFileSync(path, "utf8") : "");
  const [setupLog, runLog] = [read(join(logDir, "setup.log")), read(join(logDir, "tasks", "run.log"))];
  return { attempt: wanted.attempt, setupExit, runExit, setupLog, runLog };
}

/** What the user is told of a start that was refused. */
async function refusal(launchSpec: LaunchSpec, payload: Partial<Payload> = {}, limits = {}): Promise<string> {
  const wanted = agent.wanted(limits);
  agent.payloads.set(wanted.attempt, { setup: null, run: "touch ~/began", envs: {}, launchSpec, ...payload });
  agent.send({ type: "start", wanted });
  const failed = await until(
    () => agent.messages.find((one) => one.type === "failed" && one.attempt === wanted.attempt),
    "the refusal",
  );
  expect(existsSync(join(agent.home, "began"))).toBe(false);
  return failed.type === "failed" ? failed.error : "";
}

const privileges = "grep ^NoNewPrivs: /proc/self/status | tr -d '[:space:]'; echo";

describe("no new privileges", () => {
  test("hold in setup, run, the function that makes run, and event scripts; without the word in none", async () => {
    const events = `grep ^NoNewPrivs: /proc/self/status >>~/events`;
    const held = await ran({ noNewPrivileges: true }, { setup: privileges, run: privileges, eventCallback: events });
    expect([held.setupLog, held.runLog]).toEqual(["NoNewPrivs:1\n", "NoNewPrivs:1\n"]);
    expect(new Set(readFileSync(join(agent.home, "events"), "utf8").trim().split("\n"))).toEqual(
      new Set(["NoNewPrivs:\t1"]),
    );
    const made = `() => process.getBuiltinModule("node:fs").readFileSync("/proc/self/status", "utf8").includes("NoNewPrivs:\\t1") ? "exit 7" : "exit 8"`;
    expect((await ran({ noNewPrivileges: true }, { runGenerator: made })).runExit).toBe(7);
    expect((await ran({}, { run: privileges })).runLog).toBe("NoNewPrivs:0\n");
  });
});

describe("the working folder", () => {
  test("is where setup and run begin", async () => {
    const workingDir = join(agent.root, "it's here");
    mkdirSync(workingDir);
    const { setupLog, runLog, runExit } = await ran({ workingDir }, { setup: "pwd", run: "pwd" });
    expect([setupLog, runLog, runExit]).toEqual([`${workingDir}\n`, `${workingDir}\n`, 0]);
  });

  test("that is missing is a failed setup with its name, also for a job that has none, and nothing runs", async () => {
    const workingDir = join(agent.root, "nowhere");
    for (const setup of [null, "touch ~/began"]) {
      const { setupExit, runExit, setupLog } = await ran({ workingDir }, { setup, run: "touch ~/began" });
      expect([setupExit, runExit]).toEqual([1, null]);
      expect(setupLog).toBe(
        `The working folder ${workingDir} is not there on this machine, or this user may not enter it.\n`,
      );
    }
    expect(existsSync(join(agent.home, "began"))).toBe(false);
  });
});

describe("a scratch home", () => {
  test("is empty, the same for setup and run, whatever the task says, and gone afterwards", async () => {
    writeFileSync(join(agent.home, ".bashrc"), "echo from the bashrc\n");
    const { attempt, setupLog, runLog } = await ran(
      { scratchHome: true },
      { setup: "ls -A ~ | wc -l; echo kept >~/kept", run: "cat ~/kept; pwd; echo $HOME", envs: { HOME: agent.home } },
    );
    const root = scratchRoot(join(agent.dir, attempt));
    expect(setupLog).toBe("0\n");
    expect(runLog).toBe(`kept\n${agent.home}/sky_workdir\n${root}/home\n`);
    expect(existsSync(root)).toBe(false);
    expect(readdirSync(agent.home)).not.toContain("kept");
  });

  test("is removed when the job is stopped or its runner killed, and by the next skylet when nobody was left to", async () => {
    const wanted = agent.wanted();
    await agent.launch(wanted, { launchSpec: { scratchHome: true }, run: "echo >~/file; sleep 1000" });
    const root = scratchRoot(join(agent.dir, wanted.attempt));
    await until(() => existsSync(join(root, "home", "file")), "the job's file");
    const { pid } = await agent.state(wanted.attempt, "running");
    process.kill(pid ?? 0, "SIGKILL");
    await agent.stop(wanted.attempt, 0);
    agent.send({ type: "forget", attempt: wanted.attempt });
    await until(() => !existsSync(root), "its folder to be gone");
    const left = scratchRoot(join(agent.dir, "abcdefgh-77"));
    mkdirSync(left, { recursive: true, mode: 0o700 });
    await agent.killSkylet();
    await agent.start();
    await until(() => !existsSync(left), "what was left to be gone");
  });
});

describe("scratch folders", () => {
  const memory = { memory: true as const, sizeBytes: 4 * 2 ** 20 };

  test("lie at their paths for setup and run alone, in memory of their size or on disk", async () => {
    const [fast, slow] = [join(agent.root, "fast"), join(agent.root, "slow")];
    mkdirSync(slow);
    writeFileSync(join(slow, "theirs"), "");
    const { attempt, setupLog, runLog, runExit } = await ran(
      { scratch: [{ path: fast, ...memory }, { path: slow }], noNewPrivileges: true, workingDir: fast },
      {
        setup: `ls -A ${fast} ${slow}; echo a >${fast}/a; echo b >${slow}/b; id -u`,
        run: `cat a ${slow}/b; stat -f -c '%T %b*%S' ${fast}; head -c 5M /dev/zero >big; echo $?; ${privileges}`,
      },
    );
    expect(setupLog).toBe(`${fast}:\n\n${slow}:\n${process.getuid?.()}\n`);
    expect(runLog).toMatch(/^a\nb\ntmpfs 1024\*4096\nhead: .*No space left on device\n1\nNoNewPrivs:1\n$/);
    expect(runExit).toBe(0);
    expect([readdirSync(fast), readdirSync(slow)]).toEqual([[], ["theirs"]]);
    expect(existsSync(scratchRoot(join(agent.dir, attempt)))).toBe(false);
  });

  test("that cannot be made fail the setup with their name", async () => {
    const { setupExit, setupLog, runExit } = await ran(
      { scratch: [{ path: "/proc/no/such", ...memory }] },
      { run: "touch ~/began" },
    );
    expect([setupExit, runExit, existsSync(join(agent.home, "began"))]).toEqual([126, null, false]);
    expect(setupLog).toContain("The scratch folder /proc/no/such is not there on this machine");
  });
});

describe("what cannot be kept is not started", () => {
  test("limits that the agent was not told of, and orders whose limits the payload does not know", async () => {
    expect(await refusal({ memoryLimitBytes: 4096 })).toContain("limits are not those that the agent was told of");
    expect(await refusal({ cpuCoreLimit: 1 }, {}, { limits: { cpuCores: 2 } })).toContain("limits are not those");
    expect(await refusal({}, {}, { limits: { cpuCores: 2 } })).toContain("limits are not those");
  });

  test("options of a container without one, options that its policies refuse, a size on disk", async () => {
    expect(await refusal({ container: { readOnlyRoot: true } })).toContain("options of a container, and no image");
    for (const options of [["--privileged"], ["--cap-add=SYS_ADMIN"], ["--security-opt", "seccomp=unconfined"]]) {
      const image = { name: "x", options };
      expect(await refusal({ container: { optionsChecked: true } }, { image })).toContain("policies do not allow");
    }
    expect(await refusal({ scratch: [{ path: "/x", sizeBytes: 1 }] })).toContain("can only be kept in memory");
  });
});
