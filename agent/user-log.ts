/**
 * What the agent logs because of something that a user's process did: a user must not be able to fill the disk through
 * root's log, nor to drown what is said of others. So lines are counted per user and minute, and what is beyond is only
 * counted. It decides nothing. Used by agent/skylets.ts, agent/skylet-streams.ts and agent/loop.ts.
 */
import type { Logger } from "pino";
import type { Uid } from "../shared/ids.ts";

/** Lines about one user within a minute. A burst of starts and ends is well below it. */
const linesPerMinute = 60;
/** Lines about the steps of one user's jobs within a minute: some hundred jobs begin and end. */
const factsPerMinute = 600;

export type UserFields = Record<string, string | number | null>;

export class UserLog {
  private readonly log: Logger;
  private readonly counts = { lines: new Map<Uid, number>(), facts: new Map<Uid, number>() };
  private since = performance.now();

  constructor(log: Logger) {
    this.log = log;
  }

  /** One line about this user, or nothing when there were too many of them in this minute. */
  write(level: "info" | "warn" | "error", uid: Uid, fields: UserFields, text: string): void {
    this.bounded("lines", linesPerMinute, uid, () => this.log[level]({ uid, ...fields }, text));
  }

  /** One line about a step of this user's job; they have a limit of their own, so that nothing else hides them. */
  fact(uid: Uid, fields: UserFields, text: string): void {
    this.bounded("facts", factsPerMinute, uid, () => this.log.info({ uid, ...fields }, text));
  }

  private bounded(kind: "lines" | "facts", limit: number, uid: Uid, write: () => void): void {
    const now = performance.now();
    if (now - this.since > 60_000) {
      this.since = now;
      this.counts.lines.clear();
      this.counts.facts.clear();
    }
    const count = (this.counts[kind].get(uid) ?? 0) + 1;
    this.counts[kind].set(uid, count);
    if (count <= limit) {
      write();
    } else if (count === limit + 1) {
      this.log.warn({ uid }, "too many lines about this user; more are left out for a minute");
    }
  }
}
