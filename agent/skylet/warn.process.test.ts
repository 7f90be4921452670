/**
 * The warning signal on real processes: it reaches, once, those who wait for it, and ends nobody.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { StandInAgent } from "../../test/help/stand-in-agent.ts";
import { until } from "../../test/help/until.ts";
import { livingProcess, processesOf } from "./processes.ts";
import { catchesWarning, trapsWarning } from "./warn.ts";

let agent: StandInAgent;

beforeEach(async () => {
  agent = new StandInAgent();
  await agent.open();
  await agent.start();
});

afterEach(async () => {
  await agent.close();
});

const heard = (): string[] =>
  existsSync(join(agent.root, "heard")) ? readFileSync(join(agent.root, "heard"), "utf8").trim().split("\n") : [];
const isMarked = (attempt: string): boolean => existsSync(join(agent.dir, attempt, "warned"));

/** Starts a job and waits until its script says that everything is in place. */
async function begin(run: string): Promise<string> {
  const wanted = agent.wanted();
  await agent.launch(wanted, { run: run.replaceAll("ROOT", agent.root) });
  await until(() => existsSync(join(agent.root, "ready")), "the job is in place");
  rmSync(join(agent.root, "ready"));
  return wanted.attempt;
}

test("the job's shell saves its state and goes on; a second order and another skylet change nothing", async () => {
  const attempt = await begin(
    "trap 'echo saved >>ROOT/heard' USR1\nsleep 1000 &\ntouch ROOT/ready\nwhile [ ! -e ROOT/end ]; do wait -n; sleep 0.05; done",
  );
  agent.send({ type: "warn", attempt });
  await until(() => heard().length === 1, "the trap ran");
  agent.send({ type: "warn", attempt });
  await agent.killSkylet();
  await agent.start();
  agent.send({ type: "warn", attempt });
  writeFileSync(join(agent.root, "end"), "");
  expect(await agent.state(attempt, "exited")).toMatchObject({ runExit: 0, fault: null });
  expect(heard()).toEqual(["saved"]);
});

test("it is a new warning after the first was taken back", async () => {
  const attempt = await begin("trap 'echo saved >>ROOT/heard' USR1\ntouch ROOT/ready\nwhile :; do sleep 0.05; done");
  agent.send({ type: "warn", attempt });
  await until(() => heard().length === 1, "the first");
  agent.send({ type: "unwarn", attempt });
  agent.send({ type: "warn", attempt });
  await until(() => heard().length === 2, "the second");
  await agent.stop(attempt, 1);
});

test("whoever does not wait for it is left alone, though his signal mask says that he catches it", async () => {
  const cleaning = join(agent.root, "cleaning.sh");
  writeFileSync(cleaning, `trap "kill -USR1 1; echo EXIT >>${agent.root}/heard" EXIT\nwhile :; do sleep 0.05; done\n`);
  const attempt = await begin(
    [
      "sleep 1000 &",
      `bash ${cleaning} &`,
      "bash -c 'trap : EXIT; touch ROOT/c; while :; do sleep 0.05; done' &",
      `'${process.execPath}' -e 'setInterval(() => {}, 1000); require("fs").writeFileSync("ROOT/n", "")' &`,
      "until [ -e ROOT/c ] && [ -e ROOT/n ]; do sleep 0.05; done",
      "touch ROOT/ready",
      "wait",
      "echo AFTER >>ROOT/heard",
    ].join("\n"),
  );
  const runner = (await agent.state(attempt, "running")).pid as number;
  const before = await processesOf(join(agent.dir, attempt), runner);
  expect(before.filter((each) => each.pid !== runner && catchesWarning(each.pid))).toEqual([]);
  agent.send({ type: "warn", attempt });
  // Orders are taken one after another: when the next has been answered, the warning has been looked at.
  const other = await begin("trap 'echo other >>ROOT/heard' USR1\ntouch ROOT/ready\nwhile :; do sleep 0.05; done");
  agent.send({ type: "warn", attempt: other });
  await until(() => heard().length > 0, "the other job heard");
  expect(heard()).toEqual(["other"]);
  expect([isMarked(attempt), isMarked(other)]).toEqual([false, true]);
  const steady = before.filter((each) => readComm(each.pid) !== "sleep");
  expect(steady.length).toBeGreaterThanOrEqual(5);
  expect(steady.filter((each) => livingProcess(each.pid)?.startTime !== each.startTime)).toEqual([]);
  await agent.stop(attempt, 1);
  await agent.stop(other, 1);
});

test("a child that waits for it hears it too, and one that only began hears it as soon as it does", async () => {
  const attempt = await begin(
    [
      "touch ROOT/ready",
      "until [ -e ROOT/on ]; do sleep 0.05; done",
      `bash -c 'trap "echo child >>ROOT/heard" USR1; while :; do sleep 0.05; done'`,
    ].join("\n"),
  );
  agent.send({ type: "warn", attempt });
  agent.send({ type: "warn", attempt });
  writeFileSync(join(agent.root, "on"), "");
  await until(() => heard().length > 0, "the child heard");
  expect(heard()).toEqual(["child"]);
  await agent.stop(attempt, 1);
});

test.each([
  ["trap save USR1", true],
  ["set -e\n  trap 'save; kill -USR2 $child' SIGUSR1 TERM\nwait", true],
  ['if true; then trap "echo \\"x\\"; save" TERM usr1; fi', true],
  ["cat <<'EOF' >x\ntrap save USR1\nEOF\nbash x", false],
  ["trap 'kill -USR1 $child' TERM", false],
  ["trap cleanup EXIT; kill -USR1 $child", false],
  ["bash -c 'trap save USR1; work'", false],
  ["# trap save USR1\nwork", false],
  ["srun --signal=USR1 work\ntrap - EXIT", false],
])("which scripts set a trap: %j is %s", (script, expected) => {
  expect(trapsWarning(script)).toBe(expected);
});

function readComm(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return "sleep";
  }
}
