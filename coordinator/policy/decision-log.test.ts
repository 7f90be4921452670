/**
 * The decision log on a real disk: what was added is there newest first, a line that a crash has cut off is taken away
 * before the next, old months go, lines are bounded, and what a user wrote into variables and scripts is not in it.
 */
import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type DecisionLine, decisionOf, keptViolation, keptWorkload, leftOut, textOf } from "./decision-line.ts";
import { DecisionLog } from "./decision-log.ts";
import { readDecisions } from "./decision-reader.ts";

let folder: string;
let logged: string[];
const log = pino({ base: null }, { write: (line) => void logged.push(line) });
const day = 86_400_000;
const now = Date.UTC(2026, 4, 15, 12);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sky-decisions-"));
  logged = [];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function lineOf(number: number, changes: Partial<DecisionLine> = {}): DecisionLine {
  const time = changes.time ?? now + number;
  return {
    ...{ format: 1, time, at: time / 1000, uid: 1001, user: "ada", project: "nlp", kind: "training" },
    ...{ request_id: "r", request: "launch", job_id: number, job_name: "tränen", outcome: "accepted", by: null },
    ...{ policies: ["nlp@1"], violations: [], changed: [], text: null, ways: [{ label: null, workload: {} }] },
    ...changes,
  };
}

const everybody = { uid: null, outcome: null, limit: 10_000 };

async function ids(decisions: DecisionLog, question: Partial<typeof everybody> = {}): Promise<(number | null)[]> {
  return (await readDecisions(decisions, { ...everybody, ...question })).map((line) => line.job_id);
}

test("lines come back whole and newest first, over many pieces of a file, by user and outcome", async () => {
  const decisions = new DecisionLog(folder, 90, log, () => now);
  for (let number = 1; number <= 3_000; number += 1) {
    const uid = number % 2 === 0 ? 1001 : 1002;
    decisions.add(lineOf(number, { uid, outcome: number % 3 === 0 ? "rejected" : "accepted" }));
  }
  const all = await ids(decisions);
  expect(all).toEqual(Array.from({ length: 3_000 }, (_, index) => 3_000 - index));
  expect(await ids(decisions, { limit: 2 })).toEqual([3_000, 2_999]);
  expect(
    (await readDecisions(decisions, { uid: 1001, outcome: "rejected", limit: 2 })).map((one) => one.job_id),
  ).toEqual([3_000, 2_994]);
  const [newest] = await readDecisions(decisions, { ...everybody, limit: 1 });
  expect(newest).toEqual(lineOf(3_000, { outcome: "rejected" }));
  expect(Object.keys(decisionOf(lineOf(1)))).not.toContain("ways");
  const [name = ""] = readdirSync(join(folder, "decisions"));
  expect(name).toBe("2026-05.jsonl");
  expect(statSync(join(folder, "decisions", name)).mode & 0o777).toBe(0o600);
  expect(statSync(join(folder, "decisions")).mode & 0o777).toBe(0o700);
});

test("a line that was cut off is taken away before the next; damaged ones are left out; a line too long is skipped", async () => {
  const first = new DecisionLog(folder, 90, log, () => now);
  first.add(lineOf(1));
  await first.flushed();
  const path = join(folder, "decisions", "2026-05.jsonl");
  appendFileSync(path, `{"format":1,"time":17`);
  const second = new DecisionLog(folder, 90, log, () => now);
  expect(await ids(second)).toEqual([1]);
  second.add(lineOf(2));
  await second.flushed();
  expect(readFileSync(path, "utf8")).not.toContain('"time":17\n');
  appendFileSync(path, `not JSON\n${JSON.stringify({ ...lineOf(9), surprise: true })}\n${"x".repeat(1_000_000)}\n`);
  second.add(lineOf(3));
  expect(await ids(second)).toEqual([3, 2, 1]);
});

test("months that are over for long enough go, and days before the limit are not shown", async () => {
  let time = now - 100 * day;
  const decisions = new DecisionLog(folder, 20, log, () => time);
  decisions.add(lineOf(1, { time }));
  await decisions.flushed();
  time = now;
  decisions.add(lineOf(2, { time: now - 25 * day }));
  decisions.add(lineOf(3, { time: now - 5 * day }));
  expect(await ids(decisions)).toEqual([3]);
  expect(readdirSync(join(folder, "decisions"))).toEqual(["2026-04.jsonl", "2026-05.jsonl"]);
});

test("refusals of one user are counted from some on, and leave room for everybody else's", async () => {
  let time = now;
  const decisions = new DecisionLog(folder, 90, log, () => time);
  for (let number = 1; number <= 500; number += 1) {
    decisions.add(lineOf(number, { job_id: null, outcome: "rejected" }));
  }
  decisions.add(lineOf(1, { job_id: null, uid: 1002, outcome: "rejected" }));
  decisions.add(lineOf(7));
  expect(await readDecisions(decisions, { uid: 1001, outcome: "rejected", limit: 1_000 })).toHaveLength(120);
  expect(await readDecisions(decisions, { uid: 1002, outcome: "rejected", limit: 1_000 })).toHaveLength(1);
  expect(await ids(decisions, { limit: 1 })).toEqual([7]);
  expect(logged.join("")).toContain('"lost":380');
  time += 60_000;
  decisions.add(lineOf(1, { job_id: null, outcome: "rejected" }));
  expect(await readDecisions(decisions, { uid: 1001, outcome: "rejected", limit: 1_000 })).toHaveLength(121);
});

test("an old month that cannot be removed is said, and no line is called lost for it", async () => {
  mkdirSync(join(folder, "decisions", "2020-01.jsonl"), { recursive: true });
  const decisions = new DecisionLog(folder, 20, log, () => now);
  decisions.add(lineOf(1));
  await decisions.flushed();
  expect(readFileSync(join(folder, "decisions", "2026-05.jsonl"), "utf8").split("\n")).toHaveLength(2);
  expect(logged.join("")).toContain("old decisions of policies were not removed");
  expect(logged.join("")).not.toContain("lost");
});

test("what one user may make the log grow by is bounded: every job has its line, the workload goes", async () => {
  let time = now;
  const decisions = new DecisionLog(folder, 90, log, () => time);
  const ways = [{ label: null, workload: { image: Array.from({ length: 50 }, () => "i".repeat(1_000)) } }];
  for (let number = 1; number <= 100; number += 1) {
    decisions.add(lineOf(number, { ways }));
  }
  decisions.add(lineOf(101, { uid: 1002, ways }));
  decisions.add(lineOf(102));
  const keptOf = async (uid: number): Promise<unknown[]> =>
    (await readDecisions(decisions, { ...everybody, uid })).map((line) => line.ways !== null).reverse();
  // The last is a short one, which loses nothing.
  expect(await keptOf(1001)).toEqual([...Array(20).fill(true), ...Array(80).fill(false), true]);
  expect(await keptOf(1002)).toEqual([true]);
  expect(await ids(decisions)).toHaveLength(102);
  time += 60_000;
  decisions.add(lineOf(103, { ways }));
  expect((await keptOf(1001)).at(-1)).toBe(true);
});

test("a disk that cannot be written is a line in the coordinator's log, and nothing else", async () => {
  const decisions = new DecisionLog(join(folder, "gone", "deeper"), 90, log, () => now);
  mkdirSync(join(folder, "gone"));
  appendFileSync(join(folder, "gone", "deeper"), "a file");
  decisions.add(lineOf(1));
  await decisions.flushed();
  expect(logged.join("")).toContain("decisions of policies were not written");
});

test("values of variables and scripts are not kept, long texts are cut, and a line has a bound", () => {
  const kept = keptWorkload(
    new Map<string, never>([
      [
        "environmentVariables",
        [
          { name: "TOKEN", value: "s3cr3t" },
          { name: "GONE", exclude: true },
        ] as never,
      ],
      ["command", "curl -H s3cr3t" as never],
      ["image", "i".repeat(5_000) as never],
      ["compute.gpuDevicesRequest", 2 as never],
    ]),
  );
  expect(kept).toEqual({
    environmentVariables: [{ name: "TOKEN" }, { name: "GONE", exclude: true }],
    command: leftOut,
    image: "i".repeat(1_000),
    "compute.gpuDevicesRequest": 2,
  });
  const spoken = { rule: "options", message: "must be one of: a", source: null, value: "s3cr3t", limit: null } as const;
  for (const field of [
    "environmentVariables[A].value",
    "environment[A]",
    "any_of[1] environmentVariables[A].value",
    "args",
  ]) {
    expect(keptViolation({ ...spoken, field }).value).toBeNull();
  }
  expect(keptViolation({ ...spoken, field: "image" }).value).toBe("s3cr3t");
  const violation = {
    ...{ field: "f".repeat(900), rule: "max" as const, details: "d".repeat(900), sourceOfRule: null },
    ...{ value: "v".repeat(900), limit: 1 },
  };
  const long = lineOf(1, { violations: Array.from({ length: 500 }, () => violation) });
  expect(textOf(long).length).toBeLessThan(64 * 1024);
  expect(JSON.parse(textOf(long))).toMatchObject({ format: 1, job_id: 1 });
});
