/**
 * What each user's attempts hold together, kept up to date as attempts begin and end: what quotas compare, and the part
 * of the fair share that runs. An attempt counts from its grant until its end is on disk. It must never decide what
 * starts. Called by accounting.ts and nodes.ts; read by the plan and the views.
 */
import type { AttemptId, Uid } from "../../shared/ids.ts";
import type { RankGrant } from "../../shared/job.ts";
import { accruedUse, chargePerSecond, decayedUse, schedulingOf } from "./fair-share.ts";
import { type Counted, type Holding, millionths } from "./indexes.ts";
import type { Account, State } from "./state.ts";

export function emptyHolding(): Holding {
  const nothing = { running: 0, cpus: 0, memoryGb: 0, allDevices: 0, rate: 0, fading: 0, at: 0 };
  return { ...nothing, devices: new Map() };
}

/** Sums what these grants are; `kind` is null without devices. */
export function countedOf(
  state: State,
  uid: Uid,
  ranks: Iterable<{ grant: RankGrant; kind: string | null }>,
  from: number,
): Counted {
  const config = schedulingOf(state);
  const groups = state.people.get(uid)?.groups ?? [];
  const counted: Counted = { uid, groups, cpus: 0, memoryGb: 0, devices: new Map(), rate: 0, from };
  for (const { grant, kind } of ranks) {
    counted.cpus += millionths(grant.cpus);
    counted.memoryGb += millionths(grant.memoryGb);
    counted.rate += millionths(chargePerSecond(grant, config));
    const amount = millionths(grant.devices.length * grant.share);
    if (amount > 0 && kind !== null) {
      const name = kind.toLowerCase();
      counted.devices.set(name, (counted.devices.get(name) ?? 0) + amount);
    }
  }
  return counted;
}

/** Adds (`sign` 1) or takes away (−1) what one attempt holds. */
export function addCounted(holding: Holding, counted: Counted, sign: 1 | -1): void {
  holding.running += sign;
  holding.cpus += sign * counted.cpus;
  holding.memoryGb += sign * counted.memoryGb;
  for (const [kind, amount] of counted.devices) {
    const left = (holding.devices.get(kind) ?? 0) + sign * amount;
    holding.allDevices += sign * amount;
    if (left === 0) {
      holding.devices.delete(kind);
    } else {
      holding.devices.set(kind, left);
    }
  }
}

/** What is left at `now` of a use that was at `at`, without a half-life nothing. */
function faded(amount: number, at: number, now: number, halfLifeHours: number): number {
  return decayedUse({ use: amount, useAt: at }, now, halfLifeHours);
}

function addRate(holding: Holding, counted: Counted, sign: 1 | -1, time: number, halfLifeHours: number): void {
  // What was granted earlier than the last change is told of after it at a start.
  const now = Math.max(time, holding.at);
  const part = faded(counted.rate, counted.from, now, halfLifeHours);
  holding.rate += sign * counted.rate;
  holding.fading = holding.rate === 0 ? 0 : faded(holding.fading, holding.at, now, halfLifeHours) + sign * part;
  holding.at = now;
}

/** The attempt holds from `from` (ms since 1970) on what its account says; said again, it replaces what was said before. */
export function countAttempt(state: State, id: AttemptId, account: Account, from: number): void {
  const { holdings, counted } = state.indexes;
  uncountAttempt(state, id, from);
  const own = countedOf(state, account.uid, account.ranks.values(), from);
  const holding = holdings.get(account.uid) ?? emptyHolding();
  holdings.set(account.uid, holding);
  counted.set(id, own);
  addCounted(holding, own, 1);
  addRate(holding, own, 1, from, schedulingOf(state).fairShare.halfLifeHours);
  addToGroups(state, own, 1);
  state.indexes.shares.stale.add(account.uid);
}

/** Sums of groups that nobody holds anything in are dropped. */
function addToGroups(state: State, counted: Counted, sign: 1 | -1): void {
  const { groups } = state.indexes;
  for (const name of counted.groups) {
    const sum = groups.get(name) ?? emptyHolding();
    addCounted(sum, counted, sign);
    if (sum.running === 0) {
      groups.delete(name);
    } else {
      groups.set(name, sum);
    }
  }
}

/** The user is in other groups than before, or has another weight. */
export function recountPerson(state: State, uid: Uid): void {
  const groups = state.people.get(uid)?.groups ?? [];
  state.indexes.shares.stale.add(uid);
  for (const counted of state.indexes.counted.values()) {
    if (counted.uid === uid) {
      addToGroups(state, counted, -1);
      counted.groups = groups;
      addToGroups(state, counted, 1);
    }
  }
}

/** Nothing of the attempt counts any more. */
export function uncountAttempt(state: State, id: AttemptId, now: number): void {
  const { holdings, counted } = state.indexes;
  const own = counted.get(id);
  const holding = own === undefined ? undefined : holdings.get(own.uid);
  if (own === undefined || holding === undefined) {
    return;
  }
  counted.delete(id);
  addCounted(holding, own, -1);
  addRate(holding, own, -1, now, schedulingOf(state).fairShare.halfLifeHours);
  addToGroups(state, own, -1);
  state.indexes.shares.stale.add(own.uid);
  if (holding.running === 0) {
    holdings.delete(own.uid);
  }
}

/** What the user has had at `now` with what runs, in accelerator-seconds, and what is charged to them a second. */
export function shareOf(state: State, uid: Uid, now: number): { use: number; rate: number } {
  const { halfLifeHours } = schedulingOf(state).fairShare;
  const past = decayedUse(state.people.get(uid), now, halfLifeHours);
  const holding = state.indexes.holdings.get(uid);
  if (holding === undefined || halfLifeHours <= 0) {
    return { use: past, rate: (holding?.rate ?? 0) / 1e6 };
  }
  // As a rate of one second over all time, less what has not worn off yet of the time before each grant.
  const whole = accruedUse(1, 0, Number.MAX_VALUE, halfLifeHours);
  const fading = faded(holding.fading, holding.at, now, halfLifeHours);
  return { use: past + (whole * (holding.rate - fading)) / 1e6, rate: holding.rate / 1e6 };
}
