/**
 * The plan: which waiting jobs start now, and on what; and which room is kept for those whose turn is earlier but that do
 * not fit yet. Jobs are tried in the order of turns.ts; one that does not fit is passed over together with its whole
 * class, so ten thousand equal jobs cost one try, and later ones start only where they delay none before them. It decides
 * and changes nothing but its indexes: reduce.ts turns its starts into transitions. Pure.
 */
import { type Demand, demandsOf, type RankGrant } from "../../shared/job.ts";
import { type Board, durationOf, openBoard, profileOf } from "./board.ts";
import { blockName, refresh, take } from "./capacity.ts";
import { isHeldBack, nodesWithUnknown } from "./eligible.ts";
import { chargePerSecond, schedulingOf } from "./fair-share.ts";
import { isHeldAtStart } from "./leases.ts";
import { place } from "./place.ts";
import { QuotaBook, wantedOf } from "./quota.ts";
import { type Reservation, reserve } from "./reserve.ts";
import type { ActiveJob, JobKey, State } from "./state.ts";
import { type Turn, Turns } from "./turns.ts";

export interface Plan {
  starts: { key: JobKey; ranks: RankGrant[] }[];
  /** Classes of which no job fits on what is free (blockName in capacity.ts). */
  blocked: string[];
  /** Of the first jobs that do not start, in their order. */
  reservations: Reservation[];
  /** The next uptime at which time alone could change this plan; null: none is known. */
  wakeAt: number | null;
}

/** So many waiting jobs have room kept for them, and so many are looked at for it. */
const holdsMax = 8;
const triesMax = 32;

/** One plan in the making. */
interface Making {
  board: Board;
  turns: Turns;
  quotas: QuotaBook;
  plan: Plan;
  /** Classes that are done with in this plan. */
  closed: Set<string>;
  held: number;
  tries: number;
}

/** Whether the job's user may hold what it asks for, served in this way. */
export function isWithinQuota(quotas: QuotaBook, job: ActiveJob, demand: Demand): boolean {
  const { shape, user } = job.record;
  return quotas.isEmpty || quotas.hindrance(job.uid, user, wantedOf(job.uid, shape, demand)) === null;
}

/** What can start now. Classes in `state.blocked` do not fit on what is free and are not tried. `now` in ms since 1970. */
export function plan(state: State, now: number): Plan {
  return planOn(state, now).plan;
}

/** A plan with the board and the sums that it was made on, for answers that start nothing; see facts.ts. */
export function planOn(state: State, now: number): Pick<Making, "plan" | "board" | "quotas"> {
  refresh(state, now);
  const board = openBoard(state, now);
  const { hasReservations } = board;
  const making: Making = {
    board,
    // Where users differ in where they may run, a class that does not fit for one may fit for another.
    turns: new Turns(state, now, (own) => hasReservations || !state.blocked.has(own.name)),
    quotas: new QuotaBook(state),
    plan: { starts: [], blocked: [], reservations: [], wakeAt: null },
    closed: new Set(),
    held: 0,
    tries: 0,
  };
  const unknown = nodesWithUnknown(state);
  for (let turn = making.turns.next(); turn !== null; turn = making.turns.next()) {
    if (isHeldBack(state, turn.job, unknown)) {
      // Those that were read at the start come before all others of their line.
      const isHold = isHeldAtStart(state, turn.job);
      making.turns.pass(isHold ? (job) => !isHeldAtStart(state, job) : undefined);
    } else {
      takeTurn(making, turn);
    }
  }
  return making;
}

function takeTurn(making: Making, turn: Turn): void {
  const { board, turns, quotas, closed, plan: result } = making;
  const { own, job } = turn;
  const profile = profileOf(board, job);
  const name = blockName(own, profile);
  const demands = demandsOf(own.shape);
  const allowed = demands.filter((demand) => isWithinQuota(quotas, job, demand)).length;
  if (closed.has(name) || allowed === 0) {
    turns.passUser();
    return;
  }
  const placed = board.state.blocked.has(name)
    ? { ranks: null, isHeld: false }
    : place(board, own, job, (demand) => isWithinQuota(quotas, job, demand));
  if (placed.ranks !== null) {
    start(making, turn, placed.ranks);
    return;
  }
  if (allowed < demands.length && !board.state.blocked.has(name)) {
    // Others of the class may be allowed what this user is not.
    turns.passUser();
    return;
  }
  if (!placed.isHeld && !board.state.blocked.has(name)) {
    result.blocked.push(name);
  }
  keepRoom(making, turn);
  closed.add(name);
  if (board.hasReservations) {
    turns.passUser();
  } else {
    turns.passClass();
  }
}

function start({ board, turns, quotas, plan: result }: Making, { own, job, key }: Turn, ranks: RankGrant[]): void {
  const { state, indexes } = board;
  const { user } = job.record;
  if (!quotas.isEmpty && quotas.hindranceOfGrants(job.uid, user, ranks) !== null) {
    turns.passUser();
    return;
  }
  quotas.add(job.uid, user, ranks);
  result.starts.push({ key, ranks });
  const end = state.uptime + durationOf(own.shape);
  let rate = 0;
  for (const grant of ranks) {
    const room = indexes.rooms[state.nodes.get(grant.node)?.index ?? -1];
    if (room !== undefined) {
      take(state, room, grant, end);
    }
    rate += chargePerSecond(grant, schedulingOf(state));
  }
  turns.give(rate);
}

/** The job's turn is earlier than that of all that come now: room is kept for it, if there is any to wait for. */
function keepRoom(making: Making, { own, job, key }: Turn): void {
  const { board, plan: result } = making;
  if (making.held >= holdsMax || making.tries >= triesMax) {
    return;
  }
  making.tries += 1;
  if (making.tries >= triesMax) {
    making.turns.closeHeads();
  }
  const { state, now } = board;
  const waitedMs = now - job.record.submittedAt;
  const patienceMs = schedulingOf(state).reserveAfterSeconds * 1000;
  const reservation = reserve(board, own, job, key, waitedMs >= patienceMs);
  if (reservation === null) {
    return;
  }
  result.reservations.push(reservation);
  making.held += reservation.isHeld ? 1 : 0;
  if (making.held >= holdsMax) {
    making.turns.closeHeads();
  }
  if (!reservation.isHeld) {
    const at = state.uptime + patienceMs - waitedMs;
    result.wakeAt = Math.min(result.wakeAt ?? at, at);
  }
}
