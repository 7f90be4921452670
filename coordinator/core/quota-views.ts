/**
 * What quotas look like from outside: each one with what those whom it binds hold now, for admins and for the user who
 * asks. Computed when asked for; it changes and enforces nothing. Times and shapes are the API's. Called by the API's
 * routes for quotas.
 */
import type { Uid } from "../../shared/ids.ts";
import { demandsOf, type Shape } from "../../shared/job.ts";
import type { Quota, QuotaSubject } from "../../shared/scheduling.ts";
import { type QuotaLimits, type QuotaRow, type QuotaUse, quotaUsersMax } from "../../shared/scheduling-api.ts";
import type { Holding, Line } from "./indexes.ts";
import { classOf } from "./order.ts";
import type { State } from "./state.ts";

/** One user with something in the cluster. */
interface UserUse {
  uid: Uid;
  user: string;
  groups: readonly string[];
  use: QuotaUse;
}

function nothingUsed(): QuotaUse {
  return { accelerators: {}, cpus: 0, memory_gb: 0, running: 0, waiting: 0 };
}

/** Kinds as the nodes spell them, by their names in lower case. */
function spelledKinds(state: State): Map<string, string> {
  const found = new Map<string, string>();
  for (const node of state.nodes.values()) {
    for (const { kind } of node.inventory?.accelerators ?? []) {
      found.set(kind.toLowerCase(), kind);
    }
  }
  return found;
}

function useOf(holding: Holding | undefined, kinds: Map<string, string>): QuotaUse {
  if (holding === undefined) {
    return nothingUsed();
  }
  const accelerators: Record<string, number> = {};
  for (const [kind, amount] of holding.devices) {
    accelerators[kinds.get(kind) ?? kind] = amount / 1e6;
  }
  const { cpus, memoryGb, running } = holding;
  return { accelerators, cpus: cpus / 1e6, memory_gb: memoryGb / 1e6, running, waiting: 0 };
}

/** How many jobs of this user wait, without those that are held after a restore. */
export function countWaiting(state: State, uid: Uid): number {
  return linesOf(state, uid).reduce((sum, line) => sum + line.ids.length, 0);
}

/** The user's waiting jobs, those that are alike together. */
function linesOf(state: State, uid: Uid): readonly Line[] {
  const { slots, lines } = state.indexes;
  return lines[slots.get(uid) ?? -1] ?? [];
}

/** How many different demands the user's waiting jobs have, each way counted, when one of this shape comes to them. */
export function demandsWith(state: State, uid: Uid, shape: Shape): number {
  const others = linesOf(state, uid).reduce((sum, { own }) => sum + demandsOf(own.shape).length, 0);
  return state.waiting.get(classOf(shape))?.at.has(uid) === true ? others : others + demandsOf(shape).length;
}

/** Names of users who have something here; those of their last submissions count. */
function namesOf(state: State): Map<Uid, string> {
  const names = new Map<Uid, string>();
  for (const { uid, user } of state.accounts.values()) {
    names.set(uid, user);
  }
  for (const { lines } of state.waiting.values()) {
    for (const { uid, ids } of lines) {
      const user = state.jobs.get(`${uid}/${ids[0] ?? 0}`)?.record.user;
      if (user !== undefined) {
        names.set(uid, user);
      }
    }
  }
  for (const uid of names.keys()) {
    names.set(uid, state.people.get(uid)?.user ?? names.get(uid) ?? "");
  }
  return names;
}

/** Everybody who holds or waits for something: what the plan compares with the limits. */
function usesByUser(state: State): Map<Uid, UserUse> {
  const kinds = spelledKinds(state);
  const found = new Map<Uid, UserUse>();
  for (const [uid, user] of namesOf(state)) {
    const use = { ...useOf(state.indexes.holdings.get(uid), kinds), waiting: countWaiting(state, uid) };
    if (use.running + use.waiting > 0) {
      found.set(uid, { uid, user, groups: state.people.get(uid)?.groups ?? [], use });
    }
  }
  return found;
}

/** Sums of fractions, without what adding them has left behind. */
function tidied(use: QuotaUse): QuotaUse {
  const tidy = (value: number): number => Math.round(value * 1000) / 1000;
  const accelerators = Object.fromEntries(Object.entries(use.accelerators).map(([kind, count]) => [kind, tidy(count)]));
  return { ...use, accelerators, cpus: tidy(use.cpus), memory_gb: tidy(use.memory_gb) };
}

function sumOf(uses: readonly QuotaUse[]): QuotaUse {
  const sum = nothingUsed();
  for (const use of uses) {
    for (const [kind, count] of Object.entries(use.accelerators)) {
      sum.accelerators[kind] = (sum.accelerators[kind] ?? 0) + count;
    }
    sum.cpus += use.cpus;
    sum.memory_gb += use.memory_gb;
    sum.running += use.running;
    sum.waiting += use.waiting;
  }
  return tidied(sum);
}

function limitsOf(quota: Quota): QuotaLimits {
  const { accelerators = {}, memoryGb, ...rest } = quota;
  return { accelerators, ...rest, ...(memoryGb === undefined ? {} : { memory_gb: memoryGb }) };
}

/** A user is bound by a quota of their own or else by `each`, and by those of their groups. */
function binds(state: State, subject: QuotaSubject, who: Pick<UserUse, "user" | "groups">): boolean {
  if (subject === "each") {
    return !state.quotas.has(`user:${who.user}`);
  }
  const name = subject.slice(subject.indexOf(":") + 1);
  return subject.startsWith("user:") ? who.user === name : who.groups.includes(name);
}

function weightOf({ use }: UserUse): number {
  return Object.values(use.accelerators).reduce((sum, count) => sum + count, 0) * 1e6 + use.cpus;
}

function rowOf(subject: QuotaSubject, quota: Quota, bound: readonly UserUse[]): QuotaRow {
  const sorted = bound.toSorted((a, b) => weightOf(b) - weightOf(a) || a.uid - b.uid);
  return {
    subject,
    limits: limitsOf(quota),
    use: subject === "each" ? null : sumOf(bound.map((one) => one.use)),
    users: sorted.slice(0, quotaUsersMax).map(({ user, use }) => ({ user, use })),
  };
}

/** `each` first, then groups, then users, by name. */
function inOrder(state: State): [QuotaSubject, Quota][] {
  const rank = (subject: QuotaSubject): number => (subject === "each" ? 0 : subject.startsWith("group:") ? 1 : 2);
  return [...state.quotas].sort(([a], [b]) => rank(a) - rank(b) || (a < b ? -1 : 1));
}

/** One quota, or null when there is none for this subject. */
export function quotaRow(state: State, subject: QuotaSubject): QuotaRow | null {
  return quotaRows(state).find((row) => row.subject === subject) ?? null;
}

export function quotaRows(state: State): QuotaRow[] {
  const uses = [...usesByUser(state).values()];
  return inOrder(state).map(([subject, quota]) =>
    rowOf(
      subject,
      quota,
      uses.filter((one) => binds(state, subject, one)),
    ),
  );
}

/** What binds one user, whose groups are as the name service says now. Others are not named. */
export function ownQuotas(state: State, who: Omit<UserUse, "use">): { use: QuotaUse; quotas: QuotaRow[] } {
  const all = usesByUser(state);
  const use = all.get(who.uid)?.use ?? nothingUsed();
  const quotas = inOrder(state).flatMap(([subject, quota]) => {
    if (!binds(state, subject, who)) {
      return [];
    }
    const bound = [...all.values()].filter((one) => binds(state, subject, one.uid === who.uid ? who : one));
    const row = rowOf(subject, quota, bound);
    return [{ ...row, use: subject === "each" ? use : row.use, users: [] }];
  });
  return { use, quotas };
}

/** Whose jobs count beside the user's own: for a group all its members'. */
function counted(state: State, subject: QuotaSubject, own: Uid): ReadonlySet<Uid> {
  const people = subject.startsWith("group:") ? [...state.people.values()] : [];
  return new Set([own, ...people.filter((person) => binds(state, subject, person)).map((person) => person.uid)]);
}

/** The first quota that leaves no room for another waiting job of this user; null: there is room. */
export function fullOfWaiting(
  state: State,
  who: Omit<UserUse, "use">,
): { subject: QuotaSubject; limit: number; waiting: number } | null {
  for (const [subject, { waiting: limit }] of inOrder(state)) {
    if (limit === undefined || !binds(state, subject, who)) {
      continue;
    }
    const waiting = [...counted(state, subject, who.uid)].reduce((sum, uid) => sum + countWaiting(state, uid), 0);
    if (waiting >= limit) {
      return { subject, limit, waiting };
    }
  }
  return null;
}
