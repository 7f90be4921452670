/**
 * The whole cluster in one process on virtual time, with faults drawn from a seed. SKY_SIM_SEEDS sets how many seeds are
 * played, SKY_SIM_FIRST the first of them; a failure prints its seed and the end of that history.
 */
import { expect, test } from "vitest";
import { World } from "./world.ts";

const first = Number(process.env["SKY_SIM_FIRST"] ?? 1);
const seeds = Number(process.env["SKY_SIM_SEEDS"] ?? 200);
const linesShown = Number(process.env["SKY_SIM_LINES"] ?? 150);

/** Plays one history; a violation is thrown with the seed and the history's end. */
function played<T>(seed: number, kind: ConstructorParameters<typeof World>[1], ask: (world: World) => T): T {
  const world = new World(seed, kind);
  try {
    world.run();
    return ask(world);
  } catch (error) {
    const log = world.truth.log.slice(-linesShown).join("\n");
    throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}\n${log}`, {
      cause: error,
    });
  }
}

test(`${seeds} histories from seed ${first}: every job ends as planned, once, and nothing is left`, {
  timeout: 3_600_000,
}, () => {
  const counts = { ended: 0, gaveWay: 0, overdue: 0, terminated: 0 };
  for (let seed = first; seed < first + seeds; seed += 1) {
    const { begun, gaveWay, overdue, terminated } = played(seed, {}, (world) => world.truth);
    counts.ended += begun.size;
    counts.gaveWay += gaveWay;
    counts.overdue += overdue;
    counts.terminated += terminated;
  }
  expect(counts.ended).toBeGreaterThan(seeds);
  if (seeds >= 100) {
    expect(Math.min(counts.gaveWay, counts.overdue)).toBeGreaterThan(seeds / 40);
    expect(counts.terminated).toBeGreaterThan(0);
  }
});

test("what was held is counted, once, through kills and restarts", { timeout: 3_600_000 }, () => {
  const counted = Math.ceil(seeds / 3);
  let lines = 0;
  for (let seed = first; seed < first + counted; seed += 1) {
    lines += played(seed, { isCounted: true }, (world) => world.checkUsage());
  }
  expect(lines).toBeGreaterThan(counted);
});

/** One minute of a quick history is ten hours of these: jobs, windows and faults of real length. */
const slowPace = 600;

test("thousands of hours of slow clusters: every job ends as planned, once", { timeout: 3_600_000 }, () => {
  let hours = 0;
  for (let seed = first; seed < first + seeds; seed += 1) {
    hours += played(seed, { pace: slowPace }, (world) => world.truth.clock.now / 3_600_000);
  }
  expect(hours).toBeGreaterThan(seeds * 10);
});
