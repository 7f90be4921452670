/**
 * The skylet as the agent sees it: the real program, real shells and processes, a real socket.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { until } from "../../test/help/until.ts";
import { isAlive, livingProcess, processesOf } from "./processes.ts";
import { StandInAgent } from "../../test/help/stand-in-agent.ts";

let agent: StandInAgent;

beforeEach(async () => {
  agent = new StandInAgent();
  await agent.open();
});

afterEach(async () => {
  await agent.close();
});

test("setup and run: states, output, exit codes, files, then forgotten", async () => {
  expect((await agent.start()).attempts).toEqual([]);
  const wanted = agent.wanted({ setup: true });
  const prepared = await agent.prepare(wanted, {
    setup: "echo installing",
    run: "echo out; echo err >&2; pwd; exit 7",
  });
  expect(prepared.logDir).toBe("sky_logs/1-train");
  expect(livingProcess(prepared.pid)?.session).toBe(prepared.pid);
  const logs = join(agent.home, prepared.logDir);
  expect(existsSync(join(logs, "tasks/run.log"))).toBe(false);
  const following = agent.stream({ attempt: wanted.attempt });
  agent.send({ type: "go", attempt: wanted.attempt });
  const ended = await agent.state(wanted.attempt, "exited");
  expect(ended).toMatchObject({ setupExit: 0, runExit: 7, fault: null, pid: prepared.pid, logDir: prepared.logDir });
  await until(() => following.end !== null, "end of stream");
  expect(following).toMatchObject({ pid: String(prepared.pid), setup: "installing\n", end: "" });
  expect(following.run).toBe(`out\nerr\n${agent.home}/sky_workdir\n`);
  expect(following.order).toEqual([...following.order].sort((a, b) => "PSRE".indexOf(a) - "PSRE".indexOf(b)));
  await until(() => existsSync(join(logs, "run.log")), "merged log");
  const p = `(train, pid=${prepared.pid})`;
  expect(agent.read(logs, "run.log")).toBe(
    `(setup pid=${prepared.pid}) installing\n${p} out\n${p} err\n${p} ${agent.home}/sky_workdir\n`,
  );
  agent.send({ type: "forget", attempt: wanted.attempt });
  await until(() => !existsSync(join(agent.dir, wanted.attempt)), "the folder's end");
  const later = agent.stream({ attempt: wanted.attempt, logDir: prepared.logDir });
  await until(() => later.end !== null, "end of stream");
  expect(later).toMatchObject({ setup: following.setup, run: following.run, end: "" });
  const outside = agent.stream({ attempt: wanted.attempt, logDir: "../home/sky_logs/1-train" });
  await until(() => outside.end !== null, "end of stream");
  expect(outside.end).toContain("no log of rank 0");
  expect(outside.run).toBe("");
});

test("every exit code arrives as it is; a syntax error has bash's", async () => {
  await agent.start();
  const scripts: [string, number][] = [
    ["exit 0", 0],
    ["exit 1", 1],
    ["exit 255", 255],
    ["kill -SEGV $$", 139],
    ["kill -KILL $$", 137],
    ["echo one\nif [ 1 = 1\nfi", 2],
    ["no-such-program-here", 127],
    ["set -e\nfalse\necho not reached", 1],
    ["echo last line without newline", 0],
    ['x="hi!foo"; [ "$x" = \'hi!foo\' ]', 0],
  ];
  for (const [run, code] of scripts) {
    const wanted = agent.wanted();
    await agent.launch(wanted, { run });
    const ended = await agent.state(wanted.attempt, "exited");
    expect({ run, ...ended }).toMatchObject({ run, runExit: code, setupExit: null, fault: null });
  }
});

test("a failing setup ends the rank before run; a task without run succeeds after setup", async () => {
  await agent.start();
  const failing = agent.wanted({ setup: true });
  const logs = await agent.launch(failing, { setup: "exit 3", run: "echo never" });
  expect(await agent.state(failing.attempt, "exited")).toMatchObject({ setupExit: 3, runExit: null, fault: null });
  expect(existsSync(join(logs, "tasks/run.log"))).toBe(false);
  const only = agent.wanted({ setup: true, hasRun: false });
  await agent.launch(only, { setup: "echo hello" });
  expect(await agent.state(only.attempt, "exited")).toMatchObject({ setupExit: 0, runExit: 0 });
});

test("the run script waits for the other ranks' setup, and survives the skylet meanwhile", async () => {
  await agent.start();
  const wanted = agent.wanted({
    setup: true,
    mayRun: false,
    addresses: ["10.0.0.1", "10.0.0.2"],
    rank: 1,
    nodeLabel: "worker1",
    singleNodeCluster: false,
  });
  const logs = await agent.launch(wanted, { setup: "echo s", run: "echo r" });
  await agent.state(wanted.attempt, "setupDone");
  await agent.killSkylet();
  const ready = await agent.start();
  expect(ready.attempts).toMatchObject([{ attempt: wanted.attempt, state: "setupDone", setupExit: 0 }]);
  agent.send({ type: "mayRun", attempt: wanted.attempt });
  expect(await agent.state(wanted.attempt, "exited")).toMatchObject({ runExit: 0 });
  expect(agent.read(logs, "tasks/1-worker1.log")).toBe("r\n");
  expect(agent.read(logs, "setup-10.0.0.2.log")).toBe("s\n");
});

test("a skylet that is killed while a job runs is nothing to the job: adopted, followed, exit code delivered", async () => {
  await agent.start();
  const wanted = agent.wanted();
  await agent.launch(wanted, {
    run: `echo before; until [ -e ${agent.root}/on ]; do sleep 0.05; done; echo after; exit 9`,
  });
  const first = agent.stream({ attempt: wanted.attempt });
  await until(() => first.run === "before\n", "first output");
  await agent.killSkylet();
  expect(first.end).toBe(null);
  const ready = await agent.start();
  expect(ready.attempts).toMatchObject([{ attempt: wanted.attempt, state: "running" }]);
  const second = agent.stream({ attempt: wanted.attempt, runOffset: first.run.length });
  writeFileSync(join(agent.root, "on"), "");
  expect(await agent.state(wanted.attempt, "exited")).toMatchObject({ runExit: 9, fault: null });
  await until(() => second.end === "", "end of stream");
  expect(first.run + second.run).toBe("before\nafter\n");
});

test("a job that ended while no skylet lived is told at the next start", async () => {
  await agent.start();
  const wanted = agent.wanted();
  const prepared = await agent.prepare(wanted, { run: `until [ -e ${agent.root}/on ]; do sleep 0.05; done; exit 4` });
  agent.send({ type: "go", attempt: wanted.attempt });
  await agent.state(wanted.attempt, "running");
  await agent.killSkylet();
  writeFileSync(join(agent.root, "on"), "");
  await until(() => !isAlive(prepared.pid, prepared.startTime), "the runner's end");
  expect((await agent.start()).attempts).toMatchObject([{ state: "exited", runExit: 4, fault: null }]);
});

test("a gate that closes before go: no user code ever, and the same attempt can be prepared again", async () => {
  await agent.start();
  const wanted = agent.wanted();
  const prepared = await agent.prepare(wanted, { run: `echo ran >>${agent.root}/ran` });
  await agent.killSkylet();
  await until(() => !isAlive(prepared.pid, prepared.startTime), "the runner's end");
  expect((await agent.start()).attempts).toMatchObject([{ state: "starting", pid: null }]);
  expect(existsSync(join(agent.root, "ran"))).toBe(false);
  agent.messages.length = 0;
  await agent.launch(wanted, { run: `echo ran >>${agent.root}/ran` });
  await agent.state(wanted.attempt, "exited");
  agent.send({ type: "start", wanted });
  agent.send({ type: "go", attempt: wanted.attempt });
  await until(() => agent.messages.filter((each) => each.type === "changed").length > 1, "an answer");
  expect(agent.read(agent.root, "ran")).toBe("ran\n");
});

test("the mark of a start stops a second one", async () => {
  await agent.start();
  const wanted = agent.wanted();
  const prepared = await agent.prepare(wanted, { run: `echo ran >>${agent.root}/ran` });
  writeFileSync(join(agent.dir, wanted.attempt, "started"), "");
  agent.send({ type: "go", attempt: wanted.attempt });
  await until(() => !isAlive(prepared.pid, prepared.startTime), "the runner's end");
  expect(existsSync(join(agent.root, "ran"))).toBe(false);
});

test("a runner killed from outside is reported with 137 and a reason; a machine restart as such", async () => {
  await agent.start();
  const wanted = agent.wanted();
  const prepared = await agent.prepare(wanted, { run: "sleep 1000" });
  agent.send({ type: "go", attempt: wanted.attempt });
  await agent.state(wanted.attempt, "running");
  process.kill(prepared.pid, "SIGKILL");
  const ended = await agent.state(wanted.attempt, "exited");
  expect(ended.runExit).toBe(137);
  expect(ended.fault).toContain("runner was killed on machine");
  const rebooted = agent.wanted();
  await agent.launch(rebooted, { run: "sleep 1000" });
  await agent.state(rebooted.attempt, "running");
  await agent.killSkylet();
  const spec = join(agent.dir, rebooted.attempt, "spec.json");
  writeFileSync(spec, readFileSync(spec, "utf8").replace(/"bootId":"[^"]+"/, '"bootId":"another"'));
  const ready = await agent.start();
  const found = ready.attempts.find((each) => each.attempt === rebooted.attempt);
  expect(found).toMatchObject({ state: "exited", runExit: 137 });
  expect(found?.fault).toContain("was restarted");
});

test("job folders: another attempt's and foreign ones are left alone", async () => {
  await agent.start();
  const first = agent.wanted({ jobId: 5, jobName: null });
  const second = agent.wanted({ jobId: 5, jobName: null });
  expect((await agent.prepare(first, { run: "true" })).logDir).toBe("sky_logs/5-sky-cmd");
  expect((await agent.prepare(second, { run: "true" })).logDir).toBe("sky_logs/5-sky-cmd.2");
  mkdirSync(join(agent.home, "sky_logs/6-train/tasks"), { recursive: true });
  expect((await agent.prepare(agent.wanted({ jobId: 6 }), { run: "true" })).logDir).toBe("sky_logs/6-train.2");
});

test("a home that cannot be used fails with machine, path, cause and way out, and leaves nothing", async () => {
  await agent.start();
  writeFileSync(join(agent.home, "sky_logs"), "a file in the way");
  const wanted = agent.wanted();
  agent.payloads.set(wanted.attempt, { setup: null, run: "true", envs: {} });
  agent.send({ type: "start", wanted });
  const failed = await until(() => agent.messages.find((each) => each.type === "failed"), "failed");
  expect(failed.type === "failed" && failed.error).toMatch(
    /machine '.+': cannot make the job's log folder in .+sky_logs: a file stands .+ Move it away and launch again\.$/,
  );
  expect(existsSync(join(agent.dir, wanted.attempt))).toBe(false);
  expect(await processesOf(join(agent.dir, wanted.attempt), null)).toEqual([]);
});

test("a runner that is killed at its gate is told without a pid, and another one runs the job", async () => {
  await agent.start();
  const wanted = agent.wanted();
  const first = await agent.prepare(wanted, { run: "exit 3" });
  process.kill(first.pid, "SIGKILL");
  const lost = await agent.state(wanted.attempt, "starting");
  expect(lost.pid).toBeNull();
  agent.send({ type: "start", wanted });
  await until(() => agent.messages.some((each) => each.type === "prepared" && each.pid !== first.pid), "another one");
  agent.send({ type: "go", attempt: wanted.attempt });
  expect((await agent.state(wanted.attempt, "exited")).runExit).toBe(3);
  expect(agent.messages.filter((each) => each.type === "failed")).toEqual([]);
});

test("a runner that its skylet left at the gate is told as lost by the next one", async () => {
  await agent.start();
  const wanted = agent.wanted();
  const { pid } = await agent.prepare(wanted, { run: "true" });
  // It cannot see its gate close while it is stopped, so the next skylet finds it alive.
  process.kill(pid, "SIGSTOP");
  await agent.killSkylet();
  const { attempts } = await agent.start();
  expect(attempts).toMatchObject([{ attempt: wanted.attempt, state: "starting", pid }]);
  process.kill(pid, "SIGCONT");
  await until(() => agent.last(wanted.attempt)?.pid === null, "the news");
  expect(agent.last(wanted.attempt)?.state).toBe("starting");
});

test("scripts that cannot be had yet are waited for, until a stop", async () => {
  await agent.start();
  const wanted = agent.wanted();
  const other = agent.wanted();
  agent.send({ type: "start", wanted });
  await until(() => agent.payloadCalls >= 3, "some tries");
  await agent.prepare(wanted, { run: "true" });
  agent.send({ type: "start", wanted: other });
  const before = agent.payloadCalls;
  await until(() => agent.payloadCalls >= before + 2, "some more tries");
  await agent.stop(other.attempt, 0);
  expect(agent.messages.some((each) => each.type === "failed" && each.attempt === wanted.attempt)).toBe(false);
});

test("an agent that is gone is dialled again; frames that are not understood close the connection", async () => {
  await agent.start();
  agent.control?.write('{"type":"go","attempt":"../../etc","extra":1}\n');
  await until(() => agent.connections === 2 && agent.control !== null, "a second connection");
  agent.control?.write("x".repeat(1024 * 1024 + 10));
  await until(() => agent.connections === 3 && agent.control !== null, "a third connection");
  agent.send({ type: "retire" });
  await until(() => agent.skylet?.exitCode === 0, "the skylet's end");
});

test("killed again and again at any moment: every job runs exactly once and its exit code arrives", async () => {
  const all = Array.from({ length: 6 }, () => agent.wanted({ setup: true }));
  const run = (jobId: number): string => `echo ${jobId} >>${agent.root}/ran; sleep 0.2; exit ${jobId}`;
  for (const each of all) {
    agent.payloads.set(each.attempt, { setup: "sleep 0.1", run: run(each.jobId), envs: {} });
  }
  const seen = new Map<string, number | null>();
  let handled = 0;
  // As the agent does: what is absent or certainly not begun is started, what is prepared is let go.
  const react = (): void => {
    for (; handled < agent.messages.length; handled += 1) {
      const message = agent.messages[handled];
      const views = message?.type === "ready" ? message.attempts : message?.type === "changed" ? [message.attempt] : [];
      for (const view of views) {
        if (view.state === "exited") {
          seen.set(view.attempt, view.runExit);
        }
      }
      if (message?.type === "prepared") {
        agent.send({ type: "go", attempt: message.attempt });
      } else if (message?.type === "ready") {
        const begun = new Set(message.attempts.filter((view) => view.state !== "starting").map((view) => view.attempt));
        for (const wanted of all.filter((each) => !begun.has(each.attempt))) {
          agent.send({ type: "start", wanted });
        }
      }
    }
  };
  const timer = setInterval(react, 1);
  try {
    for (let round = 0; round < 12; round += 1) {
      await agent.start();
      const end = performance.now() + round * 7;
      await until(() => performance.now() > end, "the moment of the kill");
      await agent.killSkylet();
    }
    await agent.start();
    await until(() => seen.size === all.length, "all ends");
  } finally {
    clearInterval(timer);
  }
  expect([...seen.values()].map(Number).sort((a, b) => a - b)).toEqual(all.map((each) => each.jobId));
  expect(
    agent
      .read(agent.root, "ran")
      .trim()
      .split("\n")
      .map(Number)
      .sort((a, b) => a - b),
  ).toEqual(all.map((each) => each.jobId));
}, 60_000);

test("a waiting runner whose folder has vanished ends by itself", async () => {
  await agent.start();
  const wanted = agent.wanted({ mayRun: false });
  const prepared = await agent.prepare(wanted, { run: `touch ${agent.root}/ran` });
  agent.send({ type: "go", attempt: wanted.attempt });
  await agent.state(wanted.attempt, "setupDone");
  await agent.killSkylet();
  rmSync(join(agent.dir, wanted.attempt), { recursive: true });
  await until(() => !isAlive(prepared.pid, prepared.startTime), "the runner's end");
  expect(existsSync(join(agent.root, "ran"))).toBe(false);
});

test("forty jobs at once: each ends with its own output and code", async () => {
  await agent.start();
  const all = Array.from({ length: 40 }, () => agent.wanted());
  const logs = await Promise.all(
    all.map((each) => agent.launch(each, { run: `echo ${each.jobId}; exit ${each.jobId}` })),
  );
  for (const [index, each] of all.entries()) {
    expect((await agent.state(each.attempt, "exited")).runExit).toBe(each.jobId);
    expect(agent.read(logs[index] ?? "", "tasks/run.log")).toBe(`${each.jobId}\n`);
  }
});

test("the home's folder for logs is not writable any more: said as the machine's fault, not the script's", async () => {
  await agent.start();
  const wanted = agent.wanted();
  const prepared = await agent.prepare(wanted, { run: "true" });
  rmSync(join(agent.home, "sky_logs"), { recursive: true });
  agent.send({ type: "go", attempt: wanted.attempt });
  const ended = await agent.state(wanted.attempt, "exited");
  expect(ended.runExit).toBe(null);
  expect(ended.fault).toContain(`cannot write ${agent.home}/${prepared.logDir}/tasks/run.log`);
});

test("without attempts it ends by itself", async () => {
  await agent.start("", {}, 1);
  await until(() => agent.skylet?.exitCode === 0, "the skylet's end");
});
