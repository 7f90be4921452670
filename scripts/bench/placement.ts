/**
 * How good the placement is: jobs in the shape of a published trace are played through the real planner on virtual time,
 * against plain FIFO and against backfill without fair share. Prints a table and one JSON object as its last line, and
 * writes the picture and the table of docs/placement.md with `--write`. Deterministic by `--seed`. See README.md here.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { checkout } from "../cluster/layout.ts";
import { chartOf } from "./placement/chart.ts";
import { drawTrace, type TraceJob } from "./placement/helios.ts";
import { figuresOf, type Figures } from "./placement/figures.ts";
import { type Order, replay } from "./placement/replay.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    nodes: { type: "string", default: "32" },
    days: { type: "string", default: "42" },
    load: { type: "string", default: "" },
    write: { type: "boolean", default: false },
  },
});

const orders: [Order, string][] = [
  ["fifo", "plain FIFO"],
  ["backfill", "backfill alone"],
  ["fairShare", "as delivered"],
];

/** What the table shows of each order. */
const columns: [title: string, cell: (figures: Figures) => string][] = [
  ["GPUs in use", (one) => `${(one.utilization * 100).toFixed(1)} %`],
  ["mean wait", (one) => `${(one.meanWait / 3600).toFixed(2)} h`],
  ["median wait", (one) => `${(one.medianWait / 60).toFixed(1)} min`],
  ["p95 wait", (one) => `${(one.p95Wait / 3600).toFixed(2)} h`],
  ["longest wait", (one) => `${(one.longestWait / 3600).toFixed(1)} h`],
  ["wait of light users", (one) => `${(one.lightWait / 3600).toFixed(2)} h`],
  ["Jain's index", (one) => one.jain.toFixed(3)],
];

function tableOf(rows: [string, Figures][]): string {
  const lines = [
    `| order | ${columns.map(([title]) => title).join(" | ")} |`,
    `| --- | ${columns.map(() => "---:").join(" | ")} |`,
    ...rows.map(([name, figures]) => `| ${name} | ${columns.map(([, cell]) => cell(figures)).join(" | ")} |`),
  ];
  return lines.join("\n");
}

/** Replaces what stands between the marks of the document. */
function writeTable(table: string): void {
  const path = join(checkout, "docs/placement.md");
  const [begin, end] = ["<!-- placement: begin -->", "<!-- placement: end -->"];
  const text = readFileSync(path, "utf8");
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) {
    throw new Error(`${path} has no place for the table: ${begin} … ${end}`);
  }
  writeFileSync(path, `${text.slice(0, from + begin.length)}\n\n${table}\n\n${text.slice(to)}`);
}

function run(jobs: readonly TraceJob[], nodes: number, days: number): [string, Figures][] {
  return orders.map(([order, name]) => {
    const begun = performance.now();
    const figures = figuresOf(replay(jobs, nodes, order), nodes, days);
    process.stderr.write(`${name}: ${Math.round((performance.now() - begun) / 1000)} s\n`);
    return [name, figures];
  });
}

const [nodes, days] = [Number(values.nodes), Number(values.days)];
const jobs = drawTrace(Number(values.seed), nodes, days, values.load === "" ? null : Number(values.load));
const rows = run(jobs, nodes, days);
process.stdout.write(`${jobs.length} jobs of ${days} days on ${nodes} nodes of 8\n\n${tableOf(rows)}\n`);
if (values.write) {
  writeTable(tableOf(rows));
  writeFileSync(join(checkout, "docs/placement.svg"), chartOf(rows));
}
const [fifo, backfill, delivered] = rows.map(([, figures]) => figures) as [Figures, Figures, Figures];
process.stdout.write(`${JSON.stringify({ jobs: jobs.length, fifo, backfill, delivered })}\n`);
