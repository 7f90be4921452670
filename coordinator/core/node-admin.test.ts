/** What admins decide about nodes, and what follows from it: decisions of the core, event by event. */
import { expect, test } from "vitest";
import { Scenario } from "../../test/sim/scenario.ts";
import { adminNodeRows, unknownRows } from "./admin-views.ts";
import { explain } from "./explain.ts";
import { neverFits } from "./never-fits.ts";
import { keysOf, layOver } from "./node-keys.ts";
import { openNode } from "../../shared/node-admin.ts";
import { shapeOf } from "../../test/sim/scenario.ts";
import type { AdminWish, CoreEffect } from "./state.ts";
import { nodeRows } from "./views.ts";

const one = { n1: { accelerators: "V100:4" } };
const two = { n1: {}, n2: {} };
const keyA = `ssh-ed25519 ${"A".repeat(68)}`;
const keyB = `ssh-ed25519 ${"B".repeat(68)}`;
const keyC = `ssh-ed25519 ${"C".repeat(68)}`;

function wish(scenario: Scenario, node: string, changes: Partial<AdminWish>): void {
  const whole: AdminWish = { state: "draining", reason: "new disks", by: "root", deadline: null, ...changes };
  scenario.dispatch({ type: "nodeAdminChanged", node, wish: whole });
}

function ends(scenario: Scenario): string[] {
  return scenario.effects.flatMap((effect) =>
    effect.type === "commitEnd" ? [`${effect.id} ${effect.record.end} ${effect.record.reason}`] : [],
  );
}

function made<Type extends CoreEffect["type"]>(scenario: Scenario, type: Type): (CoreEffect & { type: Type })[] {
  return scenario.effects.filter((effect): effect is CoreEffect & { type: Type } => effect.type === type);
}

test("a draining node gets nothing new, its jobs go on, and a resumed one takes jobs at once", () => {
  const scenario = new Scenario(two).up();
  const first = scenario.submit({ cpus: 8 });
  scenario.report("n1", [scenario.rank(first, "n1", { state: "running", pid: 1 })]);
  wish(scenario, "n1", {});
  wish(scenario, "n2", {});
  expect(made(scenario, "saveNodeAdmin").map((effect) => [effect.node, effect.admin.state, effect.admin.by])).toEqual([
    ["n1", "draining", "root"],
    ["n2", "draining", "root"],
  ]);
  const next = scenario.submit();
  expect(scenario.place(next)).toBe("waiting");
  expect(scenario.job(first).record.phase).toBe("running");
  expect(explain(scenario.state, 1001, next, scenario.now).reason).toBe(
    "needs 0.5 CPUs on 1 node: n1 is drained by root: new disks, n2 is drained by root: new disks",
  );
  expect(explain(scenario.state, 1001, first, scenario.now).reason).toBeNull();
  wish(scenario, "n2", { state: "open", reason: null });
  expect(scenario.place(next)).toBe("n2");
  expect(ends(scenario)).toEqual([]);
});

test("at the deadline what still runs there ends with the admin's reason, and the loop was asked to wake then", () => {
  const scenario = new Scenario(two).up();
  const there = scenario.submit({ cpus: 8 });
  const elsewhere = scenario.submit({ cpus: 8 });
  wish(scenario, "n1", { deadline: scenario.now + 5_400_000 });
  scenario.report("n1", [scenario.rank(there, "n1", { state: "running", pid: 1 })]);
  expect(explain(scenario.state, 1001, there, scenario.now).reason).toBe(
    "n1 is drained by root: new disks (what runs there ends in 1h 30m)",
  );
  scenario.now += 5_399_999;
  scenario.dispatch({ type: "ticked" });
  expect(ends(scenario)).toEqual([]);
  expect(made(scenario, "wakeAt").at(-1)?.at).toBe(scenario.now + 1);
  scenario.now += 1;
  scenario.dispatch({ type: "ticked" });
  expect(ends(scenario)).toEqual([`${there} FAILED_DRIVER n1 was drained: new disks`]);
  expect(scenario.place(elsewhere)).toBe("n2");
  expect(scenario.told("n1")?.ended).toHaveLength(1);
});

test("a start that is being written when the deadline passes is ended as soon as it is on disk, and runs nowhere", () => {
  const scenario = new Scenario(one).up();
  scenario.held = [];
  const id = scenario.submit();
  wish(scenario, "n1", { deadline: scenario.now });
  expect(ends(scenario)).toEqual([]);
  const held = scenario.held;
  scenario.held = null;
  scenario.answer(held[0] as CoreEffect);
  expect(ends(scenario)).toEqual([`${id} FAILED_DRIVER n1 was drained: new disks`]);
  expect(scenario.told("n1")?.wanted ?? []).toEqual([]);
});

test("a removed node's jobs end, it is told so once that is on disk, and only then cut off", () => {
  const scenario = new Scenario(one).up();
  const id = scenario.submit();
  scenario.report("n1", [scenario.rank(id, "n1", { state: "running", pid: 1 })]);
  scenario.held = [];
  wish(scenario, "n1", { state: "removed", reason: null });
  expect(ends(scenario)).toEqual([`${id} FAILED_DRIVER n1 was removed from the cluster by root`]);
  expect(made(scenario, "cutNode")).toEqual([]);
  const held = scenario.held;
  scenario.held = null;
  scenario.effects = [];
  scenario.answer(held[0] as CoreEffect);
  const kinds = scenario.effects.map((effect) => (effect.type === "tellNode" ? effect.message.type : effect.type));
  expect(kinds.filter((kind) => kind === "desired" || kind === "cutNode")).toEqual(["desired", "cutNode"]);
  expect(scenario.told("n1")?.ended).toHaveLength(1);
});

test("a removed node is absent for what can fit; a drained one is not", () => {
  const scenario = new Scenario({ n1: { accelerators: "V100:4" }, n2: {} }).up();
  const shape = shapeOf({ accelerators: "V100:4" });
  wish(scenario, "n1", {});
  expect(neverFits(scenario.state, shape)).toBeNull();
  expect(nodeRows(scenario.state, scenario.now)[0]).toMatchObject({ state: "UP", admin: { state: "drained" } });
  wish(scenario, "n1", { state: "removed" });
  expect(neverFits(scenario.state, shape)).toContain("Existing:\tn2: 8 CPUs");
  expect(nodeRows(scenario.state, scenario.now).map((row) => row.name)).toEqual(["n2"]);
  expect(adminNodeRows(scenario.state, scenario.now).map((row) => row.admin?.state ?? null)).toEqual(["removed", null]);
  wish(scenario, "n2", { state: "removed" });
  const id = scenario.submit();
  expect(explain(scenario.state, 1001, id, scenario.now).reason).toBe(
    "an admin has removed every node of this cluster",
  );
});

test("what has ended on a removed node is not granted again when it is resumed, before the node has let go of it", () => {
  const scenario = new Scenario(one).up();
  const id = scenario.submit({ accelerators: "V100:4" });
  const running = scenario.rank(id, "n1", { state: "running", pid: 1 });
  scenario.report("n1", [running]);
  wish(scenario, "n1", { state: "removed" });
  scenario.dispatch({ type: "nodeDisconnected", node: "n1" });
  wish(scenario, "n1", { state: "open", reason: null });
  const next = scenario.submit({ accelerators: "V100:4" });
  expect(scenario.place(next)).toBe("waiting");
  scenario.connect("n1").report("n1", [running], 0);
  expect(scenario.place(next)).toBe("waiting");
  expect(scenario.told("n1")?.ended).toEqual([running.attempt]);
  scenario.report("n1", []);
  expect(scenario.place(next)).toBe("n1");
});

test("a node is DRAINING while anything of users is there and DRAINED afterwards", () => {
  const scenario = new Scenario(one).up();
  const id = scenario.submit();
  scenario.report("n1", [scenario.rank(id, "n1", { state: "running", pid: 1 })]);
  wish(scenario, "n1", {});
  const state = (): string | undefined => adminNodeRows(scenario.state, scenario.now)[0]?.admin?.state;
  expect(state()).toBe("draining");
  expect(adminNodeRows(scenario.state, scenario.now)[0]?.jobs).toMatchObject([
    { user: "alice", job_id: id, status: "RUNNING" },
  ]);
  scenario.report("n1", [scenario.rank(id, "n1", { state: "exited", runExit: 0 })]);
  expect(state()).toBe("draining");
  scenario.report("n1", []);
  expect(state()).toBe("drained");
});

test("clocks that are apart are warned of from two seconds on", () => {
  const scenario = new Scenario(one).up();
  const vitals = (skewMs: number) => {
    const rest = { uptimeSeconds: 9, load1: 0.5, memoryAvailableGb: 1, diskFreeGb: 5, skylets: 0, devices: [] };
    scenario.dispatch({
      type: "vitalsReceived",
      node: "n1",
      vitals: { type: "vitals", clockMs: scenario.now + skewMs, ...rest },
    });
    return nodeRows(scenario.state, scenario.now)[0]?.warnings;
  };
  expect(vitals(1_999)).toEqual([]);
  expect(vitals(-2_000)?.[0]).toContain("Its clock is 2 s behind the head's.");
  expect(vitals(3_140)?.[0]).toContain("Its clock is 3.1 s ahead of the head's.");
  expect(adminNodeRows(scenario.state, scenario.now)[0]).toMatchObject({ load1: 0.5, clock_skew_seconds: 3.14 });
});

test("an unknown attempt that an admin ends is named as ended, and its waiting job is not started", () => {
  const source = new Scenario(two).up();
  const id = source.submit({ nodes: 2 });
  // An older copy of the state, in which the job waits.
  const record = { ...source.job(id).record, phase: "waiting" as const, attempt: null };
  const scenario = new Scenario(two, { jobs: [{ id, record }] });
  const report = source.rank(id, "n1", { state: "running", pid: 1 });
  scenario.connect("n1").report("n1", [report], 0);
  scenario.connect("n2").report("n2", [], 0);
  expect(unknownRows(scenario.state)).toMatchObject([{ attempt: report.attempt, nodes: ["n1"], reachable: true }]);
  scenario.dispatch({ type: "unknownEnded", attempt: report.attempt });
  expect(unknownRows(scenario.state)).toEqual([]);
  expect(scenario.told("n1")?.ended).toEqual([report.attempt]);
  expect(ends(scenario)).toHaveLength(1);
});

function withKeys(): Scenario {
  const scenario = new Scenario(one);
  scenario.state.config.nodes = [{ name: "n1", address: null, key: keyA }];
  return scenario.up();
}

test("a new key counts beside the old one, is handed out only when it is on disk, and alone once it was used", () => {
  const scenario = withKeys();
  expect(keysOf(scenario.state, "n1")).toEqual([keyA]);
  expect(keysOf(scenario.state, "n2")).toEqual([]);
  scenario.effects = [];
  scenario.dispatch({ type: "keyMade", node: "n1", key: keyB });
  expect(keysOf(scenario.state, "n1")).toEqual([keyA, keyB]);
  const told = (): unknown[] => made(scenario, "tellNode").filter((effect) => effect.message.type === "useKey");
  expect(told()).toEqual([]);
  // A connection in between must not be told either: what the node gives up must be replaced on disk first.
  scenario.connect("n1", { epoch: 3 }).report("n1", [], 0);
  expect(told()).toEqual([]);
  const admin = made(scenario, "saveNodeAdmin")[0]?.admin ?? openNode;
  scenario.dispatch({ type: "nodeAdminSaved", node: "n1", admin });
  expect(told()).toMatchObject([{ message: { key: keyB } }]);
  scenario.connect("n1", { epoch: 3 }).report("n1", [], 0);
  expect(told()).toHaveLength(2);
  const hello = { type: "hello", protocol: 2, version: "1", node: "n1", stateId: null, epoch: 0, bootId: "b" } as const;
  scenario.dispatch({ type: "nodeConnected", node: "n1", hello, key: keyB });
  expect(keysOf(scenario.state, "n1")).toEqual([keyB]);
  expect(made(scenario, "saveNodeAdmin").at(-1)?.admin.key).toMatchObject({ key: keyB, used: true });
  // A second rotation replaces the key in use, not the one in the config.
  scenario.dispatch({ type: "keyMade", node: "n1", key: keyC });
  expect(keysOf(scenario.state, "n1")).toEqual([keyB, keyC]);
  wish(scenario, "n1", { state: "removed" });
  expect(keysOf(scenario.state, "n1")).toEqual([]);
  wish(scenario, "n1", { state: "open" });
  expect(keysOf(scenario.state, "n1")).toEqual([keyB, keyC]);
});

test.each([
  ["the key before", keyA, { configured: keyA, replaces: keyA, key: keyB, used: true }],
  ["the new key", keyB, null],
  ["the key between two rotations", keyC, { configured: keyC, replaces: keyC, key: keyB, used: true }],
  ["another key, which wins", `ssh-ed25519 ${"D".repeat(68)}`, null],
])("a config that has %s", (_, configured, expected) => {
  const replaces = configured === keyC ? keyC : keyA;
  const key = { configured: keyA, replaces, key: keyB, used: true };
  const stored = new Map([
    ["n1", { ...openNode, state: "draining" as const, key }],
    ["gone", openNode],
  ]);
  const { admins, changed } = layOver([{ name: "n1", address: null, key: configured }], stored);
  expect(admins.get("n1")).toMatchObject({ state: "draining", key: expected });
  expect(changed.get("gone")).toBeNull();
  expect(changed.has("n1")).toBe(configured !== keyA);
});
