/**
 * What must hold in the coordinator's state at any time, checked by tests and by the simulator after every step. It
 * reports and never repairs. A device is never granted above one in sum, CPUs and memory never above what the node has
 * (as far as this state has granted them), and the indexes agree with the jobs.
 */
import { addGrant, emptyUse, type NodeUse, slack } from "./fit.ts";
import { takesJobs } from "./eligible.ts";
import { addCounted, emptyHolding } from "./holdings.ts";
import type { Holding } from "./indexes.ts";
import { classOf } from "./order.ts";
import { jobKey, type State } from "./state.ts";
import { holdersOf, usesOf } from "./usage.ts";

/** Violations as sentences; empty when all is well. */
export function violationsOf(state: State): string[] {
  return [
    ...grantViolations(state),
    ...indexViolations(state),
    ...lineViolations(state),
    ...heldViolations(state),
    ...roomViolations(state),
    ...holdingViolations(state),
    ...preemptionViolations(state),
  ];
}

/** Who gives way may do so, for somebody who waits and is more urgent, and whoever does is warned. */
function preemptionViolations(state: State): string[] {
  const found: string[] = [];
  for (const [key, { record, preempted, warned }] of state.jobs) {
    if (preempted === null || record.phase === "ended") {
      continue;
    }
    const by = state.jobs.get(preempted.by)?.record;
    if (by?.phase !== "waiting" || (by.shape.priority ?? 0) <= (record.shape.priority ?? 0)) {
      found.push(`${key} gives way to ${preempted.by}, which does not wait or is not more urgent`);
    }
    if (record.shape.preemptible !== true || record.phase === "waiting" || !warned) {
      found.push(`${key} is ${record.phase} and gives way although it may not or was not warned`);
    }
  }
  return found;
}

function grantViolations(state: State): string[] {
  const found: string[] = [];
  const uses = new Map<string, NodeUse>();
  for (const holder of holdersOf(state)) {
    const use = uses.get(holder.node) ?? emptyUse();
    addGrant(use, holder.grant);
    uses.set(holder.node, use);
  }
  for (const [name, use] of uses) {
    const inventory = state.nodes.get(name)?.inventory ?? null;
    for (const [device, share] of use.devices) {
      if (share > 1 + slack) {
        found.push(`device ${device} of ${name} is granted ${share} times`);
      }
    }
    if (use.exclusive > 0 && use.ranks > 1) {
      found.push(`${name} is granted to one rank alone, and ${use.ranks} are there`);
    }
    if (inventory !== null && use.cpus > inventory.cpus + slack) {
      found.push(`${name} has ${inventory.cpus} CPUs and ${use.cpus} are granted`);
    }
    if (inventory !== null && use.memoryGb > inventory.memoryGb + slack) {
      found.push(`${name} has ${inventory.memoryGb} GiB and ${use.memoryGb} are granted`);
    }
  }
  return found;
}

function indexViolations(state: State): string[] {
  const found: string[] = [];
  for (const [key, job] of state.jobs) {
    const { record } = job;
    if (key !== jobKey(job.uid, job.id) || record.uid !== job.uid) {
      found.push(`job ${key} is filed under another key`);
    }
    const isGivenUp = record.givenUp?.some((one) => one.attempt === record.attempt?.id) === true;
    const isBegun = record.phase !== "waiting" && !isGivenUp;
    if (isBegun && record.attempt !== null && state.attempts.get(record.attempt.id) !== key) {
      found.push(`attempt ${record.attempt.id} of job ${key} is not in the index`);
    }
    if ((record.phase === "ended") !== (record.end !== null && record.endedAt !== null)) {
      found.push(`job ${key} is ${record.phase} with end ${record.end}`);
    }
    if (job.commit === "starting" && record.phase !== "starting") {
      found.push(`job ${key} is ${record.phase} while its start is being written`);
    }
    const nodes = (record.attempt?.ranks ?? []).map((rank) => rank.grant.node);
    if (new Set(nodes).size !== nodes.length) {
      found.push(`job ${key} has two ranks on one node`);
    }
  }
  for (const [id, key] of state.attempts) {
    if (state.jobs.get(key)?.record.attempt?.id !== id) {
      found.push(`the index names attempt ${id} of ${key}, which has another`);
    }
  }
  return found;
}

function lineViolations(state: State): string[] {
  const found: string[] = [];
  const queued = new Set<string>();
  for (const [name, own] of state.waiting) {
    for (const [at, line] of own.lines.entries()) {
      if (own.at.get(line.uid) !== at || own.slots[at] !== line.slot || line.ids.length === 0) {
        found.push(`the line of user ${line.uid} in class ${name} is not in its place`);
      }
      for (const [place, id] of line.ids.entries()) {
        const key = jobKey(line.uid, id);
        const job = state.jobs.get(key);
        queued.add(key);
        if (job === undefined || job.record.phase !== "waiting" || classOf(job.record.shape) !== name) {
          found.push(`${key} waits in class ${name} but should not`);
        } else if (place > 0 && (line.ids[place - 1] ?? 0) >= id) {
          found.push(`${key} waits behind a later job of its user`);
        } else if (place === 0 && own.since[at] !== job.record.submittedAt) {
          found.push(`${key} waits since ${own.since[at]}, but it came at ${job.record.submittedAt}`);
        }
      }
    }
  }
  for (const [key, job] of state.jobs) {
    const held = job.record.restoredFrom !== undefined;
    if (job.record.phase === "waiting" && queued.has(key) === held) {
      found.push(held ? `${key} is held but is in a class` : `${key} waits but is in no class`);
    }
  }
  return found;
}

/** Which attempts have a rank on a node, derived from the jobs. */
function heldViolations(state: State): string[] {
  const found: string[] = [];
  const held = new Map([...state.nodes.keys()].map((name) => [name, new Set<string>()]));
  for (const { record, former } of state.jobs.values()) {
    const present = record.attempt !== null && state.attempts.has(record.attempt.id) ? [record.attempt] : [];
    for (const attempt of [...present, ...former.filter((one) => state.former.has(one.id))]) {
      for (const { grant } of attempt.ranks) {
        held.get(grant.node)?.add(attempt.id);
      }
    }
  }
  for (const node of state.nodes.values()) {
    const expected = [...(held.get(node.name) ?? [])].sort().join();
    const actual = [...node.held].sort().join();
    if (expected !== actual) {
      found.push(`${node.name} should hold ${expected} and holds ${actual}`);
    }
  }
  return found;
}

/** What the plan knows of nodes that were not touched since is what is so. */
function roomViolations(state: State): string[] {
  const found: string[] = [];
  const uses = usesOf(state);
  for (const room of state.indexes.rooms) {
    const { name } = room.node;
    const use = uses.get(name) ?? emptyUse();
    if (state.indexes.touched.has(name)) {
      continue;
    }
    if (useText(use) !== useText(room.use)) {
      found.push(`the plan takes ${useText(room.use)} for in use on ${name}, which is ${useText(use)}`);
    }
    if (takesJobs(room.node) !== (room.pool !== null)) {
      found.push(`the plan ${room.pool === null ? "does not know" : "thinks"} that ${name} takes jobs`);
    }
    const { pool } = room;
    if (
      pool !== null &&
      (!pool.rooms.includes(room.index) || pool.buckets[room.level]?.rooms.includes(room.index) !== true)
    ) {
      found.push(`${name} is not among its like`);
    }
  }
  return found;
}

function useText(use: NodeUse): string {
  const round = (value: number): number => Math.round(value * 1e6) / 1e6;
  const devices = [...use.devices].filter(([, share]) => round(share) > 0).sort(([a], [b]) => a - b);
  const parts = [
    ...devices.map(([device, share]) => `${device}:${round(share)}`),
    round(use.cpus),
    round(use.memoryGb),
  ];
  return `${parts.join(" ")} by ${use.ranks}, alone ${use.exclusive}`;
}

/** What users hold is what their attempts do. */
function holdingViolations(state: State): string[] {
  const found: string[] = [];
  const expected = new Map<number, Holding>();
  for (const counted of state.indexes.counted.values()) {
    const sum = expected.get(counted.uid) ?? emptyHolding();
    addCounted(sum, counted, 1);
    expected.set(counted.uid, sum);
  }
  const textOf = (holding: Holding | undefined): string => {
    const { running, cpus, memoryGb, devices } = holding ?? emptyHolding();
    return JSON.stringify([running, cpus, memoryGb, [...devices].sort(([a], [b]) => (a < b ? -1 : 1))]);
  };
  for (const uid of new Set([...expected.keys(), ...state.indexes.holdings.keys()])) {
    if (textOf(expected.get(uid)) !== textOf(state.indexes.holdings.get(uid))) {
      found.push(`user ${uid} holds ${textOf(expected.get(uid))}, not ${textOf(state.indexes.holdings.get(uid))}`);
    }
  }
  for (const [key, { record, commit }] of state.jobs) {
    const isBegun = record.phase !== "waiting" && record.phase !== "ended";
    const id = record.attempt?.id ?? "";
    if (isBegun && commit !== "ending" && state.attempts.has(id) && !state.indexes.counted.has(id)) {
      found.push(`attempt ${id} of ${key} does not count`);
    }
  }
  return found;
}
