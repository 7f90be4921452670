/** What a node is told of the devices of a rank, by which its skylet names them to programs. */
import { expect, test } from "vitest";
import type { Accelerator, WantedAttempt } from "../../shared/agent-wire.ts";
import { Scenario } from "../../test/sim/scenario.ts";

/** What the node is told of the job that it was just given. */
function wantedOn(accelerators: Accelerator[], kind: string, count: number): WantedAttempt | undefined {
  const scenario = new Scenario({ n1: {} }).connect("n1");
  const { stateId, epoch } = scenario.state;
  const inventory = { address: "10.0.0.1", cpus: 8, memoryGb: 64, accelerators, source: "test", mixedAllowed: false };
  const report = { type: "report" as const, stateId, epoch, seq: 0, inventory, attempts: [], warnings: [] };
  scenario.dispatch({ type: "nodeReported", node: "n1", report });
  scenario.submit({ accelerators: `${kind}:${count}` });
  return scenario.told("n1")?.wanted[0];
}

function device(index: number, rest: Partial<Accelerator> = {}): Accelerator {
  return { index, kind: "H100", memoryMb: null, vendor: "NVIDIA", ...rest };
}

test("devices whose indices do are named by their indices", () => {
  const wanted = wantedOn([device(0, { uuid: "GPU-a" }), device(1, { uuid: "GPU-b" })], "H100", 2);
  expect(wanted?.grant.devices).toEqual([0, 1]);
  expect(wanted?.acceleratorKind).toBe("H100");
  expect(wanted).not.toHaveProperty("visibleDevices");
});

test("MIG instances are named by what their node says", () => {
  const kind = "A100-MIG-1g.10gb";
  const wanted = wantedOn([device(0, { kind, visible: "MIG-a" }), device(1, { kind, visible: "MIG-b" })], kind, 2);
  expect(wanted?.visibleDevices).toEqual(["MIG-a", "MIG-b"]);
  expect(wanted?.acceleratorKind).toBe(kind);
});

test("one device that has no number of its own brings uuids for all, since CUDA takes no mixed lists", () => {
  const wanted = wantedOn([device(0, { uuid: "GPU-a" }), device(1, { uuid: "GPU-b", visible: "GPU-b" })], "H100", 2);
  expect(wanted?.visibleDevices).toEqual(["GPU-a", "GPU-b"]);
  const amd = { vendor: "AMD", kind: "MI300X" };
  const other = wantedOn(
    [device(0, { ...amd, uuid: "x" }), device(1, { ...amd, uuid: "y", visible: "7" })],
    "MI300X",
    2,
  );
  expect(other?.visibleDevices).toEqual(["0", "7"]);
});
