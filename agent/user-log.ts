/**
 * What the agent logs because of something that a user's process did: a user must not be able to fill the disk through
 * root's log, nor to drown what is said of others. So lines are counted per user and minute, and what is beyond is only
 * counted. It decides nothing. Used by agent/skylets.ts, agent/skylet-streams.ts and agent/loop.ts.
 */
import type { Logger } from "pino";
import type { Uid } from "../shared/ids.ts";

/** Lines about one user within a minute. A burst of starts and ends is well below it. */
const linesPerMinute = 60;

export type UserFields = Record<string, string | number | null>;

export class UserLog {
  private readonly log: Logger;
  private readonly counts = new Map<Uid, number>();
  private since = performance.now();

  constructor(log: Logger) {
    this.log = log;
  }

  /** One line about this user, or nothing when there were too many of them in this minute. */
  write(level: "info" | "warn" | "error", uid: Uid, fields: UserFields, text: string): void {
    const now = performance.now();
    if (now - this.since > 60_000) {
      this.since = now;
      this.counts.clear();
    }
    const count = (this.counts.get(uid) ?? 0) + 1;
    this.counts.set(uid, count);
    if (count <= linesPerMinute) {
      this.log[level]({ uid, ...fields }, text);
    } else if (count === linesPerMinute + 1) {
      this.log.warn({ uid }, "too many lines about this user; more are left out for a minute");
    }
  }
}
