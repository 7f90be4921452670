/**
 * Ten minutes of many small jobs of several users on test machines, with random kills, cuts and power losses from a seed.
 * The last line is one JSON object; exit code 0 only when every acknowledged job had one known end, none ran twice and
 * nothing was left over. Called through scripts/soak by people before a release.
 */
import { parseArgs } from "node:util";
import { soak } from "../test/hosts/soak/run.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    users: { type: "string", default: "3" },
    nodes: { type: "string", default: "2" },
    "pause-ms": { type: "string", default: "900" },
  },
});

const names = ["alice", "bob", "carol", "dave", "erin", "frank"];
const began = performance.now();

function say(text: string): void {
  process.stderr.write(`${((performance.now() - began) / 1000).toFixed(1).padStart(7)} s  ${text}\n`);
}

say(`seed ${values.seed}; the same choices again: scripts/soak --seed ${values.seed}`);
const result = await soak({
  seed: Number(values.seed),
  lengthMs: Number(values.minutes) * 60_000,
  users: names.slice(0, Number(values.users)),
  nodes: Array.from({ length: Number(values.nodes) }, (_, index) => `n${index + 1}`),
  pauseMs: Number(values["pause-ms"]),
  say,
});
for (const fault of result.faults) {
  say(`FAULT ${fault}`);
}
process.stdout.write(`${JSON.stringify(result)}\n`);
process.exitCode = result.faults.length === 0 ? 0 : 1;
