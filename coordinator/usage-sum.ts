/**
 * Sums of usage over a period, by user, group, kind, node or job: what the lines of the history and what is held just now
 * amount to. Each line is clipped to the period exactly, and time that two lines of one rank speak of counts once. It
 * reads no file and no clock. Called by coordinator/usage-reader.ts, line by line, in the order of the history.
 */
import { SkyError } from "../shared/errors.ts";
import type { Uid } from "../shared/ids.ts";
import type { UsageLine } from "../shared/scheduling.ts";
import type { UsageAmount, UsageKey, UsageRow } from "../shared/usage-api.ts";

/** What is asked. Times in ms since 1970; `uid` null: everybody's. */
export interface UsageQuestion {
  from: number;
  to: number;
  by: readonly UsageKey[];
  uid: Uid | null;
}

/** Ranks of the history's last lines that are remembered; lines of one rank lie close together. */
const recentMax = 50_000;
/** Rows that are held in memory. */
const rowsMax = 100_000;
const msPerHour = 3_600_000;

interface Sum {
  keys: UsageRow["keys"];
  accelerators: number;
  cpus: number;
  memoryGb: number;
}

/** `ATTEMPT NODE`: one rank. */
function rankOf(line: UsageLine): string {
  return `${line.attempt} ${line.node}`;
}

export class UsageSum {
  readonly #question: UsageQuestion;
  readonly #byGroup: boolean;
  readonly #sums = new Map<string, Sum>();
  readonly #total: Sum = { keys: {}, accelerators: 0, cpus: 0, memoryGb: 0 };
  /** Up to when the ranks of `pinned` and of the last lines have been counted. */
  readonly #pinned = new Map<string, number>();
  #recent = new Map<string, number>();
  #before = new Map<string, number>();

  /** `pinned`: lines that are added at last and may be in the history as well. */
  constructor(question: UsageQuestion, pinned: readonly UsageLine[]) {
    this.#question = question;
    this.#byGroup = question.by.includes("group");
    for (const line of pinned) {
      this.#pinned.set(rankOf(line), 0);
    }
  }

  /** Throws SkyError when there are too many rows. */
  add(line: UsageLine): void {
    const { from, to, uid } = this.#question;
    if (uid !== null && line.uid !== uid) {
      return;
    }
    const counted = this.#countedTo(line);
    const duration = Math.min(line.to, to) - Math.max(line.from, counted, from);
    if (duration <= 0) {
      return;
    }
    addTo(this.#total, line, duration);
    if (this.#byGroup && line.groups.length > 0) {
      for (const group of line.groups) {
        this.#addTo(group, line, duration);
      }
    } else {
      this.#addTo(null, line, duration);
    }
    if (this.#sums.size > rowsMax) {
      throw new SkyError(
        "ValueError",
        `The answer would have more than ${rowsMax} rows.`,
        "Ask for a shorter period, or not by job.",
      );
    }
  }

  /** The rows, those of the most use first. */
  rows(): UsageRow[] {
    const rows = [...this.#sums.values()].map((sum) => ({ keys: sum.keys, ...amountOf(sum) }));
    const name = (row: UsageRow): string => JSON.stringify(Object.values(row.keys));
    return rows.sort(
      (a, b) => b.accelerator_hours - a.accelerator_hours || b.cpu_hours - a.cpu_hours || (name(a) < name(b) ? -1 : 1),
    );
  }

  total(): UsageAmount {
    return amountOf(this.#total);
  }

  /** Up to when the line's rank has been counted before; from here on it is counted up to the line's end. */
  #countedTo(line: UsageLine): number {
    const rank = rankOf(line);
    const pinned = this.#pinned.get(rank);
    if (pinned !== undefined) {
      this.#pinned.set(rank, Math.max(pinned, line.to));
      return pinned;
    }
    const counted = this.#recent.get(rank) ?? this.#before.get(rank) ?? 0;
    this.#recent.set(rank, Math.max(counted, line.to));
    if (this.#recent.size >= recentMax) {
      this.#before = this.#recent;
      this.#recent = new Map();
    }
    return counted;
  }

  #addTo(group: string | null, line: UsageLine, duration: number): void {
    let name = "";
    for (const key of this.#question.by) {
      name += `${valueOf(key, group, line)}\n`;
    }
    let sum = this.#sums.get(name);
    if (sum === undefined) {
      sum = { keys: keysOf(this.#question.by, group, line), accelerators: 0, cpus: 0, memoryGb: 0 };
      this.#sums.set(name, sum);
    }
    addTo(sum, line, duration);
  }
}

/** No name has a line feed in it. */
function valueOf(key: UsageKey, group: string | null, line: UsageLine): string | null {
  switch (key) {
    case "group":
      return group;
    case "job":
      return `${line.user} ${line.jobId}`;
    default:
      return line[key];
  }
}

function keysOf(by: readonly UsageKey[], group: string | null, line: UsageLine): UsageRow["keys"] {
  const keys: UsageRow["keys"] = {};
  for (const key of by) {
    if (key === "job") {
      keys.user = line.user;
      keys.job = line.jobId;
    } else {
      Object.assign(keys, { [key]: valueOf(key, group, line) });
    }
  }
  return keys;
}

function addTo(sum: Sum, line: UsageLine, duration: number): void {
  sum.accelerators += line.accelerators * duration;
  sum.cpus += line.cpus * duration;
  sum.memoryGb += line.memoryGb * duration;
}

function amountOf(sum: Sum): UsageAmount {
  return {
    accelerator_hours: sum.accelerators / msPerHour,
    cpu_hours: sum.cpus / msPerHour,
    memory_gb_hours: sum.memoryGb / msPerHour,
  };
}
