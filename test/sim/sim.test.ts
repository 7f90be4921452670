/**
 * The whole cluster in one process on virtual time, with faults drawn from a seed. SKY_SIM_SEEDS sets how many seeds are
 * played, SKY_SIM_FIRST the first of them; a failure prints its seed and the end of that history.
 */
import { expect, test } from "vitest";
import { World } from "./world.ts";

const first = Number(process.env["SKY_SIM_FIRST"] ?? 1);
const seeds = Number(process.env["SKY_SIM_SEEDS"] ?? 200);
const linesShown = Number(process.env["SKY_SIM_LINES"] ?? 150);

test(`${seeds} histories from seed ${first}: every job ends as planned, once, and nothing is left`, {
  timeout: 3_600_000,
}, () => {
  let ended = 0;
  for (let seed = first; seed < first + seeds; seed += 1) {
    const world = new World(seed);
    try {
      world.run();
    } catch (error) {
      const log = world.truth.log.slice(-linesShown).join("\n");
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}\n${log}`, {
        cause: error,
      });
    }
    ended += world.truth.begun.size;
  }
  expect(ended).toBeGreaterThan(seeds);
});
