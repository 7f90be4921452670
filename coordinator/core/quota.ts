/**
 * Who may hold how much: which quotas bind a user, what is held under each, and which of them a further job would break.
 * A user is bound by their own quota, or else by that for each, and by those of all their groups, whose members are
 * counted together. It changes nothing but its own sums. Called by the plan, the explanations and the views.
 */
import type { Uid } from "../../shared/ids.ts";
import type { Demand, RankGrant, Shape } from "../../shared/job.ts";
import type { Quota, QuotaSubject } from "../../shared/scheduling.ts";
import { addCounted, countedOf, emptyHolding } from "./holdings.ts";
import { type Counted, type Holding, millionths } from "./indexes.ts";
import type { State } from "./state.ts";

/** The first limit that a job would break. `kind`: of accelerators, `*` for all kinds together. */
export interface Hindrance {
  subject: QuotaSubject;
  what: "running" | "cpus" | "memoryGb" | "accelerators";
  kind: string | null;
  limit: number;
  held: number;
  wanted: number;
}

/** A user's name as quotas know it: that of their last submission, else of the record. */
function nameOf(state: State, uid: Uid, user: string): string {
  return state.people.get(uid)?.user ?? user;
}

/** The quotas that bind this user. */
export function quotasFor(state: State, uid: Uid, user: string): [QuotaSubject, Quota][] {
  if (state.quotas.size === 0) {
    return [];
  }
  const found: [QuotaSubject, Quota][] = [];
  const own: QuotaSubject = `user:${nameOf(state, uid, user)}`;
  const subjects: QuotaSubject[] = [state.quotas.has(own) ? own : "each"];
  for (const group of state.people.get(uid)?.groups ?? []) {
    subjects.push(`group:${group}`);
  }
  for (const subject of subjects) {
    const quota = state.quotas.get(subject);
    if (quota !== undefined) {
      found.push([subject, quota]);
    }
  }
  return found;
}

/** What a job of this shape would hold if it were served so, as far as that is known before it has a place. */
export function wantedOf(uid: Uid, shape: Shape, demand: Demand): Counted {
  const { accelerators, cpus, memoryGb } = demand;
  const devices = new Map<string, number>();
  if (accelerators !== null) {
    const each = accelerators.count < 1 ? accelerators.count : Math.ceil(accelerators.count);
    // Which kind serves a demand for memory shows only at its place; until then it counts as one of all kinds.
    devices.set(
      accelerators.memory === undefined ? accelerators.kind.toLowerCase() : "",
      shape.nodes * millionths(each),
    );
  }
  const all = { cpus: shape.nodes * millionths(cpus), memoryGb: shape.nodes * millionths(memoryGb) };
  return { uid, ...all, devices, rate: 0, from: 0 };
}

function hindranceOf(subject: QuotaSubject, quota: Quota, held: Holding, wanted: Counted): Hindrance | null {
  const found = (what: Hindrance["what"], kind: string | null, limit: number, has: number, wants: number) =>
    has + wants > millionths(limit) ? { subject, what, kind, limit, held: has / 1e6, wanted: wants / 1e6 } : null;
  const { running, cpus, memoryGb, accelerators } = quota;
  if (running !== undefined && held.running + 1 > running) {
    return { subject, what: "running", kind: null, limit: running, held: held.running, wanted: 1 };
  }
  let first =
    (cpus === undefined ? null : found("cpus", null, cpus, held.cpus, wanted.cpus)) ??
    (memoryGb === undefined ? null : found("memoryGb", null, memoryGb, held.memoryGb, wanted.memoryGb));
  for (const [kind, limit] of Object.entries(accelerators ?? {})) {
    const wants =
      kind === "*" ? [...wanted.devices.values()].reduce((a, b) => a + b, 0) : wanted.devices.get(kind.toLowerCase());
    const has = kind === "*" ? held.allDevices : (held.devices.get(kind.toLowerCase()) ?? 0);
    if (wants !== undefined && wants > 0) {
      first ??= found("accelerators", kind, limit, has, wants);
    }
  }
  return first;
}

/** The sums of one plan. */
export class QuotaBook {
  readonly #state: State;
  readonly #held = new Map<QuotaSubject | Uid, Holding>();
  readonly #bound = new Map<Uid, [QuotaSubject, Quota][]>();

  constructor(state: State) {
    this.#state = state;
  }

  /** There is nothing to ask. */
  get isEmpty(): boolean {
    return this.#state.quotas.size === 0;
  }

  /** What a job with these amounts would break first; null: it may start as far as quotas go. */
  hindrance(uid: Uid, user: string, wanted: Counted): Hindrance | null {
    for (const [subject, quota] of this.#quotasOf(uid, user)) {
      const found = hindranceOf(subject, quota, this.#heldUnder(subject, uid), wanted);
      if (found !== null) {
        return found;
      }
    }
    return null;
  }

  /** As `hindrance`, with grants that are chosen. */
  hindranceOfGrants(uid: Uid, user: string, ranks: readonly RankGrant[]): Hindrance | null {
    return this.hindrance(uid, user, this.#countedOf(uid, ranks));
  }

  /** These grants are given: they count from here on. */
  add(uid: Uid, user: string, ranks: readonly RankGrant[]): void {
    if (this.isEmpty) {
      return;
    }
    const counted = this.#countedOf(uid, ranks);
    for (const [subject] of this.#quotasOf(uid, user)) {
      addCounted(this.#heldUnder(subject, uid), counted, 1);
    }
  }

  #countedOf(uid: Uid, ranks: readonly RankGrant[]): Counted {
    const kindOf = ({ node, devices }: RankGrant): string | null =>
      this.#state.nodes.get(node)?.inventory?.accelerators.find((one) => one.index === devices[0])?.kind ?? null;
    const held = ranks.map((grant) => ({ grant, kind: kindOf(grant) }));
    return countedOf(this.#state, uid, held, 0);
  }

  #quotasOf(uid: Uid, user: string): [QuotaSubject, Quota][] {
    const known = this.#bound.get(uid) ?? quotasFor(this.#state, uid, user);
    this.#bound.set(uid, known);
    return known;
  }

  /** A group's members count together, everybody else alone. */
  #heldUnder(subject: QuotaSubject, uid: Uid): Holding {
    const isGroup = subject.startsWith("group:");
    const known = this.#held.get(isGroup ? subject : uid);
    if (known !== undefined) {
      return known;
    }
    const { holdings } = this.#state.indexes;
    const held = isGroup ? this.#sumOf(subject.slice("group:".length)) : copyOf(holdings.get(uid));
    this.#held.set(isGroup ? subject : uid, held);
    return held;
  }

  #sumOf(group: string): Holding {
    const sum = emptyHolding();
    for (const [uid, holding] of this.#state.indexes.holdings) {
      if (this.#state.people.get(uid)?.groups.includes(group) === true) {
        addHolding(sum, holding);
      }
    }
    return sum;
  }
}

function addHolding(sum: Holding, other: Holding): void {
  sum.running += other.running;
  sum.cpus += other.cpus;
  sum.memoryGb += other.memoryGb;
  sum.allDevices += other.allDevices;
  for (const [kind, amount] of other.devices) {
    sum.devices.set(kind, (sum.devices.get(kind) ?? 0) + amount);
  }
}

function copyOf(holding: Holding | undefined): Holding {
  const copy = emptyHolding();
  if (holding !== undefined) {
    addHolding(copy, holding);
  }
  return copy;
}
