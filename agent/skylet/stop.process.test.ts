/**
 * Stopping an attempt in every state, with every kind of process that users leave about.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { until } from "../../test/help/until.ts";
import { isAlive, parseStat, processesOf } from "./processes.ts";
import { StandInAgent } from "../../test/help/stand-in-agent.ts";

let agent: StandInAgent;

beforeEach(async () => {
  agent = new StandInAgent();
  await agent.open();
  await agent.start();
});

afterEach(async () => {
  await agent.close();
});

async function runUntil(run: string, file: string): Promise<{ attempt: string; logs: string; pid: number }> {
  const wanted = agent.wanted();
  const logs = await agent.launch(wanted, { run });
  await until(() => existsSync(join(agent.root, file)), file);
  return { attempt: wanted.attempt, logs, pid: (await agent.state(wanted.attempt, "running")).pid ?? 0 };
}

test("before it starts: the runner ends and never can", async () => {
  const wanted = agent.wanted();
  const prepared = await agent.prepare(wanted, { run: `touch ${agent.root}/ran` });
  await agent.stop(wanted.attempt, 5);
  expect(isAlive(prepared.pid, prepared.startTime)).toBe(false);
  agent.send({ type: "go", attempt: wanted.attempt });
  expect(await agent.state(wanted.attempt, "exited")).toMatchObject({ runExit: null, fault: null });
  await agent.stop(wanted.attempt, 5);
  expect(existsSync(join(agent.root, "ran"))).toBe(false);
});

test("of an attempt that was never heard of: gone at once, and a late start is refused", async () => {
  const wanted = agent.wanted();
  await agent.stop(wanted.attempt, 5);
  agent.payloads.set(wanted.attempt, { setup: null, run: "true", envs: {} });
  agent.send({ type: "start", wanted });
  await until(() => agent.messages.some((each) => each.type === "failed"), "failed");
});

test("while its scripts are being fetched: failed and gone, nothing left", async () => {
  const wanted = agent.wanted();
  agent.send({ type: "start", wanted });
  agent.send({ type: "stop", attempt: wanted.attempt, graceSeconds: 1 });
  agent.payloads.set(wanted.attempt, { setup: null, run: "true", envs: {} });
  await until(() => agent.messages.some((each) => each.type === "gone"), "gone");
  expect(agent.messages.some((each) => each.type === "prepared")).toBe(false);
  expect(existsSync(join(agent.dir, wanted.attempt))).toBe(false);
  expect(existsSync(join(agent.home, "sky_logs", `${wanted.jobId}-train`))).toBe(false);
});

test("during setup: run never begins", async () => {
  const wanted = agent.wanted({ setup: true });
  await agent.launch(wanted, {
    setup: `touch ${agent.root}/in-setup; sleep 1000; touch ${agent.root}/after`,
    run: `touch ${agent.root}/after`,
  });
  await until(() => existsSync(join(agent.root, "in-setup")), "setup");
  await agent.stop(wanted.attempt, 10);
  expect(await agent.state(wanted.attempt, "exited")).toMatchObject({ setupExit: 143, runExit: null, fault: null });
  expect(existsSync(join(agent.root, "after"))).toBe(false);
});

test("while it waits for the other ranks", async () => {
  const wanted = agent.wanted({ mayRun: false });
  await agent.launch(wanted, { run: `touch ${agent.root}/after` });
  await agent.state(wanted.attempt, "setupDone");
  await agent.stop(wanted.attempt, 10);
  agent.send({ type: "mayRun", attempt: wanted.attempt });
  expect(await agent.state(wanted.attempt, "exited")).toMatchObject({ runExit: null, fault: null });
  expect(existsSync(join(agent.root, "after"))).toBe(false);
});

test("a foreground command: it ends with 143 and no further line runs", async () => {
  for (let round = 0; round < 5; round += 1) {
    const { attempt, logs } = await runUntil(
      `touch ${agent.root}/go${round}\nsleep 1000\necho AFTER\nsleep 1000; echo AFTER`,
      `go${round}`,
    );
    await agent.stop(attempt, 10);
    expect(await agent.state(attempt, "exited")).toMatchObject({ runExit: 143, fault: null });
    expect(readFileSync(join(logs, "tasks/run.log"), "utf8")).not.toContain("AFTER");
  }
});

test("a script that counts: nothing is counted once gone was said", async () => {
  const script = `i=0; while :; do i=$((i+1)); echo "line $i"; [ $i -gt 5 ] && [ ! -e ${agent.root}/busy ] && touch ${agent.root}/busy; /bin/true; done\necho AFTER`;
  const { attempt, logs } = await runUntil(script, "busy");
  await agent.stop(attempt, 10);
  const log = join(logs, "tasks/run.log");
  const text = readFileSync(log, "utf8");
  expect(text).not.toContain("AFTER");
  expect(await processesOf(join(agent.dir, attempt), null)).toEqual([]);
  expect(readFileSync(log, "utf8")).toBe(text);
});

test("own sessions, double forks, cleaned environments, pipelines and subshells", async () => {
  const script = [
    "setsid sleep 1001 &",
    "setsid sh -c 'sleep 1002 & exit 0'",
    "(setsid sh -c 'sh -c \"sleep 1003 & sleep 0\" &' &)",
    "env -i sleep 1004 &",
    "( while :; do sleep 0.1; done ) &",
    "sleep 1005 | cat &",
    `touch ${agent.root}/all; wait; echo AFTER`,
  ].join("\n");
  const { attempt, logs, pid } = await runUntil(script, "all");
  const before = await processesOf(join(agent.dir, attempt), pid);
  await until(async () => (await processesOf(join(agent.dir, attempt), pid)).length >= 9, "all processes");
  for (const each of before) {
    const parent = before.findIndex((other) => other.pid === each.parent);
    expect(parent).toBeLessThan(before.indexOf(each));
  }
  await agent.stop(attempt, 10);
  expect(await processesOf(join(agent.dir, attempt), pid)).toEqual([]);
  expect(readFileSync(join(logs, "tasks/run.log"), "utf8")).not.toContain("AFTER");
});

test("a program that ignores TERM is killed after the grace time; a second stop can hasten it", async () => {
  const { attempt } = await runUntil(`trap '' TERM; touch ${agent.root}/deaf; while :; do sleep 0.05; done`, "deaf");
  agent.send({ type: "stop", attempt, graceSeconds: 3000 });
  await until(() => existsSync(join(agent.dir, attempt, "stopped")), "the mark");
  await agent.stop(attempt, 0);
  expect(await agent.state(attempt, "exited")).toMatchObject({ runExit: 137, fault: null });
  expect(agent.messages.filter((each) => each.type === "gone")).toHaveLength(1);
});

test("a script's own trap gets its chance", async () => {
  const { attempt, logs } = await runUntil(
    `trap 'echo saving; exit 5' TERM; touch ${agent.root}/trapped; sleep 1000; echo AFTER`,
    "trapped",
  );
  await agent.stop(attempt, 10);
  expect(await agent.state(attempt, "exited")).toMatchObject({ runExit: 5 });
  expect(readFileSync(join(logs, "tasks/run.log"), "utf8")).toMatch(/saving\n$/);
});

test("by a skylet that has only adopted the runner", async () => {
  const { attempt } = await runUntil(`touch ${agent.root}/on; setsid sleep 1000 & sleep 1000`, "on");
  await agent.killSkylet();
  await agent.start();
  await agent.stop(attempt, 10);
  expect(await agent.state(attempt, "exited")).toMatchObject({ runExit: 143, fault: null });
  expect(await processesOf(join(agent.dir, attempt), null)).toEqual([]);
});

test("leaves another attempt of the same user alone", async () => {
  const staying = await runUntil(`touch ${agent.root}/staying; sleep 1000`, "staying");
  const going = await runUntil(`touch ${agent.root}/going; sleep 1000`, "going");
  const before = (await processesOf(join(agent.dir, staying.attempt), staying.pid)).map((each) => each.pid);
  await agent.stop(going.attempt, 10);
  expect((await processesOf(join(agent.dir, staying.attempt), staying.pid)).map((each) => each.pid)).toEqual(before);
  expect(before.length).toBeGreaterThanOrEqual(3);
});

test("a background process outlives its finished script until the stop", async () => {
  const wanted = agent.wanted();
  const { attempt } = wanted;
  const { pid } = await agent.prepare(wanted, { run: "sleep 1000 & exit 0" });
  agent.send({ type: "go", attempt });
  expect(await agent.state(attempt, "exited")).toMatchObject({ runExit: 0 });
  await until(
    async () => (await processesOf(join(agent.dir, attempt), pid)).length === 1,
    "only the background process",
  );
  await agent.stop(attempt, 10);
  expect(await processesOf(join(agent.dir, attempt), pid)).toEqual([]);
  expect(await agent.state(attempt, "exited")).toMatchObject({ runExit: 0 });
});

test("a command's name with blanks and brackets does not confuse the reading of /proc", () => {
  const fields = ["S", "5", "6", "7", ...Array.from({ length: 20 }, (_, index) => String(index))];
  expect(parseStat(`42 (a) b (c)) ${fields.join(" ")}`)).toEqual({
    pid: 42,
    state: "S",
    parent: 5,
    session: 7,
    startTime: "15",
  });
});
