/**
 * Backup and restore against real Redis servers: a copy taken under writers, everything that is refused before anything
 * is touched, and kills at every step of a restore, after which there is the old state or the new one and nothing else.
 */
import { createHash, randomUUID } from "node:crypto";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { JobRecord } from "../../shared/job.ts";
import type { NodeWindow, UsageLine } from "../../shared/scheduling.ts";
import { startRedis, type TestRedis } from "../../test/help/redis.ts";
import { must, run } from "../../test/help/run.ts";
import { until } from "../../test/help/until.ts";
import { type CoordinatorConfig, coordinatorConfigSchema } from "../config.ts";
import { UserQueues } from "../queue.ts";
import { openFence, openLink } from "../redis.ts";
import { openSecrets } from "../secrets.ts";
import { RedisStore } from "../store.ts";
import { appendUsage } from "../usage-files.ts";
import { moveUsage } from "../usage-history.ts";
import { readUsage } from "../usage-reader.ts";
import { settleMarks } from "./marks.ts";
import { putBack } from "./put-back.ts";
import { takeBackup } from "./take.ts";

const log = pino({ level: "silent" });
const program = [process.execPath, "--import", join(import.meta.dirname, "../../node_modules/tsx/dist/loader.mjs")];
let hostKey: string;
let redis: TestRedis;
let dir: string;
let config: CoordinatorConfig;
const closing: (() => unknown)[] = [];

beforeAll(async () => {
  hostKey = join(mkdtempSync(join(tmpdir(), "sky-key-")), "host_key");
  await must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", hostKey]);
});
afterAll(() => rmSync(join(hostKey, ".."), { recursive: true, force: true }));
beforeEach(async () => {
  redis = await startRedis();
  dir = mkdtempSync(join(tmpdir(), "sky-state-"));
  cpSync(hostKey, join(dir, "host_key"));
  config = coordinatorConfigSchema.parse({
    cluster: "lab",
    socket: join(dir, "api.sock"),
    host_key: join(dir, "host_key"),
    redis: { socket: redis.socket },
    state_dir: dir,
    nodes: [{ name: "n1", key: "ssh-ed25519 AAAA" }],
  });
});
afterEach(async () => {
  for (const close of closing.splice(0)) {
    await close();
  }
  await redis.remove();
  rmSync(dir, { recursive: true, force: true });
});

function recordOf(uid: number, taskRef: string): JobRecord {
  return {
    ...{ format: 1, uid, user: `user${uid}`, requestId: randomUUID(), kind: "launch", name: null, cluster: "lab" },
    ...{ taskRef, shape: { nodes: 1, accelerators: null, cpus: 0.5, memoryGb: 0 }, resourcesText: "1x[CPU:0.5]" },
    ...{ hasSetup: false, hasRun: true, submittedAt: Date.now(), phase: "waiting", attempt: null, startedAt: null },
    ...{ cancelRequestedAt: null, endedAt: null, end: null, reason: null },
  };
}

/** What a coordinator opens. */
async function openState() {
  const fence = await openFence(redis.socket);
  closing.push(() => fence.close());
  await settleMarks(config, fence);
  const store = new RedisStore(await openLink(redis.socket, "test"), openSecrets(config.state_dir), log);
  const queue = new UserQueues(await openLink(redis.socket, "test"), {
    ...{ finishedKeptSeconds: 86_400, finishedKeptPerUser: 1000, log },
  });
  const close = async (): Promise<void> => {
    await queue.close();
    await store.close();
    fence.close();
  };
  closing.push(close);
  const { stateId } = await store.open();
  const submit = async (uid: number, run = "true"): Promise<number> =>
    queue.add(recordOf(uid, await store.putPayload(uid, { setup: null, run, envs: {} })));
  const jobs = async () => {
    const found = [];
    for await (const job of queue.recover()) {
      found.push(job);
    }
    return found;
  };
  return { stateId, store, queue, submit, jobs, close };
}

const backup = (file: string, move = false) =>
  takeBackup(config, { file, configText: "cluster: lab\n", move }, () => {});

/** Everything that lies in the two folders, with contents. */
function picture(): Record<string, string> {
  const files = [redis.dir, dir].flatMap((folder) =>
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name)),
  );
  return Object.fromEntries(files.map((file) => [file, createHash("md5").update(readFileSync(file)).digest("hex")]));
}

test("a copy taken under writers holds all that was acknowledged before; put back, its jobs are held", async () => {
  const before = await openState();
  const acknowledged: string[] = [];
  const writing = { on: true };
  const writers = [3001, 3002, 3003, 3004].map(async (uid) => {
    while (writing.on) {
      acknowledged.push(`${uid}/${await before.submit(uid, `echo ${uid}`)}`);
    }
  });
  await until(() => acknowledged.length > 100, "some jobs");
  const early = [...acknowledged];
  const file = join(dir, "one.backup");
  await backup(file);
  const atEnd = acknowledged.length;
  await until(() => acknowledged.length > atEnd + 20, "jobs after the backup");
  writing.on = false;
  await Promise.all(writers);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(readdirSync(dir).filter((name) => name.includes(".part"))).toEqual([]);
  expect((await must(["tar", "tf", file])).trim().split("\n")).toEqual([
    ...["coordinator.yaml", "host_key", "secrets.key", "redis.rdb", "manifest.json"],
  ]);
  await before.close();
  await redis.kill();
  const lines: string[] = [];
  await expect(putBack(config, { file, replace: false }, () => {})).rejects.toThrow(/There is a state with jobs/);
  await putBack(config, { file, replace: true }, (line) => lines.push(line));
  expect(lines.join("\n")).toMatch(/\d+ waiting and 0 begun jobs[\s\S]*before-restore-[\s\S]*sky admin release/);
  await redis.start();
  const after = await openState();
  expect(after.stateId).toBe(before.stateId);
  const jobs = await after.jobs();
  const found = new Set(jobs.map((job) => `${job.record.uid}/${job.id}`));
  expect(early.filter((one) => !found.has(one))).toEqual([]);
  expect(found.size).toBeLessThan(acknowledged.length);
  expect(jobs.every((job) => job.record.restoredFrom !== undefined)).toBe(true);
  const [first] = jobs;
  expect(await after.store.getPayload(first?.record.uid ?? 0, first?.record.taskRef ?? "")).toMatchObject({
    run: `echo ${first?.record.uid}`,
  });
  // No number is given twice, not even those of jobs that the backup does not know.
  const last = Math.max(...acknowledged.map((one) => Number(one.split("/")[1])));
  expect(await after.submit(3001)).toBeGreaterThan(last);
}, 60_000);

test("what is no whole, fitting backup is refused before anything is touched", async () => {
  const state = await openState();
  await state.submit(3001);
  const file = join(mkdtempSync(join(tmpdir(), "sky-backup-")), "b");
  closing.push(() => rmSync(join(file, ".."), { recursive: true, force: true }));
  await backup(file);
  await expect(backup(file)).rejects.toThrow(/exists already/);
  await expect(putBack(config, { file, replace: true }, () => {})).rejects.toThrow(/coordinator .*works here/);
  await state.close();
  await expect(putBack(config, { file, replace: true }, () => {})).rejects.toThrow(/not sky-redis\.service/);
  await redis.kill();
  const before = picture();
  const bytes = readFileSync(file);
  const cases: [string, Buffer, RegExp][] = [
    ["cut", bytes.subarray(0, bytes.length - 4096), /not a usable backup/],
    ["cut early", bytes.subarray(0, 700), /not a usable backup/],
    ["empty", Buffer.alloc(0), /never completed/],
    ["other", Buffer.from("hello".repeat(1000)), /no archive of/],
    ["form", Buffer.from(bytes.toString("latin1").replace('"format": 2', '"format": 3'), "latin1"), /form 3/],
    ["newer", Buffer.from(bytes.toString("latin1").replace('"version": "0', '"version": "9'), "latin1"), /version 9/],
    [
      "cluster",
      Buffer.from(bytes.toString("latin1").replace('"cluster": "lab"', '"cluster": "lob"'), "latin1"),
      /'lob'/,
    ],
  ];
  for (const [part, ahead] of [
    ...[["cluster: lab", 3] as const, ["OPENSSH", 3] as const, ["REDIS0", 40] as const],
    ...[["redis.rdb", 2] as const, ['"stateId"', 13] as const],
  ]) {
    const changed = Buffer.from(bytes);
    const at = bytes.indexOf(part) + ahead;
    changed[at] = (changed[at] ?? 0) ^ 1;
    cases.push([part, changed, /not a usable backup|do not belong together/]);
  }
  for (const [name, content, text] of cases) {
    writeFileSync(`${file}.${name}`, content);
    const restore = putBack(config, { file: `${file}.${name}`, replace: true }, () => {});
    await expect(restore, name).rejects.toThrow(text);
    expect(picture(), name).toEqual(before);
  }
}, 60_000);

test("handed over: the old head serves no more, the new one holds back nothing", async () => {
  const state = await openState();
  const id = await state.submit(3001);
  const file = join(dir, "last.backup");
  await expect(backup(file, true)).rejects.toThrow(/another coordinator|No backup was taken/);
  expect(readdirSync(dir).filter((name) => name.startsWith("last"))).toEqual([]);
  await state.close();
  await backup(file, true);
  await expect(openState()).rejects.toThrow(/handed over/);
  await redis.kill();
  await putBack(config, { file, replace: true }, () => {});
  await redis.start();
  const jobs = await (await openState()).jobs();
  expect(jobs.map((job) => [job.id, job.record.restoredFrom])).toEqual([[id, undefined]]);
});

const usageOf = (attempt: string): UsageLine => ({
  ...{ attempt, node: "n1", uid: 3001, user: "user3001", groups: ["prof"], jobId: 1, kind: "H100" },
  ...{ accelerators: 2, cpus: 8, memoryGb: 16, from: 3_600_000, to: 7_200_000 },
});
const everything = { from: 0, to: 1e12, by: ["user" as const], uid: null };
const hours = async (recent: UsageLine[] = []): Promise<number> =>
  (await readUsage(dir, everything, recent)).total.accelerator_hours;

/** A restore in a process of its own that kills itself at a step, or after so many milliseconds. */
async function killedRestore(file: string, at: string): Promise<string> {
  const code = `
    import { readFileSync } from "node:fs";
    const { putBack } = await import(${JSON.stringify(join(import.meta.dirname, "put-back.ts"))});
    const config = JSON.parse(readFileSync(0, "utf8"));
    const at = ${JSON.stringify(at)};
    const die = () => process.kill(process.pid, "SIGKILL");
    if (/ms$/.test(at)) setTimeout(die, parseInt(at));
    await putBack(config, { file: ${JSON.stringify(file)}, replace: true }, (line) => { if (line.startsWith(at)) die(); });
    console.log("done");`;
  const result = await run([...program, "--input-type=module", "-e", code], { input: JSON.stringify(config) });
  return result.signal === null ? `${result.stdout}${result.stderr}` : result.signal;
}

test("killed at any step, there is the old state or the new one, whole, and the next restore works", async () => {
  const old = await openState();
  await old.submit(3001);
  const file = join(dir, "old.backup");
  await appendUsage(join(dir, "usage"), [usageOf("aaaaaaaa-1")]);
  await backup(file);
  await old.close();
  await redis.kill();
  // Another state with another key file, so that any mixture shows.
  rmSync(redis.appendOnlyDir, { recursive: true });
  rmSync(join(dir, "secrets.key"));
  rmSync(join(dir, "usage"), { recursive: true });
  await appendUsage(join(dir, "usage"), [usageOf("bbbbbbbb-1")]);
  await redis.start();
  const present = await openState();
  await present.submit(3001);
  await present.submit(3001);
  await present.close();
  await redis.kill();
  const otherFile = join(dir, "present.backup");
  await redis.start();
  await backup(otherFile);
  await redis.kill();
  const whole = { [old.stateId]: 1, [present.stateId]: 2 };
  const seen: string[] = [];
  for (const at of ["2/6", "3/6", "4/6", "5/6", "6/6", "The state", "80ms", "160ms", "240ms", "never"]) {
    const outcome = await killedRestore(file, at);
    expect(outcome, at).toMatch(at === "never" ? /done/ : /SIGKILL|done/);
    const leftovers = readdirSync(redis.dir).filter((name) => name.startsWith("restore-"));
    for (const name of leftovers) {
      await until(() => !isAnswered(join(redis.dir, name, "s")), "the end of the restore's own server");
    }
    await redis.start();
    const state = await openState();
    const jobs = await state.jobs();
    expect(jobs).toHaveLength(whole[state.stateId] ?? -1);
    const { uid, taskRef } = jobs[0]?.record ?? { uid: 0, taskRef: "" };
    expect(await state.store.getPayload(uid, taskRef)).toMatchObject({ run: "true" });
    const history = readFileSync(join(dir, "usage/1970-01.jsonl"), "utf8");
    expect(history, at).toContain(state.stateId === old.stateId ? "aaaaaaaa-1" : "bbbbbbbb-1");
    seen.push(`${at} ${state.stateId === old.stateId ? "new" : "old"}`);
    await state.close();
    await redis.kill();
    if (state.stateId === old.stateId) {
      await putBack(config, { file: otherFile, replace: true }, () => {});
    }
  }
  expect(seen).toEqual(expect.arrayContaining(["2/6 old", "5/6 old", "6/6 new", "The state new", "never new"]));
}, 120_000);

test("what admins have allowed and what is remembered of people comes back as it was", async () => {
  const before = await openState();
  await before.submit(3001);
  const person = { uid: 3001, user: "user3001", groups: ["prof"], use: 99.5, useAt: 12 };
  const window: NodeWindow = {
    ...{ id: "w4", kind: "reservation", nodes: ["n1"], from: 5, to: 9, users: [], groups: ["prof"] },
    ...{ endJobs: false, reason: "the course", by: "root" },
  };
  await before.store.admin.savePeople([person]);
  await before.store.admin.saveQuota("group:prof", { accelerators: { H100: 4 }, running: 9 });
  await before.store.admin.saveWindow("w4", window);
  const file = join(dir, "one.backup");
  await backup(file);
  await before.store.admin.savePeople([{ ...person, use: 1 }]);
  await before.store.admin.saveQuota("group:prof", null);
  await before.store.admin.saveQuota("each", { running: 1 });
  await before.store.admin.saveWindow("w4", null);
  await before.close();
  await redis.kill();
  await putBack(config, { file, replace: true }, () => {});
  await redis.start();
  const { admin } = (await openState()).store;
  expect(await admin.people()).toEqual([person]);
  expect(await admin.quotas()).toEqual(new Map([["group:prof", { accelerators: { H100: 4 }, running: 9 }]]));
  expect(await admin.windows()).toEqual([window]);
});

test("the usage history comes back with the state; a present one that goes on from it stays, another is set aside", async () => {
  const state = await openState();
  await state.store.admin.recordUsage([usageOf("aaaaaaaa-2")]);
  await appendUsage(join(dir, "usage"), [usageOf("aaaaaaaa-1")]);
  const file = join(dir, "one.backup");
  await backup(file);
  expect(await must(["tar", "tf", file])).toContain("usage/1970-01.jsonl");
  // What waited in Redis is moved after the backup: it is in both then, and counts once.
  await moveUsage(state.store.admin, dir, () => false);
  expect(await hours()).toBe(4);
  await state.close();
  await redis.kill();
  await putBack(config, { file, replace: true }, () => {});
  expect(readdirSync(dir).filter((name) => name.startsWith("before-restore"))).toEqual([]);
  await redis.start();
  const same = await openState();
  expect(await hours([...(await same.store.admin.pendingUsage()).values()])).toBe(4);
  await moveUsage(same.store.admin, dir, () => false);
  expect(await hours()).toBe(4);
  await same.close();

  await redis.kill();
  writeFileSync(join(dir, "usage/1970-01.jsonl"), `${JSON.stringify(usageOf("bbbbbbbb-1"))}\n`);
  await putBack(config, { file, replace: true }, () => {});
  expect(await hours()).toBe(2);
  expect(statSync(join(dir, "usage")).mode & 0o777).toBe(0o700);
  const aside = readdirSync(dir).find((name) => name.startsWith("before-restore")) ?? "";
  expect(readFileSync(join(dir, aside, "usage/1970-01.jsonl"), "utf8")).toContain("bbbbbbbb-1");

  // Handed over to a head that has none.
  await redis.start();
  const last = join(dir, "last.backup");
  await backup(last, true);
  rmSync(join(dir, "usage"), { recursive: true });
  await redis.kill();
  await putBack(config, { file: last, replace: true }, () => {});
  expect(await hours()).toBe(2);
}, 60_000);

function isAnswered(path: string): boolean {
  return existsSync(path) && readFileSync("/proc/net/unix", "utf8").includes(path);
}
