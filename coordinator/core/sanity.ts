/**
 * What must hold in the coordinator's state at any time, checked by tests and by the simulator after every step. It
 * reports and never repairs. A device is never granted above one in sum, CPUs and memory never above what the node has
 * (as far as this state has granted them), and the indexes agree with the jobs.
 */
import { addGrant, emptyUse, type NodeUse, slack } from "./fit.ts";
import { classOf, compareJobs } from "./order.ts";
import { jobKey, type State } from "./state.ts";
import { holdersOf } from "./usage.ts";

/** Violations as sentences; empty when all is well. */
export function violationsOf(state: State): string[] {
  return [...grantViolations(state), ...indexViolations(state), ...lineViolations(state)];
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
  for (const [name, line] of state.waiting) {
    for (const [at, key] of line.entries()) {
      const job = state.jobs.get(key);
      const before = at === 0 ? undefined : state.jobs.get(line[at - 1] as typeof key);
      queued.add(key);
      if (job === undefined || job.record.phase !== "waiting" || classOf(job.record.shape) !== name) {
        found.push(`${key} waits in class ${name} but should not`);
      } else if (before !== undefined && before.uid === job.uid && compareJobs(before, job) > 0) {
        found.push(`${key} waits behind a later job of its user`);
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
