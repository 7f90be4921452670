/**
 * Policies against a real Redis: every revision is there with its bytes after a kill, a crash between two writes leaves
 * both or neither, a damaged policy is named and never left out in silence, and secrets of projects lie sealed.
 */
import { randomBytes, randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Redis } from "ioredis";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { startRedis, type TestRedis } from "../test/help/redis.ts";
import type { PolicyRevision } from "./policy/policy-store.ts";
import { openLink, type RedisLink } from "./redis.ts";
import { Secrets } from "./secrets.ts";
import { PolicyRecords } from "./store-policies.ts";

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

async function openStore(): Promise<PolicyRecords> {
  const link = await openLink(redis.socket, "test");
  links.push(link);
  return new PolicyRecords(link, secrets, log);
}

/** Bytes that a careless writer would change: no line feed at the end, tabs in comments, letters of two bytes. */
const text = "# für alle\r\nrules:\n  image: {required: true}  #\t✓";

function revisionOf(revision: number, changes: Partial<PolicyRevision> = {}): PolicyRevision {
  return {
    ...{ format: 1, name: "nlp", revision, at: 1_000 + revision, by: "root", what: "changed", requestId: randomUUID() },
    ...{ text: `${text}${revision}`, given: { scope: "project", scope_id: "nlp", workloads: ["training"] } },
    ...{ createdBy: "root", createdAt: 1_001, ...changes },
  };
}

test("every revision is there with its bytes after a kill; a deletion is one of them", async () => {
  const store = await openStore();
  const all = [
    revisionOf(1, { what: "created" }),
    revisionOf(2),
    revisionOf(3, { what: "deleted", text: null, given: {} }),
  ];
  for (const revision of all) {
    await store.save(revision);
  }
  const other = revisionOf(1, { name: "other", what: "created" });
  await store.save(other);
  await redis.kill();
  await redis.start();
  const after = await openStore();
  expect(await after.revisions("nlp")).toEqual({ revisions: [...all].reverse(), damaged: [] });
  const { newest, damaged } = await after.load();
  expect([newest.sort((a, b) => (a.name < b.name ? -1 : 1)), damaged]).toEqual([[all[2], other], []]);
  expect(lines).toEqual([]);
});

test("a crash while a revision is written leaves the one before or this one, in both places", async () => {
  for (let round = 0; round < 5; round += 1) {
    await raw((client) => client.flushall());
    const store = await openStore();
    await store.save(revisionOf(1, { what: "created" }));
    const writing = store.save(revisionOf(2)).then(
      () => "told",
      () => "cut",
    );
    await redis.kill();
    const told = await writing;
    await redis.start();
    const after = await openStore();
    const [newest] = (await after.load()).newest;
    const [last] = (await after.revisions("nlp")).revisions;
    expect(newest).toEqual(last);
    expect(told === "told" ? [2] : [1, 2]).toContain(newest?.revision);
  }
});

test("a damaged policy is named, an older damaged revision too, and both are healed by saving anew", async () => {
  const store = await openStore();
  await store.save(revisionOf(1, { what: "created" }));
  await store.save(revisionOf(2));
  await store.save(revisionOf(1, { name: "other", what: "created" }));
  await raw(async (client) => {
    const good = (await client.hget("sky-policies", "other")) ?? "";
    await client.hset("sky-policies", "nlp", good.replace('"format":1', '"format":9'), "moved", good);
    await client.hset("sky-policy-revisions:nlp", "1", "not JSON");
  });
  const broken = await store.load();
  expect([broken.newest.map(({ name }) => name), broken.damaged]).toEqual([["other"], ["moved", "nlp"]]);
  expect((await store.revisions("nlp")).damaged).toEqual([1]);
  expect(lines.join("")).toContain("a damaged entry of the policies");
  await store.save(revisionOf(3));
  expect((await store.load()).damaged).toEqual(["moved"]);
});

test("the oldest of very many revisions make room", async () => {
  const store = await openStore();
  await store.save(revisionOf(1));
  await store.save(revisionOf(2));
  await store.save(revisionOf(1_001));
  expect((await store.revisions("nlp")).revisions.map(({ revision }) => revision)).toEqual([1_001, 2]);
});

test("assets and exceptions are there after a kill; a damaged one is left out and named in the log", async () => {
  const store = await openStore();
  const asset = { id: "data", field: "storage.nfs", spec: { server: "nas", path: "/d" }, credentials: false };
  const exception = {
    ...{ id: "e1", policy: "nlp", field: null, rule: null, subjects: ["user:ada"], owner: "ops", reason: "paper" },
    ...{ expires_at: 5, created_by: "root", created_at: 4, requestId: randomUUID() },
  };
  await store.saveAsset("data", asset);
  await store.saveAsset("gone", { ...asset, id: "gone" });
  await store.saveAsset("gone", null);
  await store.saveException("e1", exception);
  await raw((client) => client.hset("sky-policy-exceptions", "e2", JSON.stringify({ ...exception, surprise: 1 })));
  await redis.kill();
  await redis.start();
  const after = await (await openStore()).load();
  expect([after.assets, after.exceptions]).toEqual([[asset], [exception]]);
  expect(lines.join("")).toContain('"field":"e2"');
});

test("a project's secret lies sealed, is bound to its project and name, and goes when it is dropped", async () => {
  const store = await openStore();
  const value = "s3cr3t-Zürich-value";
  await store.saveSecret({ project: "nlp", name: "db" }, { password: value, user: "x" });
  await store.saveSecret({ project: null, name: "db" }, { password: "everybody's" });
  expect(await store.secret({ project: "nlp", name: "db" })).toEqual({ password: value, user: "x" });
  expect(await store.secretNames()).toEqual([
    { project: null, name: "db", keys: ["password"] },
    { project: "nlp", name: "db", keys: ["password", "user"] },
  ]);
  await redis.kill();
  const folder = dirname(redis.socket);
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
  const bytes = files.map((one) => readFileSync(join(one.parentPath, one.name), "latin1")).join("");
  expect(bytes).toContain("sky-policy-secrets");
  expect(bytes).not.toContain(Buffer.from(value).toString("latin1"));
  await redis.start();
  const after = await openStore();
  // Moved to another project's name it cannot be opened.
  await raw(async (client) => {
    const sealed = (await client.hgetBuffer("sky-policy-secrets", "nlp/db")) ?? "";
    await client.hset("sky-policy-secrets", "cv/db", sealed);
  });
  expect(await after.secret({ project: "cv", name: "db" })).toBeNull();
  await after.saveSecret({ project: "nlp", name: "db" }, null);
  expect(await after.secret({ project: "nlp", name: "db" })).toBeNull();
});
