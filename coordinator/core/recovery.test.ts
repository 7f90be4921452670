/**
 * Nodes that disappear: what becomes of their jobs and when, what may be started again and never before nothing of it can
 * run any more, and what a node that comes back late is told. Time is the clock that never jumps; the other one jumps.
 */
import { describe, expect, test } from "vitest";
import { isLostFault, leaseFault, restartedFault } from "../../shared/agent-wire.ts";
import { Scenario } from "../../test/sim/scenario.ts";
import { explain } from "./explain.ts";
import type { CoreEffect } from "./state.ts";

/** Lease 120 s, grace 5 s (the scenario's) and 15 s of margin. */
const leaseMs = 140_000;
const lostMs = 3_600_000;

/** Time passes, and the loop wakes the core. */
function pass(scenario: Scenario, ms: number): void {
  scenario.uptime += ms;
  scenario.now += ms;
  scenario.dispatch({ type: "ticked" });
}

/** A job that runs on `n1`, which is then not heard of any more. */
function lost(words: Parameters<Scenario["submit"]>[0] = {}, nodes = 1) {
  const names = Object.fromEntries(["n1", "n2", "n3"].map((name) => [name, { accelerators: "V100:1" }]));
  const scenario = new Scenario(names).up();
  const id = scenario.submit({ accelerators: "V100:1", nodes, ...words });
  const places = scenario.place(id).split(",");
  const reports = places.map((place) => scenario.rank(id, place, { state: "running", pid: 7 }));
  for (const [at, place] of places.entries()) {
    scenario.report(place, reports.slice(at, at + 1));
  }
  const [report] = reports;
  if (places[0] !== "n1" || report === undefined) {
    throw new Error(`it runs on ${places.join()}`);
  }
  scenario.dispatch({ type: "renewAsked", node: "n1", id: 3 });
  scenario.dispatch({ type: "nodeDisconnected", node: "n1" });
  return { scenario, id, report, reason: () => explain(scenario.state, 1001, id, scenario.now).reason };
}

const recovers = { recovers: true };
const written = (scenario: Scenario, type: CoreEffect["type"]): CoreEffect[] =>
  scenario.effects.filter((one) => one.type === type);

describe("a job that does not recover", () => {
  test("stays as it was, shown as unknown, until its node has been lost for long; then it ends with the cause", () => {
    const { scenario, id, reason } = lost();
    pass(scenario, lostMs - 1);
    expect(scenario.job(id).record.phase).toBe("running");
    expect(reason()).toMatch(/^n1 is unreachable \(last report \d+ s ago\); what the job does there is not known$/);
    pass(scenario, 1);
    const { end, reason: cause } = scenario.job(id).record;
    expect(end).toBe("FAILED_DRIVER");
    expect(cause).toMatch(
      /^n1 was lost: no report came from it for 3600 s\. .*stopped when the machine comes back.*job_recovery/,
    );
  });

  test("goes on when its node comes back in time, and the time begins anew with the next silence", () => {
    const { scenario, id, report } = lost();
    pass(scenario, lostMs - 1);
    scenario.connect("n1").report("n1", [report]);
    pass(scenario, 5);
    scenario.dispatch({ type: "nodeDisconnected", node: "n1" });
    pass(scenario, lostMs - 1);
    expect(scenario.job(id).record.phase).toBe("running");
  });

  test("is stopped on a node that comes back late, and its devices are free only when nothing is left", () => {
    const { scenario, id, report } = lost();
    pass(scenario, lostMs);
    const next = scenario.submit({ accelerators: "V100:1", nodes: 3 });
    scenario.connect("n1").report("n1", [report]);
    expect(scenario.told("n1")).toMatchObject({ wanted: [], ended: [report.attempt] });
    expect(scenario.place(next)).toBe("waiting");
    scenario.report("n1", []);
    expect(scenario.place(next)).toBe("n1,n2,n3");
    expect(() => scenario.job(id)).toThrow("no job");
  });

  test("never ends by time when the config says so, nor on a node that refuses this coordinator", () => {
    const never = lost();
    never.scenario.state.config.lostNodeSeconds = 0;
    pass(never.scenario, 1_000 * lostMs);
    expect(never.scenario.job(never.id).record.phase).toBe("running");
    const refused = lost();
    refused.scenario.connect("n1").dispatch({ type: "nodeRefused", node: "n1", reason: "another state" });
    pass(refused.scenario, lostMs);
    expect(refused.scenario.job(refused.id).record.phase).toBe("running");
  });

  test("a clock that is set forth or back neither ends it nor keeps it", () => {
    const { scenario, id } = lost();
    scenario.now += 100 * lostMs;
    pass(scenario, 10);
    expect(scenario.job(id).record.phase).toBe("running");
    scenario.now = 1;
    pass(scenario, lostMs);
    expect(scenario.job(id).record.end).toBe("FAILED_DRIVER");
  });
});

describe("a job that recovers", () => {
  test("is told its lease, goes back to waiting and starts elsewhere as the next attempt", () => {
    const { scenario, id, report } = lost(recovers);
    expect(scenario.told("n1")?.wanted).toMatchObject([{ leaseSeconds: 120 }]);
    pass(scenario, leaseMs - 1);
    expect(scenario.job(id).record.phase).toBe("running");
    pass(scenario, 1);
    expect(scenario.place(id)).toBe("n2");
    const { attempt, givenUp } = scenario.job(id).record;
    expect(attempt).toMatchObject({ number: 2 });
    expect(givenUp).toMatchObject([{ attempt: report.attempt, nodes: ["n1"] }]);
    expect(written(scenario, "commitRequeue")).toHaveLength(1);
  });

  test("waits for the lease where a shorter time for lost nodes gives it up sooner, and says for how long", () => {
    const { scenario, id, reason } = lost(recovers);
    scenario.state.config.lostNodeSeconds = 30;
    pass(scenario, 30_000);
    expect(scenario.job(id).record.phase).toBe("waiting");
    expect(reason()).toBe("it is started again elsewhere in 110 s, when its lease on n1 must have run out");
    scenario.now -= 10 * lostMs;
    pass(scenario, leaseMs - 30_001);
    expect(scenario.place(id)).toBe("waiting");
    pass(scenario, 1);
    expect(scenario.place(id)).toBe("n2");
  });

  test("waits by the lease that its node was told, whatever the config says now", () => {
    const { scenario, id } = lost(recovers);
    Object.assign(scenario.state.config, { leaseSeconds: 10, graceSeconds: 0 });
    pass(scenario, leaseMs - 1);
    expect(scenario.place(id)).toBe("waiting");
    pass(scenario, 1);
    expect(scenario.place(id)).toBe("n2");
  });

  test("an answer to a request for renewal counts, one that a node cannot get does not", () => {
    const { scenario, id } = lost(recovers);
    expect(written(scenario, "tellNode").at(-1)).toMatchObject({ message: { type: "renewed", id: 3 } });
    pass(scenario, 100_000);
    scenario.connect("n1").dispatch({ type: "renewAsked", node: "n1", id: 4 });
    expect(written(scenario, "tellNode").at(-1)).not.toMatchObject({ message: { type: "renewed" } });
    scenario.dispatch({ type: "nodeDisconnected", node: "n1" });
    pass(scenario, leaseMs - 100_000);
    expect(scenario.place(id)).toBe("n2");
  });

  test("starts again at once when its node says that it was restarted or that the lease ran out, and nothing is left", () => {
    for (const fault of [leaseFault, restartedFault]) {
      const { scenario, id, report } = lost(recovers);
      scenario.connect("n1").report("n1", [{ ...report, state: "exited", runExit: 137, fault }]);
      expect(scenario.job(id).record.phase).toBe("waiting");
      expect(scenario.told("n1")).toMatchObject({ wanted: [], ended: [report.attempt] });
      scenario.report("n1", []);
      expect(scenario.job(id).record).toMatchObject({ phase: "starting", attempt: { number: 2 } });
    }
    expect(isLostFault("Its runner has vanished without an exit code.")).toBe(false);
  });

  test("ends as any other when it fails by itself, and its ranks' failures count as its own only while all are heard of", () => {
    const alone = lost(recovers);
    alone.scenario.connect("n1").report("n1", [{ ...alone.report, state: "exited", runExit: 3 }]);
    expect(alone.scenario.job(alone.id).record.end).toBe("FAILED");
    const two = lost(recovers, 2);
    const other = two.scenario.rank(two.id, "n2", { state: "exited", runExit: 1 });
    two.scenario.report("n2", [other]);
    expect(two.scenario.job(two.id).record.phase).toBe("waiting");
  });

  test("its ranks on living nodes are stopped first and their grants used again only when gone", () => {
    const { scenario, id } = lost(recovers, 2);
    const running = scenario.rank(id, "n2", { state: "running", pid: 8 });
    pass(scenario, leaseMs);
    expect(scenario.told("n2")).toMatchObject({ wanted: [], ended: [running.attempt] });
    const next = scenario.submit({ accelerators: "V100:1", uid: 1002 });
    const after = scenario.submit({ accelerators: "V100:1", uid: 1002 });
    expect([scenario.place(next, 1002), scenario.place(after, 1002)]).toEqual(["n3", "waiting"]);
    pass(scenario, 10 * leaseMs);
    expect(explain(scenario.state, 1001, id, scenario.now).reason).toContain("nothing of it is left on n2");
    scenario.report("n2", []);
    expect(scenario.place(after, 1002)).toBe("n2");
  });

  test("a node that comes back late is told that the old attempt has ended, which is never taken over", () => {
    const { scenario, id, report } = lost(recovers);
    pass(scenario, leaseMs);
    scenario.connect("n1").report("n1", [report]);
    expect(scenario.told("n1")).toMatchObject({ wanted: [], ended: [report.attempt] });
    scenario.report("n1", []);
    expect(scenario.job(id).record.attempt?.number).toBe(2);
    expect(scenario.job(id).former).toEqual([]);
  });

  test("is cancelled while it waits; the old attempt is still stopped, and all is forgotten then", () => {
    const { scenario, id, report } = lost(recovers);
    scenario.state.config.lostNodeSeconds = 1;
    pass(scenario, 1_000);
    scenario.dispatch({ type: "cancelRequested", uid: 1001, ids: [id] });
    expect(scenario.job(id).record.end).toBe("CANCELLED");
    scenario.connect("n1").report("n1", [report]);
    expect(scenario.told("n1")?.ended).toEqual([report.attempt]);
    scenario.report("n1", []);
    expect([scenario.state.jobs.size, scenario.state.former.size]).toEqual([0, 0]);
  });

  test("is not started on and on when its machines go down with it", () => {
    const { scenario, id, report } = lost(recovers);
    const { attempt } = scenario.job(id).record;
    scenario.job(id).record = { ...scenario.job(id).record, attempt: attempt && { ...attempt, number: 20 } };
    scenario.connect("n1").report("n1", [{ ...report, state: "exited", fault: restartedFault }]);
    expect(scenario.job(id).record).toMatchObject({ end: "FAILED_DRIVER" });
    expect(scenario.job(id).record.reason).toContain("had been started 20 times");
  });

  test("runs on no node whose agent does not know leases, and says why", () => {
    const scenario = new Scenario({ n1: {} }).up();
    scenario.connect("n1", { protocol: 1 }).report("n1");
    const [id, other] = [scenario.submit(recovers), scenario.submit({})];
    expect([scenario.place(id), scenario.place(other)]).toEqual(["waiting", "n1"]);
    expect(explain(scenario.state, 1001, id, scenario.now).reason).toContain("older version");
  });
});

describe("after a restart of the coordinator", () => {
  /** The same records read by a new coordinator, which knows nothing of renewals before. */
  function restarted(scenario: Scenario, id: number): Scenario {
    const { record } = scenario.job(id);
    const names = Object.fromEntries(["n1", "n2", "n3"].map((name) => [name, { accelerators: "V100:1" }]));
    return new Scenario(names, { jobs: [{ id, record }], epoch: 9 });
  }

  test("times count from its start, and what was given up is named as ended to whoever comes back with it", () => {
    const { scenario, id, report } = lost(recovers);
    scenario.state.config.lostNodeSeconds = 1;
    pass(scenario, 1_000);
    expect(scenario.job(id).record.phase).toBe("waiting");
    const after = restarted(scenario, id);
    for (const name of ["n2", "n3"]) {
      after.connect(name).report(name, [], 0);
    }
    pass(after, leaseMs - 1);
    expect(after.place(id)).toBe("waiting");
    expect(explain(after.state, 1001, id, after.now).reason).toContain("in 1 s, when its lease on n1");
    pass(after, 1);
    expect(after.place(id)).not.toBe("waiting");
    after.connect("n1").report("n1", [report], 0);
    expect(after.told("n1")?.ended).toEqual([report.attempt]);
  });

  test("one that was rolled back starts nothing that recovers before every node has been heard or leases are over", () => {
    const before = new Scenario({ n1: {}, n2: {}, n3: {} }).up();
    const id = before.submit(recovers);
    const waiting = { ...before.job(id).record, phase: "waiting" as const, attempt: null };
    const report = before.rank(id, before.place(id), { state: "running", pid: 7 });
    const older = (): Scenario =>
      new Scenario({ n1: {}, n2: {}, n3: {} }, { jobs: [{ id, record: waiting }], epoch: 9 });
    const heard = older().connect("n2").report("n2", [], 0).connect("n3").report("n3", [], 0);
    expect(heard.place(id)).toBe("waiting");
    expect(explain(heard.state, 1001, id, heard.now).reason).toContain("hears first from every node");
    heard.connect("n1").report("n1", [report], 0);
    expect(heard.job(id).record.attempt?.id).toBe(report.attempt);
    const silent = older().connect("n2").report("n2", [], 0);
    pass(silent, leaseMs);
    expect(silent.place(id)).toBe("n2");
  });

  test("a rank that had not begun is ordered once every node has been heard, also when another is in its setup by then", () => {
    const words = { ...recovers, nodes: 2, setup: true, accelerators: "V100:1" };
    const before = new Scenario({ n1: { accelerators: "V100:1" }, n2: { accelerators: "V100:1" } }).up();
    const id = before.submit(words);
    const [first, second] = ["n1", "n2"].map((node) => before.rank(id, node, { state: "starting" }));
    const { record } = before.job(id);
    const after = new Scenario({ n1: {}, n2: {}, n3: {} }, { jobs: [{ id, record }], epoch: 9 });
    after.connect("n2").report("n2", second === undefined ? [] : [second], 0);
    expect(after.told("n2")?.wanted).toEqual([]);
    after.connect("n1").report("n1", first === undefined ? [] : [{ ...first, state: "setup" }], 0);
    expect(after.job(id).record.phase).toBe("setup");
    after.connect("n3").report("n3", [], 0);
    expect(after.told("n2")?.wanted.map((one) => one.attempt)).toEqual([record.attempt?.id]);
  });

  test("the store's record of an ended job still names what was given up", () => {
    const { scenario, id, report } = lost(recovers);
    pass(scenario, leaseMs);
    const { record } = scenario.job(id);
    const after = new Scenario({ n1: {} }, { epoch: 9 });
    after.connect("n1").report("n1", [report], 0);
    expect(written(after, "readJob")).toHaveLength(1);
    const ended = { ...record, phase: "ended" as const, end: "SUCCEEDED" as const, endedAt: 5 };
    after.dispatch({ type: "jobRead", uid: 1001, id, attempt: report.attempt, record: ended });
    expect(after.told("n1")?.ended).toEqual([report.attempt]);
  });
});
