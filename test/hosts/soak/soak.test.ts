/** A short soak with a seed of its own each time; scripts/soak is the long one. */
import { expect, it } from "vitest";
import { soak } from "./run.ts";

it("every acknowledged job has one known end under random faults, and nothing is left over", async () => {
  const seed = Number(process.env["SKY_SOAK_SEED"] ?? Date.now() % 1_000_000);
  const said: string[] = [];
  const result = await soak({
    seed,
    lengthMs: 45_000,
    users: ["alice", "bob"],
    nodes: ["n1", "n2"],
    pauseMs: 900,
    say: (text) => void said.push(text),
  });
  const told = `SKY_SOAK_SEED=${seed}\n${said.join("\n")}`;
  expect(result.faults, told).toEqual([]);
  expect(result.acknowledged, told).toBeGreaterThan(10);
  expect(result.ended["SUCCEEDED"] ?? 0, told).toBeGreaterThan(0);
});
