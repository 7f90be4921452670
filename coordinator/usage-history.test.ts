/** The usage history: what is moved into its files, what a crash leaves there, and what is read out of it again. */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type UsageLine, usageName } from "../shared/scheduling.ts";
import { until } from "../test/help/until.ts";
import type { SchedulingStore } from "./parts.ts";
import { appendUsage, monthFile, usageFiles } from "./usage-files.ts";
import { moveUsage, startUsageHistory } from "./usage-history.ts";
import { readUsage } from "./usage-reader.ts";
import { type UsageQuestion, UsageSum } from "./usage-sum.ts";

const hour = 3_600_000;
const november = Date.UTC(2026, 10, 1);
let stateDir: string;

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), "sky-usage-"));
});
afterEach(() => rmSync(stateDir, { recursive: true, force: true }));

function lineOf(changes: Partial<UsageLine>): UsageLine {
  return {
    ...{ attempt: "aaaaaaaa-1", node: "n1", uid: 1001, user: "alice", groups: ["lab"], jobId: 1, kind: "H100" },
    ...{ accelerators: 2, cpus: 8, memoryGb: 16, from: november, to: november + hour },
    ...changes,
  };
}

const all: UsageQuestion = { from: 0, to: november * 2, by: ["user"], uid: null };

/** The one part of the store that the history needs, with the order in which things were asked. */
class Pending implements Pick<SchedulingStore, "pendingUsage" | "dropUsage"> {
  readonly lines = new Map<string, UsageLine>();
  onDrop: () => void = () => {};
  add(...lines: UsageLine[]): void {
    for (const line of lines) {
      this.lines.set(usageName(line), line);
    }
  }
  async pendingUsage(): Promise<Map<string, UsageLine>> {
    return new Map(this.lines);
  }
  async dropUsage(names: readonly string[]): Promise<void> {
    this.onDrop();
    for (const name of names) {
      this.lines.delete(name);
    }
  }
  get store(): SchedulingStore {
    return this as unknown as SchedulingStore;
  }
}

const folder = (): string => join(stateDir, "usage");

test("lines move into the month of their end, and can be read by the coordinator's account only", async () => {
  const pending = new Pending();
  pending.add(lineOf({}), lineOf({ attempt: "aaaaaaaa-2", from: november - hour, to: november - 1 }));
  expect(await moveUsage(pending.store, stateDir, () => false)).toBe(2);
  expect(pending.lines.size).toBe(0);
  expect(await usageFiles(folder())).toEqual(["2026-10.jsonl", "2026-11.jsonl"]);
  expect(statSync(folder()).mode & 0o777).toBe(0o700);
  expect(statSync(join(folder(), "2026-11.jsonl")).mode & 0o777).toBe(0o600);
  const { rows, total } = await readUsage(stateDir, all, []);
  expect(rows).toHaveLength(1);
  expect(rows[0]).toMatchObject({ keys: { user: "alice" } });
  expect(total.accelerator_hours).toBeCloseTo(4, 3);
});

test("what is held stays behind; of two lines with one begin the longer is kept", async () => {
  const pending = new Pending();
  const short = lineOf({});
  const long = lineOf({ to: november + 2 * hour });
  pending.add(short, long, lineOf({ attempt: "aaaaaaaa-2" }));
  expect(await moveUsage(pending.store, stateDir, ({ attempt }) => attempt === "aaaaaaaa-2")).toBe(2);
  expect([...pending.lines.values()].map((line) => line.attempt)).toEqual(["aaaaaaaa-2"]);
  const text = readFileSync(join(folder(), "2026-11.jsonl"), "utf8");
  expect(
    text
      .trim()
      .split("\n")
      .map((one) => JSON.parse(one)),
  ).toEqual([long]);
});

test("nothing is dropped before it is on disk, and a crash in between counts once", async () => {
  const pending = new Pending();
  pending.add(lineOf({}));
  pending.onDrop = () => {
    expect(readFileSync(join(folder(), "2026-11.jsonl"), "utf8")).toContain("aaaaaaaa-1");
    throw new Error("killed");
  };
  await expect(moveUsage(pending.store, stateDir, () => false)).rejects.toThrow("killed");
  pending.onDrop = () => {};
  expect(await moveUsage(pending.store, stateDir, () => false)).toBe(1);
  expect(readFileSync(join(folder(), "2026-11.jsonl"), "utf8").trim().split("\n")).toHaveLength(2);
  expect((await readUsage(stateDir, all, [])).total.accelerator_hours).toBeCloseTo(2);
});

test("a last line that was torn by a power cut is cut off before the next is written", async () => {
  await appendUsage(folder(), [lineOf({})]);
  appendFileSync(join(folder(), "2026-11.jsonl"), JSON.stringify(lineOf({ attempt: "aaaaaaaa-2" })).slice(0, 50));
  expect(await readUsage(stateDir, all, [])).toMatchObject({ damaged: { lines: 0 } });
  await appendUsage(folder(), [lineOf({ attempt: "aaaaaaaa-3" })]);
  const { total, damaged } = await readUsage(stateDir, all, []);
  expect(total.accelerator_hours).toBeCloseTo(4);
  expect(damaged).toEqual({ lines: 0, places: [] });
  rmSync(join(folder(), "2026-11.jsonl"));
  appendFileSync(join(folder(), "2026-11.jsonl"), '{"torn');
  await appendUsage(folder(), [lineOf({})]);
  expect(readFileSync(join(folder(), "2026-11.jsonl"), "utf8").startsWith('{"attempt"')).toBe(true);
});

test("damaged lines are counted and named, and what stands around them is read", async () => {
  await appendUsage(folder(), [lineOf({})]);
  const path = join(folder(), "2026-11.jsonl");
  appendFileSync(
    path,
    `\0\0\0\n{"attempt":"x"}\n${"y".repeat(300_000)}\n${JSON.stringify(lineOf({ attempt: "b-1" }))}\n`,
  );
  await appendUsage(folder(), [lineOf({ attempt: "aaaaaaaa-4" })]);
  const { total, damaged } = await readUsage(stateDir, all, []);
  expect(damaged.lines).toBe(4);
  expect(damaged.places[0]).toBe("usage/2026-11.jsonl:2");
  expect(damaged.places).toContain("usage/2026-11.jsonl:4");
  expect(total.accelerator_hours).toBeCloseTo(4);
});

test("a user's question reads that user's lines; other files than the history's are left alone", async () => {
  mkdirSync(folder());
  appendFileSync(join(folder(), "notes.txt"), "not ours\n");
  await appendUsage(folder(), [lineOf({}), lineOf({ attempt: "aaaaaaaa-2", uid: 1002, user: "bob" })]);
  const { rows } = await readUsage(stateDir, { ...all, uid: 1002 }, []);
  expect(rows.map((row) => row.keys.user)).toEqual(["bob"]);
  expect(readdirSync(folder())).toContain("notes.txt");
});

test("a disk that cannot be written to is said once, and lines are written when it can be", async () => {
  const said: string[] = [];
  const log = pino({ base: null }, { write: (text) => void said.push(text) });
  const pending = new Pending();
  pending.add(lineOf({}));
  // A file where the folder should be: as good as a disk that refuses.
  appendFileSync(folder(), "");
  const stop = startUsageHistory(pending.store, stateDir, () => false, log, 10);
  try {
    await until(() => said.length > 0, "a word about the disk");
    expect(said.join("")).toContain("it stays in Redis");
    rmSync(folder());
    await until(() => existsSync(join(folder(), "2026-11.jsonl")), "the line in the history");
    expect(said).toHaveLength(1);
  } finally {
    stop();
  }
});

const span = fc.tuple(fc.nat(100_000), fc.nat(50_000)).map(([from, length]) => ({ from, to: from + length }));
const anyLine = fc
  .record({
    attempt: fc.integer({ min: 1, max: 8 }).map((number) => `aaaaaaaa-${number}`),
    node: fc.constantFrom("n1", "n2"),
    uid: fc.constantFrom(1001, 1002),
    accelerators: fc.constantFrom(0, 0.5, 1, 4),
    span,
  })
  .map(({ span: { from, to }, ...rest }) => lineOf({ ...rest, from, to, user: rest.uid === 1001 ? "alice" : "bob" }));

function totalOf(lines: readonly UsageLine[], from: number, to: number, pinned: readonly UsageLine[] = []): number {
  const sum = new UsageSum({ ...all, from, to, by: ["kind"] }, pinned);
  for (const line of [...lines, ...pinned]) {
    sum.add(line);
  }
  return sum.total().accelerator_hours;
}

test("the sums over any partition of a period are the sum over the period", () => {
  fc.assert(
    fc.property(
      fc.array(anyLine, { maxLength: 30 }),
      fc.array(anyLine, { maxLength: 5 }),
      fc.array(fc.nat(150_000), { maxLength: 6 }),
      (lines, held, cuts) => {
        const edges = [0, ...cuts.toSorted((a, b) => a - b), 150_001];
        const parts = edges.slice(1).map((to, at) => totalOf(lines, edges[at] as number, to, held));
        const whole = totalOf(lines, 0, 150_001, held);
        expect(parts.reduce((sum, part) => sum + part, 0)).toBeCloseTo(whole, 9);
      },
    ),
  );
});

test("no history counts a rank's time twice, and what is repeated changes nothing", () => {
  fc.assert(
    fc.property(fc.array(anyLine, { maxLength: 20 }), fc.nat(20), (lines, again) => {
      const repeated = lines.flatMap((line, at) => (at <= again ? [line, line] : [line]));
      expect(totalOf(repeated, 0, 200_000)).toBeCloseTo(totalOf(lines, 0, 200_000), 9);
      const atMost = new Map<string, number>();
      for (const line of lines) {
        const rank = `${line.attempt} ${line.node}`;
        atMost.set(rank, Math.max(atMost.get(rank) ?? 0, 4 * line.to));
      }
      const limit = [...atMost.values()].reduce((sum, one) => sum + one, 0) / hour;
      expect(totalOf(lines, 0, 200_000)).toBeLessThanOrEqual(limit + 1e-9);
    }),
  );
});

test("by user, group, kind, node and job, alone and together", () => {
  const sum = (by: UsageQuestion["by"]): unknown[] => {
    const one = new UsageSum({ ...all, by }, []);
    one.add(lineOf({}));
    one.add(
      lineOf({ attempt: "aaaaaaaa-2", node: "n2", jobId: 2, kind: null, accelerators: 0, groups: ["lab", "prof"] }),
    );
    one.add(lineOf({ attempt: "aaaaaaaa-3", uid: 1002, user: "bob", groups: [], accelerators: 1 }));
    return one.rows().map((row) => [...Object.values(row.keys), row.accelerator_hours, row.cpu_hours]);
  };
  expect(sum(["user"])).toEqual([
    ["alice", 2, 16],
    ["bob", 1, 8],
  ]);
  expect(sum(["group"])).toEqual([
    ["lab", 2, 16],
    [null, 1, 8],
    ["prof", 0, 8],
  ]);
  expect(sum(["kind", "node"])).toEqual([
    ["H100", "n1", 3, 16],
    [null, "n2", 0, 8],
  ]);
  expect(sum(["job"])).toEqual([
    ["alice", 1, 2, 8],
    ["bob", 1, 1, 8],
    ["alice", 2, 0, 8],
  ]);
});

test("months are those of the line's end, in UTC", () => {
  expect([november - 1, november].map(monthFile)).toEqual(["2026-10.jsonl", "2026-11.jsonl"]);
});
