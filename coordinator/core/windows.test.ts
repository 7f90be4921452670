/** Windows of nodes: who may run in them, what ends when one begins, and that nothing of it is forgotten. */
import { expect, test } from "vitest";
import { Scenario } from "../../test/sim/scenario.ts";
import type { NodeWindow } from "../../shared/scheduling.ts";
import type { CoreEffect } from "./state.ts";
import { windowRowOf, windowSeenBy } from "./window-views.ts";
import { mayRunIn, nextEdge, nextWindowFor, windowsByNode } from "./windows.ts";

const minute = 60_000;
const alice = { uid: 1001, user: "alice" };
const bob = { uid: 1002, user: "bob" };

function windowOf(changes: Partial<NodeWindow>): NodeWindow {
  const nobody = { users: [], groups: [], endJobs: false, reason: null, by: "root" };
  return { id: "w1", kind: "maintenance", nodes: ["n1"], from: 10 * minute, to: 20 * minute, ...nobody, ...changes };
}

function set(scenario: Scenario, changes: Partial<NodeWindow>): NodeWindow {
  const window = windowOf({ from: scenario.now + 10 * minute, to: scenario.now + 20 * minute, ...changes });
  scenario.dispatch({ type: "windowChanged", id: window.id, window });
  return window;
}

function pass(scenario: Scenario, ms: number): void {
  scenario.now += ms;
  scenario.uptime += ms;
  scenario.dispatch({ type: "ticked" });
}

function made<Type extends CoreEffect["type"]>(scenario: Scenario, type: Type): (CoreEffect & { type: Type })[] {
  return scenario.effects.filter((effect): effect is CoreEffect & { type: Type } => effect.type === type);
}

test("in maintenance nobody runs, in a reservation those who are named and members of what is named", () => {
  const { state } = new Scenario({ n1: {} });
  state.people.set(1002, { uid: 1002, user: "bob", groups: ["prof", "users"], use: 0, useAt: 0 });
  const reservation = windowOf({ kind: "reservation", users: ["alice"], groups: ["prof"] });
  expect(mayRunIn(state, windowOf({ users: ["alice"] }), alice)).toBe(false);
  expect(mayRunIn(state, reservation, alice)).toBe(true);
  expect(mayRunIn(state, reservation, bob)).toBe(true);
  expect(mayRunIn(state, reservation, { uid: 1003, user: "carol" })).toBe(false);
});

test("the next window for somebody: the earliest that is not over and in which they may not run", () => {
  const { state } = new Scenario({ n1: {}, n2: {} });
  const windows = [
    windowOf({ id: "w1", from: 1, to: 5 * minute }),
    windowOf({ id: "w2", from: 30 * minute, to: 40 * minute, nodes: ["n1", "n2"] }),
    windowOf({ id: "w3", kind: "reservation", users: ["alice"] }),
  ];
  for (const window of windows) {
    state.windows.set(window.id, window);
  }
  const next = (owner: typeof alice, node: string, now: number): string | undefined =>
    nextWindowFor(state, node, owner, now)?.id;
  expect(next(alice, "n1", 0)).toBe("w1");
  expect(next(alice, "n1", 5 * minute)).toBe("w2");
  expect(next(bob, "n1", 5 * minute)).toBe("w3");
  expect(next(bob, "n1", 15 * minute)).toBe("w3");
  expect(next(bob, "n2", 15 * minute)).toBe("w2");
  expect(next(bob, "n2", 40 * minute)).toBeUndefined();
  expect([...windowsByNode(state, 5 * minute).keys()].sort()).toEqual(["n1", "n2"]);
  expect([0, 5 * minute, 25 * minute, 40 * minute].map((now) => nextEdge(state, now))).toEqual([
    1,
    10 * minute,
    30 * minute,
    null,
  ]);
});

test("whom a reservation is for is shown as far as the reader may know it; admins see all", () => {
  const { state } = new Scenario({ n1: {} });
  state.people.set(1001, { uid: 1001, user: "alice", groups: ["prof"], use: 0, useAt: 0 });
  state.people.set(1002, { uid: 1002, user: "bob", groups: ["users"], use: 0, useAt: 0 });
  const window = windowOf({ kind: "reservation", users: ["alice", "bob"], groups: ["prof", "users"] });
  const seen = (uid: number, isAdmin: boolean): string[][] => {
    const { users, groups } = windowSeenBy(state, { uid, isAdmin }, windowRowOf(window, 0));
    return [users, groups];
  };
  expect(seen(1001, false)).toEqual([["alice"], ["prof"]]);
  expect(seen(1003, false)).toEqual([[], []]);
  expect(seen(1003, true)).toEqual([
    ["alice", "bob"],
    ["prof", "users"],
  ]);
});

test("at its begin what may not run there ends with the window's name and reason; who may goes on", () => {
  const scenario = new Scenario({ n1: {}, n2: {} }).up();
  const reserved = scenario.submit({ uid: 1001, cpus: 4 });
  const other = scenario.submit({ uid: 1002, cpus: 4 });
  expect([scenario.place(reserved), scenario.place(other, 1002)]).toEqual(["n1", "n1"]);
  scenario.state.people.set(1001, { uid: 1001, user: "alice", groups: ["prof"], use: 0, useAt: 0 });
  set(scenario, { kind: "reservation", groups: ["prof"], endJobs: true, reason: "the course" });
  expect(made(scenario, "saveWindow")).toHaveLength(1);
  pass(scenario, 10 * minute - 1);
  expect(made(scenario, "commitEnd")).toEqual([]);
  expect(made(scenario, "wakeAt").at(-1)?.at).toBe(scenario.now + 1);
  pass(scenario, 1);
  expect(made(scenario, "commitEnd").map(({ uid, record }) => [uid, record.end, record.reason])).toEqual([
    [1002, "FAILED_DRIVER", "n1 was set aside for a reservation of others (window w1): the course"],
  ]);
  expect(scenario.place(reserved)).toBe("n1");
});

test("without endJobs what runs there goes on; when the window is over it is forgotten, also on disk", () => {
  const scenario = new Scenario({ n1: {} }).up();
  scenario.submit();
  set(scenario, {});
  pass(scenario, 10 * minute);
  pass(scenario, 10 * minute - 1);
  expect(made(scenario, "commitEnd")).toEqual([]);
  expect(scenario.state.windows.size).toBe(1);
  pass(scenario, 1);
  expect(scenario.state.windows.size).toBe(0);
  expect(made(scenario, "saveWindow").map(({ window }) => window?.id ?? null)).toEqual(["w1", null]);
});

test("a job that recovers goes back to waiting", () => {
  const scenario = new Scenario({ n1: {} }).up();
  const id = scenario.submit({ recovers: true });
  set(scenario, { from: scenario.now, endJobs: true });
  expect(scenario.place(id)).toBe("waiting");
  expect(made(scenario, "commitRequeue")).toHaveLength(1);
});

test("a start that is being written when the window begins is ended once it is on disk", () => {
  const scenario = new Scenario({ n1: {} }).up();
  scenario.held = [];
  scenario.submit();
  const [start] = scenario.held;
  set(scenario, { from: scenario.now, endJobs: true });
  expect(made(scenario, "commitEnd")).toEqual([]);
  scenario.answer(start as CoreEffect);
  expect(made(scenario, "commitEnd")).toHaveLength(1);
});

test("a window that began while the coordinator was down has its consequences at the start", () => {
  const before = new Scenario({ n1: {} }).up();
  const id = before.submit();
  const job = { id, record: before.job(id).record };
  const scenario = new Scenario({ n1: {} }, { jobs: [job] });
  scenario.state.windows.set("w1", windowOf({ from: 1, to: scenario.now + minute, endJobs: true }));
  scenario.dispatch({ type: "ticked" });
  expect(made(scenario, "commitEnd").map((effect) => effect.id)).toEqual([id]);
});

test("a person's groups that no window could name are left out, since they could not be stored", () => {
  const scenario = new Scenario({ n1: {} });
  const groups = ["prof", "a:b", "\u001b[31m", "dom\\users", "x".repeat(200)];
  scenario.dispatch({ type: "personSeen", uid: 1001, user: "alice", groups });
  expect(made(scenario, "savePerson").map(({ person }) => person.groups)).toEqual([["dom\\users", "prof"]]);
});
