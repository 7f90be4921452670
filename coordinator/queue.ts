/**
 * The users' queues in BullMQ: one queue per user, whose ids are the per-user job ids. The job's data is its record and
 * the truth; BullMQ's lists are an index of it that recover() repairs. Only this file knows BullMQ; it must never use
 * BullMQ's priorities, retries, stalled checks or `obliterate` (which would hand out ids again). It is the only taker of
 * every queue. Called by the loop's effects, the API (through parts.ts) and retention; opened anew for each generation.
 */
import {
  type BackendFactory,
  Job as BullJob,
  getDefaultBackendFactory,
  type IQueueBackend,
  Queue,
  Worker,
} from "bullmq";
import type { JobId, Uid } from "../shared/ids.ts";
import type { Job, JobRecord } from "../shared/job.ts";
import type { Log } from "./log.ts";
import type { JobQueue } from "./parts.ts";
import {
  failOnError,
  inPlace,
  lists,
  pageSize,
  type Place,
  prefix,
  QueueRecords,
  queueName,
  tokenOf,
} from "./queue-records.ts";
import { startWaiting, writeRecord } from "./queue-scripts.ts";
import type { RedisLink } from "./redis.ts";

/** The set of uids that have ever had a job; BullMQ cannot list queues. Written before a user's first job. */
const knownUsersKey = "sky-users";
/** How long the same request id means the same job, in milliseconds. */
const deduplicationMs = 86_400_000;
/** A lock that never runs out (95 years, a whole number): liveness is what agents report, never what a lock says. */
const lockMs = 3e12;
/** How many of a user's newest finished jobs are compared with their records at start. Records are written first, so a mismatch is near the end. */
const finishedChecked = 200;
/** Code of BullMQ's scripts for "no such job". */
const missingCode = -1;
/** Codes of BullMQ's scripts for "not in a state in which it can be finished with this token". */
const misplacedCodes = new Set<unknown>([missingCode, -2, -3, -6]);

export interface QueueOptions {
  finishedKeptSeconds: number;
  finishedKeptPerUser: number;
  log: Log;
}

/** What one user's queue needs in memory. `turn` lets takes happen one after another: a take is a raise and a take. */
interface Lane {
  queue: Queue<JobRecord>;
  worker: Worker<JobRecord, unknown, string, IQueueBackend>;
  turn: Promise<unknown>;
}

export class UserQueues implements JobQueue {
  readonly #link: RedisLink;
  readonly #options: QueueOptions;
  readonly #records: QueueRecords;
  readonly #lanes = new Map<Uid, Lane>();
  readonly #known = new Set<Uid>();

  constructor(link: RedisLink, options: QueueOptions) {
    this.#link = link;
    this.#options = options;
    this.#records = new QueueRecords(link, options.log);
  }

  async add(record: JobRecord): Promise<JobId> {
    return (await this.submit(record)).id;
  }

  submit(record: JobRecord): Promise<{ id: JobId; stored: JobRecord | null }> {
    return this.#link.run("adding a job", async () => {
      const { uid, requestId } = record;
      if (!this.#known.has(uid)) {
        await this.#link.client.sadd(knownUsersKey, String(uid));
        this.#known.add(uid);
      }
      for (let round = 0; round < 2; round += 1) {
        const { queue } = this.#lane(uid);
        const added = await queue.add("job", record, { deduplication: { id: requestId, ttl: deduplicationMs } });
        const id = Number(added.id);
        const stored = await this.#records.stored(uid, id, record);
        // Gone: it was this request's job, has ended and was dropped. Another's: the key is a leftover of a lost state.
        if (stored === null || stored.requestId === requestId) {
          return { id, stored };
        }
        await queue.removeDeduplicationKey(requestId);
      }
      throw new Error(`request ${requestId} of uid ${uid} keeps naming another request's job`);
    });
  }

  update(uid: Uid, id: JobId, record: JobRecord): Promise<void> {
    return this.#link.run(`writing job ${id} of uid ${uid}`, () => this.#update(uid, id, record));
  }

  start(uid: Uid, id: JobId, record: JobRecord, attemptNumber: number): Promise<void> {
    return this.#link.run(`starting job ${id} of uid ${uid}`, async () => {
      const keyOf = (type: string): string => this.#records.key(uid, type);
      const token = tokenOf(id, attemptNumber);
      const usual = { id: String(id), data: JSON.stringify(record), token, lockMs };
      if (!(await startWaiting(this.#link, keyOf, usual))) {
        await this.#takeInTurn(uid, id, attemptNumber);
      }
    });
  }

  end(uid: Uid, id: JobId, record: JobRecord, attemptNumber: number): Promise<void> {
    return this.#link.run(`ending job ${id} of uid ${uid}`, async () => {
      // Sent one after the other on one connection: the server does them in this order, and flushes once for both.
      await Promise.all([this.#update(uid, id, record), this.#finish(uid, id, attemptNumber)]);
    });
  }

  take(uid: Uid, id: JobId, attemptNumber: number): Promise<void> {
    return this.#link.run(`taking job ${id} of uid ${uid}`, () => this.#takeInTurn(uid, id, attemptNumber));
  }

  finish(uid: Uid, id: JobId, attemptNumber: number): Promise<void> {
    return this.#link.run(`finishing job ${id} of uid ${uid}`, () => this.#finish(uid, id, attemptNumber));
  }

  async #finish(uid: Uid, id: JobId, attemptNumber: number): Promise<void> {
    for (let round = 0; round < 3; round += 1) {
      try {
        await this.#job(uid, id).moveToCompleted(null, tokenOf(id, attemptNumber), false);
        return;
      } catch (error) {
        if (!misplacedCodes.has((error as { code?: unknown }).code)) {
          throw error;
        }
      }
      const state = await this.#lane(uid).queue.getJobState(String(id));
      if (state === "completed" || (state === "unknown" && !(await this.#exists(uid, id)))) {
        return;
      }
      await this.#takeInTurn(uid, id, attemptNumber);
    }
    throw new Error("it could not be moved to the finished jobs");
  }

  putBack(uid: Uid, id: JobId): Promise<void> {
    return this.#link.run(`putting back job ${id} of uid ${uid}`, () => this.#putBack(uid, id));
  }

  read(uid: Uid, id: JobId): Promise<JobRecord | null> {
    return this.#link.run(`reading job ${id} of uid ${uid}`, () => this.#read(uid, id));
  }

  async readMany(uid: Uid, ids: readonly JobId[]): Promise<Map<JobId, JobRecord>> {
    const found = new Map<JobId, JobRecord>();
    for (let start = 0; start < ids.length; start += pageSize) {
      const page = ids.slice(start, start + pageSize).map(String);
      for (const { id, record } of await this.#link.run("reading jobs", () => this.#records.page(uid, page))) {
        if (record !== null) {
          found.set(id, record);
        }
      }
    }
    return found;
  }

  finished(uid: Uid, limit: number): Promise<Job[]> {
    return this.#link.run(`reading finished jobs of uid ${uid}`, async () => {
      const jobs: Job[] = [];
      for (let start = 0; start < limit; start += pageSize) {
        const end = Math.min(start + pageSize, limit) - 1;
        const ids = await this.#link.client.zrevrange(this.#records.key(uid, "completed"), start, end);
        const page = await this.#records.page(uid, ids);
        jobs.push(...page.flatMap(({ id, record }) => (record?.phase === "ended" ? [{ id, record }] : [])));
        if (ids.length < end - start + 1) {
          break;
        }
      }
      return jobs;
    });
  }

  async *recover(): ReturnType<JobQueue["recover"]> {
    for (const uid of await this.users()) {
      yield* this.#recoverUser(uid);
    }
  }

  users(): Promise<Uid[]> {
    return this.#link.run("reading the known users", async () => {
      const uids = (await this.#link.client.smembers(knownUsersKey)).map(Number).filter(Number.isSafeInteger);
      return uids.sort((a, b) => a - b);
    });
  }

  /** Every payload reference in the records of a user's jobs, finished ones included. For the sweep in retention.ts. */
  async payloadRefs(uid: Uid): Promise<Set<string>> {
    const refs = new Set<string>();
    for (const ids of (await this.#records.placesOf(uid, Number.MAX_SAFE_INTEGER)).pages) {
      for (const { record } of await this.#link.run("reading jobs", () => this.#records.page(uid, ids))) {
        if (record !== null) {
          refs.add(record.taskRef);
          refs.add(record.attempt?.setupRef ?? record.taskRef);
        }
      }
    }
    return refs;
  }

  /** Drops a user's finished jobs that are to be kept for a shorter time than others, once that is over; says how many. */
  async dropShortKept(uid: Uid, now: number): Promise<number> {
    const isOver = ({ endedAt, shape }: JobRecord): boolean =>
      endedAt !== null && shape.keepSeconds !== undefined && endedAt + shape.keepSeconds * 1000 <= now;
    let dropped = 0;
    for (const { id, record } of await this.finished(uid, this.#options.finishedKeptPerUser)) {
      if (isOver(record)) {
        dropped += await this.#link.run(`dropping job ${id} of uid ${uid}`, () =>
          this.#lane(uid).queue.remove(String(id)),
        );
      }
    }
    return dropped;
  }

  async close(): Promise<void> {
    // BullMQ's objects own nothing but listeners on the link's client; closing each would wait for a dead server.
    this.#lanes.clear();
    this.#link.close();
  }

  // ---- one job

  /** A BullMQ job object without reading anything: its methods need only the id and, at the end, how much history to keep. */
  #job(uid: Uid, id: JobId): BullJob<JobRecord> {
    const keep = { age: this.#options.finishedKeptSeconds, count: this.#options.finishedKeptPerUser };
    return new BullJob(this.#lane(uid).queue, "job", {} as JobRecord, { removeOnComplete: keep }, String(id));
  }

  async #update(uid: Uid, id: JobId, record: JobRecord): Promise<void> {
    if (!(await writeRecord(this.#link, this.#records.key(uid, String(id)), JSON.stringify(record)))) {
      // It has ended and was dropped from the history. Nothing is lost, and reading everything again would not help.
      this.#options.log.warn({ uid, id, phase: record.phase }, "a job that is not stored any more was to be written");
    }
  }

  async #read(uid: Uid, id: JobId): Promise<JobRecord | null> {
    const [entry] = await this.#records.page(uid, [String(id)]);
    return entry?.record ?? null;
  }

  async #exists(uid: Uid, id: JobId): Promise<boolean> {
    return (await this.#link.client.exists(this.#records.key(uid, String(id)))) === 1;
  }

  #takeInTurn(uid: Uid, id: JobId, attemptNumber: number): Promise<void> {
    const lane = this.#lane(uid);
    const turn = lane.turn.then(() => this.#take(lane, uid, id, tokenOf(id, attemptNumber)));
    lane.turn = turn.catch(() => {});
    return turn;
  }

  /** BullMQ hands out only the first waiting job, so the wanted one is brought there; what comes out is compared. */
  async #take(lane: Lane, uid: Uid, id: JobId, token: string): Promise<void> {
    for (let round = 0; round < 3; round += 1) {
      const [lock, place] = await Promise.all([
        this.#link.client.get(`${this.#records.key(uid, String(id))}:lock`),
        lane.queue.getJobState(String(id)),
      ]);
      if (place === "active" && lock === token) {
        return;
      }
      if (place !== "waiting") {
        await this.#putBack(uid, id);
      }
      await this.#job(uid, id).changePriority({ priority: 0, lifo: true });
      const taken = await lane.worker.getNextJob(token, { block: false });
      if (taken?.id === String(id)) {
        return;
      }
      if (taken === undefined) {
        await lane.queue.resume();
      } else {
        await taken.moveToWait(token);
      }
    }
    throw new Error("the queue does not hand it out");
  }

  /**
   * From wherever it is to the waiting list, in one transaction. BullMQ itself can do nothing with an active job whose
   * token is not known; this forgets the lock with the place, and the job can then be taken in the ordinary way.
   */
  async #putBack(uid: Uid, id: JobId): Promise<void> {
    if (!(await this.#exists(uid, id))) {
      throw new Error("it has no record");
    }
    const member = String(id);
    const transaction = this.#link.client.multi();
    for (const list of lists) {
      if (list === "wait" || list === "active") {
        transaction.lrem(this.#records.key(uid, list), 0, member);
      } else {
        transaction.zrem(this.#records.key(uid, list), member);
      }
    }
    transaction.srem(this.#records.key(uid, "stalled"), member);
    transaction.del(`${this.#records.key(uid, member)}:lock`);
    transaction.lpush(this.#records.key(uid, "wait"), member);
    failOnError(await transaction.exec());
  }

  // ---- many jobs

  async *#recoverUser(uid: Uid): ReturnType<JobQueue["recover"]> {
    this.#known.add(uid);
    if (await this.#link.run("reading a queue", () => this.#lane(uid).queue.isPaused())) {
      this.#options.log.warn({ uid }, "a paused queue is resumed: only the coordinator decides what starts");
      await this.#link.run("resuming a queue", () => this.#lane(uid).queue.resume());
    }
    const { pages, places } = await this.#records.placesOf(uid, finishedChecked);
    for (const ids of pages) {
      for (const { id, record, lock, takenAt } of await this.#link.run("reading jobs", () =>
        this.#records.page(uid, ids),
      )) {
        if (record === null) {
          continue;
        }
        const isRight = inPlace(id, record, places.get(String(id)) ?? null, lock);
        if (!isRight) {
          await this.#repair(uid, id, record, places.get(String(id)) ?? null);
        }
        if (record.phase !== "ended") {
          // What was not taken for this attempt before the end of the last life is taken just now.
          const isOfThisAttempt = isRight || record.startedAt !== null;
          yield { id, record, takenAt: record.phase !== "waiting" && isOfThisAttempt ? takenAt : null };
        }
      }
    }
  }

  async #repair(uid: Uid, id: JobId, record: JobRecord, found: Place | null): Promise<void> {
    this.#options.log.info({ uid, id, phase: record.phase, found }, "a job's place in its queue is set right");
    const number = record.attempt?.number ?? 0;
    await this.#link.run(`repairing job ${id} of uid ${uid}`, async () => {
      if (record.phase === "waiting" || found === "several") {
        await this.#putBack(uid, id);
      }
    });
    if (record.phase === "ended") {
      await this.finish(uid, id, number);
    } else if (record.phase !== "waiting") {
      await this.take(uid, id, number);
    }
  }

  #lane(uid: Uid): Lane {
    const existing = this.#lanes.get(uid);
    if (existing !== undefined) {
      return existing;
    }
    const connection = this.#link.client;
    // A short event stream: with BullMQ's default each user would cost about 590 KB for events that nobody reads.
    const queue = new Queue<JobRecord>(queueName(uid), { connection, prefix, streams: { events: { maxLen: 10 } } });
    const worker = new Worker<JobRecord, unknown, string, IQueueBackend>(
      queueName(uid),
      null,
      {
        connection,
        prefix,
        autorun: false,
        skipStalledCheck: true,
        skipLockRenewal: true,
        lockDuration: lockMs,
      },
      withoutBlockingConnection,
    );
    // Errors reach the callers through the promises; without a listener each would also be printed.
    queue.on("error", () => {});
    worker.on("error", () => {});
    const lane: Lane = { queue, worker, turn: Promise.resolve() };
    this.#lanes.set(uid, lane);
    return lane;
  }
}

/** No second connection per worker: nothing here ever blocks on a queue. */
const withoutBlockingConnection: BackendFactory = (name, options, extra) =>
  getDefaultBackendFactory()(name, options, { ...extra, withBlockingConnection: false });
