/**
 * Which running jobs give way to which waiting ones: preemptible jobs of lower priority, and of those as little as makes
 * the room. What ends in time by itself needs nobody to be stopped, and what is on a machine that is not heard of is left
 * alone. It chooses and changes nothing; made anew after each plan. Pure; called by settle-preemption.ts.
 */
import type { AttemptId } from "../../shared/ids.ts";
import type { Demand, RankGrant, Shape } from "../../shared/job.ts";
import { type Board, openBoard, openFrom, optionsOf } from "./board.ts";
import { schedulingOf } from "./fair-share.ts";
import { addGrant, emptyUse, fitGroups, hasLabels, type NodeUse } from "./fit.ts";
import type { Room, WaitingClass } from "./indexes.ts";
import { classOf, priorityOf } from "./order.ts";
import { QuotaBook } from "./quota.ts";
import type { Reservation } from "./reserve.ts";
import { isWithinQuota } from "./schedule.ts";
import type { ActiveJob, JobKey, State } from "./state.ts";
import { holdersOn } from "./usage.ts";

/** Attempts that a job may have given up and that are not known to be gone; beyond it is left alone. Less than jobRecordSchema has room for. */
const givenUpMax = 40;

/** Waiting jobs for which others may be stopped at one time. */
const jobsMax = 8;

/** A running job that may give way. */
interface Victim {
  key: JobKey;
  job: ActiveJob;
  priority: number;
  devices: number;
  cpus: number;
}

/** One rank's room: what must give way for it. */
interface Seat {
  room: Room;
  grant: RankGrant;
  victims: Victim[];
}

/** One choice in the making. */
interface Choice {
  state: State;
  board: Board;
  quotas: QuotaBook;
  /** Running jobs that may give way, by the node that they are on. */
  victims: Map<string, Victim[]>;
  /** Attempts that were chosen already. */
  leaving: Set<AttemptId>;
  /** Room that is promised to jobs whose turn is earlier, by node. */
  promised: Map<string, RankGrant[]>;
  /** Uptime at which a job that is warned now is stopped: what ends before it does so by itself. */
  horizon: number;
}

/** The job is running, may give way, and every machine of it is heard of. */
function mayGiveWay(state: State, job: ActiveJob, horizon: number): boolean {
  const { record, commit } = job;
  const { shape, phase, attempt } = record;
  const isUnderWay = commit === "clean" && phase !== "waiting" && phase !== "ended" && attempt?.lease !== undefined;
  if (!isUnderWay || shape.preemptible !== true || shape.recovers !== true) {
    return false;
  }
  const isKept = (record.givenUp?.length ?? 0) >= givenUpMax || (job.endsAt !== null && job.endsAt <= horizon);
  return (
    !isKept &&
    attempt.ranks.every(({ grant }) => {
      const node = state.nodes.get(grant.node);
      return node !== undefined && node.connected && node.heard && node.refusal === null;
    })
  );
}

function victimsByNode(state: State, horizon: number): Map<string, Victim[]> {
  const found = new Map<string, Victim[]>();
  for (const key of state.attempts.values()) {
    const job = state.jobs.get(key);
    if (job === undefined || !mayGiveWay(state, job, horizon)) {
      continue;
    }
    const grants = (job.record.attempt?.ranks ?? []).map((rank) => rank.grant);
    const devices = grants.reduce((sum, grant) => sum + grant.devices.length * grant.share, 0);
    const cpus = grants.reduce((sum, grant) => sum + grant.cpus, 0);
    const victim: Victim = { key, job, priority: priorityOf(job.record.shape), devices, cpus };
    for (const { node } of grants) {
      const known = found.get(node);
      if (known === undefined) {
        found.set(node, [victim]);
      } else {
        known.push(victim);
      }
    }
  }
  return found;
}

/**
 * Negative when `a` is to be kept rather than `b`: who was warned already goes on being stopped; then higher priority, more
 * devices, and the longer run.
 */
function compareKept(a: Victim, b: Victim): number {
  return (
    Number(a.job.preempted !== null) - Number(b.job.preempted !== null) ||
    b.priority - a.priority ||
    b.devices - a.devices ||
    b.cpus - a.cpus ||
    (a.job.grantedAt ?? 0) - (b.job.grantedAt ?? 0) ||
    (a.key < b.key ? -1 : 1)
  );
}

/** What is on the node and stays: without these victims, and without what ends in time by itself. */
function stayingUse(choice: Choice, room: Room, without: readonly Victim[]): NodeUse {
  const { state, horizon } = choice;
  const use = emptyUse();
  const gone = new Set(without.map((one) => one.job.record.attempt?.id));
  for (const { attempt, grant } of holdersOn(state, room.node)) {
    const key = state.attempts.get(attempt);
    const job = key === undefined ? undefined : state.jobs.get(key);
    const phase = job?.record.phase;
    const isOver = phase === "ended" || phase === "waiting" || (job === undefined && state.former.has(attempt));
    const endsInTime = job !== undefined && job.endsAt !== null && job.endsAt <= horizon;
    if (!isOver && !endsInTime && !gone.has(attempt) && !choice.leaving.has(attempt)) {
      addGrant(use, grant);
    }
  }
  for (const grant of choice.promised.get(room.node.name) ?? []) {
    addGrant(use, grant);
  }
  return use;
}

/** Something on the node may go, or it has room as it is. */
function isWorthALook(
  choice: Choice,
  { node, pool, groups, use, grants }: Room,
  shape: Shape,
  demand: Demand,
): boolean {
  const mayChange = (choice.victims.get(node.name)?.length ?? 0) > 0 || grants.some((one) => one.end <= choice.horizon);
  return (
    mayChange || (pool !== null && fitGroups(node.name, pool, groups, use, demand, shape.exclusive === true) !== null)
  );
}

function grantOf(victim: Victim, room: Room): RankGrant | undefined {
  return victim.job.record.attempt?.ranks.find(({ grant }) => grant.node === room.node.name)?.grant;
}

/** A rank's room on this node with the least that must give way; null when all of it would not do. */
function seatOn(choice: Choice, room: Room, shape: Shape, demand: Demand): Seat | null {
  const { pool, groups, node } = room;
  const priority = priorityOf(shape);
  const lower = (choice.victims.get(node.name) ?? []).filter((one) => one.priority < priority);
  if (pool === null || !hasLabels(node.labels, demand.labels)) {
    return null;
  }
  const use = stayingUse(choice, room, lower);
  const fits = (): RankGrant | null => fitGroups(node.name, pool, groups, use, demand, shape.exclusive === true);
  let grant = fits();
  if (grant === null) {
    return null;
  }
  const victims: Victim[] = [];
  for (const one of lower.toSorted(compareKept)) {
    const own = grantOf(one, room);
    if (own === undefined) {
      continue;
    }
    addGrant(use, own);
    const still = fits();
    if (still === null) {
      removeGrant(use, own);
      victims.push(one);
    } else {
      grant = still;
    }
  }
  return { room, grant, victims };
}

function removeGrant(use: NodeUse, grant: RankGrant): void {
  for (const device of grant.devices) {
    use.devices.set(device, (use.devices.get(device) ?? 0) - grant.share);
  }
  use.cpus -= grant.cpus;
  use.memoryGb -= grant.memoryGb;
  use.ranks -= 1;
  use.exclusive -= grant.exclusive === true ? 1 : 0;
}

/** Least harm first: nobody who was not warned already, fewest devices, then CPUs, lowest priority, shortest run. */
function harmOf(victims: readonly Victim[]): number[] {
  const sum = (of: (one: Victim) => number): number => victims.reduce((all, one) => all + of(one), 0);
  const most = (of: (one: Victim) => number): number => Math.max(Number.NEGATIVE_INFINITY, ...victims.map(of));
  return [
    sum((one) => Number(one.job.preempted === null)) === 0 ? 0 : 1,
    sum((one) => one.devices),
    sum((one) => one.cpus),
    most((one) => one.priority),
    victims.length,
    -Math.min(Number.POSITIVE_INFINITY, ...victims.map((one) => one.job.grantedAt ?? 0)),
  ];
}

function compareHarm(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((one, index) => one !== b[index]);
  return at < 0 ? 0 : (a[at] as number) < (b[at] as number) ? -1 : 1;
}

/** Room for every rank of one demand; null: not even if all that may give way did. */
function seatsFor(choice: Choice, own: WaitingClass, job: ActiveJob, demand: Demand): Seat[] | null {
  const { board, state, horizon } = choice;
  const option = optionsOf(board, own).find((one) => one.demand === demand);
  const seats: { seat: Seat; harm: number[] }[] = [];
  for (const pool of option?.pools ?? []) {
    // It must be able to run there from then on.
    if (pool.windows.length > 0 && openFrom(board, pool, job, horizon) !== horizon) {
      continue;
    }
    for (const index of pool.rooms) {
      const room = state.indexes.rooms[index];
      const seat =
        room === undefined || !isWorthALook(choice, room, own.shape, demand)
          ? null
          : seatOn(choice, room, own.shape, demand);
      if (seat !== null) {
        seats.push({ seat, harm: harmOf(seat.victims) });
      }
    }
  }
  if (seats.length < own.shape.nodes) {
    return null;
  }
  seats.sort((a, b) => compareHarm(a.harm, b.harm) || a.seat.room.index - b.seat.room.index);
  return seats.slice(0, own.shape.nodes).map((one) => one.seat);
}

/** The demand that harms least; earlier ones among equals. */
function bestSeats(choice: Choice, own: WaitingClass, job: ActiveJob): Seat[] | null {
  let best: { seats: Seat[]; harm: number[] } | null = null;
  for (const demand of new Set(optionsOf(choice.board, own).map((one) => one.demand))) {
    const seats = isWithinQuota(choice.quotas, job, demand) ? seatsFor(choice, own, job, demand) : null;
    if (seats !== null) {
      const harm = harmOf([...new Set(seats.flatMap((seat) => seat.victims))]);
      if (best === null || compareHarm(harm, best.harm) < 0) {
        best = { seats, harm };
      }
    }
  }
  return best?.seats ?? null;
}

function promise(choice: Choice, ranks: readonly RankGrant[]): void {
  for (const grant of ranks) {
    choice.promised.set(grant.node, [...(choice.promised.get(grant.node) ?? []), grant]);
  }
}

/** A job that was chosen gives way once; what is left of its room beside those whom it was promised to is free to others. */
function takeOut(choice: Choice, victims: readonly Victim[]): void {
  for (const { job } of victims) {
    choice.leaving.add(job.record.attempt?.id ?? "");
    for (const { grant } of job.record.attempt?.ranks ?? []) {
      const left = choice.victims.get(grant.node)?.filter((one) => one.job !== job) ?? [];
      choice.victims.set(grant.node, left);
    }
  }
}

function giveRoom(choice: Choice, reservation: Reservation, chosen: Map<JobKey, JobKey>): void {
  const { state } = choice;
  const job = state.jobs.get(reservation.key);
  const own = job === undefined ? undefined : state.waiting.get(classOf(job.record.shape));
  const seats = job === undefined || own === undefined ? null : bestSeats(choice, own, job);
  if (seats === null) {
    promise(choice, reservation.isHeld ? reservation.ranks : []);
    return;
  }
  const victims = [...new Set(seats.flatMap((seat) => seat.victims))];
  for (const one of victims) {
    chosen.set(one.key, reservation.key);
  }
  takeOut(choice, victims);
  promise(
    choice,
    seats.map((seat) => seat.grant),
  );
}

/**
 * Who is to be stopped, and for whom. `reservations`: of the plan just made, in the order of turns; `now` in ms since 1970.
 */
export function choosePreemptions(
  state: State,
  reservations: readonly Reservation[],
  now: number,
): Map<JobKey, JobKey> {
  const chosen = new Map<JobKey, JobKey>();
  const { preemption, preemptionWarningSeconds } = schedulingOf(state);
  const horizon = state.uptime + preemptionWarningSeconds * 1000;
  const victims = preemption && reservations.length > 0 ? victimsByNode(state, horizon) : new Map<string, Victim[]>();
  if (victims.size === 0) {
    return chosen;
  }
  const board = openBoard(state, now);
  const choice: Choice = {
    state,
    board,
    quotas: new QuotaBook(state),
    victims,
    leaving: new Set(),
    promised: new Map(),
    horizon,
  };
  for (const reservation of reservations.slice(0, jobsMax)) {
    giveRoom(choice, reservation, chosen);
  }
  return chosen;
}
