/** The coordinator's decisions, event by event. */
import { expect, test } from "vitest";
import { recordOf, Scenario } from "../../test/sim/scenario.ts";
import type { CoreEffect } from "./state.ts";

const one = { n1: { accelerators: "V100:1" } };
const two = { n1: { accelerators: "V100:1" }, n2: { accelerators: "V100:1" } };

function ends(scenario: Scenario): string[] {
  return scenario.effects.flatMap((effect) =>
    effect.type === "commitEnd" ? [`${effect.id} ${effect.record.end}`] : [],
  );
}

test("a node hears of a start only when it is on disk", () => {
  const scenario = new Scenario(one).up();
  scenario.held = [];
  const id = scenario.submit();
  const attempt = scenario.job(id).record.attempt?.id;
  expect(scenario.told("n1")?.wanted).toEqual([]);
  scenario.answer(scenario.held[0] as CoreEffect);
  expect(scenario.told("n1")?.wanted.map((wanted) => wanted.attempt)).toEqual([attempt]);
});

test("nothing is planned on a node, and it is told nothing but a welcome, before its first report", () => {
  const scenario = new Scenario(one);
  const id = scenario.submit();
  scenario.connect("n1");
  expect(scenario.place(id)).toBe("waiting");
  expect(scenario.effects.filter((effect) => effect.type === "tellNode").map((effect) => effect.message.type)).toEqual([
    "welcome",
  ]);
  scenario.report("n1");
  expect(scenario.place(id)).toBe("n1");
  scenario.effects = [];
  scenario.connect("n1");
  expect(scenario.told("n1")).toBeNull();
  scenario.report("n1", [], 0);
  expect(scenario.told("n1")?.wanted).toHaveLength(1);
});

test("run scripts wait until the setup of every rank is done, then both nodes are told", () => {
  const scenario = new Scenario(two).up();
  const id = scenario.submit({ nodes: 2, setup: true });
  expect(scenario.told("n1")?.wanted[0]).toMatchObject({ setup: true, mayRun: false, rank: 0 });
  scenario.report("n1", [scenario.rank(id, "n1", { state: "setupDone", setupExit: 0, pid: 7 })]);
  expect(scenario.job(id).record.phase).toBe("setup");
  expect(scenario.told("n2")?.wanted[0]?.mayRun).toBe(false);
  scenario.report("n2", [scenario.rank(id, "n2", { state: "setupDone", setupExit: 0, pid: 8 })]);
  expect(scenario.told("n1")?.wanted[0]).toMatchObject({ mayRun: true, started: true });
  expect(scenario.told("n2")?.wanted[0]?.mayRun).toBe(true);
});

test("one failing rank ends the job, the others count as 137, and both nodes get it as ended", () => {
  const scenario = new Scenario(two).up();
  const id = scenario.submit({ nodes: 2 });
  const attempt = scenario.job(id).record.attempt?.id;
  scenario.report("n1", [scenario.rank(id, "n1", { state: "running", pid: 1 })]);
  scenario.report("n2", [scenario.rank(id, "n2", { state: "exited", runExit: 3 })]);
  expect(scenario.job(id).record).toMatchObject({ end: "FAILED", reason: "run ended with exit code 3 on n2" });
  expect(scenario.job(id).record.attempt?.ranks.map((rank) => rank.runExit)).toEqual([137, 3]);
  expect(scenario.told("n1")).toMatchObject({ wanted: [], ended: [attempt] });
  expect(scenario.told("n2")).toMatchObject({ wanted: [], ended: [attempt] });
});

test.each([
  [{ setup: true }, { setupExit: 4 }, "FAILED_SETUP"],
  [{ setup: true }, { setupExit: 0, runExit: 0 }, "SUCCEEDED"],
  [{ setup: true, run: false }, { setupExit: 0 }, "SUCCEEDED"],
  [{}, { runExit: 0 }, "SUCCEEDED"],
  [{}, { runExit: 1 }, "FAILED"],
  [{}, { runExit: null }, "FAILED_DRIVER"],
  [{}, { fault: "The machine was restarted." }, "FAILED_DRIVER"],
] as const)("a job %o whose rank exits with %o is %s", (words, exit, end) => {
  const scenario = new Scenario(one).up();
  const id = scenario.submit(words);
  scenario.report("n1", [scenario.rank(id, "n1", { state: "exited", ...exit })]);
  expect(scenario.job(id).record.end).toBe(end);
});

test("a grant is free only when the node, knowing the end, no longer lists the attempt", () => {
  const scenario = new Scenario(one).up();
  const first = scenario.submit({ accelerators: "V100:1" });
  const second = scenario.submit({ accelerators: "V100:1" });
  const running = scenario.rank(first, "n1", { state: "running", pid: 1 });
  scenario.report("n1", [running]);
  const before = scenario.state.nodes.get("n1")?.desiredSeq ?? 0;
  scenario.dispatch({ type: "cancelRequested", uid: 1001, ids: [first] });
  expect(ends(scenario)).toEqual(["1 CANCELLED"]);
  scenario.report("n1", [running]);
  expect(scenario.place(second)).toBe("waiting");
  scenario.report("n1", [], before);
  expect(scenario.place(second)).toBe("waiting");
  scenario.report("n1", []);
  expect(scenario.place(second)).toBe("n1");
  expect(scenario.state.jobs.size).toBe(1);
});

test("a cancel during the start is remembered and acted on once the start is on disk", () => {
  const scenario = new Scenario(one).up();
  scenario.held = [];
  const id = scenario.submit();
  scenario.dispatch({ type: "cancelRequested", uid: 1001, ids: [id] });
  expect(ends(scenario)).toEqual([]);
  scenario.answer(scenario.held[0] as CoreEffect);
  expect(ends(scenario)).toEqual(["1 CANCELLED"]);
  expect(scenario.told("n1")?.wanted ?? []).toEqual([]);
});

test("an end that was reported before the cancel wins; a waiting job is cancelled at once", () => {
  const scenario = new Scenario(one).up();
  const first = scenario.submit({ accelerators: "V100:1" });
  const second = scenario.submit({ accelerators: "V100:1" });
  scenario.held = [];
  scenario.report("n1", [scenario.rank(first, "n1", { state: "exited", runExit: 0 })]);
  scenario.dispatch({ type: "cancelRequested", uid: 1001, ids: [first, second] });
  expect(ends(scenario)).toEqual(["1 SUCCEEDED", "2 CANCELLED"]);
});

test("an unknown attempt keeps its grant and is never named as ended while it runs", () => {
  const source = new Scenario(one).up();
  const stranger = source.rank(source.submit({ accelerators: "V100:1" }), "n1", { state: "running", pid: 1 });
  const scenario = new Scenario(one);
  scenario.connect("n1").report("n1", [stranger], 0);
  scenario.dispatch({ type: "jobRead", uid: 1001, id: 1, attempt: stranger.attempt, record: null });
  const id = scenario.submit({ accelerators: "V100:1", uid: 1002 });
  expect(scenario.place(id, 1002)).toBe("waiting");
  expect(scenario.told("n1")).toMatchObject({ ended: [] });
  scenario.report("n1", [{ ...stranger, state: "exited", runExit: 0 }]);
  expect(scenario.told("n1")).toMatchObject({ ended: [stranger.attempt] });
  scenario.report("n1", []);
  expect(scenario.place(id, 1002)).toBe("n1");
});

test("an end that was on disk before a restart still reaches the node", () => {
  const source = new Scenario(one).up();
  const id = source.submit();
  const running = source.rank(id, "n1", { state: "running", pid: 1 });
  source.dispatch({ type: "cancelRequested", uid: 1001, ids: [id] });
  const scenario = new Scenario(one, { epoch: 4 });
  scenario.connect("n1").report("n1", [running], 0);
  expect(scenario.effects).toContainEqual({ type: "readJob", uid: 1001, id, attempt: running.attempt });
  scenario.dispatch({ type: "jobRead", uid: 1001, id, attempt: running.attempt, record: source.job(id).record });
  expect(scenario.told("n1")?.ended).toEqual([running.attempt]);
});

test("a wanted attempt that the node took into account and does not have is lost", () => {
  const scenario = new Scenario(one).up();
  const id = scenario.submit();
  scenario.report("n1", [], 1);
  expect(scenario.job(id).record.phase).toBe("starting");
  scenario.report("n1", []);
  expect(scenario.job(id).record.end).toBe("FAILED_DRIVER");
});

test("a silent node changes nothing about its jobs, and gets no new ones", () => {
  const scenario = new Scenario(one).up();
  const first = scenario.submit();
  scenario.report("n1", [scenario.rank(first, "n1", { state: "running", pid: 1 })]);
  scenario.dispatch({ type: "nodeDisconnected", node: "n1" });
  const second = scenario.submit();
  expect(scenario.job(first).record.phase).toBe("running");
  expect(scenario.place(second)).toBe("waiting");
});

test("a node that claims an epoch that cannot be is cut off, and changes nothing for the others", () => {
  const scenario = new Scenario({ n1: {}, n2: {} }, { epoch: 4 }).up();
  const last = Number.MAX_SAFE_INTEGER;
  for (const epoch of [last, last - 1, 4 + 2_000_000]) {
    scenario.effects = [];
    scenario.connect("n2", { epoch });
    expect(scenario.effects.map(({ type }) => type)).toEqual(expect.arrayContaining(["cutNode"]));
    expect(scenario.effects.filter(({ type }) => type === "saveEpoch" || type === "tellNode")).toEqual([]);
  }
  expect(scenario.state.epoch).toBe(4);
  // One step at a time it gets nowhere either.
  for (let round = 0; round < 100; round += 1) {
    scenario.connect("n2", { epoch: scenario.state.epoch + 1 });
  }
  expect(scenario.state.epoch).toBeLessThan(50);
  expect(scenario.connect("n1").report("n1").state.nodes.get("n1")?.heard).toBe(true);
});

test("an agent that knows a later epoch of this state makes the coordinator go past it", () => {
  const scenario = new Scenario(two).up();
  scenario.effects = [];
  scenario.connect("n2", { epoch: 9 });
  expect(scenario.effects[0]).toEqual({ type: "saveEpoch", epoch: 10 });
  const welcomed = scenario.effects.flatMap((effect) => (effect.type === "tellNode" ? [effect.node] : []));
  expect(welcomed).toEqual(["n1", "n2"]);
  scenario.connect("n2", { epoch: 10 });
  expect(scenario.state.epoch).toBe(10);
});

test("an exec runs the user's last setup first, where it has not succeeded yet", () => {
  const scenario = new Scenario({ n1: { cpus: 1 }, n2: { cpus: 1 } }).up();
  const launch = scenario.submit({ setup: true, cpus: 1, taskRef: "s".repeat(16) });
  scenario.report("n1", [scenario.rank(launch, "n1", { state: "running", setupExit: 0, pid: 1 })]);
  const elsewhere = scenario.submit({ kind: "exec", cpus: 1 });
  expect(scenario.job(elsewhere).record.attempt).toMatchObject({ setupRef: "s".repeat(16), ranks: [{ setup: true }] });
  scenario.report("n1", [scenario.rank(launch, "n1", { state: "exited", setupExit: 0, runExit: 0 })]).report("n1", []);
  const same = scenario.submit({ kind: "exec", cpus: 1 });
  expect(scenario.job(same).record.attempt).toMatchObject({ setupRef: null, ranks: [{ setup: false }] });
});

test("down cancels the user's jobs, forgets the setup and retires the skylets; nobody else is touched", () => {
  const scenario = new Scenario(one).up();
  scenario.submit({ setup: true });
  scenario.submit();
  scenario.submit({ uid: 1002 });
  scenario.effects = [];
  scenario.dispatch({ type: "userDowned", uid: 1001 });
  expect(ends(scenario)).toEqual(["1 CANCELLED", "2 CANCELLED"]);
  expect(scenario.effects).toContainEqual({ type: "saveSetup", uid: 1001, setup: null });
  expect(scenario.effects).toContainEqual({
    type: "tellNode",
    node: "n1",
    message: { type: "retireSkylet", uid: 1001 },
  });
  expect(scenario.job(1, 1002).record.phase).toBe("starting");
});

test("a cancel that was promised before a crash is kept, and attempts on removed machines end", () => {
  const source = new Scenario(two).up();
  source.held = [];
  source.submit({ accelerators: "V100:1" });
  source.submit({ accelerators: "V100:1" });
  source.dispatch({ type: "cancelRequested", uid: 1001, ids: [1] });
  const jobs = [1, 2].map((id) => ({ id, record: source.job(id).record }));
  const scenario = new Scenario(one, { jobs, epoch: 4 });
  scenario.dispatch({ type: "ticked" });
  expect(ends(scenario)).toEqual(["1 CANCELLED", "2 FAILED_DRIVER"]);
});

test("a job that is submitted twice, or has ended before, is taken once", () => {
  const scenario = new Scenario(one).up();
  const record = recordOf({}, 5);
  scenario.dispatch({ type: "jobSubmitted", uid: 1001, id: 1, record });
  scenario.dispatch({ type: "jobSubmitted", uid: 1001, id: 1, record });
  scenario.dispatch({
    type: "jobSubmitted",
    uid: 1001,
    id: 2,
    record: { ...record, phase: "ended", end: "FAILED", endedAt: 6 },
  });
  expect(scenario.effects.filter((effect) => effect.type === "commitStart")).toHaveLength(1);
  expect(scenario.state.jobs.size).toBe(1);
});

test("a setup that fails leaves the user's last one as it was, and a slower earlier launch does not replace a later one", () => {
  const scenario = new Scenario({ n1: {} }).up();
  const good = scenario.submit({ setup: true, taskRef: "g".repeat(16) });
  const done = { state: "running", setupExit: 0, pid: 1 } as const;
  scenario.report("n1", [scenario.rank(good, "n1", done)]);
  const bad = scenario.submit({ setup: true, taskRef: "b".repeat(16) });
  scenario.report("n1", [
    scenario.rank(good, "n1", done),
    scenario.rank(bad, "n1", { state: "exited", setupExit: 1, pid: 2 }),
  ]);
  expect(scenario.state.setups.get(1001)).toMatchObject({ taskRef: "g".repeat(16), doneOn: ["n1"] });
  const slow = scenario.submit({ setup: true, taskRef: "s".repeat(16) });
  const late = scenario.submit({ setup: true, taskRef: "l".repeat(16) });
  scenario.report("n1", [scenario.rank(slow, "n1", { state: "setup", pid: 3 }), scenario.rank(late, "n1", done)]);
  scenario.report("n1", [scenario.rank(slow, "n1", done), scenario.rank(late, "n1", done)]);
  expect(scenario.state.setups.get(1001)).toMatchObject({ taskRef: "l".repeat(16), jobId: late });
});

test("a setup belongs to its image: a new container of it needs it again, and nobody else's job has run it", () => {
  const scenario = new Scenario({ n1: { containers: true }, n2: { containers: true } }).up();
  const first = scenario.submit({ setup: true, container: true, image: "a", taskRef: "a".repeat(16) });
  const done = { state: "exited", setupExit: 0, runExit: 0, pid: 1 } as const;
  scenario.report("n1", [scenario.rank(first, "n1", done)]);
  scenario.report("n1", []);
  const last = { taskRef: "a".repeat(16), doneOn: ["n1"], image: "a" };
  expect(scenario.state.setups.get(1001)).toMatchObject(last);
  const wanted = (id: number) => scenario.job(id).record.attempt;
  const same = scenario.submit({ kind: "exec", container: true, image: "a" });
  expect(wanted(same)).toMatchObject({ setupRef: "a".repeat(16), ranks: [{ setup: true, grant: { node: "n1" } }] });
  const bare = scenario.submit({ kind: "exec" });
  expect(wanted(bare)).toMatchObject({ setupRef: null, ranks: [{ setup: false, grant: { node: "n1" } }] });
  // There it brings the launch's files, and counts for nothing.
  const elsewhere = scenario.submit({ kind: "exec", labels: { node: "n2" } });
  expect(wanted(elsewhere)).toMatchObject({ ranks: [{ setup: true, grant: { node: "n2" } }] });
  scenario.report("n2", [scenario.rank(elsewhere, "n2", done)]);
  expect(scenario.state.setups.get(1001)).toMatchObject(last);
});

test("an epoch that is raised later tells nodes that were connected already what has ended, too", () => {
  const scenario = new Scenario({ n1: {}, n2: {} }).up();
  scenario.submit({ nodes: 1 });
  scenario.report("n1", [scenario.rank(1, "n1", { state: "running", pid: 7 })]);
  scenario.dispatch({ type: "cancelRequested", uid: 1001, ids: [1] });
  const late = scenario.rank(1, "n1", { state: "running", pid: 7 });
  scenario.report("n1", [late]);
  // Another machine knows a later epoch: all are greeted anew, and begin to count at none.
  scenario.dispatch({ type: "nodeDisconnected", node: "n2" });
  scenario.connect("n2", { epoch: 9 }).report("n2", [], 0);
  scenario.report("n1", [late], 0);
  expect(scenario.told("n1")).toMatchObject({ epoch: 10, seq: 1, ended: [late.attempt] });
  scenario.report("n1", []);
  expect(scenario.state.jobs.size).toBe(0);
});
