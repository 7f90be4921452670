/**
 * Stored requests against a real Redis: what was answered is there after a kill, nothing of it can be read there, bodies
 * go with the end, and a damaged entry is dropped with a line in the log.
 */
import { randomBytes, randomUUID } from "node:crypto";
import { Redis } from "ioredis";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { startRedis, type TestRedis } from "../test/help/redis.ts";
import type { StoredRequest } from "./parts.ts";
import { openLink, type RedisLink } from "./redis.ts";
import { Secrets } from "./secrets.ts";
import { requestBodiesKey, RequestRecords, requestsKey } from "./store-requests.ts";

let redis: TestRedis;
const links: RedisLink[] = [];
const lines: string[] = [];
const log = pino({ base: null }, { write: (line) => void lines.push(line) });
const secrets = new Secrets(randomBytes(32));

beforeAll(async () => {
  redis = await startRedis();
});
beforeEach(async () => {
  lines.length = 0;
  await raw((client) => client.flushall());
});
afterEach(() => {
  for (const link of links.splice(0)) {
    link.close();
  }
});
afterAll(() => redis.remove());

async function raw<T>(work: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis({ path: redis.socket });
  try {
    return await work(client);
  } finally {
    client.disconnect();
  }
}

async function openStore(): Promise<RequestRecords> {
  const link = await openLink(redis.socket, "test");
  links.push(link);
  return new RequestRecords(link, secrets, log);
}

function request(changes: Partial<StoredRequest> = {}): StoredRequest {
  return {
    ...{ id: randomUUID(), uid: 1001, user: "alice", name: "launch", path: "/launch", cluster: "lab", createdAt: 5 },
    ...{ status: "RUNNING" as const, resolved: null, result: "null", error: null, text: "", finishedAt: null },
    ...changes,
  };
}

test("a request and its body are there after a kill, and cannot be read in the store", async () => {
  const store = await openStore();
  const one = request({ text: "visible words" });
  await store.begin(one, '{"task":"envs: {TOKEN: hunter2}"}');
  await redis.kill();
  await redis.start();
  const again = await openStore();
  expect(await again.all()).toEqual([{ request: one, body: "kept" }]);
  expect(await again.body(1001, one.id)).toContain("hunter2");
  expect(await again.body(1002, one.id)).toBeNull();
  const all = await raw(async (client) =>
    Buffer.concat([...(await client.hvalsBuffer(requestsKey)), ...(await client.hvalsBuffer(requestBodiesKey))]),
  );
  expect(all.includes("hunter2") || all.includes("visible")).toBe(false);
});

test("what has ended keeps its outcome and no body; what is dropped is gone", async () => {
  const store = await openStore();
  const [one, two] = [request({ createdAt: 9 }), request({ createdAt: 3 })];
  await store.begin(one, "1");
  await store.begin(two, "2");
  await store.save({ ...one, resolved: "[4]" });
  const error = { type: "ValueError", message: "no", hint: null };
  await store.end({ ...two, status: "FAILED", error, finishedAt: 8 });
  expect(await store.all()).toEqual([
    { request: { ...two, status: "FAILED", error, finishedAt: 8 }, body: "gone" },
    { request: { ...one, resolved: "[4]" }, body: "kept" },
  ]);
  await store.drop([one, two]);
  expect(await store.all()).toEqual([]);
  expect(await raw((client) => client.exists(requestsKey, requestBodiesKey))).toBe(0);
});

test("a damaged entry, and one that was moved to another user, are dropped and named in the log", async () => {
  const store = await openStore();
  const one = request();
  await store.begin(one, "1");
  await raw(async (client) => {
    const sealed = await client.hgetBuffer(requestsKey, `1001/${one.id}`);
    await client.hset(requestsKey, `1002/${one.id}`, sealed ?? "");
    await client.hset(requestsKey, "1001/x", "nonsense");
  });
  expect((await store.all()).map((found) => found.request.uid)).toEqual([1001]);
  expect(lines.join("")).toContain(`1002/${one.id}`);
  expect(await raw((client) => client.hlen(requestsKey))).toBe(1);
});
