/**
 * What a job asks for in words: one way to serve it, or all of them. Every message that speaks of a demand takes its
 * words from here, so that they read alike in `sky queue`, `sky explain` and refusals. Pure; it looks at no node.
 */
import { type AcceleratorDemand, type Demand, type Shape, demandsOf } from "../../shared/job.ts";
import { mechanismDemand } from "./mechanisms.ts";

/** More ways are only counted. */
const waysListed = 4;

/** `2 x H100`, `0.5 x A100`, `1 x any NVIDIA accelerator with 80 GB or more`. */
export function acceleratorText(demand: AcceleratorDemand): string {
  if (demand.memory === undefined) {
    return `${demand.count} x ${demand.kind}`;
  }
  const maker = demand.vendor === undefined ? "" : `${demand.vendor} `;
  const { gb, orMore } = demand.memory;
  return `${demand.count} x any ${maker}accelerator with ${gb} GB${orMore ? " or more" : ""}`;
}

/** CPUs, memory and labels of a way, without its accelerators. */
function restTexts({ cpus, memoryGb, labels }: Demand): string[] {
  const texts = [...(cpus > 0 ? [`${cpus} CPUs`] : []), ...(memoryGb > 0 ? [`${memoryGb} GiB`] : [])];
  const named = Object.entries(labels ?? {}).map(([name, value]) => `${name}=${value}`);
  return named.length === 0
    ? texts
    : [...texts, `the ${named.length === 1 ? "label" : "labels"} ${named.join(" and ")}`];
}

/** What one rank needs in one way: `4 x V100, 2 CPUs, 16 GiB, the label disk=ssd`; `room` when it needs nothing at all. */
export function demandText(demand: Demand): string {
  const main = demand.accelerators === null ? [] : [acceleratorText(demand.accelerators)];
  const parts = [...main, ...restTexts(demand)];
  return parts.length === 0 ? "room" : parts.join(", ");
}

function listed(texts: readonly string[], joint: string): string {
  const rest = texts.length - waysListed;
  return rest > 1 ? [...texts.slice(0, waysListed), `one of ${rest} more ways`].join(joint) : texts.join(joint);
}

/** All ways: `1 x H100 or 1 x A100, 4 CPUs`; what they have in common is said once. */
function waysText(demands: readonly Demand[]): string {
  const [first, ...others] = demands;
  if (first === undefined || others.length === 0) {
    return first === undefined ? "room" : demandText(first);
  }
  const common = restTexts(first);
  const alike = demands.every((one) => one.accelerators !== null && restTexts(one).join() === common.join());
  if (!alike) {
    return listed(demands.map(demandText), ", or ");
  }
  const kinds = demands.flatMap((one) => (one.accelerators === null ? [] : [acceleratorText(one.accelerators)]));
  return [listed(kinds, " or "), ...common].join(", ");
}

/** What a job needs in all: `4 x V100, 2 CPUs on each of 2 nodes`, `0.5 CPUs on 1 node that nobody else uses`. */
export function shapeText(shape: Shape): string {
  const where = shape.nodes === 1 ? "1 node" : `each of ${shape.nodes} nodes`;
  const alone = shape.exclusive === true ? " that nobody else uses" : "";
  const able = shape.container === true ? " with podman or docker" : "";
  return `${waysText(demandsOf(shape))} on ${where}${able}${mechanismDemand(shape)}${alone}`;
}
