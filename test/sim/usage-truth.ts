/**
 * What attempts really held in a simulated history, as nobody in the cluster can know it, compared with the lines that
 * the coordinator wrote: every attempt whose end was on disk is counted from its grant to that end at least, through kills
 * and restarts, and no machine is ever counted as holding more than it has. Used by world.ts.
 */
import { UsageSum } from "../../coordinator/usage-sum.ts";
import type { Inventory } from "../../shared/agent-wire.ts";
import type { AttemptId, NodeName } from "../../shared/ids.ts";
import type { JobRecord } from "../../shared/job.ts";
import type { UsageLine } from "../../shared/scheduling.ts";

/** Virtual ms that a restart may take from the begin of an attempt: from its grant until its queue has it. */
const beginMs = 100;
const slack = 1e-6;

export class UsageTruth {
  readonly #granted = new Map<AttemptId, number>();
  readonly #decided = new Map<AttemptId, number>();
  readonly #durable = new Set<AttemptId>();

  granted(attempt: AttemptId, now: number): void {
    this.#granted.set(attempt, now);
  }

  /** An end of the record's present attempt is to be written; one that was lost in a crash is decided again. */
  endDecided(record: JobRecord, now: number): void {
    const attempt = record.attempt?.id;
    if (attempt !== undefined && !this.#durable.has(attempt)) {
      this.#decided.set(attempt, now);
    }
  }

  endDurable(attempt: AttemptId): void {
    this.#durable.add(attempt);
  }

  /** Violations as sentences. */
  violations(lines: readonly UsageLine[], inventories: ReadonlyMap<NodeName, Inventory>): string[] {
    return [...this.#missing(lines), ...tooMuch(lines, inventories)];
  }

  #missing(lines: readonly UsageLine[]): string[] {
    const found: string[] = [];
    const ranks = new Map<string, UsageLine[]>();
    for (const line of lines) {
      const name = `${line.attempt} ${line.node}`;
      ranks.set(name, [...(ranks.get(name) ?? []), line]);
    }
    for (const attempt of this.#durable) {
      const [from, to] = [this.#granted.get(attempt), this.#decided.get(attempt)];
      if (from === undefined || to === undefined || to - from <= beginMs) {
        continue;
      }
      const own = [...ranks].filter(([name]) => name.startsWith(`${attempt} `));
      if (own.length === 0) {
        found.push(`nothing was counted of ${attempt}, which held something from ${from} to ${to}`);
      }
      for (const [name, rank] of own) {
        const counted = countedMs(rank, from + beginMs, to);
        if (counted < to - from - beginMs - 1) {
          found.push(`${name} held something from ${from} to ${to}, of which ${counted} ms were counted`);
        }
      }
    }
    return found;
  }
}

/** How much of the period these lines of one rank count, as the answer to a question would. */
function countedMs(lines: readonly UsageLine[], from: number, to: number): number {
  const sum = new UsageSum({ from, to, by: ["node"], uid: null }, []);
  for (const line of lines) {
    sum.add({ ...line, cpus: 1 });
  }
  return sum.total().cpu_hours * 3_600_000;
}

/** Moments at which more is counted on a machine than it has. */
function tooMuch(lines: readonly UsageLine[], inventories: ReadonlyMap<NodeName, Inventory>): string[] {
  const found: string[] = [];
  for (const [node, inventory] of inventories) {
    const spans = spansOf(lines.filter((line) => line.node === node));
    const moments = [
      ...spans.map((line) => ({ at: line.from, line, sign: 1 })),
      ...spans.map((line) => ({ at: line.to, line, sign: -1 })),
    ].sort((a, b) => a.at - b.at || a.sign - b.sign);
    let [accelerators, cpus] = [0, 0];
    for (const { at, line, sign } of moments) {
      accelerators += sign * line.accelerators;
      cpus += sign * line.cpus;
      if (accelerators > inventory.accelerators.length + slack || cpus > inventory.cpus + slack) {
        found.push(
          `at ${at} ${accelerators} accelerators and ${cpus} CPUs of ${node} are counted, with ${line.attempt}`,
        );
      }
    }
  }
  return found;
}

/** The lines without the time that lines of the same rank speak of twice. */
function spansOf(lines: readonly UsageLine[]): UsageLine[] {
  const countedTo = new Map<AttemptId, number>();
  const spans: UsageLine[] = [];
  for (const line of lines.toSorted((a, b) => a.from - b.from || a.to - b.to)) {
    const from = Math.max(line.from, countedTo.get(line.attempt) ?? 0);
    if (line.to > from) {
      countedTo.set(line.attempt, line.to);
      spans.push({ ...line, from });
    }
  }
  return spans;
}
