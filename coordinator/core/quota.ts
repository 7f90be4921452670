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
function quotasFor(state: State, uid: Uid, user: string): [QuotaSubject, Quota][] {
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
  return { uid, groups: [], ...all, devices, rate: 0, from: 0 };
}

/** Amounts in millionths; null: it stays within the limit. */
function overOf(
  subject: QuotaSubject,
  what: "cpus" | "memoryGb" | "accelerators",
  kind: string | null,
  limit: number,
  amounts: { has: number; wants: number },
): Hindrance | null {
  const { has, wants } = amounts;
  return has + wants > millionths(limit) ? { subject, what, kind, limit, held: has / 1e6, wanted: wants / 1e6 } : null;
}

function hindranceOf(subject: QuotaSubject, quota: Quota, held: Holding, wanted: Counted): Hindrance | null {
  const { running, cpus, memoryGb, accelerators } = quota;
  if (running !== undefined && held.running + 1 > running) {
    return { subject, what: "running", kind: null, limit: running, held: held.running, wanted: 1 };
  }
  const byCpus =
    cpus === undefined ? null : overOf(subject, "cpus", null, cpus, { has: held.cpus, wants: wanted.cpus });
  const amounts = { has: held.memoryGb, wants: wanted.memoryGb };
  const found = byCpus ?? (memoryGb === undefined ? null : overOf(subject, "memoryGb", null, memoryGb, amounts));
  return found ?? (accelerators === undefined ? null : kindsOver(subject, accelerators, held, wanted));
}

function kindsOver(
  subject: QuotaSubject,
  limits: NonNullable<Quota["accelerators"]>,
  held: Holding,
  wanted: Counted,
): Hindrance | null {
  let all = 0;
  for (const amount of wanted.devices.values()) {
    all += amount;
  }
  for (const kind in limits) {
    const name = kind.toLowerCase();
    const wants = kind === "*" ? all : (wanted.devices.get(name) ?? 0);
    const has = kind === "*" ? held.allDevices : (held.devices.get(name) ?? 0);
    const found = wants > 0 ? overOf(subject, "accelerators", kind, limits[kind] ?? 0, { has, wants }) : null;
    if (found !== null) {
      return found;
    }
  }
  return null;
}

/** The sums of one plan: those of the state, and copies of those that its starts have changed. */
export class QuotaBook {
  readonly #state: State;
  readonly #changed = new Map<QuotaSubject | Uid, Holding>();
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
    const sums = new Set(this.#quotasOf(uid, user).map(([subject]) => sumName(subject, uid)));
    for (const name of sums) {
      const held = this.#changed.get(name) ?? copyOf(this.#sumOf(name));
      addCounted(held, counted, 1);
      this.#changed.set(name, held);
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

  #heldUnder(subject: QuotaSubject, uid: Uid): Holding {
    const name = sumName(subject, uid);
    return this.#changed.get(name) ?? this.#sumOf(name);
  }

  #sumOf(name: QuotaSubject | Uid): Holding {
    const { holdings, groups } = this.#state.indexes;
    return (typeof name === "number" ? holdings.get(name) : groups.get(name.slice("group:".length))) ?? nothing;
  }
}

const nothing: Readonly<Holding> = emptyHolding();

/** A group's members count together, everybody else alone. */
function sumName(subject: QuotaSubject, uid: Uid): QuotaSubject | Uid {
  return subject.startsWith("group:") ? subject : uid;
}

function copyOf(holding: Readonly<Holding>): Holding {
  return { ...holding, devices: new Map(holding.devices) };
}
