/** Demands in words, as users read them. */
import { expect, test } from "vitest";
import type { Demand, Shape } from "../../shared/job.ts";
import { demandText, shapeText } from "./demand-text.ts";

function way(kind: string | null, rest: Partial<Demand> = {}): Demand {
  return { accelerators: kind === null ? null : { kind, count: 1 }, cpus: 4, memoryGb: 0, ...rest };
}

test.each<[Demand, string]>([
  [way("H100"), "1 x H100, 4 CPUs"],
  [way(null, { cpus: 0 }), "room"],
  [way(null, { memoryGb: 16, labels: { disk: "ssd" } }), "4 CPUs, 16 GiB, the label disk=ssd"],
  [way(null, { labels: { disk: "ssd", rack: "2" } }), "4 CPUs, the labels disk=ssd and rack=2"],
  [
    way(null, { accelerators: { kind: "80GB", count: 2, memory: { gb: 80, orMore: true }, vendor: "NVIDIA" } }),
    "2 x any NVIDIA accelerator with 80 GB or more, 4 CPUs",
  ],
  [
    way(null, { accelerators: { kind: "24GB", count: 0.5, memory: { gb: 24, orMore: false } } }),
    "0.5 x any accelerator with 24 GB, 4 CPUs",
  ],
])("%j", (demand, text) => {
  expect(demandText(demand)).toBe(text);
});

test.each<[Shape, string]>([
  [{ nodes: 1, ...way("H100") }, "1 x H100, 4 CPUs on 1 node"],
  [{ nodes: 2, ...way("H100"), others: [way("A100")] }, "1 x H100 or 1 x A100, 4 CPUs on each of 2 nodes"],
  [
    { nodes: 1, ...way("H100"), others: [way(null, { cpus: 64 })], exclusive: true },
    "1 x H100, 4 CPUs, or 64 CPUs on 1 node that nobody else uses",
  ],
  [
    { nodes: 1, ...way("A"), others: ["B", "C", "D", "E", "F"].map((kind) => way(kind)) },
    "1 x A or 1 x B or 1 x C or 1 x D or one of 2 more ways, 4 CPUs on 1 node",
  ],
])("%j", (shape, text) => {
  expect(shapeText(shape)).toBe(text);
});
