/**
 * What one node lacks for one rank of a job, in words and by type, from the same facts and the same fit as the plan. It
 * looks at no order, quota or reservation. Pure; called by explain.ts and its neighbours.
 */
import type { Inventory } from "../../shared/agent-wire.ts";
import type { ConstraintType } from "../../shared/explain-api.ts";
import { type AcceleratorDemand, type Demand, demandsOf, type Shape } from "../../shared/job.ts";
import { lacksContainers, lacksVersion, needsLeases, takesJobs } from "./eligible.ts";
import {
  devicesFor,
  emptyUse,
  fitNode,
  freeOf,
  hasLabels,
  isRefusedMix,
  isWanted,
  type NodeUse,
  slack,
} from "./fit.ts";
import { mechanismLack } from "./mechanisms.ts";
import { unavailableText } from "./node-texts.ts";
import type { JobKey, NodeState } from "./state.ts";

export interface Lack {
  type: ConstraintType;
  /** After the node's name: `has 1 of 4 V100 free`, `is drained by root`. */
  text: string;
  /** Waiting jobs for which room is kept, by their keys. */
  keptFor?: JobKey[];
}

/** One node as a job sees it. */
export interface Shortage {
  node: NodeState;
  /** The way of the job that is nearest to being served here. */
  demand: Demand;
  /** Empty: there is room. */
  lacks: Lack[];
  /** The node could serve the job if nothing else were there. */
  couldHelp: boolean;
}

function tidy(value: number): number {
  return Math.round(Math.max(0, value) * 100) / 100;
}

/** `V100`, or `NVIDIA accelerators with 80 GB or more`. */
export function kindText(wanted: AcceleratorDemand): string {
  if (wanted.memory === undefined) {
    return wanted.kind;
  }
  const maker = wanted.vendor === undefined ? "" : `${wanted.vendor} `;
  return `${maker}accelerators with ${wanted.memory.gb} GB${wanted.memory.orMore ? " or more" : ""}`;
}

/** What is missing of the accelerators; null when they are not what is missing. */
function acceleratorLack(inventory: Inventory, use: NodeUse, demand: Demand): Lack | null {
  const wanted = demand.accelerators;
  if (wanted === null) {
    return null;
  }
  const without: Demand = { accelerators: wanted, cpus: 0, memoryGb: 0 };
  if (fitNode("any", inventory, { ...use, exclusive: 0, cpus: 0, memoryGb: 0 }, without) !== null) {
    return null;
  }
  const lack = (text: string): Lack => ({ type: "accelerators", text });
  if (isRefusedMix(inventory)) {
    return lack("has accelerators of several kinds and so takes no accelerator jobs");
  }
  const what = kindText(wanted);
  const faulty = inventory.accelerators.filter(({ fault, ...one }) => fault !== undefined && isWanted(one, wanted));
  const broken = faulty.length === 0 ? "" : `, ${faulty.length} out of order`;
  const devices = devicesFor(inventory, wanted);
  if (devices.length === 0) {
    return lack(faulty.length === 0 ? `has no ${what}` : `has no working ${what}${broken}`);
  }
  const free = freeOf(devices, use).length;
  const isPart = wanted.count < 1;
  const text = isPart
    ? `has no ${what} with ${wanted.count} of it free`
    : `has ${free} of ${devices.length} ${what} free`;
  return lack(text + broken);
}

function roomLacks(inventory: Inventory, use: NodeUse, demand: Demand, exclusive: boolean): Lack[] {
  const lacks: Lack[] = [];
  if (use.cpus + demand.cpus > inventory.cpus + slack) {
    lacks.push({ type: "cpus", text: `has ${tidy(inventory.cpus - use.cpus)} of ${tidy(inventory.cpus)} CPUs free` });
  }
  if (use.memoryGb + demand.memoryGb > inventory.memoryGb + slack) {
    const free = tidy(inventory.memoryGb - use.memoryGb);
    lacks.push({ type: "memory", text: `has ${free} of ${tidy(inventory.memoryGb)} GiB free` });
  }
  if (use.exclusive > 0) {
    lacks.push({ type: "exclusive", text: "is held by a job that has it for itself" });
  } else if (exclusive && use.ranks > 0) {
    lacks.push({ type: "exclusive", text: "is not empty" });
  }
  return lacks;
}

function labelLack(node: NodeState, demand: Demand): Lack | null {
  const missing = Object.entries(demand.labels ?? {}).filter(([name, value]) => node.labels[name] !== value);
  const named = missing.map(([name, value]) => `${name}=${value}`).join(" and ");
  return missing.length === 0 ? null : { type: "labels", text: `does not have the label ${named}` };
}

/** What is missing for one way of the job; empty: it fits. */
function lacksOf(node: NodeState, inventory: Inventory, use: NodeUse, demand: Demand, exclusive: boolean): Lack[] {
  const label = labelLack(node, demand);
  if (label !== null) {
    return [label];
  }
  if (fitNode(node.name, inventory, use, demand, exclusive) !== null) {
    return [];
  }
  const accelerators = acceleratorLack(inventory, use, demand);
  return [...(accelerators === null ? [] : [accelerators]), ...roomLacks(inventory, use, demand, exclusive)];
}

/** The node could serve this way of a job if it were empty. */
export function couldServe(node: NodeState, demand: Demand, exclusive: boolean): boolean {
  const { inventory } = node;
  const fits = inventory !== null && fitNode(node.name, inventory, emptyUse(), demand, exclusive) !== null;
  return fits && hasLabels(node.labels, demand.labels);
}

/** Why nothing of this job is planned on the node whatever is free there; null when it takes such jobs. */
function unfitLack(node: NodeState, shape: Shape, now: number): Lack | null {
  if (!takesJobs(node)) {
    return { type: "node", text: unavailableText(node, now) ?? "is just coming back" };
  }
  if (lacksVersion(node, shape)) {
    const could = needsLeases(shape) ? "could neither warn nor end such a job" : "cannot bring what such a job needs";
    return { type: "version", text: `runs an older version, which ${could}, until its agent is upgraded` };
  }
  if (lacksContainers(node, shape)) {
    return { type: "container", text: "has neither podman nor docker to run its image" };
  }
  const lack = mechanismLack(node, shape);
  return lack === null ? null : { type: "mechanism", text: lack };
}

/**
 * What the node lacks for one rank, by the way that comes nearest: one it could serve, then the one that lacks least.
 * `only`: places of the ways that count; null: all.
 */
export function shortageOn(
  node: NodeState,
  shape: Shape,
  use: NodeUse,
  now: number,
  only: readonly number[] | null = null,
): Shortage {
  const exclusive = shape.exclusive === true;
  const { inventory } = node;
  const unfit = unfitLack(node, shape, now);
  const demands = demandsOf(shape).filter((_, at) => only === null || only.includes(at));
  const ways = demands.map((demand): Shortage => {
    const couldHelp = couldServe(node, demand, exclusive);
    const lacks = inventory === null ? [] : lacksOf(node, inventory, use, demand, exclusive);
    return { node, demand, lacks: unfit === null ? lacks : [unfit], couldHelp };
  });
  const rank = (way: Shortage): number => (way.couldHelp ? 0 : 1000) + way.lacks.length;
  const best = ways.reduce((nearest, way) => (rank(way) < rank(nearest) ? way : nearest));
  return best.couldHelp || unfit !== null ? best : { ...best, lacks: [lackOfAll(ways)] };
}

/** A node that could serve no way of the job lacks all of them: `has no V100 or H100`. */
function lackOfAll(ways: Shortage[]): Lack {
  const [first] = ways.flatMap((way) => way.lacks.slice(0, 1));
  const kinds = ways.flatMap(({ demand }) => (demand.accelerators === null ? [] : [kindText(demand.accelerators)]));
  const isNone = ways.every(
    (way) =>
      way.lacks[0]?.text === `has no ${way.demand.accelerators === null ? "" : kindText(way.demand.accelerators)}`,
  );
  if (isNone && kinds.length > 1) {
    return { type: "accelerators", text: `has no ${[...new Set(kinds)].join(" or ")}` };
  }
  return first ?? { type: "fit", text: "is too small for it" };
}
