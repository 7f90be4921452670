/**
 * Whose turn it is: the order in which waiting jobs are tried. Priority first, then the user who has had least of the
 * cluster for their weight, then that user's numbers. What a job is given counts for its user at once, so users take
 * turns. It looks at the first job of each user's line and never at all waiting jobs, and changes nothing. Called by the
 * plan and by the views that show positions.
 */
import { Heap } from "./heap.ts";
import { compareEntries, compareTurns, type Entry, firstOfClass, Heads, idOf } from "./heads.ts";
import type { Line, WaitingClass } from "./indexes.ts";
import { Shares } from "./shares.ts";
import { type ActiveJob, type JobKey, jobKey, type State } from "./state.ts";

interface Cursor {
  own: WaitingClass;
  first: Entry;
  /** All lines that are left, in order; null: so few have changed that the first is looked for among all each time. */
  entries: Heap<Entry> | null;
  /** Until then: lines that are done with, */
  dropped: Line[];
  /** and those of which not the first job is the next. */
  moved: Entry[];
}

/** After so many changed lines all are put in order. */
const changedMax = 3;

export interface Turn {
  own: WaitingClass;
  job: ActiveJob;
  key: JobKey;
}

function compareCursors(a: Cursor, b: Cursor): number {
  return compareTurns(a.first, b.first);
}

export class Turns {
  readonly #state: State;
  readonly #shares: Shares;
  /** Classes that are tried. */
  readonly #cursors: Heap<Cursor>;
  /** Classes that are known not to fit. */
  readonly #heads: Heads;
  #headsWanted = true;
  /** What `next` has said is the first of these. */
  #isHead = false;

  /** `now` in ms since 1970. `isTried`: false for classes of which only the first jobs are of interest. */
  constructor(state: State, now: number, isTried: (own: WaitingClass) => boolean = () => true) {
    this.#state = state;
    this.#shares = new Shares(state, now);
    const cursors: Cursor[] = [];
    const others: WaitingClass[] = [];
    for (const own of state.waiting.values()) {
      const first = isTried(own) ? firstOfClass(own, this.#shares, null) : null;
      if (first !== null) {
        cursors.push({ own, first, entries: null, dropped: [], moved: [] });
      } else {
        others.push(own);
      }
    }
    this.#cursors = new Heap(cursors, compareCursors);
    this.#heads = new Heads(state, this.#shares, others);
  }

  /** The job whose turn it is; it stays so until one of the calls below. Null: there is none left. */
  next(): Turn | null {
    for (;;) {
      const entry = this.#firstEntry();
      if (entry === null) {
        return null;
      }
      const { line } = entry;
      const key = jobKey(line.uid, idOf(entry));
      const job = this.#state.jobs.get(key);
      if (job !== undefined) {
        return { own: line.own, job, key };
      }
      this.pass();
    }
  }

  /** From here on only classes that are tried. */
  closeHeads(): void {
    this.#headsWanted = false;
  }

  #firstEntry(): Entry | null {
    const head = this.#headsWanted ? this.#heads.first() : null;
    const cursor = this.#firstCursor();
    this.#isHead = head !== null && (cursor === null || compareTurns(head, cursor.first) < 0);
    return this.#isHead ? head : (cursor?.first ?? null);
  }

  #firstCursor(): Cursor | null {
    const { keys } = this.#shares;
    for (;;) {
      const cursor = this.#cursors.first;
      if (cursor === undefined || cursor.first.key === keys[cursor.first.line.slot]) {
        return cursor ?? null;
      }
      // The user was given something since.
      if (cursor.entries === null) {
        this.#replaceFirst(cursor, this.#leastOf(cursor));
      } else {
        cursor.first.key = keys[cursor.first.line.slot] ?? 0;
        this.#resettle(cursor, cursor.entries);
      }
    }
  }

  /** The job was given this much a second (accelerators): its user's next one comes later. */
  give(rate: number): void {
    const cursor = this.#cursors.first;
    if (cursor !== undefined) {
      const { slot, uid } = cursor.first.line;
      this.#order(cursor);
      this.#shares.give(slot, uid, rate);
      this.#advance(cursor, () => true);
    }
  }

  /** The job is not to be tried: the next one of its user in this class is for which `isNext` holds. */
  pass(isNext: (job: ActiveJob) => boolean = () => true): void {
    const cursor = this.#cursors.first;
    if (this.#isHead) {
      this.#heads.passUser();
    } else if (cursor !== undefined) {
      this.#order(cursor);
      this.#advance(cursor, isNext);
    }
  }

  /** No other job of this user in this class is to be tried. */
  passUser(): void {
    const cursor = this.#cursors.first;
    if (this.#isHead) {
      this.#heads.passUser();
    } else if (cursor !== undefined) {
      this.#order(cursor);
      this.#dropLine(cursor);
    }
  }

  /** No other job of this class is to be tried. */
  passClass(): void {
    if (this.#isHead) {
      this.#heads.passClass();
    } else {
      this.#cursors.dropFirst();
    }
  }

  #advance(cursor: Cursor, isNext: (job: ActiveJob) => boolean): void {
    const entry = cursor.first;
    entry.next = this.#placeAfter(entry, isNext);
    const id = entry.line.ids[entry.next];
    if (id === undefined) {
      this.#dropLine(cursor);
      return;
    }
    entry.since = this.#state.jobs.get(jobKey(entry.line.uid, id))?.record.submittedAt ?? entry.since;
    if (cursor.entries !== null) {
      this.#resettle(cursor, cursor.entries);
      return;
    }
    if (!cursor.moved.includes(entry)) {
      cursor.moved.push(entry);
    }
    this.#replaceFirst(cursor, this.#leastOf(cursor));
  }

  #dropLine(cursor: Cursor): void {
    const { entries, first } = cursor;
    if (entries !== null) {
      entries.dropFirst();
      this.#replaceFirst(cursor, entries.first ?? null);
      return;
    }
    cursor.moved = cursor.moved.filter((one) => one !== first);
    cursor.dropped.push(first.line);
    this.#replaceFirst(cursor, this.#leastOf(cursor));
  }

  /** The first of all lines, without an order among them. */
  #leastOf({ own, dropped, moved }: Cursor): Entry | null {
    const isChanged = (line: Line): boolean => dropped.includes(line) || moved.some((one) => one.line === line);
    let least = firstOfClass(own, this.#shares, dropped.length + moved.length === 0 ? null : isChanged);
    for (const entry of moved) {
      entry.key = this.#shares.keys[entry.line.slot] ?? 0;
      if (least === null || compareEntries(entry, least) < 0) {
        least = entry;
      }
    }
    return least;
  }

  #replaceFirst(cursor: Cursor, first: Entry | null): void {
    if (first === null) {
      this.#cursors.dropFirst();
    } else {
      cursor.first = first;
      this.#cursors.sinkFirst();
    }
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

  /** Puts the class's lines in order when many have changed. Called before the first one is changed or its user's key. */
  #order(cursor: Cursor): void {
    const { own, first, dropped, moved } = cursor;
    if (cursor.entries !== null || dropped.length + moved.length < changedMax) {
      return;
    }
    const known = new Map([...moved, first].map((entry) => [entry.line, entry]));
    const gone = new Set(dropped);
    const all: Entry[] = [];
    for (const [at, line] of own.lines.entries()) {
      if (!gone.has(line)) {
        const key = this.#shares.keys[line.slot] ?? 0;
        const entry = known.get(line) ?? { line, next: 0, key, since: own.since[at] ?? 0 };
        entry.key = key;
        all.push(entry);
      }
    }
    cursor.entries = new Heap(all, compareEntries);
  }
}
