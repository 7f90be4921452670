/**
 * What is counted of every attempt: from its grant until nothing of it is left on the node, rank by rank. At its end and
 * when a node has let go of it, lines for the usage history come of it, and the user's decayed use is raised. Only what a
 * record speaks of is counted, so no node can charge anybody by what it claims. It must never decide what is granted.
 * Called by the transitions of jobs and nodes.
 */
import type { AttemptId, JobId, NodeName, Uid } from "../../shared/ids.ts";
import type { JobRecord } from "../../shared/job.ts";
import type { UsageLine } from "../../shared/scheduling.ts";
import { heldUntil, kindOf, lineOf } from "./counted.ts";
import { accruedUse, chargePerSecond, decayedUse, schedulingOf } from "./fair-share.ts";
import { countAttempt, uncountAttempt } from "./holdings.ts";
import type { Account, CoreEffect, HeldRank, NodeState, State } from "./state.ts";

/** The part of a transition's context that counting needs; `now` in ms since 1970. */
interface Context {
  state: State;
  effects: CoreEffect[];
  now: number;
}

/** Counts the record's present attempt from `from` (ms since 1970) on; an attempt that is counted already stays as it is. */
export function openAccount(state: State, uid: Uid, jobId: JobId, record: JobRecord, from: number): void {
  const { attempt } = record;
  if (attempt === null || state.accounts.has(attempt.id)) {
    return;
  }
  const ranks = new Map<NodeName, HeldRank>();
  for (const { grant } of attempt.ranks) {
    ranks.set(grant.node, { grant, kind: kindOf(state, grant, record), from, chargedTo: from });
  }
  const account = { uid, user: record.user, jobId, endedAt: null, ranks };
  state.accounts.set(attempt.id, account);
  countAttempt(state, attempt.id, account, from);
}

/** The node has other devices than was known: what is counted there is named by what they are. */
export function recountKinds(state: State, node: NodeState): void {
  for (const id of node.held) {
    const account = state.accounts.get(id);
    const rank = account?.ranks.get(node.name);
    const counted = state.indexes.counted.get(id);
    const job = state.jobs.get(state.attempts.get(id) ?? "0/0");
    if (account !== undefined && rank !== undefined && counted !== undefined) {
      rank.kind = kindOf(state, rank.grant, job?.record ?? null);
      countAttempt(state, id, account, counted.from);
    }
  }
}

/**
 * A node still lists an attempt whose end was on disk before this life of the coordinator: what is left of it there is
 * counted from here on. Up to its end it was counted then.
 */
export function countRest(context: Context, node: NodeName, jobId: JobId, record: JobRecord): void {
  const { state, now } = context;
  const { attempt } = record;
  const grant = attempt?.ranks.find((rank) => rank.grant.node === node)?.grant;
  if (attempt === null || grant === undefined) {
    return;
  }
  const { uid, user } = record;
  const account = state.accounts.get(attempt.id) ?? { uid, user, jobId, endedAt: now, ranks: new Map() };
  account.ranks.set(node, { grant, kind: kindOf(state, grant, record), from: now, chargedTo: now });
  state.accounts.set(attempt.id, account);
}

/**
 * The attempt's end is decided: the lines that are to be on disk before its record says so, so that a crash in between
 * loses nothing (a line that comes again with a later end counts once). None when it had ended before.
 */
export function endAccount(context: Context, attempt: AttemptId): UsageLine[] {
  const { state, now } = context;
  const account = state.accounts.get(attempt);
  if (account === undefined || account.endedAt !== null) {
    return [];
  }
  account.endedAt = now;
  return [...account.ranks.values()]
    .filter((rank) => now > rank.from)
    .map((rank) => lineOf(state, attempt, account, rank, now));
}

/** The end is on disk: its user is charged up to it, and machines that are not configured hold nothing any more. */
export function chargeEnded(context: Context, attempt: AttemptId): void {
  const { state } = context;
  const account = state.accounts.get(attempt);
  if (account === undefined || account.endedAt === null) {
    return;
  }
  charge(context, account, [...account.ranks.values()], account.endedAt);
  uncountAttempt(state, attempt, context.now);
  for (const node of account.ranks.keys()) {
    if (!state.nodes.has(node)) {
      account.ranks.delete(node);
    }
  }
  if (account.ranks.size === 0) {
    state.accounts.delete(attempt);
  }
}

/** The node holds nothing of the attempt any more. */
export function releaseRank(context: Context, node: NodeName, attempt: AttemptId): void {
  const { state, effects } = context;
  const account = state.accounts.get(attempt);
  const rank = account?.ranks.get(node);
  if (account === undefined || rank === undefined) {
    return;
  }
  const to = heldUntil(state, account, node, context.now);
  if (to > Math.max(rank.from, account.endedAt ?? 0)) {
    effects.push({ type: "recordUsage", lines: [lineOf(state, attempt, account, rank, to)] });
  }
  charge(context, account, [rank], to);
  account.ranks.delete(node);
  if (account.ranks.size === 0) {
    state.accounts.delete(attempt);
  }
}

/** The node is heard again: the time without it is not counted for what had ended before. */
export function resumeHeld(context: Context, node: NodeName): void {
  for (const id of context.state.nodes.get(node)?.ended.keys() ?? []) {
    const account = context.state.accounts.get(id);
    const rank = account?.ranks.get(node);
    if (account !== undefined && rank !== undefined && account.endedAt !== null) {
      rank.from = Math.max(rank.from, account.endedAt, context.now);
      rank.chargedTo = Math.max(rank.chargedTo, rank.from);
    }
  }
}

/** Raises the user's decayed use by what these ranks have cost since they were last charged. */
function charge(context: Context, account: Account, ranks: readonly HeldRank[], to: number): void {
  const { state, now } = context;
  const config = schedulingOf(state);
  const { halfLifeHours } = config.fairShare;
  let added = 0;
  for (const rank of ranks) {
    const used = accruedUse(chargePerSecond(rank.grant, config), rank.chargedTo, to, halfLifeHours);
    added += decayedUse({ use: used, useAt: to }, now, halfLifeHours);
    rank.chargedTo = Math.max(rank.chargedTo, to);
  }
  if (added <= 0) {
    return;
  }
  const { uid, user } = account;
  const known = state.people.get(uid);
  const use = decayedUse(known, now, halfLifeHours) + added;
  const person = { uid, user: known?.user ?? user, groups: known?.groups ?? [], use, useAt: now };
  state.people.set(uid, person);
  state.indexes.shares.stale.add(uid);
  context.effects.push({ type: "savePerson", person });
}
