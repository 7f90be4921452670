/** Golden texts of `sky explain` and dry runs at 80 columns. */
import pc from "picocolors";
import { expect, it } from "vitest";
import { type ExplainResult, explainResultSchema } from "../../shared/explain-api.ts";
import { explainText } from "./explain-text.ts";

const none = pc.createColors(false);
/** Noon of a day in the time zone of this machine. */
const now = new Date(2026, 0, 31, 12, 0, 0).getTime() / 1000;

function answer(more: Partial<ExplainResult> = {}): ExplainResult {
  return explainResultSchema.parse({
    ...{ cluster: "lab", user: "alice", job_id: 12, name: "train", resources: "1x[V100:4]" },
    ...{ needs: "4 x V100, 0.5 CPUs on 1 node, for 2h at most", status: "PENDING", submitted_at: now - 600 },
    ...{ started_at: null, ended_at: null, reason: "needs 4 x V100", starts_now: false, position: 1, waiting: 2 },
    ...{ position_over_all: 3, waiting_over_all: 24, constraints: [], earliest_start: now + 7500, is_reserved: true },
    ...{ places: [], ends_at: null, time_limit_seconds: 7200, warnings: [], actions: [], ...more },
  });
}

function text(result: ExplainResult, limit = 80): string {
  const shown = explainText("lab", result, { now, limit }, none);
  expect(Math.max(...shown.split("\n").map((line) => line.length))).toBeLessThanOrEqual(limit);
  return shown;
}

it("says why a job waits, when it starts and what would help", () => {
  const waits = answer({
    constraints: [
      {
        type: "accelerators",
        text: "n1 has 1 of 4 V100 free (2 held by your job 3 for 2h 5m at most, 1 held by another user's job)",
        nodes: ["n1"],
        holders: [],
        until: now + 7500,
      },
      { type: "order", text: "2 jobs are ahead of it for the same machines", nodes: [], holders: [], until: null },
    ],
    places: [{ node: "n1", kind: "V100", devices: [0, 1, 2, 3], share: 1, cpus: 0.5, memory_gb: 0 }],
    actions: ["ask for 1 instead of 4: that would start now on n1", "stop waiting: sky cancel lab 12"],
  });
  expect(text(waits)).toMatchInlineSnapshot(`
    "Job 12 (train) of alice on cluster lab
      status     PENDING, submitted 10m 0s ago
      needs      4 x V100, 0.5 CPUs on 1 node, for 2h at most
      position   1 of 2 waiting jobs of alice, 3 of 24 over all
      starts     in 2h 5m 0s, at 14:05, or sooner: room is kept for it on n1

    What it waits for:
      - n1 has 1 of 4 V100 free (2 held by your job 3 for 2h 5m at most, 1 held by
        another user's job) (room by 14:05)
      - 2 jobs are ahead of it for the same machines

    What would make it start:
      - ask for 1 instead of 4: that would start now on n1
      - stop waiting: sky cancel lab 12"
  `);
  expect(text(answer({ earliest_start: null, is_reserved: false }))).toContain("starts     not known when");
});

it("says where a job runs and what warns", () => {
  const runs = answer({
    ...{ status: "RUNNING", started_at: now - 3600, starts_now: true, position: null, position_over_all: null },
    ...{ earliest_start: null, ends_at: now + 3600, reason: "n1 is unreachable" },
    places: [{ node: "n1", kind: "V100", devices: [0, 1, 2, 5], share: 1, cpus: 8, memory_gb: 32 }],
    warnings: ["n1 is unreachable", "V100 5 on n1, which it holds, is out of order: fell off the bus"],
    actions: ["its output: sky logs lab 12"],
  });
  expect(text(runs)).toMatchInlineSnapshot(`
    "Job 12 (train) of alice on cluster lab
      status     RUNNING, for 1h 0m 0s
      needs      4 x V100, 0.5 CPUs on 1 node, for 2h at most
      runs on    n1: V100 0-2,5, 8 CPUs, 32 GiB
      ends       in 1h 0m 0s, at 13:00, at its time limit

    What to know:
      - n1 is unreachable
      - V100 5 on n1, which it holds, is out of order: fell off the bus

    Next:
      - its output: sky logs lab 12"
  `);
});

it("says how a job ended, and answers a dry run", () => {
  const ended = answer({
    ...{ status: "FAILED", started_at: now - 90, ended_at: now - 60, position: null, earliest_start: null },
    ...{ reason: "its run script ended with 3", actions: ["its output: sky logs lab 12"] },
  });
  expect(text(ended)).toMatchInlineSnapshot(`
    "Job 12 (train) of alice on cluster lab
      status     FAILED, 1m 0s ago after 30s
      needs      4 x V100, 0.5 CPUs on 1 node, for 2h at most

    Why it ended so:
      - its run script ended with 3

    Next:
      - its output: sky logs lab 12"
  `);
  const place = { node: "n2", kind: "A100", devices: [1], share: 0.5, cpus: 2, memory_gb: 0 };
  const dry = answer({
    ...{ job_id: null, status: null, submitted_at: null, starts_now: true, position: null, position_over_all: null },
    ...{ reason: null, earliest_start: now, places: [place] },
  });
  expect(text(dry)).toMatchInlineSnapshot(`
    "Dry run (train) on cluster lab; nothing was submitted.
      needs      4 x V100, 0.5 CPUs on 1 node, for 2h at most
      starts     at once
      would get  n2: 0.5 of A100 1, 2 CPUs"
  `);
});

it("prints nothing that a terminal would act on", () => {
  const bad = answer({ name: "x\u001b[2Jy", warnings: [], reason: "a\u0007b", ended_at: now, status: "FAILED" });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not come through
  expect(text(bad)).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
});
