/**
 * The loop with the real core, queue and store, and a node that does as it is told: a crash at every single write of a
 * job's life, after each of which everything is read again, must end in one start and one end. It must never look into
 * the core; it sees what a node and Redis see.
 */
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { AttemptReport, Desired, ToAgent } from "../shared/agent-wire.ts";
import type { Job, JobRecord } from "../shared/job.ts";
import { startRedis, type TestRedis } from "../test/help/redis.ts";
import { until } from "../test/help/until.ts";
import { initialState } from "./core/initial.ts";
import { CoreLoop } from "./loop.ts";
import { type JobQueue, type Store, StoreUnavailable } from "./parts.ts";
import { payloadFor } from "./payloads.ts";
import { UserQueues } from "./queue.ts";
import { openLink } from "./redis.ts";
import { openSecrets } from "./secrets.ts";
import { RedisStore } from "./store.ts";

let redis: TestRedis;
let stateDir: string;
const log = pino({ level: "silent" });

beforeAll(async () => {
  redis = await startRedis();
  stateDir = await mkdtemp(join(tmpdir(), "sky-state-"));
});
beforeEach(async () => {
  const client = new Redis({ path: redis.socket });
  await client.flushall();
  client.disconnect();
});
afterAll(async () => {
  await redis.remove();
  await rm(stateDir, { recursive: true, force: true });
});

/** A node with its own memory: it starts what is wanted once, lets it succeed, and forgets what has ended. */
class FakeNode {
  readonly starts = new Map<string, number>();
  readonly told: ToAgent[] = [];
  readonly attempts = new Map<string, AttemptReport>();
  known = { stateId: null as string | null, epoch: 0 };
  seq = 0;
  loop: CoreLoop | null = null;

  connect(loop: CoreLoop): void {
    this.loop = loop;
    const { stateId, epoch } = this.known;
    const hello = { type: "hello", protocol: 1, version: "1", node: "n1", stateId, epoch, bootId: "b" } as const;
    loop.note({ type: "nodeConnected", node: "n1", hello });
  }

  hear(loop: CoreLoop, message: ToAgent): void {
    this.told.push(message);
    setImmediate(() => {
      if (this.loop !== loop) {
        return;
      }
      if (message.type === "welcome") {
        this.known = { stateId: message.stateId, epoch: message.epoch };
        this.seq = 0;
        this.report();
      } else if (message.type === "desired") {
        this.obey(message);
      }
    });
  }

  obey(desired: Desired): void {
    this.seq = desired.seq;
    for (const id of desired.ended) {
      this.attempts.delete(id);
    }
    for (const wanted of desired.wanted) {
      if (!this.attempts.has(wanted.attempt) && !wanted.started) {
        this.starts.set(wanted.attempt, (this.starts.get(wanted.attempt) ?? 0) + 1);
        const { attempt, uid, user, jobId, jobName, submittedAt, rank, grant } = wanted;
        const empty = { pid: 7, setupExit: null, runExit: null, logDir: "sky_logs/1-x", fault: null };
        this.attempts.set(attempt, {
          attempt,
          uid,
          user,
          jobId,
          jobName,
          submittedAt,
          rank,
          grant,
          state: "running",
          ...empty,
        });
      }
    }
    this.report();
    for (const [id, one] of this.attempts) {
      if (one.state === "running") {
        this.attempts.set(id, { ...one, state: "exited", runExit: 0 });
      }
    }
    this.report();
  }

  report(): void {
    const inventory = {
      address: "127.0.0.1",
      cpus: 4,
      memoryGb: 8,
      accelerators: [],
      source: "none",
      mixedAllowed: false,
    };
    const attempts = [...this.attempts.values()];
    const { stateId, epoch } = this.known;
    const report = {
      type: "report" as const,
      stateId: stateId ?? "",
      epoch,
      seq: this.seq,
      inventory,
      attempts,
      warnings: [],
    };
    this.loop?.note({ type: "nodeReported", node: "n1", report });
  }
}

interface Life {
  loop: CoreLoop;
  queue: UserQueues;
  store: RedisStore;
  close(): Promise<void>;
}

/** Reads everything and starts a loop; the `failAt`-th write from here on does not happen and fails. */
async function live(node: FakeNode, failAt = Number.POSITIVE_INFINITY): Promise<Life> {
  const queue = new UserQueues(await openLink(redis.socket, "test"), {
    finishedKeptSeconds: 1000,
    finishedKeptPerUser: 100,
    log,
  });
  const store = new RedisStore(await openLink(redis.socket, "test"), openSecrets(stateDir), log);
  const opened = await store.open();
  const jobs: Job[] = [];
  for await (const job of queue.recover()) {
    jobs.push(job);
  }
  const nonce = String(opened.epoch).padStart(8, "0");
  const config = { nodes: [{ name: "n1", address: null }], graceSeconds: 1 };
  const state = initialState(config, { ...opened, nonce, jobs, uptime: 0, now: 0 });
  let writes = 0;
  const failing = <T extends object>(target: T, names: readonly string[]): T =>
    new Proxy(target, {
      get(_, name) {
        const method = Reflect.get(target, name) as (...args: unknown[]) => Promise<unknown>;
        if (typeof method !== "function") {
          return method;
        }
        return async (...args: unknown[]) => {
          if (names.includes(String(name))) {
            writes += 1;
            if (writes === failAt) {
              throw new StoreUnavailable("cut");
            }
          }
          return method.apply(target, args);
        };
      },
    });
  const loop: CoreLoop = new CoreLoop({
    state,
    queue: failing<JobQueue>(queue, ["update", "start", "end"]),
    store: failing<Store>(store, ["saveSetup", "saveEpoch", "saveNodeAdmin"]),
    log,
    tell: (_, message) => node.hear(loop, message),
    cut: () => {},
    now: Date.now,
    uptime: () => performance.now(),
  });
  const close = async (): Promise<void> => {
    loop.stop();
    await queue.close();
    await store.close();
  };
  loop.note({ type: "ticked" });
  node.connect(loop);
  return { loop, queue, store, close };
}

function waitingRecord(uid: number, taskRef: string): JobRecord {
  const shape = { nodes: 1, accelerators: null, cpus: 1, memoryGb: 0 };
  const times = { submittedAt: 1, startedAt: null, cancelRequestedAt: null, endedAt: null };
  const names = { user: "alice", requestId: randomUUID(), kind: "launch" as const, name: null, cluster: "lab" };
  const rest = { resourcesText: "1x[CPU:1]", hasSetup: false, hasRun: true, attempt: null, end: null, reason: null };
  return { format: 1, uid, ...names, taskRef, shape, ...times, phase: "waiting", ...rest };
}

async function submit(life: Life, uid: number): Promise<number> {
  const taskRef = await life.store.putPayload(uid, { setup: null, run: "true", envs: {} });
  const record = waitingRecord(uid, taskRef);
  const id = await life.queue.add(record);
  await life.loop.dispatch({ type: "jobSubmitted", uid, id, record }).catch(() => {});
  return id;
}

async function ended(life: Life, uid: number, id: number): Promise<JobRecord | null> {
  const record = await life.queue.read(uid, id);
  return record?.phase === "ended" ? record : null;
}

test("a job's whole life: one start, one end, and the node may forget it", async () => {
  const node = new FakeNode();
  const life = await live(node);
  const id = await submit(life, 1001);
  const record = await until(() => ended(life, 1001, id), "the job's end");
  expect(record.end).toBe("SUCCEEDED");
  await until(() => node.attempts.size === 0, "the node to forget");
  expect([...node.starts.values()]).toEqual([1]);
  // The node forgets before its word that it did so is here.
  await until(() => life.loop.state.jobs.size === 0, "the coordinator to forget");
  expect((await life.queue.finished(1001, 10)).map((job) => job.id)).toEqual([id]);
  await life.close();
});

test("a failure at each write of a job's life in turn", async () => {
  let failures = 0;
  for (let failAt = 1; failures === failAt - 1; failAt += 1) {
    const uid = 1000 + failAt;
    const node = new FakeNode();
    const first = await live(node, failAt);
    const id = await submit(first, uid);
    const isForgotten = async (): Promise<boolean> =>
      (await ended(first, uid, id)) !== null && node.attempts.size === 0;
    const failed = await Promise.race([
      first.loop.failed.then(() => true),
      until(isForgotten, "the job's end", 5_000).then(() => false),
    ]);
    if (failed) {
      failures += 1;
      const told = node.told.length;
      await expect(first.loop.dispatch({ type: "ticked" })).rejects.toBeInstanceOf(StoreUnavailable);
      expect(node.told.length).toBe(told);
    }
    await first.close();

    const second = await live(node);
    const record = await until(() => ended(second, uid, id), "the job's end after the failure");
    expect(record.end).toBe("SUCCEEDED");
    await until(() => node.attempts.size === 0, "the node to forget");
    expect([...node.starts.values()]).toEqual([1]);
    await until(async () => (await second.queue.finished(uid, 10)).length === 1, "the job in the finished list");
    await second.close();
  }
  // At the least: the start, one change in between, the end.
  expect(failures).toBeGreaterThanOrEqual(3);
});

test("many jobs of several users, with Redis killed and everything read again", async () => {
  const node = new FakeNode();
  let life = await live(node);
  const jobs: [number, number][] = [];
  for (let count = 0; count < 40; count += 1) {
    const uid = 1001 + (count % 3);
    jobs.push([uid, await submit(life, uid)]);
  }
  await redis.kill();
  await life.close();
  await redis.start();
  life = await live(node);
  for (const [uid, id] of jobs) {
    await until(() => ended(life, uid, id), `job ${uid}/${id}`);
  }
  expect(jobs).toHaveLength(40);
  expect(Math.max(...node.starts.values())).toBe(1);
  await life.close();
});

test("a failing Redis: nothing that is not on disk is told to a node", async () => {
  const node = new FakeNode();
  const life = await live(node);
  await until(() => life.loop.state.nodes.get("n1")?.reported === true, "the node's report");
  const taskRef = "a".repeat(64);
  await redis.kill();
  const record = waitingRecord(1001, taskRef);
  await expect(life.loop.dispatch({ type: "jobSubmitted", uid: 1001, id: 1, record })).rejects.toBeInstanceOf(
    StoreUnavailable,
  );
  expect(await life.loop.failed).toBeInstanceOf(StoreUnavailable);
  expect(node.starts.size).toBe(0);
  expect(node.told.some((message) => message.type === "desired" && message.wanted.length > 0)).toBe(false);
  await life.close();
  await redis.start();
});

test("listeners hear of their job until they leave", async () => {
  const node = new FakeNode();
  const life = await live(node);
  let heard = 0;
  const leave = life.loop.onJob(1001, 1, () => {
    heard += 1;
  });
  life.loop.onJob(1001, 1, () => {
    throw new Error("a bad listener");
  });
  const id = await submit(life, 1001);
  await until(() => ended(life, 1001, id), "the job's end");
  expect(heard).toBeGreaterThan(0);
  leave();
  const before = heard;
  const next = await submit(life, 1001);
  await until(() => ended(life, 1001, next), "the next job's end");
  expect(heard).toBe(before);
  await life.close();
});

test("a payload is for the node that runs the attempt, while it does", async () => {
  const node = new FakeNode();
  node.obey = function hold(desired) {
    this.seq = desired.seq;
  };
  const life = await live(node);
  await submit(life, 1001);
  const wanted = await until(
    () => node.told.flatMap((message) => (message.type === "desired" ? message.wanted : []))[0],
    "a wanted attempt",
  );
  const of = (name: string, attempt: string) => payloadFor(life.loop.state, life.store, name, attempt);
  expect(await of("n1", wanted.attempt)).toEqual({ setup: null, run: "true", envs: {} });
  expect(await of("n2", wanted.attempt)).toBeNull();
  expect(await of("n1", "00000000-9")).toBeNull();
  await life.close();
});
