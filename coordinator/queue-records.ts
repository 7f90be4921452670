/**
 * Reading the queues in bulk: where every job of a user lies, and records with their locks by the page, in few round
 * trips and without a script that would stop the server. Every record is checked again when it is read; a damaged one is
 * logged and left out, never a crash. It must never write. Called by coordinator/queue.ts only.
 */
import { assertNever, messageOf } from "../shared/errors.ts";
import type { JobId, Uid } from "../shared/ids.ts";
import { type JobRecord, jobRecordSchema } from "../shared/job.ts";
import type { Log } from "./log.ts";
import type { RedisLink } from "./redis.ts";

/** First part of every BullMQ key. */
export const prefix = "sky";
/** Ids and records read in one round trip. */
export const pageSize = 500;
/** BullMQ's lists in which a job can lie. Only the first three are used; the others exist when somebody used a BullMQ tool by hand. */
export const lists = ["wait", "active", "completed", "failed", "delayed", "prioritized", "waiting-children"] as const;
/** Where a job was found; `several`: in more than one list. */
export type Place = (typeof lists)[number] | "several";

/** A job as it was read; `record` is null when it is missing or damaged, `lock` the token that BullMQ holds for it. */
export interface StoredJob {
  id: JobId;
  record: JobRecord | null;
  lock: string | null;
  /** When it was last taken, ms since 1970; null: never. */
  takenAt: number | null;
}

export function queueName(uid: Uid): string {
  return `sky-u${uid}`;
}

/** The token with which an attempt's job is taken; derived from the record, so that it is known again after any crash. */
export function tokenOf(id: JobId, attemptNumber: number): string {
  return `${id}.${attemptNumber}`;
}

/** Whether the lists say what the record says. */
export function inPlace(id: JobId, record: JobRecord, found: Place | null, lock: string | null): boolean {
  switch (record.phase) {
    case "waiting":
      return found === "wait";
    case "starting":
    case "setup":
    case "running":
      return found === "active" && lock === tokenOf(id, record.attempt?.number ?? 0);
    case "ended":
      return found === "completed";
    default:
      return assertNever(record.phase);
  }
}

/** The replies of a pipeline or transaction; throws when it was aborted or any command failed. */
export function failOnError(replies: [Error | null, unknown][] | null): unknown[] {
  if (replies === null) {
    throw new Error("the transaction was not carried out");
  }
  return replies.map(([error, reply]) => {
    if (error !== null) {
      throw error;
    }
    return reply;
  });
}

export class QueueRecords {
  readonly #link: RedisLink;
  readonly #log: Log;

  constructor(link: RedisLink, log: Log) {
    this.#link = link;
    this.#log = log;
  }

  /** BullMQ's key for a list or a job of this user. */
  key(uid: Uid, type: string): string {
    return `${prefix}:${queueName(uid)}:${type}`;
  }

  /** Where every job of a user lies, and all ids in pages. At most `finishedLimit` finished ones, newest first. */
  async placesOf(uid: Uid, finishedLimit: number): Promise<{ pages: string[][]; places: Map<string, Place> }> {
    const places = new Map<string, Place>();
    for (const list of lists) {
      const limit = list === "completed" ? finishedLimit : Number.MAX_SAFE_INTEGER;
      for (let start = 0; start < limit; start += pageSize) {
        const end = Math.min(start + pageSize, limit) - 1;
        const ids = await this.#link.run("reading a queue", () =>
          list === "wait" || list === "active"
            ? this.#link.client.lrange(this.key(uid, list), start, end)
            : this.#link.client.zrevrange(this.key(uid, list), start, end),
        );
        for (const id of ids) {
          places.set(id, places.has(id) ? "several" : list);
        }
        if (ids.length < pageSize) {
          break;
        }
      }
    }
    const ids = [...places.keys()];
    const pages: string[][] = [];
    for (let start = 0; start < ids.length; start += pageSize) {
      pages.push(ids.slice(start, start + pageSize));
    }
    return { pages, places };
  }

  /** Records, lock tokens and times of these ids in one round trip. */
  async page(uid: Uid, ids: string[]): Promise<StoredJob[]> {
    if (ids.length === 0) {
      return [];
    }
    const pipeline = this.#link.client.pipeline();
    for (const id of ids) {
      pipeline.hmget(this.key(uid, id), "data", "processedOn");
      pipeline.get(`${this.key(uid, id)}:lock`);
    }
    const replies = failOnError(await pipeline.exec());
    return ids.map((id, index) => {
      const [data, processedOn] = replies[index * 2] as [unknown, unknown];
      const lock = replies[index * 2 + 1];
      const takenAt = Number(processedOn ?? Number.NaN);
      return {
        id: Number(id),
        record: this.#parse(uid, id, data),
        lock: typeof lock === "string" ? lock : null,
        takenAt: Number.isFinite(takenAt) ? takenAt : null,
      };
    });
  }

  /** The job's record as it is stored; the very one that is expected when nothing of it was changed. */
  async stored(uid: Uid, id: JobId, expected: JobRecord): Promise<JobRecord | null> {
    const text = await this.#link.client.hget(this.key(uid, String(id)), "data");
    return text === JSON.stringify(expected) ? expected : this.#parse(uid, String(id), text);
  }

  #parse(uid: Uid, id: string, text: unknown): JobRecord | null {
    if (typeof text !== "string") {
      return null;
    }
    try {
      const record = jobRecordSchema.parse(JSON.parse(text));
      if (record.uid !== uid) {
        throw new Error(`it names uid ${record.uid}`);
      }
      return record;
    } catch (error) {
      const cause = messageOf(error).replace(/\s+/g, " ").slice(0, 300);
      this.#log.error({ uid, id, cause }, "a damaged job record is skipped");
      return null;
    }
  }
}
