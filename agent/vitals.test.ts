/** The machine this test runs on, as the coordinator would hear of it. */
import { tmpdir } from "node:os";
import { expect, it } from "vitest";
import { fromAgentSchema } from "../shared/agent-wire.ts";
import { readVitals, startVitals } from "./vitals.ts";

it("fits the wire, and says nothing of a disk that cannot be read", async () => {
  const vitals = await readVitals(tmpdir(), 3, []);
  expect(fromAgentSchema.parse(vitals)).toEqual(vitals);
  expect(Math.abs(vitals.clockMs - Date.now())).toBeLessThan(60_000);
  expect(vitals.diskFreeGb).toBeGreaterThan(0);
  expect((await readVitals("/nonexistent", 0, [])).diskFreeGb).toBeNull();
});

it("are not sent where they are not wanted, also when that changes while they are read", async () => {
  let wanted = false;
  const sent: unknown[] = [];
  const parts = {
    folder: tmpdir(),
    skylets: () => 0,
    devices: () => Promise.resolve([]),
    wanted: () => wanted,
    send: (one: unknown) => void sent.push(one),
  };
  const vitals = startVitals(parts);
  try {
    vitals.now();
    wanted = true;
    vitals.now();
    wanted = false;
    await readVitals(tmpdir(), 0, []);
    expect(sent).toEqual([]);
  } finally {
    vitals.stop();
  }
});
