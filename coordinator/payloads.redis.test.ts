/**
 * What a node gets to run, and how long it is stored: setup scripts of the task or of an earlier launch, and the sweep of
 * what nothing refers to. With a real queue and store; the state is made as a start makes it.
 */
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { JobRecord, Payload } from "../shared/job.ts";
import { startRedis, type TestRedis } from "../test/help/redis.ts";
import { initialState } from "./core/initial.ts";
import { payloadFor } from "./payloads.ts";
import { UserQueues } from "./queue.ts";
import { openLink } from "./redis.ts";
import { sweep } from "./retention.ts";
import { openSecrets } from "./secrets.ts";
import { RedisStore } from "./store.ts";

const uid = 1001;
const hour = 3_600_000;
const log = pino({ level: "silent" });
let redis: TestRedis;
let dir: string;
let store: RedisStore;
let queue: UserQueues;
let now = 0;

beforeAll(async () => {
  redis = await startRedis();
  dir = await mkdtemp(join(tmpdir(), "sky-payloads-"));
  store = new RedisStore(await openLink(redis.socket, "test"), openSecrets(dir), log, () => now);
  queue = new UserQueues(await openLink(redis.socket, "test"), {
    finishedKeptSeconds: 1000,
    finishedKeptPerUser: 1,
    log,
  });
});
afterAll(async () => {
  await store.close();
  await queue.close();
  await redis.remove();
  await rm(dir, { recursive: true, force: true });
});

function payload(name: string): Payload {
  return { setup: `setup of ${name}`, run: `run of ${name}`, envs: { NAME: name } };
}

/** A job that runs on n1 (which runs setup) and n2 (which does not). */
function runningRecord(taskRef: string, setupRef: string | null): JobRecord {
  const rank = (node: string, setup: boolean) => ({
    grant: { node, devices: [], share: 1, cpus: 1, memoryGb: 0 },
    setup,
    pid: null,
    setupExit: null,
    runExit: null,
    logDir: null,
  });
  const attempt = { id: "abcdefgh-1", number: 1, setupRef, ranks: [rank("n1", setupRef !== null), rank("n2", false)] };
  const shape = { nodes: 2, accelerators: null, cpus: 1, memoryGb: 0 };
  const times = { submittedAt: 1, startedAt: 2, cancelRequestedAt: null, endedAt: null };
  const names = { user: "alice", requestId: randomUUID(), kind: "exec" as const, name: null, cluster: "lab" };
  const rest = { resourcesText: "2x[CPU:1]", hasSetup: true, hasRun: true, end: null, reason: null };
  return { format: 1, uid, ...names, taskRef, shape, ...times, phase: "running", attempt, ...rest };
}

async function answer(record: JobRecord, node: string): Promise<Payload | null> {
  const nodes = ["n1", "n2", "n3"].map((name) => ({ name, address: null }));
  const opened = await store.open();
  const state = initialState(
    { nodes, graceSeconds: 1 },
    { ...opened, nonce: "abcdefgh", uptime: 0, now: 0, jobs: [{ id: 1, record }] },
  );
  return await payloadFor(state, store, node, "abcdefgh-1");
}

test("the setup is the one that the attempt names, and only where the rank runs one", async () => {
  const own = await store.putPayload(uid, payload("exec"));
  const earlier = await store.putPayload(uid, payload("launch"));
  expect(await answer(runningRecord(own, earlier), "n1")).toEqual({ ...payload("exec"), setup: "setup of launch" });
  expect(await answer(runningRecord(own, own), "n1")).toEqual(payload("exec"));
  expect(await answer(runningRecord(own, earlier), "n2")).toEqual({ ...payload("exec"), setup: null });
  expect(await answer(runningRecord(own, null), "n1")).toEqual({ ...payload("exec"), setup: null });
  expect(await answer(runningRecord(own, earlier), "n3")).toBeNull();
  await expect(answer(runningRecord(own, "f".repeat(64)), "n1")).rejects.toThrow(/job 1 of alice are not in the store/);
});

test("an exec that runs an earlier launch's setup gets that launch's files too, and its own where both lay one", async () => {
  const upload = (destination: string, fill: string) =>
    ({ kind: "upload", destination, manifest: fill.repeat(64) }) as const;
  const launch = { ...payload("launch"), files: [upload("/data", "a"), upload("sky_workdir", "b")] };
  const earlier = await store.putPayload(uid, launch);
  const own = await store.putPayload(uid, { ...payload("exec"), setup: null, files: [upload("sky_workdir", "c")] });
  const plain = await store.putPayload(uid, { ...payload("exec"), setup: null });
  expect((await answer(runningRecord(own, earlier), "n1"))?.files).toEqual([
    upload("/data", "a"),
    upload("sky_workdir", "c"),
  ]);
  expect((await answer(runningRecord(own, earlier), "n2"))?.files).toEqual([upload("sky_workdir", "c")]);
  expect((await answer(runningRecord(plain, earlier), "n1"))?.files).toEqual(launch.files);
  expect((await answer(runningRecord(plain, earlier), "n2"))?.files).toBeUndefined();
});

test("an exec in another image, or in none, gets that launch's files and not its setup", async () => {
  const file = { kind: "upload", destination: "/data", manifest: "a".repeat(64) } as const;
  const image = (name: string, ...options: string[]) => ({ image: { name, options } });
  const launch = await store.putPayload(uid, { ...payload("launch"), ...image("one"), files: [file] });
  const cases: [Payload, string | null][] = [
    [payload("exec"), null],
    [{ ...payload("exec"), ...image("two") }, null],
    [{ ...payload("exec"), ...image("one", "--init") }, "setup of launch"],
  ];
  for (const [own, setup] of cases) {
    const ref = await store.putPayload(uid, own);
    expect(await answer(runningRecord(ref, launch), "n1")).toEqual({ ...own, setup, files: [file] });
  }
});

test("the sweep keeps what records name, finished ones included, and drops the rest after its time", async () => {
  now = 10 * hour;
  const refs: string[] = [];
  for (const name of ["one", "two", "three"]) {
    const ref = await store.putPayload(uid, payload(name));
    refs.push(ref);
    const id = await queue.add({ ...runningRecord(ref, null), phase: "waiting", attempt: null });
    if (name !== "three") {
      await queue.update(uid, id, { ...runningRecord(ref, null), phase: "ended", end: "SUCCEEDED", endedAt: 3 });
      await queue.finish(uid, id, 1);
    }
  }
  const held = await Promise.all(refs.map((ref) => store.getPayload(uid, ref)));
  expect(held.every((one) => one !== null)).toBe(true);
  await sweep(queue, store, log, now + hour / 2);
  expect(await store.getPayload(uid, refs[0] as string)).toEqual(payload("one"));
  // One finished job is kept, so the first one's record is gone by now.
  await sweep(queue, store, log, now + 2 * hour);
  expect(await store.getPayload(uid, refs[0] as string)).toBeNull();
  expect(await store.getPayload(uid, refs[1] as string)).toEqual(payload("two"));
  expect(await store.getPayload(uid, refs[2] as string)).toEqual(payload("three"));
});

test("the record of a job that is to be kept for a short time goes with its time, with its payload, and no other", async () => {
  now = 20 * hour;
  const endedAt = now;
  const jobs = new Map<number, { id: number; ref: string }>();
  for (const [user, keepSeconds] of [
    [2001, 60],
    [2002, undefined],
    [2003, 3 * 3600],
  ] as const) {
    const ref = await store.putPayload(user, payload("brief"));
    const { shape, ...rest } = runningRecord(ref, null);
    const kept = { ...shape, ...(keepSeconds === undefined ? {} : { keepSeconds }) };
    const record: JobRecord = { ...rest, shape: kept, uid: user, requestId: randomUUID() };
    const id = await queue.add({ ...record, phase: "waiting", attempt: null });
    await queue.end(user, id, { ...record, phase: "ended", end: "SUCCEEDED", endedAt }, 1);
    jobs.set(user, { id, ref });
  }
  const left = async (): Promise<number[]> => {
    const found = await Promise.all(
      [...jobs].map(async ([user, { id }]) => ({ user, job: await queue.read(user, id) })),
    );
    return found.filter(({ job }) => job !== null).map(({ user }) => user);
  };
  await sweep(queue, store, log, endedAt + 59_000);
  expect(await left()).toEqual([2001, 2002, 2003]);
  await sweep(queue, store, log, endedAt + 2 * hour);
  expect(await left()).toEqual([2002, 2003]);
  expect(await store.getPayload(2001, jobs.get(2001)?.ref ?? "")).toBeNull();
  expect(await store.getPayload(2003, jobs.get(2003)?.ref ?? "")).toEqual(payload("brief"));
  expect((await queue.finished(2001, 10)).length).toBe(0);
});

test("many records are read at once, and those that there are not are left out", async () => {
  const records = ["one", "two"].map((name) => ({
    ...runningRecord("f".repeat(64), null),
    requestId: randomUUID(),
    name,
  }));
  const ids = await Promise.all(records.map((record) => queue.add({ ...record, phase: "waiting", attempt: null })));
  const found = await queue.readMany(uid, [...ids, 999, ...Array.from({ length: 1_200 }, (_, at) => 2_000 + at)]);
  expect([...found.keys()]).toEqual(ids);
  expect([...found.values()].map((record) => record.name)).toEqual(["one", "two"]);
});
