/**
 * The first waiting jobs of classes that are known not to fit, in the order in which they would be tried: only so many
 * of them have room kept for them, so only so many are looked for. It walks the users from the one who has had least and
 * looks at nobody behind those that are asked for. It changes nothing. Called by turns.ts.
 */
import { Heap } from "./heap.ts";
import type { Line, WaitingClass } from "./indexes.ts";
import type { Shares } from "./shares.ts";
import type { State } from "./state.ts";

/** A line's next job, with what the order compares. */
export interface Entry {
  line: Line;
  /** Place of the next job in the line. */
  next: number;
  key: number;
  /** When that job was submitted. */
  since: number;
}

export function idOf(entry: Entry): number {
  return entry.line.ids[entry.next] ?? 0;
}

/**
 * Within one priority. Keys first, also between entries of one user: one whose key is not up to date is found by it, and
 * an order that looked at numbers before keys would not be one.
 */
export function compareEntries(a: Entry, b: Entry): number {
  if (a.key !== b.key) {
    return a.key - b.key;
  }
  return a.line.uid === b.line.uid ? idOf(a) - idOf(b) : a.since - b.since || a.line.uid - b.line.uid;
}

/** By priority first. */
export function compareTurns(a: Entry, b: Entry): number {
  return b.line.own.priority - a.line.own.priority || compareEntries(a, b);
}

function lineOf(own: WaitingClass, uid: number): Line | undefined {
  const at = own.at.get(uid);
  return at === undefined ? undefined : own.lines[at];
}

/** The line of the class whose turn is first; null: all are dropped. */
export function firstOfClass(
  own: WaitingClass,
  shares: Shares,
  isDropped: ((line: Line) => boolean) | null,
): Entry | null {
  const { slots, since, lines } = own;
  const { keys } = shares;
  let best = -1;
  let bestKey = Number.POSITIVE_INFINITY;
  for (let at = 0; at < slots.length; at += 1) {
    const key = keys[slots[at] as number] as number;
    if (key > bestKey || (isDropped !== null && isDropped(lines[at] as Line))) {
      continue;
    }
    if (key < bestKey || best < 0 || isEarlier(own, at, best)) {
      best = at;
      bestKey = key;
    }
  }
  const line = lines[best];
  return line === undefined ? null : { line, next: 0, key: bestKey, since: since[best] ?? 0 };
}

function isEarlier({ since, lines }: WaitingClass, a: number, b: number): boolean {
  const [first, second] = [since[a] ?? 0, since[b] ?? 0];
  return first < second || (first === second && (lines[a]?.uid ?? 0) < (lines[b]?.uid ?? 0));
}

/** A level of no more classes is looked at class by class, a larger one user by user. */
const fewClasses = 24;

export class Heads {
  readonly #state: State;
  readonly #shares: Shares;
  readonly #open: Set<WaitingClass>;
  readonly #dropped = new Set<Line>();
  /** By priority, the highest last. The last one is what is walked just now. */
  readonly #levels: WaitingClass[][];
  /** Slots of users that are still to come at this level, by their keys. */
  #users: Heap<number> | null = null;
  /** First jobs of the users with the least key, the very first last. */
  #first: Entry[] = [];

  /** `classes`: those that are meant. */
  constructor(state: State, shares: Shares, classes: WaitingClass[]) {
    this.#state = state;
    this.#shares = shares;
    this.#open = new Set(classes);
    const levels = new Map<number, WaitingClass[]>();
    for (const own of classes) {
      const level = levels.get(own.priority);
      if (level === undefined) {
        levels.set(own.priority, [own]);
      } else {
        level.push(own);
      }
    }
    this.#levels = [...levels].sort(([low], [high]) => low - high).map(([, level]) => level);
  }

  /** The next one; it stays so until `passClass` or `passUser`. */
  first(): Entry | null {
    for (;;) {
      const entry = this.#first.at(-1);
      if (entry === undefined) {
        if (!this.#takeUsers()) {
          return null;
        }
      } else if (entry.key !== this.#shares.keys[entry.line.slot]) {
        this.#first.pop();
        this.#putBack(entry);
      } else {
        return entry;
      }
    }
  }

  /** The first one's class is done with. */
  passClass(): void {
    const entry = this.#first.pop();
    if (entry !== undefined) {
      this.#open.delete(entry.line.own);
      this.#putBack(entry);
    }
  }

  /** The first one's line is. */
  passUser(): void {
    const entry = this.#first.pop();
    if (entry !== undefined) {
      this.#dropped.add(entry.line);
      this.#putBack(entry);
    }
  }

  /** The user's next line takes the place of the one that is done with. */
  #putBack({ line, key }: Entry): void {
    if (this.#isSmall) {
      const other = this.#open.has(line.own)
        ? firstOfClass(line.own, this.#shares, (one) => this.#dropped.has(one))
        : null;
      this.#insert(other);
      return;
    }
    if (key !== this.#shares.keys[line.slot]) {
      // Given something meanwhile: the user comes again behind others.
      this.#users?.push(line.slot);
      return;
    }
    this.#insert(this.#firstOf(line.slot));
  }

  #insert(entry: Entry | null): void {
    if (entry !== null) {
      this.#first.push(entry);
      this.#first.sort((a, b) => compareEntries(b, a));
    }
  }

  get #isSmall(): boolean {
    return (this.#levels.at(-1)?.length ?? 0) <= fewClasses;
  }

  /** Brings on all classes of a small level. */
  #takeClasses(): void {
    for (const own of this.#levels.at(-1) ?? []) {
      const entry = firstOfClass(own, this.#shares, null);
      if (entry !== null) {
        this.#first.push(entry);
      }
    }
    this.#first.sort((a, b) => compareEntries(b, a));
    this.#users = new Heap<number>([], () => 0);
  }

  /** The user's lowest number among the classes of this level that are still meant. */
  #firstOf(slot: number): Entry | null {
    const level = this.#levels.at(-1) ?? [];
    const priority = level[0]?.priority;
    const lines = this.#state.indexes.lines[slot] ?? [];
    const uid = this.#state.indexes.uids[slot] ?? 0;
    const few = level.length < lines.length;
    const count = few ? level.length : lines.length;
    let best: Line | null = null;
    let bestId = Number.POSITIVE_INFINITY;
    for (let at = 0; at < count; at += 1) {
      const line = few ? lineOf(level[at] as WaitingClass, uid) : lines[at];
      if (line === undefined || line.own.priority !== priority) {
        continue;
      }
      const id = line.ids[0] ?? 0;
      if (id < bestId && this.#open.has(line.own) && !this.#dropped.has(line)) {
        best = line;
        bestId = id;
      }
    }
    if (best === null) {
      return null;
    }
    const since = best.own.since[best.own.at.get(uid) ?? -1] ?? 0;
    return { line: best, next: 0, key: this.#shares.keys[slot] ?? 0, since };
  }

  /** Brings on the users whose keys are the least of those to come; false: nobody is to come any more. */
  #takeUsers(): boolean {
    const { keys } = this.#shares;
    while (this.#levels.length > 0 && this.#first.length === 0) {
      if (this.#users === null && this.#isSmall) {
        this.#takeClasses();
        continue;
      }
      this.#users ??= this.#usersOf(this.#levels.at(-1) ?? []);
      const slot = this.#users.first;
      if (slot === undefined) {
        this.#users = null;
        this.#levels.pop();
        continue;
      }
      const key = keys[slot] ?? 0;
      for (let next: number | undefined = slot; next !== undefined && keys[next] === key; next = this.#users.first) {
        this.#users.dropFirst();
        const entry = this.#firstOf(next);
        if (entry !== null) {
          this.#first.push(entry);
        }
      }
      this.#first.sort((a, b) => compareEntries(b, a));
    }
    return this.#first.length > 0;
  }

  #usersOf(level: WaitingClass[]): Heap<number> {
    const { keys } = this.#shares;
    const { lines } = this.#state.indexes;
    const all = level.reduce((sum, own) => sum + own.slots.length, 0);
    let slots: number[] = [];
    if (all < lines.length) {
      slots = [...new Set(level.flatMap((own) => own.slots))];
    } else {
      for (let slot = 0; slot < lines.length; slot += 1) {
        if ((lines[slot]?.length ?? 0) > 0) {
          slots.push(slot);
        }
      }
    }
    return new Heap(slots, (a, b) => (keys[a] ?? 0) - (keys[b] ?? 0));
  }
}
