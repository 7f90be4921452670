/**
 * Why a job waits: the constraint that blocks it, computed from the same facts as the plan, naming the machines and who
 * holds what it needs. There is no default reason. Also says, before a job is queued, that it can never fit. It
 * changes nothing and is asked by the API's routes through views.ts.
 */
import type { Inventory } from "../../shared/agent-wire.ts";
import type { JobId, Uid } from "../../shared/ids.ts";
import type { Shape } from "../../shared/job.ts";
import { devicesOf, emptyUse, fitNode, freeOf, isRefusedMix, type NodeUse, slack } from "./fit.ts";
import { isHeldAtStart, remainsOf } from "./leases.ts";
import { compareJobs } from "./order.ts";
import { adminText, silenceText, unavailableText } from "./node-texts.ts";
import { lacksLeases, takesJobs, unknownTwin } from "./schedule.ts";
import { type ActiveJob, jobKey, type NodeState, type State } from "./state.ts";
import { type Holder, holdersOf, usesOf } from "./usage.ts";

/** Machines that a reason lists one by one, and jobs that it names for each. */
const nodesListed = 8;
const holdersListed = 3;

export interface Explanation {
  /** For people; null when there is nothing to say. */
  reason: string | null;
  /** 1 = next of this user's waiting jobs; null when it does not wait. */
  position: number | null;
}

/** Facts that are the same for all jobs of one answer, gathered once. */
export interface Facts {
  uses: Map<string, NodeUse>;
  holders: Holder[];
  now: number;
}

export function factsOf(state: State, now: number): Facts {
  return { uses: usesOf(state), holders: holdersOf(state), now };
}

/** `now` in ms since 1970. An unknown job has nothing to say. */
export function explain(state: State, uid: Uid, id: JobId, now: number): Explanation {
  const job = state.jobs.get(jobKey(uid, id));
  if (job === undefined) {
    return { reason: null, position: null };
  }
  const position = job.record.phase === "waiting" ? positionOf(state, job) : null;
  return { reason: reasonOf(state, job, factsOf(state, now)), position };
}

function positionOf(state: State, job: ActiveJob): number {
  let before = 0;
  for (const other of state.jobs.values()) {
    if (other.uid === job.uid && other.record.phase === "waiting" && compareJobs(other, job) < 0) {
      before += 1;
    }
  }
  return before + 1;
}

/** The reason alone; `facts` may be shared by all jobs of one answer. */
export function reasonOf(state: State, job: ActiveJob, facts: Facts): string | null {
  const { record } = job;
  if (record.phase === "waiting") {
    return waitingReason(state, job, facts);
  }
  if (record.phase === "ended") {
    return record.reason;
  }
  const nodes = (record.attempt?.ranks ?? [])
    .map((rank) => state.nodes.get(rank.grant.node))
    .filter((node) => node !== undefined);
  const silent = nodes.find((node) => silenceText(node, facts.now) !== null);
  if (silent !== undefined) {
    return `${silent.name} ${silenceText(silent, facts.now)}; what the job does there is not known`;
  }
  const ending = nodes.find((node) => node.admin.state === "draining" && node.admin.deadline !== null);
  return troubleText(state, job) ?? (ending === undefined ? null : `${ending.name} ${adminText(ending, facts.now)}`);
}

/** What hinders a start that a node tries again. */
function troubleText(state: State, job: ActiveJob): string | null {
  const attempt = job.record.attempt;
  for (const rank of attempt?.ranks ?? []) {
    const report = attempt === null ? undefined : state.nodes.get(rank.grant.node)?.attempts.get(attempt.id);
    if (report?.state === "starting" && report.fault !== null) {
      return `it is being tried again: ${report.fault}`.slice(0, 1000);
    }
  }
  return null;
}

function waitingReason(state: State, job: ActiveJob, facts: Facts): string {
  const { shape } = job.record;
  const nodes = present(state);
  const twin = unknownTwin(state, job);
  if (twin !== null) {
    return `an attempt of this job that the coordinator's state does not know runs on ${twin}; it is left alone`;
  }
  if (job.record.restoredFrom !== undefined) {
    return heldText(job.record.restoredFrom);
  }
  const remains = remainsText(state, job);
  if (remains !== null) {
    return remains;
  }
  if (nodes.length === 0) {
    return "an admin has removed every node of this cluster";
  }
  if (nodes.every((node) => !node.reported)) {
    return "no node has reported yet";
  }
  const parts = nodes.slice(0, nodesListed).map((node) => `${node.name} ${nodeText(node, job, facts)}`);
  const rest = nodes.length - parts.length;
  const more = rest > 0 ? `, and ${rest} more nodes` : "";
  return `needs ${needText(shape)}: ${parts.join(", ")}${more}`.slice(0, 1000);
}

/** What holds a job back that recovers; null: nothing does. */
function remainsText(state: State, job: ActiveJob): string | null {
  const remains = remainsOf(state, job);
  const secondsTo = (uptime: number): number => Math.max(0, Math.ceil((uptime - state.uptime) / 1000));
  if (remains === null) {
    const until = isHeldAtStart(state, job) ? state.startHoldUntil : null;
    const text = "the coordinator was just started and hears first from every node whether the job runs there";
    return until === null ? null : `${text} (for at most ${secondsTo(until)} s)`;
  }
  return remains.until === null
    ? `it is started again when nothing of it is left on ${remains.node}, which is being cleaned`
    : `it is started again elsewhere in ${secondsTo(remains.until)} s, when its lease on ${remains.node} must have run out`;
}

/** `time`: when the backup was taken that the job was put back from. */
function heldText(time: string): string {
  return (
    `held after a restore: this is how the job stood at ${time}, and it may have run since; ` +
    "an admin lets it start with `sky admin release`, or you cancel it"
  );
}

/** Nodes that an admin has removed are not there, until an admin resumes them; drained ones are. */
function present(state: State): NodeState[] {
  return [...state.nodes.values()].filter((node) => node.admin.state !== "removed");
}

/** What a job asks for, e.g. `4 x V100 on 2 nodes`. */
function needText(shape: Shape): string {
  const parts: string[] = [];
  if (shape.accelerators !== null) {
    parts.push(`${shape.accelerators.count} x ${shape.accelerators.kind}`);
  }
  if (shape.cpus > 0) {
    parts.push(`${shape.cpus} CPUs`);
  }
  if (shape.memoryGb > 0) {
    parts.push(`${shape.memoryGb} GiB`);
  }
  const what = parts.length === 0 ? "room" : parts.join(", ");
  return shape.nodes === 1 ? `${what} on 1 node` : `${what} on each of ${shape.nodes} nodes`;
}

function nodeText(node: NodeState, job: ActiveJob, facts: Facts): string {
  const { shape } = job.record;
  const unavailable = takesJobs(node) ? null : (unavailableText(node, facts.now) ?? "is just coming back");
  const inventory = node.inventory;
  if (unavailable !== null || inventory === null) {
    return unavailable ?? "has not reported yet";
  }
  if (lacksLeases(node, shape)) {
    return "runs an older version, on which no job with job_recovery is started until its agent is upgraded";
  }
  const use = facts.uses.get(node.name) ?? emptyUse();
  if (fitNode(node.name, inventory, use, shape) !== null) {
    return "has room";
  }
  const lacks = [acceleratorText(inventory, use, shape), ...otherTexts(inventory, use, shape)].filter(
    (one) => one !== null,
  );
  const holders = couldHelp(inventory, shape) ? holderText(node, job, facts) : "";
  return `has ${lacks.join(" and ")}${holders}`;
}

/** What is missing of the accelerators; null when they are not what is missing. */
function acceleratorText(inventory: Inventory, use: NodeUse, shape: Shape): string | null {
  if (shape.accelerators === null) {
    return null;
  }
  const { kind, count } = shape.accelerators;
  if (isRefusedMix(inventory)) {
    return "accelerators of several kinds and so takes no accelerator jobs";
  }
  const devices = devicesOf(inventory, kind);
  if (devices.length === 0) {
    return `no ${kind}`;
  }
  const free = freeOf(devices, use).length;
  const roomy = devices.some((one) => (use.devices.get(one.index) ?? 0) + count <= 1 + slack);
  return (count >= 1 ? free >= count : roomy) ? null : `${free} of ${devices.length} ${kind} free`;
}

function otherTexts(inventory: Inventory, use: NodeUse, shape: Shape): string[] {
  const texts: string[] = [];
  const tidy = (value: number): number => Math.round(Math.max(0, value) * 100) / 100;
  if (use.cpus + shape.cpus > inventory.cpus + slack) {
    texts.push(`${tidy(inventory.cpus - use.cpus)} of ${tidy(inventory.cpus)} CPUs free`);
  }
  if (use.memoryGb + shape.memoryGb > inventory.memoryGb + slack) {
    texts.push(`${tidy(inventory.memoryGb - use.memoryGb)} of ${tidy(inventory.memoryGb)} GiB free`);
  }
  return texts;
}

/** An empty node of this kind would do, so it is other jobs that are in the way. */
function couldHelp(inventory: Inventory, shape: Shape): boolean {
  return fitNode("empty", inventory, emptyUse(), shape) !== null;
}

/** Who holds what the job needs on this node. Other users' jobs are not named. */
function holderText(node: NodeState, job: ActiveJob, facts: Facts): string {
  const needsDevices = job.record.shape.accelerators !== null;
  const amounts = new Map<string, number>();
  for (const holder of facts.holders) {
    if (holder.node !== node.name || (needsDevices && holder.grant.devices.length === 0 && amounts.size > 0)) {
      continue;
    }
    const own = holder.uid === job.uid ? `your job ${holder.jobId}` : "other users' jobs";
    const who = holder.known ? own : "a job that the coordinator does not know";
    amounts.set(who, (amounts.get(who) ?? 0) + holder.grant.devices.length * holder.grant.share);
  }
  if (amounts.size === 0) {
    return "";
  }
  const named = [...amounts].slice(0, holdersListed).map(([who, amount]) => {
    return needsDevices && amount > 0 ? `${Math.round(amount * 100) / 100} held by ${who}` : `in use by ${who}`;
  });
  const rest = amounts.size - named.length;
  return ` (${named.join(", ")}${rest > 0 ? `, and ${rest} more` : ""})`;
}

/**
 * Why a job of this shape could not start even on the empty cluster, in SkyPilot's words; null when it could. Machines
 * count by what they last reported, also while they are unreachable; one that has never reported may have anything.
 */
export function neverFits(state: State, shape: Shape): string | null {
  const nodes = present(state);
  if (nodes.every((node) => node.inventory === null)) {
    return null;
  }
  const possible = nodes.filter((node) => node.inventory === null || couldHelp(node.inventory, shape));
  if (possible.length >= shape.nodes) {
    return null;
  }
  const existing = nodes.slice(0, nodesListed).map((node) => `${node.name}: ${inventoryText(node.inventory)}`);
  const more = nodes.length > nodesListed ? `\n\t\t… and ${nodes.length - nodesListed} more nodes` : "";
  return (
    "Requested resources do not match the existing cluster.\n" +
    `  Requested:\t${needText(shape)}\n` +
    `  Existing:\t${existing.join("\n\t\t")}${more}`
  );
}

function inventoryText(inventory: Inventory | null): string {
  if (inventory === null) {
    return "has not reported yet";
  }
  const counts = new Map<string, number>();
  for (const { kind } of inventory.accelerators) {
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  const accelerators = [...counts].map(([kind, count]) => `${count} x ${kind}`);
  const mixed = isRefusedMix(inventory) ? " (of several kinds, so it takes no accelerator jobs)" : "";
  return [...accelerators, `${inventory.cpus} CPUs`, `${inventory.memoryGb} GiB`].join(", ") + mixed;
}
