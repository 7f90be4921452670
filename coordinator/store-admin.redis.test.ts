/**
 * People, quotas and windows against a real Redis: what was answered is there after a kill, what was dropped is gone, and
 * a damaged entry is left out with a line in the log that names it, never taken as something else.
 */
import { Redis } from "ioredis";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { NodeWindow, Person } from "../shared/scheduling.ts";
import { startRedis, type TestRedis } from "../test/help/redis.ts";
import { openLink, type RedisLink } from "./redis.ts";
import { AdminStore } from "./store-admin.ts";

let redis: TestRedis;
const links: RedisLink[] = [];
const lines: string[] = [];
const log = pino({ base: null }, { write: (line) => void lines.push(line) });

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

async function openStore(): Promise<AdminStore> {
  const link = await openLink(redis.socket, "test");
  links.push(link);
  return new AdminStore(link, log);
}

const alice: Person = { uid: 1001, user: "alice", groups: ["prof-ada", "users"], use: 12.5, useAt: 7 };
const window: NodeWindow = {
  ...{ id: "w1", kind: "reservation", nodes: ["n1", "n2"], from: 5, to: 9, users: ["alice"], groups: ["prof-ada"] },
  ...{ endJobs: true, reason: "Kurs: Zürich", by: "root" },
};

test("what was written is there after a kill, what was dropped is not", async () => {
  const store = await openStore();
  const group = "group:dom\\domain users" as const;
  await store.savePeople([alice]);
  await store.savePeople([{ ...alice, use: 13 }]);
  await store.saveQuota("each", { running: 3, waiting: 0 });
  await store.saveQuota(group, { accelerators: { "*": 8, H100: 4 }, cpus: 0.5, memoryGb: 64 });
  await store.saveQuota("user:bob", { cpus: 1 });
  await store.saveQuota("user:bob", null);
  await store.saveWindow("w1", window);
  await store.saveWindow("w2", { ...window, id: "w2" });
  await store.saveWindow("w2", null);
  await redis.kill();
  await redis.start();
  const after = await openStore();
  expect(await after.people()).toEqual([{ ...alice, use: 13 }]);
  expect(await after.quotas()).toEqual(
    new Map([
      ["each", { running: 3, waiting: 0 }],
      [group, { accelerators: { "*": 8, H100: 4 }, cpus: 0.5, memoryGb: 64 }],
    ]),
  );
  expect(await after.windows()).toEqual([window]);
  expect(lines).toEqual([]);
});

test("a damaged entry is left out and named in the log; the others are read", async () => {
  const store = await openStore();
  await store.savePeople([alice]);
  await store.saveQuota("each", { running: 3 });
  await store.saveWindow("w1", window);
  await raw(async (client) => {
    await client.hset("sky-people", "1002", '{"uid":1002,"user":"bob"}');
    await client.hset("sky-quotas", "user:bob", '{"running":3,"surprise":1}', "user:al ice", '{"running":1}');
    await client.hset("sky-windows", "w2", "not JSON", "w3", JSON.stringify({ ...window, id: "w3", nodes: [] }));
  });
  expect(await store.people()).toEqual([alice]);
  expect([...(await store.quotas()).keys()]).toEqual(["each"]);
  expect(await store.windows()).toEqual([window]);
  const named = lines.map((line) => (JSON.parse(line) as { field: string }).field);
  expect(named.sort()).toEqual(["1002", "user:al ice", "user:bob", "w2", "w3"]);
});

test("what no schema allows is not written", async () => {
  const store = await openStore();
  expect(() => store.saveQuota("each", { running: -1 })).toThrow();
  expect(() => store.saveWindow("w1", { ...window, reason: "x".repeat(201) })).toThrow();
  await expect(store.savePeople([{ ...alice, groups: ["a:b"] }])).rejects.toThrow();
  expect(await raw((client) => client.keys("sky-*"))).toEqual([]);
});
