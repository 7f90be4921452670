/**
 * When a waiting job starts as far as that can be foreseen, and what would make it start now. Every change that is
 * offered was tried on the plan's own board before it is named. Pure; called by explain-result.ts.
 */
import { type Demand, demandsOf, type RankGrant, type Shape } from "../../shared/job.ts";
import type { NodeBlock } from "./blockers.ts";
import { acceleratorText } from "./demand-text.ts";
import { boardFor, classFor, type Facts, wouldStart } from "./facts.ts";
import { devicesFor } from "./fit.ts";
import { durationText } from "./limits.ts";
import { reserve } from "./reserve.ts";
import { kindText } from "./shortage.ts";
import { type ActiveJob, type JobKey, jobKey } from "./state.ts";

/** Smaller counts, other kinds and shorter limits that are tried for one answer. */
const triesMax = 12;
/** No limit below this is offered, in seconds. */
const shortestLimit = 60;

/** `start` in uptime; `isKept`: room is kept for it from then on, so it starts then at the latest as things stand. */
export interface Forecast {
  start: number | null;
  ranks: RankGrant[];
  isKept: boolean;
}

/** Another shape in which the job would start now, and how that is said. */
export interface Offer {
  text: string;
  shape: Shape;
}

/** What the ends of running jobs tell. */
export function forecastOf(facts: Facts, job: ActiveJob): Forecast {
  const key = jobKey(job.uid, job.id);
  const own = facts.plan.reservations.find((one) => one.key === key);
  if (own !== undefined) {
    return { start: own.start, ranks: own.ranks, isKept: own.isHeld };
  }
  const found = reserve(boardFor(facts, key), classFor(facts, job), job, key, false);
  return { start: found?.start ?? null, ranks: found?.start === null ? [] : (found?.ranks ?? []), isKept: false };
}

function withShape(job: ActiveJob, shape: Shape): ActiveJob {
  return { ...job, record: { ...job.record, shape } };
}

/** Nodes on which the job would start now in this shape; null: it would not. */
function startsAs(facts: Facts, job: ActiveJob, key: JobKey, shape: Shape): string | null {
  const ranks = wouldStart(facts, withShape(job, shape), key);
  return ranks === null ? null : ranks.map((one) => one.node).join(", ");
}

/** The same change in every way of the job; without the ways that it does not apply to. */
function changed(shape: Shape, change: (demand: Demand) => Demand | null): Shape | null {
  const ways = demandsOf(shape)
    .map(change)
    .filter((one) => one !== null);
  const [first, ...others] = ways;
  if (first === undefined) {
    return null;
  }
  const { accelerators, cpus, memoryGb, labels } = first;
  const { others: _others, labels: _labels, ...rest } = shape;
  const chosen = labels === undefined ? {} : { labels };
  return { ...rest, accelerators, cpus, memoryGb, ...chosen, ...(others.length === 0 ? {} : { others }) };
}

/** Whole counts below this one, the largest first. */
function smallerCounts(count: number): number[] {
  const all = Array.from({ length: Math.max(0, Math.ceil(count) - 1) }, (_, at) => Math.ceil(count) - 1 - at);
  return all.length <= triesMax ? all : all.filter((one) => Number.isInteger(Math.log2(one))).slice(0, triesMax);
}

function fewerDevices(facts: Facts, job: ActiveJob, key: JobKey): Offer[] {
  const { shape } = job.record;
  const most = Math.max(0, ...demandsOf(shape).map((demand) => demand.accelerators?.count ?? 0));
  for (const count of smallerCounts(most)) {
    const smaller = changed(shape, (demand) => {
      const { accelerators } = demand;
      return accelerators === null || accelerators.count < count
        ? null
        : { ...demand, accelerators: { ...accelerators, count } };
    });
    const where = smaller === null ? null : startsAs(facts, job, key, smaller);
    if (smaller !== null && where !== null) {
      return [{ text: `ask for ${count} instead of ${most}: that would start now on ${where}`, shape: smaller }];
    }
  }
  return [];
}

function fewerNodes(facts: Facts, job: ActiveJob, key: JobKey): Offer[] {
  const { shape } = job.record;
  for (const nodes of smallerCounts(shape.nodes)) {
    const fewer = { ...shape, nodes };
    const where = startsAs(facts, job, key, fewer);
    if (where !== null) {
      const wish = `${nodes} node${nodes === 1 ? "" : "s"} instead of ${shape.nodes}`;
      return [{ text: `ask for ${wish}: that would start now on ${where}`, shape: fewer }];
    }
  }
  return [];
}

/** Kinds that the cluster has and the job does not ask for, as nodes spell them. */
function otherKinds(facts: Facts, shape: Shape): string[] {
  const asked = new Set(demandsOf(shape).map((demand) => demand.accelerators?.kind.toLowerCase()));
  const kinds = new Map<string, string>();
  for (const { node } of facts.board.indexes.rooms) {
    for (const { kind } of node.inventory?.accelerators ?? []) {
      if (!asked.has(kind.toLowerCase())) {
        kinds.set(kind.toLowerCase(), kind);
      }
    }
  }
  return [...kinds.values()].slice(0, triesMax);
}

function anotherKind(facts: Facts, job: ActiveJob, key: JobKey): Offer[] {
  const { shape } = job.record;
  const [first] = demandsOf(shape);
  if (first === undefined || first.accelerators === null || first.accelerators.memory !== undefined) {
    return [];
  }
  const { count } = first.accelerators;
  for (const kind of otherKinds(facts, shape)) {
    const { others: _others, ...rest } = shape;
    const other = { ...rest, accelerators: { kind, count } };
    const where = startsAs(facts, job, key, other);
    if (where !== null) {
      return [{ text: `ask for ${acceleratorText({ kind, count })}: that would start now on ${where}`, shape: other }];
    }
  }
  return [];
}

/** Uptimes before which the job would have to be over: kept room and windows. */
function deadlines(facts: Facts): number[] {
  const { state, board, now } = facts;
  const holds = [...board.holds.values()].flat().map((one) => one.from);
  const windows = board.indexes.windows.map((one) => one.from - now + state.uptime);
  return [...new Set([...holds, ...windows])].filter((one) => one > state.uptime).sort((a, b) => b - a);
}

function shorterLimit(facts: Facts, job: ActiveJob, key: JobKey): Offer[] {
  const { shape } = job.record;
  const asked = shape.timeLimitSeconds ?? Number.POSITIVE_INFINITY;
  for (const deadline of deadlines(facts).slice(0, triesMax)) {
    const seconds = Math.floor((deadline - facts.state.uptime) / 1000);
    // People type minutes.
    const limit = seconds >= 120 ? seconds - (seconds % 60) : seconds;
    if (limit < shortestLimit || limit >= asked) {
      continue;
    }
    const shorter = { ...shape, timeLimitSeconds: limit };
    const where = startsAs(facts, job, key, shorter);
    if (where !== null) {
      const text = `give --time ${durationText(limit)} or less: it would be over in time and start now on ${where}`;
      return [{ text, shape: shorter }];
    }
  }
  return [];
}

/** `as soon as 2 of the 4 V100 on n1 are free`, of the nodes that are nearest to it. */
function asSoonAs(job: ActiveJob, nodes: readonly NodeBlock[]): string[] {
  const { shape } = job.record;
  const near = nodes.filter((block) => block.couldHelp).slice(0, shape.nodes);
  const parts = near.flatMap(({ node, demand, lacks }) => {
    const { inventory } = node;
    const [lack] = lacks;
    if (lack === undefined || lacks.length > 1 || inventory === null) {
      return [];
    }
    const { accelerators } = demand;
    if (lack.type === "accelerators" && accelerators !== null && accelerators.count >= 1) {
      const all = devicesFor(inventory, accelerators).length;
      const count = Math.ceil(accelerators.count);
      return [`${count} of the ${all} ${kindText(accelerators)} on ${node.name} ${count === 1 ? "is" : "are"} free`];
    }
    if (lack.type === "cpus") {
      return [`${demand.cpus} of the ${inventory.cpus} CPUs on ${node.name} are free`];
    }
    return lack.type === "memory"
      ? [`${demand.memoryGb} of the ${inventory.memoryGb} GiB on ${node.name} are free`]
      : [];
  });
  return near.length > 0 && parts.length === near.length ? [`it starts as soon as ${parts.join(" and ")}`] : [];
}

/** Changes of what the job asks for with which there is room for it now; whether its turn comes is not looked at. */
export function changesThatHelp(facts: Facts, job: ActiveJob): Offer[] {
  const key = jobKey(job.uid, job.id);
  return [
    ...shorterLimit(facts, job, key),
    ...fewerDevices(facts, job, key),
    ...fewerNodes(facts, job, key),
    ...anotherKind(facts, job, key),
  ];
}

/** What must happen on the machines; `isNext`: nobody is ahead of the job. */
export function eventsThatHelp(job: ActiveJob, nodes: readonly NodeBlock[], isNext: boolean): string[] {
  const [text] = asSoonAs(job, nodes);
  return text === undefined ? [] : [isNext ? text : `${text} and those ahead of it have started`];
}
