/**
 * The queues against a real Redis: what a job's life does to the lists, what survives kills and cuts, and that recovery
 * brings every list to what the record says. It must never assume more of BullMQ than the queue itself promises.
 */
import { randomUUID } from "node:crypto";
import { Redis } from "ioredis";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { Job, JobRecord, Phase } from "../shared/job.ts";
import { startRedis, type TestRedis } from "../test/help/redis.ts";
import { StoreUnavailable } from "./parts.ts";
import { UserQueues } from "./queue.ts";
import { openLink } from "./redis.ts";

let redis: TestRedis;
let raw: Redis;
const open: UserQueues[] = [];
const lines: string[] = [];
const log = pino({ base: null }, { write: (line) => void lines.push(line) });

beforeAll(async () => {
  redis = await startRedis();
  raw = new Redis({ path: redis.socket });
  raw.on("error", () => {});
});
afterEach(async () => {
  for (const queue of open.splice(0)) {
    await queue.close();
  }
});
afterAll(async () => {
  raw.disconnect();
  await redis.remove();
});

async function openQueue(kept = 1000, commandLimitMs?: number): Promise<UserQueues> {
  const link = await openLink(redis.socket, "test", commandLimitMs);
  const queue = new UserQueues(link, { finishedKeptSeconds: 86_400, finishedKeptPerUser: kept, log });
  open.push(queue);
  return queue;
}

let lastUid = 2000;
function newUid(): number {
  lastUid += 1;
  return lastUid;
}

function recordOf(uid: number, phase: Phase = "waiting"): JobRecord {
  const grant = { node: "n1", devices: [0], share: 1, cpus: 1, memoryGb: 1 };
  const rank = { grant, setup: false, pid: null, setupExit: null, runExit: null, logDir: null };
  return {
    format: 1,
    uid,
    user: "alice",
    requestId: randomUUID(),
    kind: "launch",
    name: "train",
    cluster: "lab",
    taskRef: "a".repeat(64),
    shape: { nodes: 1, accelerators: null, cpus: 1, memoryGb: 1 },
    resourcesText: "1x[CPU:1]",
    hasSetup: false,
    hasRun: true,
    submittedAt: 1,
    phase,
    attempt: phase === "waiting" ? null : { id: "abcdefgh-1", number: 1, setupRef: null, ranks: [rank] },
    startedAt: null,
    cancelRequestedAt: null,
    endedAt: phase === "ended" ? 2 : null,
    end: phase === "ended" ? "SUCCEEDED" : null,
    reason: null,
  };
}

/** What the lists and the lock say of a job. */
async function placeOf(uid: number, id: number): Promise<string> {
  const base = `sky:sky-u${uid}`;
  const places: string[] = [];
  for (const list of ["wait", "active"]) {
    places.push(
      ...(await raw.lrange(`${base}:${list}`, 0, -1)).filter((entry) => entry === String(id)).map(() => list),
    );
  }
  for (const list of ["completed", "failed", "delayed", "prioritized"]) {
    if ((await raw.zscore(`${base}:${list}`, String(id))) !== null) {
      places.push(list);
    }
  }
  const lock = await raw.get(`${base}:${id}:lock`);
  return places.join("+") + (lock === null ? "" : ` ${lock}`);
}

async function recovered(queue: UserQueues, uid: number): Promise<(Job & { takenAt?: number | null })[]> {
  const jobs: (Job & { takenAt?: number | null })[] = [];
  for await (const job of queue.recover()) {
    if (job.record.uid === uid) {
      jobs.push(job);
    }
  }
  return jobs;
}

describe("one job", () => {
  test("ids count per user from 1 and the record comes back as written", async () => {
    const queue = await openQueue();
    const [one, two] = [newUid(), newUid()];
    const record = recordOf(one);
    expect(await queue.add(record)).toBe(1);
    expect(await queue.add(recordOf(one))).toBe(2);
    expect(await queue.add(recordOf(two))).toBe(1);
    expect(await queue.read(one, 1)).toEqual(record);
    expect(await queue.read(one, 99)).toBeNull();
  });

  test("the same request is the same job: waiting, running, ended and dropped", async () => {
    const queue = await openQueue(1);
    const uid = newUid();
    const record = recordOf(uid);
    const id = await queue.add(record);
    expect(await queue.add(record)).toBe(id);
    await queue.take(uid, id, 1);
    expect(await queue.add(record)).toBe(id);
    await queue.update(uid, id, { ...record, phase: "ended", end: "FAILED", endedAt: 5 });
    await queue.finish(uid, id, 1);
    expect(await queue.add(record)).toBe(id);
    const next = await queue.add(recordOf(uid));
    await queue.finish(uid, next, 0);
    expect(await queue.read(uid, id)).toBeNull();
    expect(await queue.add(record)).toBe(id);
    expect(await placeOf(uid, id)).toBe("");
  });

  test("any waiting job can be taken, and taking again changes nothing", async () => {
    const queue = await openQueue();
    const uid = newUid();
    for (let count = 0; count < 5; count += 1) {
      await queue.add(recordOf(uid));
    }
    await Promise.all([queue.take(uid, 3, 1), queue.take(uid, 5, 1), queue.take(uid, 1, 2)]);
    await queue.take(uid, 3, 1);
    expect(await placeOf(uid, 3)).toBe("active 3.1");
    expect(await placeOf(uid, 5)).toBe("active 5.1");
    expect(await placeOf(uid, 1)).toBe("active 1.2");
    expect(await placeOf(uid, 2)).toBe("wait");
    expect(await placeOf(uid, 4)).toBe("wait");
  });

  test("a job that was taken is put back, and taken again as the next attempt", async () => {
    const queue = await openQueue();
    const uid = newUid();
    await queue.add(recordOf(uid));
    await queue.add(recordOf(uid));
    await queue.take(uid, 1, 1);
    await queue.putBack(uid, 1);
    await queue.putBack(uid, 1);
    expect([await placeOf(uid, 1), await placeOf(uid, 2)]).toEqual(["wait", "wait"]);
    await queue.take(uid, 1, 2);
    expect(await placeOf(uid, 1)).toBe("active 1.2");
    await queue.finish(uid, 1, 2);
    expect(await placeOf(uid, 1)).toBe("completed");
  });

  test("a job is finished from wherever it is, once, and without taking another", async () => {
    const queue = await openQueue();
    const uid = newUid();
    const ended = (record: JobRecord): JobRecord => ({ ...record, phase: "ended", end: "CANCELLED", endedAt: 9 });
    for (let count = 0; count < 4; count += 1) {
      const record = recordOf(uid);
      const id = await queue.add(record);
      await (id < 4 ? queue.update(uid, id, ended(record)) : Promise.resolve());
    }
    await queue.take(uid, 2, 1);
    await queue.take(uid, 3, 7);
    await queue.finish(uid, 1, 0);
    await queue.finish(uid, 2, 1);
    await queue.finish(uid, 3, 8);
    await queue.finish(uid, 3, 8);
    for (const id of [1, 2, 3]) {
      expect(await placeOf(uid, id)).toBe("completed");
    }
    expect(await placeOf(uid, 4)).toBe("wait");
    expect((await queue.finished(uid, 10)).map((job) => job.id).sort((a, b) => a - b)).toEqual([1, 2, 3]);
    expect(await queue.finished(uid, 2)).toHaveLength(2);
  });

  test("history is kept up to its limit", async () => {
    const queue = await openQueue(3);
    const uid = newUid();
    for (let id = 1; id <= 6; id += 1) {
      await queue.add(recordOf(uid));
      await queue.update(uid, id, recordOf(uid, "ended"));
      await queue.finish(uid, id, 1);
    }
    expect(await queue.finished(uid, 100)).toHaveLength(3);
    expect(await queue.add(recordOf(uid))).toBe(7);
  });
});

test("a write to a job that was dropped from the history is no failure", async () => {
  const queue = await openQueue(1);
  const uid = newUid();
  for (let count = 0; count < 2; count += 1) {
    const id = await queue.add(recordOf(uid));
    await queue.finish(uid, id, 0);
  }
  await queue.update(uid, 1, recordOf(uid, "ended"));
  expect(await queue.read(uid, 1)).toBeNull();
  await expect(queue.take(uid, 1, 1)).rejects.toBeInstanceOf(StoreUnavailable);
});

describe("recovery", () => {
  const places = [
    "wait",
    "active own",
    "active foreign",
    "active lost",
    "completed",
    "failed",
    "delayed",
    "prioritized",
    "two",
  ];
  const phases: Phase[] = ["waiting", "starting", "setup", "running", "ended"];
  const table = phases.flatMap((phase) => places.map((place) => [phase, place] as const));

  async function put(queue: UserQueues, uid: number, id: number, place: string): Promise<void> {
    const base = `sky:sky-u${uid}`;
    if (place === "wait") {
      return;
    }
    if (place.startsWith("active")) {
      await queue.take(uid, id, place === "active foreign" ? 9 : 1);
      await (place === "active lost" ? raw.del(`${base}:${id}:lock`) : Promise.resolve());
      return;
    }
    if (place === "two") {
      await raw.lpush(`${base}:active`, String(id));
      return;
    }
    await raw.lrem(`${base}:wait`, 0, String(id));
    await raw.zadd(`${base}:${place}`, 1, String(id));
  }

  test.each(table)("record %s, list %s: the record wins", async (phase, place) => {
    const queue = await openQueue();
    const uid = newUid();
    for (let count = 0; count < 3; count += 1) {
      await queue.add(recordOf(uid));
    }
    await put(queue, uid, 2, place);
    const record = recordOf(uid, phase);
    await queue.update(uid, 2, record);

    const again = await openQueue();
    const jobs = await recovered(again, uid);
    const wanted = {
      waiting: "wait",
      starting: "active 2.1",
      setup: "active 2.1",
      running: "active 2.1",
      ended: "completed",
    };
    expect(await placeOf(uid, 2)).toBe(wanted[phase]);
    expect(await placeOf(uid, 1)).toBe("wait");
    expect(await placeOf(uid, 3)).toBe("wait");
    expect(jobs.map((job) => job.id).sort((a, b) => a - b)).toEqual(phase === "ended" ? [1, 3] : [1, 2, 3]);
    // And the job's life goes on in the ordinary way.
    await again.take(uid, 1, 1);
    await again.finish(uid, 2, phase === "waiting" ? 0 : 1);
    expect(await placeOf(uid, 1)).toBe("active 1.1");
    expect(await placeOf(uid, 2)).toBe("completed");
  });

  test("it says when each job was taken for its present attempt, and only then", async () => {
    const queue = await openQueue();
    const uid = newUid();
    for (let count = 0; count < 4; count += 1) {
      await queue.add(recordOf(uid));
    }
    const before = Date.now();
    await queue.take(uid, 1, 1);
    await queue.update(uid, 1, recordOf(uid, "starting"));
    // Taken for an earlier attempt; the record of the next one was written, and then all ended.
    await queue.take(uid, 2, 1);
    await queue.putBack(uid, 2);
    await queue.update(uid, 2, recordOf(uid, "starting"));
    // It ran already; the index was damaged since.
    await queue.take(uid, 3, 1);
    await queue.update(uid, 3, { ...recordOf(uid, "running"), startedAt: before });
    await raw.del(`sky:sky-u${uid}:3:lock`);
    const taken = new Map((await recovered(await openQueue(), uid)).map((job) => [job.id, job.takenAt]));
    const isNow = expect.toSatisfy((time: unknown) => typeof time === "number" && time >= before && time <= Date.now());
    expect([1, 2, 3, 4].map((id) => taken.get(id))).toEqual([isNow, null, isNow, null]);
  });

  test("a paused queue is resumed", async () => {
    const queue = await openQueue();
    const uid = newUid();
    await queue.add(recordOf(uid));
    await raw.hset(`sky:sky-u${uid}:meta`, "paused", "1");
    const again = await openQueue();
    expect(await recovered(again, uid)).toHaveLength(1);
    await again.take(uid, 1, 1);
    expect(await placeOf(uid, 1)).toBe("active 1.1");
  });

  test("damaged records are logged and skipped, the others come", async () => {
    const queue = await openQueue();
    const uid = newUid();
    for (let count = 0; count < 4; count += 1) {
      await queue.add(recordOf(uid));
    }
    await raw.hset(`sky:sky-u${uid}:1`, "data", "{broken");
    await raw.hset(`sky:sky-u${uid}:2`, "data", JSON.stringify({ ...recordOf(uid), extra: 1 }));
    await raw.hset(`sky:sky-u${uid}:3`, "data", JSON.stringify(recordOf(uid + 1)));
    await raw.lpush(`sky:sky-u${uid}:wait`, "77");
    lines.length = 0;
    expect((await recovered(queue, uid)).map((job) => job.id)).toEqual([4]);
    expect(lines.filter((line) => line.includes("damaged"))).toHaveLength(3);
  });

  test("more jobs than one page", async () => {
    const queue = await openQueue();
    const uid = newUid();
    const records = Array.from({ length: 1203 }, () => recordOf(uid));
    await Promise.all(records.map((record) => queue.add(record)));
    expect(new Set((await recovered(queue, uid)).map((job) => job.id)).size).toBe(1203);
  });
});

describe("a server that goes away", () => {
  test("a frozen server surfaces as StoreUnavailable, and the link is of no more use", async () => {
    const queue = await openQueue(1000, 300);
    const uid = newUid();
    await queue.add(recordOf(uid));
    redis.freeze();
    await expect(queue.add(recordOf(uid))).rejects.toBeInstanceOf(StoreUnavailable);
    redis.thaw();
    await expect(queue.read(uid, 1)).rejects.toBeInstanceOf(StoreUnavailable);
  });

  test("cut connections double no job", async () => {
    const uid = newUid();
    const records = Array.from({ length: 200 }, () => recordOf(uid));
    const ids = new Map<string, number>();
    for (let cut = 0; cut < 40 && ids.size < records.length; cut += 1) {
      const queue = await openQueue();
      const rest = records.filter((record) => !ids.has(record.requestId));
      const adding = rest.map(async (record, index) => {
        const id = await queue.add(record);
        ids.set(record.requestId, id);
        if (index === 10) {
          await raw.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
        }
      });
      await Promise.allSettled(adding);
    }
    expect(ids.size).toBe(records.length);
    expect(new Set(ids.values()).size).toBe(records.length);
    expect(await recovered(await openQueue(), uid)).toHaveLength(records.length);
  });

  test("SIGKILL under writers loses nothing that was acknowledged", async () => {
    const uids = [newUid(), newUid(), newUid()];
    const acknowledged: [number, number, string][] = [];
    for (let round = 0; round < 3; round += 1) {
      const queue = await openQueue();
      const before = acknowledged.length;
      const writers = Array.from({ length: 30 }, async (_, index) => {
        const uid = uids[index % uids.length] as number;
        for (;;) {
          const record = recordOf(uid);
          const id = await queue.add(record);
          acknowledged.push([uid, id, record.requestId]);
          if (acknowledged.length - before === 200) {
            await redis.kill();
          }
          await queue.take(uid, id, 1);
          await queue.finish(uid, id, 1);
        }
      });
      await Promise.allSettled(writers);
      await redis.start();
    }
    expect(acknowledged.length).toBeGreaterThanOrEqual(600);
    const queue = await openQueue();
    for (const [uid, id, requestId] of acknowledged) {
      expect((await queue.read(uid, id))?.requestId).toBe(requestId);
    }
    expect(new Set(acknowledged.map(([uid, id]) => `${uid}/${id}`)).size).toBe(acknowledged.length);
  });
});
