/** Quotas and windows as tables: every limit with its use, in 80 columns. */
import pc from "picocolors";
import { expect, test } from "vitest";
import type { QuotaUse, WindowRow } from "../../shared/scheduling-api.ts";
import { ownQuotaText, quotaLine, quotasText } from "./quota-text.ts";
import { windowNote, windowsText } from "./windows-text.ts";

const colors = pc.createColors(false);
const nothing: QuotaUse = { accelerators: {}, cpus: 0, memory_gb: 0, running: 0, waiting: 0 };
const some: QuotaUse = { accelerators: { H100: 3, V100: 0.5 }, cpus: 12, memory_gb: 64, running: 2, waiting: 7 };
const quotas = [
  {
    subject: "each",
    limits: { accelerators: { "*": 4 }, waiting: 100 },
    use: null,
    users: [
      { user: "bob", use: nothing },
      { user: "alice", use: some },
    ],
  },
  { subject: "group:prof-ada", limits: { accelerators: { h100: 8 }, cpus: 64 }, use: some, users: [] },
  { subject: "user:carol", limits: { accelerators: {}, memory_gb: 256, running: 3 }, use: nothing, users: [] },
];

test("every subject once, every limit with what is used of it", () => {
  expect(quotasText({ cluster: "lab", quotas }, 80, colors)).toBe(`Cluster lab
FOR             LIMITS            USED         LIMIT
each            all accelerators  3.5 (alice)  4
                waiting jobs      7 (alice)    100
group:prof-ada  h100              3            8
                CPUs              12           64
user:carol      memory (GiB)      0            256
                running jobs      0            3
'each' binds every user without a quota of their own; USED names who holds the most.`);
  expect(quotasText({ cluster: "lab", quotas: [] }, 80, colors)).toContain("sky admin quota set");
});

test("long names are cut to 80 columns on a terminal", () => {
  const long = { ...quotas[1], subject: `group:${"x".repeat(60)}`, limits: { accelerators: { ["Y".repeat(60)]: 1 } } };
  const text = quotasText({ cluster: "lab", quotas: [long as (typeof quotas)[number]] }, 80, colors);
  expect(Math.max(...text.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
});

test("one quota after a change, and a user's own", () => {
  expect(quotaLine(quotas[1] as Parameters<typeof quotaLine>[0])).toBe(
    "group:prof-ada: h100 8 (3 used), CPUs 64 (12 used)",
  );
  const own = {
    ...{ cluster: "lab", user: "alice", use: some, waiting_max: 10_000, quotas: quotas.slice(1, 2) },
    ...{ default_time_seconds: 3600, max_time_seconds: 86_400 },
  };
  expect(ownQuotaText(own, 80, colors)).toBe(`Cluster lab, user alice
You hold 3 H100, 0.5 V100, 12 CPUs, 64 GiB; 2 running, 7 waiting job(s).

FOR                  LIMITS  USED  LIMIT
prof-ada (together)  h100    3     8
                     CPUs    12    64

A job that gives no --time is ended after 1h.
The longest time that a job may ask for is 1d.
At most 10000 jobs of one user may wait.`);
});

const now = new Date(2026, 10, 30, 20).getTime() / 1000;
const window: WindowRow = {
  ...{ id: "w3", kind: "reservation", nodes: ["n1", "n2"], users: ["alice"], groups: ["prof-ada"], end_jobs: true },
  ...{ from: now + 12 * 3600, to: now + 14 * 3600, reason: "the course", by: "root", on: false },
};

test("windows: the table, and one beside a node", () => {
  expect(windowsText({ cluster: "lab", windows: [window] }, now, 120, colors)).toBe(`Cluster lab
ID  KIND         NODES   FROM              TO                FOR
w3  reservation  n1, n2  2026-12-01 08:00  2026-12-01 10:00  alice, members of prof-ada

  w3: begins in 12h; what still runs there at its begin is ended; set by root; the course`);
  const many = { ...window, nodes: Array.from({ length: 500 }, (_, index) => `gpu-${index}.example.org`) };
  const narrow = windowsText({ cluster: "lab", windows: [many] }, now, 80, colors);
  expect(Math.max(...narrow.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
  expect(windowsText({ cluster: "lab", windows: [] }, now, 80, colors)).toContain("No node is set aside.");
  expect(windowNote(window, now)).toBe(
    "reserved for alice, members of prof-ada from 2026-12-01 08:00 (in 12h) to 2026-12-01 10:00: the course [w3]",
  );
  const on: WindowRow = { ...window, kind: "maintenance", users: [], groups: [], on: true, reason: null };
  expect(windowNote(on, now + 13 * 3600)).toBe("maintenance until 2026-12-01 10:00 (1h) [w3]");
});
