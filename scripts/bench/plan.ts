/**
 * How fast the pure planner is on virtual clusters: a full plan over a long backlog, one event with all that follows from
 * it, placements on an empty cluster, memory for a waiting job, and how all of that grows. No process, no disk, no clock
 * but the one that measures. Prints one JSON object as its last line. `--quick` leaves out
 * the largest size, which takes a minute.
 */
import { parseArgs } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { planOn } from "../../coordinator/core/schedule.ts";
import { BenchCluster, type Size } from "./plan/cluster.ts";

const { values } = parseArgs({ options: { quick: { type: "boolean", default: false } } });
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

interface Row extends Size {
  classes: number;
  placements: number;
  placementsPerSecond: number;
  fullMs: number;
  rebuildMs: number;
  eventMs: number;
  eventP99Ms: number;
  submitMs: number;
  bytes: number;
}

function timed<T>(work: () => T): [number, T] {
  const start = performance.now();
  const result = work();
  return [performance.now() - start, result];
}

function quantile(numbers: readonly number[], part: number): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN;
}

/** A job ends: its report, its end on disk, its place free, and whatever starts there. Each event is measured. */
function endOne(cluster: BenchCluster, times: number[]): void {
  const job = cluster.drawRunning();
  if (job === null) {
    return;
  }
  const { uid, id, node, attempt } = job;
  const measure = (event: Parameters<BenchCluster["dispatch"]>[0]): ReturnType<BenchCluster["dispatch"]> => {
    const [ms, effects] = timed(() => cluster.dispatch(event));
    times.push(ms);
    return effects;
  };
  measure(cluster.reportEvent(node, attempt));
  measure({ type: "endCommitted", uid, id });
  const effects = measure(cluster.reportEvent(node, null, attempt));
  for (const effect of effects) {
    if (effect.type === "commitStart") {
      const started = { uid: effect.uid, id: effect.id, attempt: effect.record.attempt?.id ?? "" };
      measure({ type: "startCommitted", ...started });
      for (const { grant } of effect.record.attempt?.ranks ?? []) {
        cluster.report(grant.node);
      }
    }
  }
}

function measure(size: Size, events: number): Row {
  const cluster = new BenchCluster(size);
  collect();
  const before = process.memoryUsage().heapUsed;
  cluster.fill(size.waiting);
  collect();
  const bytes = (process.memoryUsage().heapUsed - before) / size.waiting;
  // On the empty cluster: what fits is placed.
  const [placeMs, { plan }] = timed(() => planOn(cluster.state, cluster.now));
  const placements = plan.starts.reduce((sum, one) => sum + one.ranks.length, 0);
  cluster.commitStarts(cluster.dispatch({ type: "ticked" }));
  for (const node of cluster.state.nodes.keys()) {
    cluster.report(node);
  }
  const fulls: number[] = [];
  for (let round = 0; round < 7; round += 1) {
    cluster.pass(1000);
    cluster.forget();
    fulls.push(timed(() => planOn(cluster.state, cluster.now))[0]);
  }
  const rebuilds: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    cluster.forgetNodes();
    rebuilds.push(timed(() => planOn(cluster.state, cluster.now))[0]);
  }
  const times: number[] = [];
  const submits: number[] = [];
  for (let done = 0; done < events; done += 1) {
    cluster.pass(50);
    endOne(cluster, times);
    const submitted = cluster.draw();
    submits.push(timed(() => cluster.dispatch(submitted))[0]);
  }
  return {
    ...size,
    ...{ classes: cluster.state.waiting.size, placements, placementsPerSecond: (placements / placeMs) * 1000 },
    ...{
      fullMs: quantile(fulls, 0.5),
      rebuildMs: quantile(rebuilds, 0.5),
      eventMs: times.reduce((a, b) => a + b, 0) / times.length,
    },
    ...{ eventP99Ms: quantile(times, 0.99), submitMs: quantile(submits, 0.5), bytes },
  };
}

function rowText(cells: readonly string[]): string {
  return cells.map((cell, at) => cell.padStart([7, 7, 10, 9, 12, 14, 10, 12, 10, 8, 11, 7][at] ?? 8)).join("");
}

function print(row: Row): void {
  const { nodes, users, waiting, classes, placements, placementsPerSecond, fullMs, rebuildMs } = row;
  const { eventMs, eventP99Ms, submitMs, bytes } = row;
  const counts = [nodes, users, waiting, classes, placements].map(String);
  const times = [placementsPerSecond.toFixed(0), fullMs.toFixed(1), rebuildMs.toFixed(1), eventMs.toFixed(3)];
  const rest = [eventP99Ms.toFixed(2), submitMs.toFixed(3), bytes.toFixed(0)];
  process.stdout.write(`${rowText([...counts, ...times, ...rest])}\n`);
}

const heads = [
  "nodes",
  "users",
  "waiting",
  "classes",
  "placements",
  "placements/s",
  "full ms",
  "rebuild ms",
  "event ms",
  "p99 ms",
  "submit ms",
];
process.stdout.write(`${rowText([...heads, "bytes"])}\n`);
measure({ nodes: 200, users: 100, waiting: 5_000 }, 300);
const sizes: Size[] = [
  { nodes: 125, users: 500, waiting: 12_500 },
  { nodes: 250, users: 500, waiting: 25_000 },
  { nodes: 500, users: 500, waiting: 50_000 },
  { nodes: 1_000, users: 500, waiting: 100_000 },
  { nodes: 2_000, users: 1_000, waiting: 200_000 },
];
const big: Size = { nodes: 10_000, users: 5_000, waiting: 1_000_000 };
const rows = sizes.map((size) => {
  const row = measure(size, 1_000);
  print(row);
  return row;
});
const main = rows.find((row) => row.nodes === 1_000) as Row;
const largest = values.quick ? null : measure(big, 200);
if (largest !== null) {
  print(largest);
}
const round = (value: number, digits: number): number => Number(value.toFixed(digits));
const result = {
  full_plan_ms: round(main.fullMs, 1),
  rebuild_ms: round(main.rebuildMs, 1),
  incremental_ms: round(main.eventMs, 3),
  incremental_p99_ms: round(main.eventP99Ms, 2),
  submit_ms: round(main.submitMs, 3),
  placements_per_second: round(main.placementsPerSecond, 0),
  bytes_per_waiting_job: round(main.bytes, 0),
  big_full_plan_ms: largest === null ? null : round(largest.fullMs, 0),
  big_incremental_ms: largest === null ? null : round(largest.eventMs, 3),
};
process.stdout.write(
  "aims: full_plan_ms 50, incremental_ms 1, placements_per_second 20000, bytes_per_waiting_job 2048, big_full_plan_ms 1000\n" +
    `${JSON.stringify({ bench: "plan", ...result })}\n`,
);
