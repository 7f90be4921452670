/** Faulty accelerators: nothing new on them, their job is told, the others go on; and which ones do nothing. */
import { expect, test } from "vitest";
import type { Accelerator } from "../../shared/agent-wire.ts";
import { Scenario } from "../../test/sim/scenario.ts";
import { adminNodeRows } from "./admin-views.ts";
import { nodeRows } from "./views.ts";

const lost = "fallen off the bus (nvidia-smi: Unknown Error)";

/** Two devices of n1, of which these have a fault. */
function report(scenario: Scenario, faults: Record<number, string>, running: number[] = []): void {
  const accelerators = [0, 1].map((index): Accelerator => {
    const fault = faults[index];
    const own = { index, kind: "H100", memoryMb: 81_559, vendor: "NVIDIA", pci: `0000:${index + 3}a:00.0` };
    return fault === undefined ? own : { ...own, fault };
  });
  const { stateId, epoch } = scenario.state;
  const attempts = running.map((id) => scenario.rank(id, "n1", { state: "running" }));
  const inventory = { address: "10.0.0.1", cpus: 8, memoryGb: 64, accelerators, source: "test", mixedAllowed: false };
  const seq = scenario.state.nodes.get("n1")?.desiredSeq ?? 0;
  const rest = { type: "report" as const, stateId, epoch, seq, warnings: [] };
  scenario.dispatch({ type: "nodeReported", node: "n1", report: { ...rest, inventory, attempts } });
}

function started(): { scenario: Scenario; ids: number[] } {
  const scenario = new Scenario({ n1: {} }).connect("n1");
  report(scenario, {});
  const ids = [scenario.submit({ accelerators: "H100:1" }), scenario.submit({ accelerators: "H100:1" })];
  report(scenario, {}, ids);
  return { scenario, ids };
}

test("the job that holds a faulty device is warned, the other is not, and nothing is ended", () => {
  const { scenario, ids } = started();
  scenario.effects = [];
  report(scenario, { 1: lost }, ids);
  const wanted = scenario.told("n1")?.wanted ?? [];
  expect(wanted.map((one) => [one.grant.devices[0], one.warned ?? false])).toEqual([
    [0, false],
    [1, true],
  ]);
  expect(scenario.told("n1")?.ended).toEqual([]);
  const logs = scenario.effects.flatMap((effect) => (effect.type === "log" ? [effect.text] : []));
  expect(logs).toEqual([
    "An accelerator is faulty: nothing new is granted on it.",
    "A job that holds a faulty accelerator is warned.",
  ]);
  scenario.effects = [];
  report(scenario, { 1: lost }, ids);
  expect(scenario.effects.filter((effect) => effect.type === "log")).toEqual([]);
});

test("nothing new is granted on it until it is well again", () => {
  const scenario = new Scenario({ n1: {} }).connect("n1");
  report(scenario, { 0: lost });
  const first = scenario.submit({ accelerators: "H100:1" });
  const second = scenario.submit({ accelerators: "H100:1" });
  expect(scenario.job(first).record.attempt?.ranks[0]?.grant.devices).toEqual([1]);
  expect(scenario.job(second).record.phase).toBe("waiting");
  report(scenario, {}, [first]);
  expect(scenario.job(second).record.attempt?.ranks[0]?.grant.devices).toEqual([0]);
});

test("users and admins see what is free, faulty and busy", () => {
  const { scenario, ids } = started();
  report(scenario, { 1: lost }, ids.slice(0, 1));
  const devices = [{ index: 0, utilization: 97, memoryUsedMb: 1200 }];
  const rest = { uptimeSeconds: 9, load1: 0.5, memoryAvailableGb: 1, diskFreeGb: 5, skylets: 0, devices };
  scenario.dispatch({ type: "vitalsReceived", node: "n1", vitals: { type: "vitals", clockMs: scenario.now, ...rest } });
  const [row] = nodeRows(scenario.state, scenario.now);
  expect(row).toMatchObject({ accelerators: { H100: 2 }, accelerators_free: { H100: 0 } });
  expect(row?.warnings).toEqual([`H100 1 (0000:4a:00.0) gets no jobs: ${lost}`]);
  expect(row?.devices.map((one) => [one.index, one.granted, one.utilization, one.memory_used_mb, one.fault])).toEqual([
    [0, 1, 97, 1200, null],
    [1, 1, null, null, lost],
  ]);
  const [admin] = adminNodeRows(scenario.state, scenario.now);
  expect(admin?.devices[1]).toMatchObject({ pci: "0000:4a:00.0", uuid: null, fault: lost });
});

test("a granted device counts as idle since the first report of a row without use; one that is free never does", () => {
  const { scenario } = started();
  const say = (...use: (number | null)[]): Map<number, number> => {
    scenario.uptime += 30_000;
    const devices = use.map((utilization, index) => ({ index, utilization, memoryUsedMb: null }));
    const rest = { uptimeSeconds: 9, load1: 0.5, memoryAvailableGb: 1, diskFreeGb: 5, skylets: 0, devices };
    const vitals = { type: "vitals" as const, clockMs: scenario.now, ...rest };
    scenario.dispatch({ type: "vitalsReceived", node: "n1", vitals });
    return scenario.state.nodes.get("n1")?.idleSince ?? new Map();
  };
  const since = [...say(0, 80).entries()];
  expect(since.map(([index]) => index)).toEqual([0]);
  expect([...say(1, 2).entries()]).toEqual(since);
  expect(say(2, 0).has(0)).toBe(false);
  expect(say(null, 0).size).toBe(1);
  expect([...say(0, null).keys()]).toEqual([0]);
  const free = new Scenario({ n1: { accelerators: "V100:1" } }).up();
  const devices = [{ index: 0, utilization: 0, memoryUsedMb: 0 }];
  const rest = { uptimeSeconds: 9, load1: 0.5, memoryAvailableGb: 1, diskFreeGb: 5, skylets: 0, devices };
  free.dispatch({ type: "vitalsReceived", node: "n1", vitals: { type: "vitals", clockMs: free.now, ...rest } });
  expect(free.state.nodes.get("n1")?.idleSince.size).toBe(0);
});

test("a node that says again and again that its devices fail does not fill the log", () => {
  const { scenario, ids } = started();
  scenario.effects = [];
  for (let round = 0; round < 100; round += 1) {
    report(scenario, { 0: lost, 1: lost }, ids);
    report(scenario, {}, ids);
  }
  const lines = (): string[] => scenario.effects.flatMap((effect) => (effect.type === "log" ? [effect.text] : []));
  // Those of the faults, that no more come, and one for each of the two jobs.
  expect(lines()).toHaveLength(31 + 1 + 2);
  scenario.pass(3_600);
  scenario.effects = [];
  report(scenario, { 0: lost }, ids);
  expect(lines()).toEqual(["An accelerator is faulty: nothing new is granted on it."]);
});
