/**
 * Who has what a job needs on one node, and when it comes back as far as time limits tell. Names only as the reader may
 * see them (viewer.ts). Derived from the state, changes nothing. Pure; called by explain.ts and its neighbours.
 */
import type { ExplainHolder } from "../../shared/explain-api.ts";
import type { Demand, Shape } from "../../shared/job.ts";
import { addGrant, devicesFor, emptyUse, fitNode, slack } from "./fit.ts";
import { span } from "./node-texts.ts";
import type { ActiveJob, NodeState, State } from "./state.ts";
import { type Holder, holdersOn } from "./usage.ts";
import { jobFor, nameFor, type Viewer } from "./viewer.ts";

/** Jobs that a sentence names for one node; the rest is counted. */
const holdersListed = 3;

/** One holder on a node, with what of it the job needs. */
interface Held {
  holder: Holder;
  job: ActiveJob | null;
  /** Devices of the wanted kind, fractions as such; 0 where the job needs none. */
  amount: number;
  /** Uptime at which it is expected to be free; null: not known. 0: it is being cleaned away. */
  end: number | null;
}

/** The job whose present attempt this is; null for attempts that were given up, or that only the node knows. */
function jobOf(state: State, holder: Holder): ActiveJob | null {
  const key = state.attempts.get(holder.attempt);
  return key === undefined ? null : (state.jobs.get(key) ?? null);
}

function endOf(state: State, holder: Holder, job: ActiveJob | null): number | null {
  if (job === null) {
    return state.former.has(holder.attempt) ? 0 : null;
  }
  const isOver = job.record.phase === "ended" || job.record.phase === "waiting";
  return isOver ? 0 : (job.preempted?.at ?? job.endsAt);
}

/** Whoever stands in the way of this demand on the node, those whose end is known first. */
function heldOn(state: State, node: NodeState, demand: Demand): Held[] {
  const { inventory } = node;
  const wanted =
    inventory === null || demand.accelerators === null
      ? null
      : new Set(devicesFor(inventory, demand.accelerators).map((one) => one.index));
  const held = holdersOn(state, node).map((holder): Held => {
    const job = jobOf(state, holder);
    const devices = wanted === null ? 0 : holder.grant.devices.filter((index) => wanted.has(index)).length;
    return { holder, job, amount: devices * holder.grant.share, end: endOf(state, holder, job) };
  });
  return held.sort((a, b) => (a.end ?? Number.POSITIVE_INFINITY) - (b.end ?? Number.POSITIVE_INFINITY));
}

/**
 * Uptime at which one rank fits on this node, when what is there ends at its time limit and nothing else comes; null: not
 * known. It is now when it fits now.
 */
export function roomAt(state: State, node: NodeState, shape: Shape, demand: Demand): number | null {
  const { inventory } = node;
  if (inventory === null) {
    return null;
  }
  const held = heldOn(state, node, demand);
  for (let gone = 0; gone <= held.length; gone += 1) {
    const use = emptyUse();
    for (const { holder } of held.slice(gone)) {
      addGrant(use, holder.grant);
    }
    if (fitNode(node.name, inventory, use, demand, shape.exclusive === true) !== null) {
      const last = gone === 0 ? state.uptime : (held[gone - 1]?.end ?? null);
      return last === null ? null : Math.max(last, state.uptime);
    }
  }
  return null;
}

/** ` for another 2h 5m at most`; nothing where no end is known. */
function untilText(state: State, { end, job }: Held): string {
  if (job !== null && (job.record.phase === "ended" || job.record.phase === "waiting")) {
    return ", being cleaned away";
  }
  return end === null || end <= state.uptime ? "" : ` for ${span(end - state.uptime)} at most`;
}

function whoText(state: State, viewer: Viewer, { holder }: Held): string {
  return holder.known ? jobFor(state, viewer, holder.uid, holder.jobId) : "a job that the coordinator does not know";
}

function isRelevant(held: Held, demand: Demand, needsDevices: boolean): boolean {
  if (needsDevices) {
    return held.amount > slack;
  }
  return (demand.cpus > 0 && held.holder.grant.cpus > 0) || (demand.memoryGb > 0 && held.holder.grant.memoryGb > 0);
}

/**
 * In brackets after what a node lacks: ` (2 held by your job 3 for 1h 5m at most, 1 by another user's job)`; nothing when
 * nobody is in the way. `lacks`: types of what is missing there.
 */
export function holderText(
  state: State,
  viewer: Viewer,
  node: NodeState,
  demand: Demand,
  lacks: readonly string[],
): { text: string; holders: ExplainHolder[] } {
  const needsDevices = lacks.includes("accelerators");
  const isAlone = lacks.includes("exclusive");
  const all = heldOn(state, node, demand).filter((held) => isAlone || isRelevant(held, demand, needsDevices));
  const groups = new Map<string, { amount: number; count: number }>();
  for (const held of all) {
    const who = whoText(state, viewer, held) + untilText(state, held);
    const group = groups.get(who) ?? { amount: 0, count: 0 };
    groups.set(who, { amount: group.amount + held.amount, count: group.count + 1 });
  }
  const named = [...groups].slice(0, holdersListed).map(([who, { amount, count }]) => {
    const times = count > 1 ? ` (${count} jobs)` : "";
    return needsDevices ? `${Math.round(amount * 100) / 100} held by ${who}${times}` : `in use by ${who}${times}`;
  });
  const rest = groups.size - named.length;
  const text = named.length === 0 ? "" : ` (${named.join(", ")}${rest > 0 ? `, and ${rest} more` : ""})`;
  return { text, holders: all.map((held) => shown(state, viewer, node, held, needsDevices)) };
}

function shown(state: State, viewer: Viewer, node: NodeState, held: Held, needsDevices: boolean): ExplainHolder {
  const { holder, amount, end } = held;
  const user = holder.known ? nameFor(state, viewer, holder.uid, holder.jobId) : null;
  const own = holder.known && holder.uid === viewer.uid;
  const kind = node.inventory?.accelerators.find((one) => one.index === holder.grant.devices[0])?.kind ?? "devices";
  const what = needsDevices ? `${Math.round(amount * 100) / 100} ${kind}` : `${holder.grant.cpus} CPUs`;
  const until = end === null || end <= state.uptime ? null : end;
  return { user, job_id: user === null ? null : holder.jobId, own, what: `${what} on ${node.name}`, until };
}
