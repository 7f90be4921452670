/**
 * What holds one waiting job back: every constraint that is in its way, each with machines, holders and the time at which
 * it ends by itself where that is known. When all of them are gone the job starts; there is none without a cause. Pure;
 * called by explain.ts and explain-result.ts.
 */
import type { Constraint, ExplainHolder } from "../../shared/explain-api.ts";
import { demandsOf } from "../../shared/job.ts";
import { durationOf, openFrom, peakUse } from "./board.ts";
import { shapeText } from "./demand-text.ts";
import { unknownTwin } from "./eligible.ts";
import { boardFor, classFor, type Facts } from "./facts.ts";
import { fitGroups } from "./fit.ts";
import { holderText, roomAt } from "./holders.ts";
import type { Room } from "./indexes.ts";
import { isHeldAtStart, remainsOf } from "./leases.ts";
import { jobsAhead } from "./ahead.ts";
import { tooFewCan } from "./mechanisms.ts";
import { present } from "./never-fits.ts";
import { span } from "./node-texts.ts";
import { place } from "./place.ts";
import { type Hindrance, wantedOf } from "./quota.ts";
import { quotaHolders, quotaText } from "./quota-text.ts";
import { type Lack, type Shortage, shortageOn } from "./shortage.ts";
import { type ActiveJob, type JobKey, jobKey } from "./state.ts";
import { jobFor, maySee, nameFor } from "./viewer.ts";
import { isOn, nextWindowFor } from "./windows.ts";

/** What one node lacks, with the sentence about it: `n1 has 1 of 4 V100 free (2 held by your job 1)`. */
export interface NodeBlock extends Shortage {
  room: Room | null;
  readonly text: string;
}

export interface Blockers {
  /** In the order of their weight: what must be gone first comes first. */
  constraints: Constraint[];
  /** The nodes, those that could help first; empty when the machines are not looked at. */
  nodes: NodeBlock[];
}

/** Nodes that are described one by one; the rest is counted. */
const nodesDescribed = 16;

function constraint(type: Constraint["type"], text: string, more: Partial<Constraint> = {}): Constraint {
  return { type, text, nodes: [], holders: [], until: null, ...more };
}

/** Uptime as seconds since 1970. */
export function wallSeconds(facts: Facts, uptime: number): number {
  return Math.round((facts.now + uptime - facts.state.uptime) / 1000);
}

/** What must let the job go first, whatever is free; null: nothing. */
function heldConstraint(facts: Facts, job: ActiveJob): Constraint | null {
  const { state } = facts;
  const twin = unknownTwin(state, job);
  if (twin !== null) {
    const text = `an attempt of this job that the coordinator's state does not know runs on ${twin}; it is left alone`;
    return constraint("held", text, { nodes: [twin] });
  }
  if (job.record.restoredFrom !== undefined) {
    const text =
      `held after a restore: this is how the job stood at ${job.record.restoredFrom}, and it may have run since; ` +
      "an admin lets it start with `sky admin release`, or you cancel it";
    return constraint("held", text);
  }
  const remains = remainsConstraint(facts, job);
  if (remains !== null) {
    return remains;
  }
  return job.commit === "clean" ? null : constraint("held", "its last change is just being written to disk");
}

/** What holds a job back that recovers. */
function remainsConstraint(facts: Facts, job: ActiveJob): Constraint | null {
  const { state } = facts;
  const secondsTo = (uptime: number): number => Math.max(0, Math.ceil((uptime - state.uptime) / 1000));
  const remains = remainsOf(state, job);
  if (remains === null) {
    const until = isHeldAtStart(state, job) ? state.startHoldUntil : null;
    const text = "the coordinator was just started and hears first from every node whether the job runs there";
    return until === null
      ? null
      : constraint("held", `${text} (for at most ${secondsTo(until)} s)`, { until: wallSeconds(facts, until) });
  }
  const { node, until } = remains;
  if (until === null) {
    const text = `it is started again when nothing of it is left on ${node}, which is being cleaned`;
    return constraint("held", text, { nodes: [node] });
  }
  const text = `it is started again elsewhere in ${secondsTo(until)} s, when its lease on ${node} must have run out`;
  return constraint("held", text, { nodes: [node], until: wallSeconds(facts, until) });
}

/** The quotas that refuse every way of the job; none when some way is allowed. */
function quotaConstraints(facts: Facts, job: ActiveJob): Constraint[] {
  const { state, viewer, quotas } = facts;
  const { shape, user } = job.record;
  const found = new Map<string, Constraint>();
  for (const demand of quotas.isEmpty ? [] : demandsOf(shape)) {
    const hindrance = quotas.hindrance(job.uid, user, wantedOf(job.uid, shape, demand));
    if (hindrance === null) {
      return [];
    }
    const text = quotaText(state, viewer, job, hindrance);
    found.set(text, quotaConstraint(facts, job, hindrance, text));
  }
  return [...found.values()];
}

function quotaConstraint(facts: Facts, job: ActiveJob, hindrance: Hindrance, text: string): Constraint {
  const holders = quotaHolders(facts.state, facts.viewer, job, hindrance).map((one) => inSeconds(facts, one));
  return constraint("quota", text, { holders });
}

/** Holders come with their ends in uptime. */
function inSeconds<One extends { until: number | null }>(facts: Facts, one: One): One {
  return one.until === null ? one : { ...one, until: wallSeconds(facts, one.until) };
}

/** Whom a reservation is for, as far as the reader may know. */
function reservedFor(facts: Facts, users: readonly string[], groups: readonly string[]): string {
  const { state, viewer } = facts;
  const own = new Set(state.people.get(viewer.uid)?.groups ?? []);
  const people = [...state.people.values()].filter((one) => users.includes(one.user) && maySee(state, viewer, one.uid));
  const shown = viewer.isAdmin ? groups : groups.filter((group) => own.has(group));
  const names = [
    ...(viewer.isAdmin ? users : people.map((one) => one.user)),
    ...shown.map((one) => `members of ${one}`),
  ];
  return names.length === 0 ? "others" : names.slice(0, 4).join(" and ");
}

/** The window that keeps the job from starting on this node now; null: none. */
function windowLack(facts: Facts, room: Room, job: ActiveJob): (Lack & { until: number }) | null {
  const { state, board, now } = facts;
  if (room.pool === null || openFrom(board, room.pool, job, state.uptime) <= state.uptime) {
    return null;
  }
  const window = nextWindowFor(state, room.node.name, job.record, now);
  if (window === null) {
    return null;
  }
  const what =
    window.kind === "maintenance"
      ? "under maintenance"
      : `reserved for ${reservedFor(facts, window.users, window.groups)}`;
  const why = window.reason === null ? "" : `: ${window.reason}`;
  const limit = job.record.shape.timeLimitSeconds;
  const asked = limit === undefined ? "has no time limit" : `may take ${span(limit * 1000)}`;
  const text = isOn(window, now)
    ? `is ${what} for another ${span(window.to - now)}${why}`
    : `will be ${what} in ${span(window.from - now)}, and the job ${asked}${why}`;
  return { type: "window", text, until: Math.round(window.to / 1000) };
}

/** The room on this node that is kept for others; null: the job would not be in their way. */
function reservationLack(
  facts: Facts,
  room: Room,
  job: ActiveJob,
  key: JobKey,
  demand: Shortage["demand"],
): Lack | null {
  const { state, viewer } = facts;
  const board = boardFor(facts, key);
  const holds = board.holds.get(room.index) ?? [];
  const { shape } = job.record;
  if (holds.length === 0 || room.pool === null) {
    return null;
  }
  const use = peakUse(board, room, state.uptime, state.uptime + durationOf(shape));
  const exclusive = shape.exclusive === true;
  if (fitGroups(room.node.name, room.pool, room.groups, use, demand, exclusive) !== null) {
    return null;
  }
  const [first] = holds.toSorted((a, b) => a.from - b.from);
  const [uid = 0, id = 0] = (first?.key ?? "0/0").split("/").map(Number);
  const from = (first?.from ?? 0) <= state.uptime ? "" : ` in ${span((first?.from ?? 0) - state.uptime)}`;
  const rest = new Set(holds.map((one) => one.key)).size - 1;
  const others = rest > 0 ? ` and ${rest} more` : "";
  return {
    type: "reservation",
    keptFor: [...new Set(holds.map((one) => one.key))],
    text: `has room, but keeps it for ${jobFor(state, viewer, uid, id)}${others}, whose turn comes first${from}`,
  };
}

/** What one node lacks for the job, in words. */
function blockOn(facts: Facts, room: Room, job: ActiveJob, key: JobKey, demands: readonly number[] | null): NodeBlock {
  const { state, viewer, now } = facts;
  const base = shortageOn(room.node, job.record.shape, room.use, now, demands);
  const lacks: Lack[] = [...base.lacks];
  const window = base.couldHelp ? windowLack(facts, room, job) : null;
  if (window !== null) {
    lacks.push(window);
  }
  const kept = lacks.length === 0 ? reservationLack(facts, room, job, key, base.demand) : null;
  if (kept !== null) {
    lacks.push(kept);
  }
  const types = base.lacks.map((one) => one.type);
  const needsHolders =
    base.couldHelp && types.some((type) => ["accelerators", "cpus", "memory", "exclusive"].includes(type));
  return {
    ...base,
    lacks,
    room,
    // Only of the few nodes that are described: to find all holders everywhere would take a large cluster's seconds.
    get text(): string {
      const holders = needsHolders ? holderText(state, viewer, room.node, base.demand, types).text : "";
      const texts = lacks.map((one) => one.text);
      return `${room.node.name} ${texts.length === 0 ? "has room" : joined(texts, base.lacks.length, holders)}`;
    },
  };
}

/** `has 1 of 4 V100 free and 2 of 8 CPUs free (…) and will be …`: holders stand behind what they hold. */
function joined(texts: readonly string[], held: number, holders: string): string {
  const first = texts.slice(0, held).map((text, at) => (at === 0 ? text : text.replace(/^has /, "")));
  return [first.join(" and ") + holders, ...texts.slice(held)].filter((text) => text !== "").join(" and ");
}

/** The way of a gang in which most nodes have room: all of its ranks are served in the same way. */
function bestWay(facts: Facts, job: ActiveJob, key: JobKey): readonly number[] | null {
  const ways = demandsOf(job.record.shape);
  if (job.record.shape.nodes === 1 || ways.length === 1) {
    return null;
  }
  const scores = ways.map((_, at) => {
    const blocks = facts.board.indexes.rooms.map((room) => blockOn(facts, room, job, key, [at]));
    const open = blocks.filter((one) => one.lacks.length === 0).length;
    return open * 1e6 + blocks.filter((one) => one.couldHelp).length;
  });
  return [scores.indexOf(Math.max(...scores))];
}

function rankOf(block: NodeBlock): number {
  return (block.couldHelp ? 0 : 1e6) + block.lacks.length;
}

/** Every node of the cluster as the job sees it, those that are nearest to serving it first. */
function nodeBlocks(facts: Facts, job: ActiveJob, key: JobKey): NodeBlock[] {
  const way = bestWay(facts, job, key);
  const rooms = facts.board.indexes.rooms.filter((room) => room.node.admin.state !== "removed");
  return rooms
    .map((room) => blockOn(facts, room, job, key, way))
    .map((block, at) => ({ block, at }))
    .sort((a, b) => rankOf(a.block) - rankOf(b.block) || a.at - b.at)
    .map(({ block }) => block);
}

/** A waiting job for which room is kept, as the reader may see it. */
function keptHolder({ state, viewer }: Facts, key: JobKey): ExplainHolder {
  const [uid = 0, id = 0] = key.split("/").map(Number);
  const user = nameFor(state, viewer, uid, id);
  return { user, job_id: user === null ? null : id, own: uid === viewer.uid, what: "", until: null };
}

function nodeConstraints(facts: Facts, job: ActiveJob, blocks: readonly NodeBlock[]): Constraint[] {
  const { state, viewer } = facts;
  const { shape } = job.record;
  return blocks
    .filter((block) => block.lacks.length > 0)
    .slice(0, nodesDescribed)
    .map((block) => {
      const { node, demand, lacks, text } = block;
      const types = lacks.map((one) => one.type);
      const { holders: there } = block.couldHelp ? holderText(state, viewer, node, demand, types) : { holders: [] };
      const kept = lacks.flatMap((one) => one.keptFor ?? []).map((one) => keptHolder(facts, one));
      const holders = kept.length > 0 ? kept : there;
      const first = types[0] ?? "node";
      const isRoom = ["accelerators", "cpus", "memory", "exclusive"].includes(first) && block.couldHelp;
      const at = isRoom ? roomAt(state, node, shape, demand) : null;
      const window = block.room === null ? null : windowLack(facts, block.room, job);
      const until =
        at !== null && at > state.uptime ? wallSeconds(facts, at) : first === "window" ? (window?.until ?? null) : null;
      const named = holders.map((one) => inSeconds(facts, one));
      return constraint(first, text, { nodes: [node.name], holders: named, until });
    });
}

/** What is in the way when the machines are looked at; none: the job fits. */
function roomConstraints(facts: Facts, job: ActiveJob, key: JobKey): Blockers {
  const { state } = facts;
  const { shape } = job.record;
  const there = present(state);
  if (there.length === 0) {
    return { constraints: [constraint("node", "an admin has removed every node of this cluster")], nodes: [] };
  }
  if (there.every((node) => !node.reported)) {
    return { constraints: [constraint("node", "no node has reported yet")], nodes: [] };
  }
  const nodes = nodeBlocks(facts, job, key);
  if (nodes.filter((block) => block.lacks.length === 0).length >= shape.nodes) {
    return { constraints: [], nodes };
  }
  const unable = tooFewCan(there, shape);
  if (unable !== null) {
    return { constraints: [constraint("fit", unable), ...nodeConstraints(facts, job, nodes)], nodes };
  }
  const able = nodes.filter((block) => block.couldHelp);
  const known = there.filter((node) => node.inventory === null);
  const never =
    able.length + known.length >= shape.nodes
      ? []
      : [
          constraint(
            "fit",
            `no ${shape.nodes === 1 ? "node" : `${shape.nodes} nodes`} of this cluster could serve it: it needs ${shapeText(shape)}`,
          ),
        ];
  return { constraints: [...never, ...nodeConstraints(facts, job, nodes)], nodes };
}

/** A quota that only shows at the job's place: which kind serves a demand for memory is not known before. */
function placedQuota(facts: Facts, job: ActiveJob, key: JobKey): Constraint[] {
  const { state, viewer, quotas } = facts;
  const { ranks } = quotas.isEmpty ? { ranks: null } : place(boardFor(facts, key), classFor(facts, job), job);
  const hindrance = ranks === null ? null : quotas.hindranceOfGrants(job.uid, job.record.user, ranks);
  return hindrance === null ? [] : [quotaConstraint(facts, job, hindrance, quotaText(state, viewer, job, hindrance))];
}

/** What is in the way of a waiting job itself, without those that come before it. None: it starts now. */
export function blockersOf(facts: Facts, job: ActiveJob): Blockers {
  const key = jobKey(job.uid, job.id);
  if (facts.plan.starts.some((one) => one.key === key)) {
    return { constraints: [], nodes: [] };
  }
  const held = heldConstraint(facts, job);
  if (held !== null) {
    return { constraints: [held], nodes: [] };
  }
  const room = roomConstraints(facts, job, key);
  const quotas = quotaConstraints(facts, job);
  const late = quotas.length + room.constraints.length === 0 ? placedQuota(facts, job, key) : [];
  return { constraints: [...quotas, ...late, ...room.constraints], nodes: room.nodes };
}

/** The same with the jobs ahead, where they would take what becomes free. */
export function allBlockersOf(facts: Facts, job: ActiveJob): Blockers {
  const found = blockersOf(facts, job);
  const isAboutRoom = found.constraints.some((one) => one.type !== "held" && one.type !== "quota");
  const ahead = isAboutRoom ? jobsAhead(facts, job, jobKey(job.uid, job.id)) : [];
  return { ...found, constraints: [...found.constraints, ...ahead] };
}
