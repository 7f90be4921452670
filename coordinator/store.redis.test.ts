/**
 * The store against a real Redis: identity and epoch over restarts, payloads that nobody else can find or read, and what
 * the sweep leaves alone; and the links' own promises (fence, durability check). Secrets are looked for in the server's
 * files, where a thief would look.
 */
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { payloadBytesMax } from "../shared/job.ts";
import { openNode } from "../shared/node-admin.ts";
import { startRedis, type TestRedis } from "../test/help/redis.ts";
import { until } from "../test/help/until.ts";
import { StoreUnavailable } from "./parts.ts";
import { checkServer, openFence, openLink, openPart } from "./redis.ts";
import { openSecrets } from "./secrets.ts";
import type { UsageLine } from "../shared/scheduling.ts";
import { RedisStore } from "./store.ts";

let redis: TestRedis;
let stateDir: string;
const stores: RedisStore[] = [];
const lines: string[] = [];
const log = pino({ base: null }, { write: (line) => void lines.push(line) });

beforeAll(async () => {
  redis = await startRedis();
});
beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), "sky-state-"));
  await raw((client) => client.flushall());
});
afterEach(async () => {
  for (const store of stores.splice(0)) {
    await store.close();
  }
  await rm(stateDir, { recursive: true, force: true });
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

async function openStore(now?: () => number): Promise<RedisStore> {
  const store = new RedisStore(await openLink(redis.socket, "test"), openSecrets(stateDir), log, now);
  stores.push(store);
  return store;
}

const payload = { setup: null, run: "echo hi", envs: { TOKEN: "s3cr3t-Zürich-value" } };

test("what admins have said of nodes stays over a kill; a node whose entry is damaged takes no jobs", async () => {
  const store = await openStore();
  const key = `ssh-ed25519 ${"A".repeat(68)}`;
  const draining = { ...openNode, state: "draining" as const, reason: "new disks", by: "root", since: 5, deadline: 9 };
  const changed = { ...openNode, key: { configured: key, replaces: key, key, used: true } };
  await store.saveNodeAdmin("n1", draining);
  await store.saveNodeAdmin("n2", changed);
  await store.saveNodeAdmin("n3", draining);
  await store.saveNodeAdmin("n3", openNode);
  await raw((client) => client.hset("sky-nodes", "n4", '{"state":"open","surprise":1}'));
  await redis.kill();
  await redis.start();
  const admins = await (await openStore()).nodeAdmins();
  expect([admins.get("n1"), admins.get("n2"), admins.has("n3")]).toEqual([draining, changed, false]);
  expect(admins.get("n4")).toMatchObject({ state: "draining", reason: expect.stringContaining("damaged") });
  expect(lines.join("")).toContain("a damaged entry of a node");
});

test("usage and people are kept over a kill, page by page; damaged lines of usage are named and dropped", async () => {
  const { admin } = await openStore();
  const line = (number: number): UsageLine => ({
    ...{ attempt: `aaaaaaaa-${number}`, node: "n1", uid: 1001, user: "alice", groups: ["lab"], jobId: number },
    ...{ kind: null, accelerators: 0, cpus: 1, memoryGb: 0, from: 5, to: 9 },
  });
  const all = Array.from({ length: 3_000 }, (_, at) => line(at + 1));
  await admin.recordUsage(all);
  await admin.recordUsage([]);
  await admin.recordUsage([{ ...line(1), to: 12 }]);
  const person = { uid: 1001, user: "alice", groups: ["lab"], use: 4.5, useAt: 7 };
  await admin.savePeople([{ ...person, use: 1 }]);
  await admin.savePeople([person, { ...person, uid: 1002, user: "bob" }]);
  await raw((client) => client.hset("sky-usage", "odd", '{"attempt":1}'));
  await redis.kill();
  await redis.start();
  lines.length = 0;
  const again = (await openStore()).admin;
  const pending = await again.pendingUsage();
  expect(pending.size).toBe(3_001);
  expect(lines.join("")).toContain("a damaged entry is skipped");
  expect(await raw((client) => client.hexists("sky-usage", "odd"))).toBe(0);
  expect((await again.people()).map((one) => [one.user, one.use])).toEqual([
    ["alice", 4.5],
    ["bob", 4.5],
  ]);
  await again.dropUsage([...pending.keys()]);
  expect((await again.pendingUsage()).size).toBe(0);
});

test("the state id stays, the epoch rises, also over a kill", async () => {
  const first = await (await openStore()).open();
  expect(first.stateId).toMatch(/^[a-z0-9]{16}$/);
  expect(first.epoch).toBe(1);
  await redis.kill();
  await redis.start();
  const store = await openStore();
  expect(await store.open()).toMatchObject({ stateId: first.stateId, epoch: 2 });
  await store.saveEpoch(41);
  expect((await (await openStore()).open()).epoch).toBe(42);
});

test("setups are kept per user; a damaged one is skipped", async () => {
  const store = await openStore();
  const setup = { uid: 1001, taskRef: "a".repeat(64), jobId: 3, doneOn: ["n1"] };
  await store.saveSetup(1001, setup);
  await store.saveSetup(1002, { ...setup, uid: 1002 });
  await store.saveSetup(1002, null);
  await raw((client) => client.hset("sky-setups", "1003", "{}"));
  lines.length = 0;
  expect((await store.open()).setups).toEqual([setup]);
  expect(lines.join()).toContain("damaged setup");
});

test("a payload comes back, is stored once a user, and is not in the server's files", async () => {
  const store = await openStore();
  const ref = await store.putPayload(1001, payload);
  expect(await store.putPayload(1001, payload)).toBe(ref);
  const other = await store.putPayload(1002, payload);
  expect(other).not.toBe(ref);
  expect(await store.getPayload(1001, ref)).toEqual(payload);
  expect(await store.getPayload(1002, ref)).toBeNull();
  expect(await raw((client) => client.keys("sky-payload:*"))).toHaveLength(2);
  const files = readdirSync(redis.appendOnlyDir).map((name) => readFileSync(join(redis.appendOnlyDir, name), "latin1"));
  expect(files.join("")).toContain(ref);
  expect(files.join("")).not.toContain("s3cr3t");
});

test("a payload moved to another user is not opened", async () => {
  const store = await openStore();
  const ref = await store.putPayload(1001, payload);
  await raw((client) => client.copy(`sky-payload:1001:${ref}`, `sky-payload:1002:${ref}`));
  expect(await store.getPayload(1002, ref)).toBeNull();
});

test("a payload that is too large is refused with its size", async () => {
  const store = await openStore();
  const large = { ...payload, run: "x".repeat(payloadBytesMax) };
  await expect(store.putPayload(1001, large)).rejects.toThrow(/8\.0 MB together; at most 8\.0 MB/);
  const full = { setup: null, run: "x".repeat(payloadBytesMax - 100), envs: {} };
  expect(await store.getPayload(1001, await store.putPayload(1001, full))).toEqual(full);
});

test("the sweep drops what is old and not referred to", async () => {
  let now = 1000;
  const store = await openStore(() => now);
  const [unused, used, setup] = [
    await store.putPayload(1001, payload),
    await store.putPayload(1001, { ...payload, run: "used" }),
    await store.putPayload(1001, { ...payload, run: "setup" }),
  ];
  await store.saveSetup(1001, { uid: 1001, taskRef: setup, jobId: 1, doneOn: [] });
  now = 5000;
  const young = await store.putPayload(1001, { ...payload, run: "young" });
  expect(await store.sweepPayloads(1001, new Set([used]), 2000)).toBe(1);
  expect(await store.getPayload(1001, unused)).toBeNull();
  for (const ref of [used, setup, young]) {
    expect(await store.getPayload(1001, ref)).not.toBeNull();
  }
  await store.putPayload(1001, { ...payload, run: "used" });
  expect(await store.sweepPayloads(1001, new Set(), 2000)).toBe(0);
});

test("another key file is refused, and a readable one too", async () => {
  await (await openStore()).open();
  const path = join(stateDir, "secrets.key");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  writeFileSync(path, Buffer.alloc(32, 7));
  await expect((await openStore()).open()).rejects.toThrow(/secrets\.key in state_dir is not the one/);
  chmodSync(path, 0o644);
  expect(() => openSecrets(stateDir)).toThrow(/can be read by others/);
  chmodSync(path, 0o600);
  writeFileSync(path, "short");
  expect(() => openSecrets(stateDir)).toThrow(/is not a key file/);
});

test("one coordinator a server; the fence goes with its process' connection", async () => {
  const first = await openFence(redis.socket);
  await expect(openFence(redis.socket)).rejects.toThrow(/another coordinator/);
  const part = await openPart(redis.socket, "queue");
  first.close();
  await expect(openFence(redis.socket)).rejects.toThrow(/another coordinator/);
  part.close();
  const second = await until(() => openFence(redis.socket).catch(() => null), "the fence to fall");
  second.close();
});

test("a server that could forget is refused, naming the line to change", async () => {
  const forgetful = await startRedis(["--appendfsync", "everysec"]);
  try {
    const link = await openLink(forgetful.socket, "test");
    await expect(checkServer(link, forgetful.socket)).rejects.toMatchObject({
      hint: "Put the line 'appendfsync always' into its config file and restart it.",
    });
    link.close();
  } finally {
    await forgetful.remove();
  }
  const link = await openLink(redis.socket, "test");
  await checkServer(link, redis.socket);
  link.close();
  expect(await link.lost).toBeInstanceOf(StoreUnavailable);
});

test("work that waits ends with the connection, not with its time limit", async () => {
  const link = await openLink(redis.socket, "test", 600_000);
  const endless = link.run("waiting", () => new Promise(() => {}));
  const outcome = endless.catch((error: unknown) => error);
  await redis.kill();
  try {
    expect(await outcome).toBeInstanceOf(StoreUnavailable);
    expect(String(await outcome)).toContain("the connection was closed");
  } finally {
    await redis.start();
  }
});

test("no server: StoreUnavailable that names the socket", async () => {
  await expect(openLink("/nonexistent/redis.sock", "test")).rejects.toThrow(
    /\/nonexistent\/redis\.sock cannot be reached/,
  );
});
