/**
 * Whose turn it is: the order in which waiting jobs are tried. Priority first, then the user who has had least of the
 * cluster for their weight, then that user's numbers. What a job is given counts for its user at once, so users take
 * turns. It looks at the first job of each user's line and never at all waiting jobs, and changes nothing. Called by the
 * plan and by the views that show positions.
 */
import type { Uid } from "../../shared/ids.ts";
import { schedulingOf } from "./fair-share.ts";
import { Heap } from "./heap.ts";
import { shareOf } from "./holdings.ts";
import type { Line, WaitingClass } from "./indexes.ts";
import { type ActiveJob, type JobKey, jobKey, type State } from "./state.ts";

/** What is held now counts as if it were held for so long. */
const heldSeconds = 3_600;
/** Keys are compared in thousandths of a weighted accelerator-second, so that sums in another order compare the same. */
const keySteps = 1_000;

/** One user's next job in a class. */
interface Entry {
  line: Line;
  /** Place of the next job in the line. */
  next: number;
  key: number;
  since: number;
}

interface Cursor {
  own: WaitingClass;
  first: Entry;
  /** All lines; made when more than the first is asked for. */
  entries: Heap<Entry> | null;
}

export interface Turn {
  own: WaitingClass;
  job: ActiveJob;
  key: JobKey;
}

function idOf(entry: Entry): number {
  return entry.line.ids[entry.next] ?? 0;
}

function compareEntries(a: Entry, b: Entry): number {
  if (a.line.uid === b.line.uid) {
    return idOf(a) - idOf(b);
  }
  return a.key - b.key || a.since - b.since || a.line.uid - b.line.uid;
}

function compareCursors(a: Cursor, b: Cursor): number {
  return b.own.priority - a.own.priority || compareEntries(a.first, b.first);
}

/** A user's weight: their own, else the largest of their groups', else 1. */
export function weightOf(state: State, uid: Uid): number {
  const { userWeights, groupWeights } = schedulingOf(state).fairShare;
  const person = state.people.get(uid);
  const own = person === undefined ? undefined : userWeights[person.user];
  if (own !== undefined) {
    return own;
  }
  const weights = (person?.groups ?? []).map((group) => groupWeights[group]).filter((one) => one !== undefined);
  return weights.length === 0 ? 1 : Math.max(...weights);
}

/** What the order compares between users, in accelerator-seconds per weight; smaller comes first. */
export function shareKeyOf(state: State, uid: Uid, now: number): number {
  const { use, rate } = shareOf(state, uid, now);
  return (use + rate * heldSeconds) / Math.max(weightOf(state, uid), 1e-9);
}

export class Turns {
  readonly #state: State;
  /** By slot. */
  readonly #keys: Float64Array;
  readonly #exact: Float64Array;
  readonly #cursors: Heap<Cursor>;

  /** `now` in ms since 1970. */
  constructor(state: State, now: number) {
    this.#state = state;
    const { uids, lines } = state.indexes;
    this.#keys = new Float64Array(uids.length);
    this.#exact = new Float64Array(uids.length);
    for (let slot = 0; slot < uids.length; slot += 1) {
      if ((lines[slot] ?? 0) > 0) {
        this.#setKey(slot, shareKeyOf(state, uids[slot] ?? 0, now));
      }
    }
    const cursors: Cursor[] = [];
    for (const own of state.waiting.values()) {
      const first = this.#firstOf(own);
      if (first !== null) {
        cursors.push({ own, first, entries: null });
      }
    }
    this.#cursors = new Heap(cursors, compareCursors);
  }

  /** The job whose turn it is; it stays so until one of the calls below. Null: there is none left. */
  next(): Turn | null {
    for (;;) {
      const cursor = this.#cursors.first;
      if (cursor === undefined) {
        return null;
      }
      const { line, key } = cursor.first;
      if (key !== this.#keys[line.slot]) {
        // The user was given something since.
        const entries = this.#entriesOf(cursor);
        cursor.first.key = this.#keys[line.slot] ?? 0;
        this.#resettle(cursor, entries);
        continue;
      }
      const own = jobKey(line.uid, idOf(cursor.first));
      const job = this.#state.jobs.get(own);
      if (job !== undefined) {
        return { own: cursor.own, job, key: own };
      }
      this.pass();
    }
  }

  /** The job was given this much a second (accelerators): its user's next one comes later. */
  give(rate: number): void {
    const cursor = this.#cursors.first;
    if (cursor !== undefined) {
      const { slot, uid } = cursor.first.line;
      const more = (rate * heldSeconds) / Math.max(weightOf(this.#state, uid), 1e-9);
      this.#setKey(slot, (this.#exact[slot] ?? 0) + more);
      this.pass();
    }
  }

  /** The job is not to be tried: the next one of its user in this class is. `to`: a later place in the line. */
  pass(isNext: (job: ActiveJob) => boolean = () => true): void {
    const cursor = this.#cursors.first;
    if (cursor === undefined) {
      return;
    }
    const entries = this.#entriesOf(cursor);
    const entry = cursor.first;
    entry.next = this.#placeAfter(entry, isNext);
    const id = entry.line.ids[entry.next];
    if (id === undefined) {
      this.#dropLine(cursor, entries);
      return;
    }
    entry.since = this.#state.jobs.get(jobKey(entry.line.uid, id))?.record.submittedAt ?? entry.since;
    this.#resettle(cursor, entries);
  }

  /** No other job of this user in this class is to be tried. */
  passUser(): void {
    const cursor = this.#cursors.first;
    if (cursor !== undefined) {
      this.#dropLine(cursor, this.#entriesOf(cursor));
    }
  }

  /** No other job of this class is to be tried. */
  passClass(): void {
    this.#cursors.dropFirst();
  }

  #dropLine(cursor: Cursor, entries: Heap<Entry>): void {
    entries.dropFirst();
    const first = entries.first;
    if (first === undefined) {
      this.#cursors.dropFirst();
    } else {
      cursor.first = first;
      this.#cursors.sinkFirst();
    }
  }

  #setKey(slot: number, key: number): void {
    this.#exact[slot] = key;
    this.#keys[slot] = Math.round(key * keySteps) / keySteps;
  }

  /** The first place after this one whose job is meant; those that are not come before those that are. */
  #placeAfter(entry: Entry, isNext: (job: ActiveJob) => boolean): number {
    const { ids, uid } = entry.line;
    let low = entry.next + 1;
    let high = ids.length;
    const isMeant = (at: number): boolean => {
      const job = this.#state.jobs.get(jobKey(uid, ids[at] ?? 0));
      return job !== undefined && isNext(job);
    };
    if (low >= high || isMeant(low)) {
      return low;
    }
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isMeant(middle)) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }

  #resettle(cursor: Cursor, entries: Heap<Entry>): void {
    entries.sinkFirst();
    cursor.first = entries.first ?? cursor.first;
    this.#cursors.sinkFirst();
  }

  /** Made before the first entry is changed: it is the least of them, since keys only grow. */
  #entriesOf(cursor: Cursor): Heap<Entry> {
    if (cursor.entries === null) {
      const { lines, since } = cursor.own;
      const { first } = cursor;
      const all = lines.map((line, at) =>
        line === first.line ? first : { line, next: 0, key: this.#keys[line.slot] ?? 0, since: since[at] ?? 0 },
      );
      cursor.entries = new Heap(all, compareEntries);
    }
    return cursor.entries;
  }

  #firstOf(own: WaitingClass): Entry | null {
    const { slots, since, lines } = own;
    const keys = this.#keys;
    let best = -1;
    let bestKey = Number.POSITIVE_INFINITY;
    for (let at = 0; at < slots.length; at += 1) {
      const key = keys[slots[at] as number] as number;
      if (key < bestKey) {
        best = at;
        bestKey = key;
      } else if (key === bestKey && this.#isEarlier(own, at, best)) {
        best = at;
      }
    }
    const line = lines[best];
    return line === undefined ? null : { line, next: 0, key: bestKey, since: since[best] ?? 0 };
  }

  #isEarlier({ since, lines }: WaitingClass, a: number, b: number): boolean {
    const [first, second] = [since[a] ?? 0, since[b] ?? 0];
    return first < second || (first === second && (lines[a]?.uid ?? 0) < (lines[b]?.uid ?? 0));
  }
}
