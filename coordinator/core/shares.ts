/**
 * What the order compares between users: how much of the cluster they have had and hold, for their weight. Made for each
 * user when something of theirs has changed, and for all when time has passed by a step, so that one event does not cost
 * a look at everybody. Called by the order of turns, the plan and the views.
 */
import type { Uid } from "../../shared/ids.ts";
import { schedulingOf } from "./fair-share.ts";
import { shareOf } from "./holdings.ts";
import type { State } from "./state.ts";

/** What is held now counts as if it were held for so long. */
const heldSeconds = 3_600;
/** Keys are compared in thousandths of a weighted accelerator-second, so that sums in another order compare the same. */
const keySteps = 1_000;
/** Keys are those of the last whole step of time, in ms. */
const stepMs = 10_000;

/** A user's weight: their own, else the largest of their groups', else 1. */
function weightOf(state: State, uid: Uid): number {
  const { userWeights, groupWeights } = schedulingOf(state).fairShare;
  const person = state.people.get(uid);
  const own = person === undefined ? undefined : userWeights[person.user];
  if (own !== undefined) {
    return own;
  }
  let largest: number | null = null;
  for (const group of person?.groups ?? []) {
    const weight = groupWeights[group];
    largest = weight === undefined ? largest : Math.max(largest ?? 0, weight);
  }
  return largest ?? 1;
}

/** What the order compares between users, in accelerator-seconds per weight; smaller comes first. */
function shareKeyOf(state: State, uid: Uid, now: number): number {
  const { use, rate } = shareOf(state, uid, now);
  return (use + rate * heldSeconds) / Math.max(weightOf(state, uid), 1e-9);
}

/** Brings the keys of all users with a slot up to date. `now` in ms since 1970. */
function refreshKeys(state: State, now: number): number[] {
  const { shares, uids, slots } = state.indexes;
  const step = Math.floor(now / stepMs);
  if (step !== shares.step) {
    shares.step = step;
    shares.exact = uids.map((uid) => shareKeyOf(state, uid, step * stepMs));
  } else {
    for (const uid of shares.stale) {
      const slot = slots.get(uid);
      if (slot !== undefined) {
        shares.exact[slot] = shareKeyOf(state, uid, step * stepMs);
      }
    }
  }
  shares.stale.clear();
  return shares.exact;
}

/** The keys in one plan: what is given in it counts at once. */
export class Shares {
  readonly #state: State;
  readonly #exact: Float64Array;
  /** By slot. */
  readonly keys: Float64Array;

  constructor(state: State, now: number) {
    this.#state = state;
    this.#exact = Float64Array.from(refreshKeys(state, now));
    this.keys = this.#exact.map(rounded);
  }

  /** The user was given this much a second, in accelerators. */
  give(slot: number, uid: Uid, rate: number): void {
    const more = (rate * heldSeconds) / Math.max(weightOf(this.#state, uid), 1e-9);
    this.#exact[slot] = (this.#exact[slot] ?? 0) + more;
    this.keys[slot] = rounded(this.#exact[slot] ?? 0);
  }
}

function rounded(key: number): number {
  return Math.round(key * keySteps) / keySteps;
}
