/**
 * One line in the log for each step in the life of a job that is on disk: queued, started where, what it came to, put
 * back, ended. They are what `sky admin logs` shows of the coordinator, so each names user, job and attempt. Lines that a
 * user can cause are bounded per user, so that nobody fills the head's disk. It decides nothing. Called by effects.ts and
 * by the route that takes submissions.
 */
import type { JobId, Uid } from "../shared/ids.ts";
import type { JobRecord } from "../shared/job.ts";
import type { Log } from "./log.ts";

/** Lines about one user's jobs within a minute: some hundred jobs begin and end. */
const linesPerMinute = 600;
const nodesMax = 64;

export class JobFacts {
  readonly #log: Log;
  readonly #counts = new Map<Uid, number>();
  /** What was last said of a job that goes on, so that it is said once. */
  readonly #said = new Map<string, string>();
  #since = performance.now();

  constructor(log: Log) {
    this.#log = log;
  }

  queued(id: JobId, record: JobRecord): void {
    const { kind, name, resourcesText } = record;
    this.#say(id, record, { kind, name, resources: resourcesText }, "job queued");
  }

  started(id: JobId, record: JobRecord): void {
    const ranks = record.attempt?.ranks ?? [];
    const nodes = ranks.slice(0, nodesMax).map((rank) => rank.grant.node);
    const number = record.attempt?.number ?? null;
    this.#say(id, record, { number, nodes, ranks: ranks.length }, "job starts; its nodes are told");
  }

  putBack(id: JobId, record: JobRecord): void {
    this.#said.delete(`${record.uid}/${id}`);
    this.#say(id, record, { reason: record.reason }, "job waits again for its next attempt");
  }

  /** Says what is new: its phase, or that somebody wants it cancelled. */
  changed(id: JobId, record: JobRecord): void {
    const key = `${record.uid}/${id}`;
    const isCancelled = record.cancelRequestedAt !== null;
    const now = `${record.phase} ${isCancelled}`;
    if (this.#said.get(key) === now) {
      return;
    }
    this.#said.set(key, now);
    const text = isCancelled ? "job is to be cancelled" : "job goes on";
    this.#say(id, record, { phase: record.phase }, text);
  }

  ended(id: JobId, record: JobRecord): void {
    this.#said.delete(`${record.uid}/${id}`);
    const exits = (record.attempt?.ranks ?? []).slice(0, nodesMax).map((rank) => rank.runExit ?? rank.setupExit);
    this.#say(
      id,
      record,
      { end: record.end, reason: record.reason, exits },
      "job has ended; its nodes are told to clean up",
    );
  }

  #say(job: JobId, record: JobRecord, fields: Record<string, unknown>, text: string): void {
    const now = performance.now();
    if (now - this.#since > 60_000) {
      this.#since = now;
      this.#counts.clear();
    }
    const { uid, user } = record;
    const count = (this.#counts.get(uid) ?? 0) + 1;
    this.#counts.set(uid, count);
    if (count <= linesPerMinute) {
      this.#log.info({ uid, user, job, attempt: record.attempt?.id ?? null, ...fields }, text);
    } else if (count === linesPerMinute + 1) {
      this.#log.warn({ uid, user }, "too many lines about this user's jobs; more are left out for a minute");
    }
  }
}
