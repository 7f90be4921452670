/** What `sky usage` prints: tables of 80 columns, and CSV that no spreadsheet calculates with. */
import pc from "picocolors";
import { expect, test } from "vitest";
import type { IdleResult, UsageResult } from "../../shared/usage-api.ts";
import { idleCsv, idleText, usageCsv, usageText } from "./usage-text.ts";

const plain = pc.createColors(false);
const now = Date.UTC(2026, 10, 22, 12) / 1000;
const amount = (hours: number, cpus: number) => ({ accelerator_hours: hours, cpu_hours: cpus, memory_gb_hours: 1 });

function result(rows: UsageResult["rows"], changes: Partial<UsageResult> = {}): UsageResult {
  return {
    ...{ cluster: "lab", from: now - 86_400, to: now, by: ["user"], scope: "all", rows, more: 0 },
    ...{ total: amount(12.25, 98), damaged: { lines: 0, places: [] } },
    ...changes,
  };
}

const long = "a-user-with-a-very-long-name-indeed-it-hardly-ends@example.org";

test("a table fits 80 columns and ends with the total", () => {
  const rows = [
    { keys: { user: long, kind: "A100-80GB" }, ...amount(12, 96) },
    { keys: { user: "bob", kind: null }, ...amount(0.001, 2) },
  ];
  const text = usageText(result(rows, { by: ["user", "kind"], more: 3 }), { limit: 80, now }, plain);
  const lines = text.split("\n");
  expect(lines[0]).toMatch(/^Cluster lab: usage, 2026-11-2\d \d\d:\d\d to now$/);
  expect(lines[1]).toMatch(/^USER +ACCELERATOR +ACCELERATOR_HOURS +CPU_HOURS$/);
  expect(lines[2]).toMatch(/^a-user-with-a.*… +A100-80GB +12\.00 +96\.00$/);
  expect(lines[3]).toMatch(/^bob +- +<0\.01 +2\.00$/);
  expect(lines[4]).toMatch(/^total +12\.25 +98\.00$/);
  expect(lines[5]).toContain("3 more rows");
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
});

test("one's own, nothing, and what counts in several groups", () => {
  const empty = result([], { scope: "own", to: now - 4000 });
  expect(usageText(empty, { limit: 80, now }, plain)).toMatch(
    /^Cluster lab: your usage, .* to 2026-.*\nNothing was used\.$/,
  );
  const groups = result([{ keys: { group: null }, ...amount(1, 1) }], { by: ["group"] });
  expect(usageText(groups, { limit: 80, now }, plain)).toContain("once in the total");
});

test("a job is named by its user and number", () => {
  const jobs = result([{ keys: { user: "alice", job: 7 }, ...amount(1, 2) }], { by: ["user", "job"] });
  expect(usageText(jobs, { limit: 80, now }, plain)).toMatch(/USER +JOB +ACC.*\nalice +7 +1\.00 +2\.00\ntotal/);
});

test("CSV: quoted where it must be, no formulas, all digits, one table for all clusters", () => {
  const rows = ["=1+1", "+a", "-b", "@c", 'q"uo,te', "fine"].map((user) => ({ keys: { user }, ...amount(1 / 3, 2) }));
  const text = usageCsv([result(rows), result(rows.slice(5), { cluster: "den" })], ["user"]);
  const lines = text.split("\r\n");
  expect(lines[0]).toBe("cluster,from,to,user,accelerator_hours,cpu_hours,memory_gb_hours");
  const rest = "0.3333333333333333,2,1";
  const period = "2026-11-21T12:00:00.000Z,2026-11-22T12:00:00.000Z";
  expect(lines.slice(1)).toEqual([
    `lab,${period},'=1+1,${rest}`,
    `lab,${period},'+a,${rest}`,
    `lab,${period},'-b,${rest}`,
    `lab,${period},'@c,${rest}`,
    `lab,${period},"q""uo,te",${rest}`,
    `lab,${period},fine,${rest}`,
    `den,${period},fine,${rest}`,
  ]);
});

test("idle accelerators, also those whose holder is not shown", () => {
  const idle: IdleResult = {
    cluster: "lab",
    now,
    idle: [
      { node: "n1", index: 0, kind: "H100", user: "alice", job: 3, idle_since: now - 7200, held_since: now - 9000 },
      { node: "n2", index: 5, kind: "H100", user: null, job: null, idle_since: now - 60, held_since: null },
    ],
  };
  const lines = idleText(idle, 80, plain).split("\n");
  expect(lines[2]).toMatch(/^n1 +H100 0 +alice +3 +2h 0m 0s +2h 30m 0s$/);
  expect(lines[3]).toMatch(/^n2 +H100 5 +\(another user\) +- +1m 0s +-$/);
  expect(idleText({ ...idle, idle: [] }, 80, plain)).toContain("None");
  expect(idleCsv([idle]).split("\r\n")).toEqual([
    "cluster,node,device,accelerator,user,job,idle_seconds,held_seconds",
    "lab,n1,0,H100,alice,3,7200,9000",
    "lab,n2,5,H100,,,60,",
  ]);
});
