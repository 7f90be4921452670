/** Time limits: when a job is warned, when it is ended, what a jump of a clock, a silence or a restart changes about that. */
import { expect, test } from "vitest";
import { restartedFault } from "../../shared/agent-wire.ts";
import { Scenario } from "../../test/sim/scenario.ts";
import { durationText } from "./limits.ts";

const scheduling = { warningSeconds: 60 };

/** A job with this limit, seen running on n1. */
function running(time: number): Scenario {
  const scene = new Scenario({ n1: {}, n2: {} }, { scheduling }).up();
  scene.submit({ time });
  return scene.report("n1", [scene.rank(1, "n1", { state: "running", pid: 7 })]);
}

const isWarned = (scene: Scenario, node = "n1"): boolean => scene.told(node)?.wanted[0]?.warned === true;
const wakes = (scene: Scenario): number[] => scene.effects.flatMap((one) => (one.type === "wakeAt" ? [one.at] : []));

test("a job is warned before its limit, once, and ended at it", () => {
  const scene = running(600);
  scene.pass(500);
  expect(wakes(scene).at(-1)).toBe(scene.now + 40_000);
  scene.pass(39);
  expect(isWarned(scene)).toBe(false);
  scene.pass(1);
  expect(isWarned(scene)).toBe(true);
  const { desiredSeq } = scene.state.nodes.get("n1") ?? { desiredSeq: 0 };
  expect(wakes(scene).at(-1)).toBe(scene.now + 60_000);
  scene.pass(59);
  expect(scene.state.nodes.get("n1")?.desiredSeq).toBe(desiredSeq);
  scene.pass(1);
  expect(scene.job(1).record).toMatchObject({
    phase: "ended",
    end: "FAILED",
    reason: "its time limit of 10m was reached",
  });
  expect(scene.told("n1")?.ended).toHaveLength(1);
});

test("a rank is told of the warning only once it is seen running", () => {
  const scene = new Scenario({ n1: {}, n2: {} }, { scheduling }).up();
  scene.submit({ nodes: 2, setup: true, time: 30 });
  expect(scene.job(1).warned).toBe(true);
  scene.report("n1", [scene.rank(1, "n1", { state: "setup", pid: 7 })]);
  expect(isWarned(scene)).toBe(false);
  scene.report("n1", [scene.rank(1, "n1", { state: "setupDone", pid: 7 })]);
  scene.report("n2", [scene.rank(1, "n2", { state: "setupDone", pid: 8 })]);
  scene.report("n1", [scene.rank(1, "n1", { state: "running", pid: 7 })]);
  expect([isWarned(scene), isWarned(scene, "n2")]).toEqual([true, false]);
  scene.report("n2", [scene.rank(1, "n2", { state: "running", pid: 8 })]);
  expect(isWarned(scene, "n2")).toBe(true);
});

test("a job in its setup has a limit too, and one whose start is being written is ended after that", () => {
  const scene = new Scenario({ n1: {} }, { scheduling }).up();
  scene.held = [];
  scene.submit({ setup: true, time: 10 });
  scene.pass(11);
  expect(scene.job(1).record.phase).toBe("starting");
  const [start] = scene.held;
  scene.held = null;
  scene.answer(start as NonNullable<typeof start>);
  expect(scene.job(1).record).toMatchObject({ end: "FAILED", reason: "its time limit of 10s was reached" });
});

test.each([-86_400, 86_400])("the time of day jumps by %d s: nothing ends early or late", (jump) => {
  const scene = running(600);
  scene.pass(10);
  scene.now += jump * 1000;
  scene.submit({ time: 120 });
  // The wish for the new job's warning comes through although the clock says otherwise.
  expect(wakes(scene).at(-1)).toBe(scene.now + 60_000);
  scene.report("n1", [
    scene.rank(1, "n1", { state: "running", pid: 7 }),
    scene.rank(2, "n1", { state: "running", pid: 8 }),
  ]);
  scene.pass(121);
  expect(scene.job(2).record.phase).toBe("ended");
  scene.pass(468);
  expect(scene.job(1).record.phase).toBe("running");
  scene.pass(1);
  expect(scene.job(1).record.phase).toBe("ended");
});

test("a job of which nothing is heard is not said to have reached its limit; its machine's word comes first", () => {
  const scene = running(600);
  scene.dispatch({ type: "nodeDisconnected", node: "n1" });
  scene.pass(700);
  expect(scene.job(1).record.phase).toBe("running");
  const late = scene.rank(1, "n1", { state: "exited", pid: 7, runExit: 0 });
  scene.connect("n1").report("n1", [late]);
  expect(scene.job(1).record).toMatchObject({ phase: "ended", end: "SUCCEEDED" });
});

test("one that still runs when its machine comes back is ended then", () => {
  const scene = running(600);
  scene.dispatch({ type: "nodeDisconnected", node: "n1" });
  scene.pass(700);
  scene.connect("n1").report("n1", [scene.rank(1, "n1", { state: "running", pid: 7 })]);
  expect(scene.job(1).record).toMatchObject({ end: "FAILED", reason: "its time limit of 10m was reached" });
});

test("over a restart of the coordinator the limit goes on from the grant by the time of day", () => {
  const before = running(600);
  const { record } = before.job(1);
  const takenAt = 1_000_000;
  const restart = (now: number): Scenario => {
    const scene = new Scenario({ n1: {} }, { scheduling, now, jobs: [{ id: 1, record, takenAt }] });
    scene.dispatch({ type: "ticked" });
    return scene.connect("n1").report("n1", [scene.rank(1, "n1", { state: "running", pid: 7 })], 0);
  };
  const scene = restart(takenAt + 500_000);
  expect(isWarned(scene)).toBe(false);
  scene.pass(40);
  expect(isWarned(scene)).toBe(true);
  scene.pass(60);
  expect(scene.job(1).record.phase).toBe("ended");
  // What was due meanwhile is warned of, or ended, as soon as the machine speaks.
  expect(isWarned(restart(takenAt + 550_000))).toBe(true);
  expect(restart(takenAt + 900_000).job(1).record.phase).toBe("ended");
  // A clock that was set back gives no more than the whole limit anew.
  expect(
    restart(takenAt - 900_000)
      .pass(600)
      .job(1).record.phase,
  ).toBe("ended");
});

test("a job that is started again has its whole limit again", () => {
  const scene = new Scenario({ n1: {} }, { scheduling }).up();
  scene.submit({ time: 600, recovers: true });
  scene.report("n1", [scene.rank(1, "n1", { state: "running", pid: 7 })]);
  scene.pass(560);
  expect(scene.job(1).warned).toBe(true);
  const lost = scene.rank(1, "n1", {
    state: "exited",
    pid: 7,
    fault: restartedFault,
  });
  scene.report("n1", [lost]);
  expect(scene.job(1)).toMatchObject({ endsAt: null, warned: false });
  scene.report("n1", []);
  expect(scene.job(1).record).toMatchObject({ phase: "starting", attempt: { number: 2 } });
  scene.report("n1", [scene.rank(1, "n1", { state: "running", pid: 9 })]).pass(599);
  expect(scene.job(1).record.phase).toBe("running");
  expect(scene.pass(1).job(1).record.phase).toBe("ended");
});

test("a job without a limit asks for no moment", () => {
  const scene = new Scenario({ n1: {} }, { scheduling }).up();
  scene.submit();
  expect([scene.job(1).endsAt, scene.state.limitsAt]).toEqual([null, Number.POSITIVE_INFINITY]);
});

test.each([
  [0, "0s"],
  [45, "45s"],
  [90, "1m30s"],
  [7200, "2h"],
  [93_784, "1d2h3m4s"],
])("%d seconds are %s", (seconds, text) => {
  expect(durationText(seconds)).toBe(text);
});
