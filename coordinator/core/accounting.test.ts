/** What is counted of attempts: lines for the history, and what users are charged, through ends, restarts and silence. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { initialState } from "./initial.ts";
import { heldLines } from "./counted.ts";
import { accruedUse, chargePerSecond, decayedUse } from "./fair-share.ts";
import { shareOf } from "./holdings.ts";
import type { CoreEffect } from "./state.ts";
import { defaultScheduling, type Person, type UsageLine } from "../../shared/scheduling.ts";
import { Scenario } from "../../test/sim/scenario.ts";

const uid = 1001;

/** Lines that were to be written since the last look, as `NODE FROM-TO KIND:COUNT`, times relative to the grant. */
function linesOf(scenario: Scenario): UsageLine[] {
  return scenario.effects.splice(0).flatMap((effect: CoreEffect) => {
    if (effect.type === "recordUsage") {
      return effect.lines;
    }
    return (effect.type === "commitEnd" || effect.type === "commitRequeue") && effect.usage !== undefined
      ? effect.usage
      : [];
  });
}

function pass(scenario: Scenario, seconds: number): void {
  scenario.now += seconds * 1000;
  scenario.uptime += seconds * 1000;
}

function person(scenario: Scenario): Person {
  const found = scenario.state.people.get(uid);
  if (found === undefined) {
    throw new Error("nobody was charged");
  }
  return found;
}

const spans = (lines: UsageLine[], from: number): string[] =>
  lines.map(
    (one) => `${one.node} ${(one.from - from) / 1000}-${(one.to - from) / 1000} ${one.kind}:${one.accelerators}`,
  );

test("a rank counts from its grant to its end, and once more when the node has let go of it", () => {
  const scenario = new Scenario({ n1: { accelerators: "V100:4" } }).up();
  scenario.dispatch({ type: "personSeen", uid, user: "alice", groups: ["lab", "prof"] });
  const id = scenario.submit({ accelerators: "V100:2" });
  const granted = scenario.now;
  pass(scenario, 10);
  expect(spans(heldLines(scenario.state, scenario.now), granted)).toEqual(["n1 0-10 V100:2"]);
  scenario.report("n1", [scenario.rank(id, "n1", { state: "running" })]);
  pass(scenario, 50);
  linesOf(scenario);
  const over = scenario.rank(id, "n1", { state: "exited", runExit: 0 });
  scenario.report("n1", [over]);
  const lines = linesOf(scenario);
  expect(spans(lines, granted)).toEqual(["n1 0-60 V100:2"]);
  expect(lines[0]).toMatchObject({ uid, groups: ["lab", "prof"], jobId: id, cpus: 0.5 });
  pass(scenario, 5);
  expect(spans(heldLines(scenario.state, scenario.now), granted)).toEqual(["n1 0-65 V100:2"]);
  scenario.report("n1", []);
  expect(spans(linesOf(scenario), granted)).toEqual(["n1 0-65 V100:2"]);
  expect(scenario.state.accounts.size).toBe(0);
  expect(person(scenario).use).toBeCloseTo(130, 1);
});

test("a silent machine costs nothing for what has ended; what it still holds counts when it is back", () => {
  const scenario = new Scenario({ n1: { accelerators: "V100:4" } }).up();
  const id = scenario.submit({ accelerators: "V100:1" });
  const granted = scenario.now;
  const running = scenario.rank(id, "n1", { state: "running" });
  scenario.report("n1", [running]);
  scenario.dispatch({ type: "nodeDisconnected", node: "n1" });
  pass(scenario, 100);
  scenario.dispatch({ type: "cancelRequested", uid, ids: [id] });
  expect(spans(linesOf(scenario), granted)).toEqual(["n1 0-100 V100:1"]);
  pass(scenario, 86_400);
  expect(spans(heldLines(scenario.state, scenario.now), granted)).toEqual(["n1 0-100 V100:1"]);
  scenario.connect("n1", { epoch: 3 }).report("n1", [running]);
  pass(scenario, 7);
  scenario.report("n1", []);
  expect(spans(linesOf(scenario), granted)).toEqual(["n1 86500-86507 V100:1"]);
  expect(person(scenario).use).toBeLessThan(108);
});

test("what is given up counts until it is gone, beside what is started in its place", () => {
  const scenario = new Scenario({ n1: { accelerators: "V100:1" }, n2: { accelerators: "V100:1" } }).up();
  const id = scenario.submit({ accelerators: "V100:1", recovers: true });
  const granted = scenario.now;
  const first = scenario.place(id);
  scenario.report(first, [scenario.rank(id, first, { state: "running" })]);
  const running = scenario.rank(id, first, { state: "running" });
  pass(scenario, 20);
  linesOf(scenario);
  const wish = { state: "draining" as const, reason: null, by: "root", deadline: scenario.now };
  scenario.dispatch({ type: "nodeAdminChanged", node: first, wish });
  expect(spans(linesOf(scenario), granted)).toEqual([`${first} 0-20 V100:1`]);
  scenario.report(first, [running]);
  pass(scenario, 4);
  expect(spans(heldLines(scenario.state, scenario.now), granted)).toContain(`${first} 0-24 V100:1`);
  scenario.report(first, []);
  expect(spans(linesOf(scenario), granted)).toEqual([`${first} 0-24 V100:1`]);
});

test("after a restart a running attempt counts from its grant, and one that had ended is not charged again", () => {
  const scenario = new Scenario({ n1: { accelerators: "V100:4" } }).up();
  const id = scenario.submit({ accelerators: "V100:2" });
  const { record } = scenario.job(id);
  const granted = scenario.now;
  const running = { id, record: { ...record, phase: "running" as const }, takenAt: granted };
  const again = new Scenario({ n1: { accelerators: "V100:4" } }, { jobs: [running], now: granted + 30_000 });
  expect(spans(heldLines(again.state, again.now), granted)).toEqual(["n1 0-30 V100:2"]);
  again.connect("n1").report("n1", [again.rank(id, "n1", { state: "running" })]);
  expect(spans(heldLines(again.state, again.now), granted)).toEqual(["n1 0-30 V100:2"]);

  const ended = { ...record, phase: "ended" as const, end: "CANCELLED" as const, endedAt: granted + 10_000 };
  const later = new Scenario({ n1: { accelerators: "V100:4" } }, { now: granted + 30_000 });
  const attempt = record.attempt?.id ?? "";
  const rest = scenario.rank(id, "n1", { state: "running" });
  later.connect("n1").report("n1", [rest]);
  later.dispatch({ type: "jobRead", uid, id, attempt, record: ended });
  pass(later, 3);
  later.report("n1", []);
  expect(spans(linesOf(later), granted)).toEqual(["n1 30-33 V100:2"]);
  expect(person(later).use).toBeCloseTo(6, 1);
});

test("what a node claims and no record speaks of is nobody's", () => {
  const scenario = new Scenario({ n1: { accelerators: "V100:4" } }).up();
  const id = scenario.submit({ accelerators: "V100:1" });
  const claim = { ...scenario.rank(id, "n1", { state: "running" }), attempt: "zzzzzzzz-1", jobId: 99 };
  const other = new Scenario({ n1: { accelerators: "V100:4" } }).up();
  other.report("n1", [claim]);
  pass(other, 1000);
  other.report("n1", []);
  expect([linesOf(other), other.state.people.size, shareOf(other.state, uid, other.now).use]).toEqual([[], 0, 0]);
});

test("a clock that is set back or far ahead never makes a use negative or endless", () => {
  const scenario = new Scenario({ n1: { accelerators: "V100:4" } }).up();
  const id = scenario.submit({ accelerators: "V100:1" });
  scenario.now -= 500_000;
  expect([heldLines(scenario.state, scenario.now), shareOf(scenario.state, uid, scenario.now).use]).toEqual([[], 0]);
  scenario.dispatch({ type: "cancelRequested", uid, ids: [id] });
  scenario.report("n1", []);
  expect([linesOf(scenario), scenario.state.people.size]).toEqual([[], 0]);
  scenario.submit({ accelerators: "V100:1" });
  scenario.now += 50 * 365 * 86_400_000;
  const { halfLifeHours } = defaultScheduling.fairShare;
  expect(shareOf(scenario.state, uid, scenario.now).use).toBeLessThan((halfLifeHours * 3600) / Math.LN2 + 1);
});

test("a node that is not configured any more holds nothing after the end", () => {
  const scenario = new Scenario({ n1: {} }).up();
  const id = scenario.submit();
  const { record } = scenario.job(id);
  const gone = { ...record, phase: "running" as const };
  const jobs = [{ id, record: gone, takenAt: scenario.now }];
  const again = new Scenario({ n2: {} }, { jobs, now: scenario.now + 9_000 }).up();
  expect(spans(linesOf(again), scenario.now)).toEqual(["n1 0-9 null:0"]);
  expect(again.state.accounts.size).toBe(0);
});

test("CPUs are charged where they weigh more than the accelerators", () => {
  const grant = { node: "n1", devices: [0], share: 0.5, cpus: 4, memoryGb: 1 };
  const charge = (changes: object): number => chargePerSecond({ ...grant, ...changes }, defaultScheduling);
  expect([charge({}), charge({ cpus: 32 }), charge({ devices: [], share: 1, cpus: 16 })]).toEqual([0.5, 2, 1]);
});

test("charged at once or in pieces, a use is the same; half of it is forgotten after a half-life", () => {
  const span = fc.integer({ min: 0, max: 10_000_000 });
  fc.assert(
    fc.property(
      span,
      span,
      span,
      fc.double({ min: 0.01, max: 1000, noNaN: true }),
      (first, second, later, halfLife) => {
        const now = first + second + later;
        const whole = accruedUse(3, 0, first + second, halfLife);
        const piece = { use: accruedUse(3, 0, first, halfLife), useAt: first };
        const both = decayedUse(piece, first + second, halfLife) + accruedUse(3, first, first + second, halfLife);
        expect(both).toBeCloseTo(whole, 6);
        const left = decayedUse({ use: whole, useAt: first + second }, now, halfLife);
        expect(left).toBeLessThanOrEqual(whole);
        expect(left).toBeGreaterThanOrEqual(0);
      },
    ),
  );
  expect(decayedUse({ use: 8, useAt: 0 }, 3_600_000, 1)).toBeCloseTo(4);
  expect(decayedUse({ use: 8, useAt: 0 }, 1, 0)).toBe(0);
});

test("a state without people begins with nobody charged", () => {
  const start = { stateId: "a".repeat(16), epoch: 1, nonce: "n".repeat(8), jobs: [], setups: [], uptime: 0, now: 0 };
  expect(shareOf(initialState({ nodes: [], graceSeconds: 1 }, start), uid, 5).use).toBe(0);
});
