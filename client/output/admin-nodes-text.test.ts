/** The tables of `sky admin nodes` on a terminal of 80 columns. */
import pc from "picocolors";
import { expect, it } from "vitest";
import { type AdminNodeRow, adminNodeRowSchema } from "../../shared/admin-api.ts";
import { adminNodesText, adminNodeText } from "./admin-nodes-text.ts";

const none = pc.createColors(false);
const now = 1_000_300;

function row(name: string, changes: Partial<AdminNodeRow> = {}): AdminNodeRow {
  return adminNodeRowSchema.parse({
    ...{ name, label: "worker1", state: "UP", address: "10.0.0.2", cpus: 64, cpus_free: 60, memory_gb: 500 },
    ...{ memory_gb_free: 400, accelerators: { V100: 8 }, accelerators_free: { V100: 3 }, warnings: [] },
    ...{ last_report_seconds_ago: 3, version: "0.2.0", protocol: 2, source: "nvidia-smi", load1: 12.345 },
    ...{ memory_available_gb: 321.04, disk_free_gb: 20, uptime_seconds: 90_000, clock_skew_seconds: -3.2, skylets: 2 },
    ...{ key: "configured", jobs: [], unknown: [], ...changes },
  });
}

const jobs = [
  { user: "alice", job_id: 3, name: "train", status: "RUNNING", attempt: "k3x9p2ab-17" },
  { user: "bob", job_id: 1, name: null, status: "SETTING_UP", attempt: "k3x9p2ab-18" },
];
const rows = [
  row("gpu-with-a-long-name-1", { jobs }),
  row("n2", { admin: { state: "draining", reason: "new disks", by: "root", since: 1_000_000, deadline: 1_007_500 } }),
  row("n3", {
    admin: { state: "removed", reason: null, by: "eve", since: 1_000_000, deadline: null },
    state: "UNREACHABLE",
  }),
  row("n4", { state: "NEVER_SEEN", version: null, load1: null, last_report_seconds_ago: null, accelerators: {} }),
  row("n5", { version: "0.1.0", key: "changing", unknown: [{ ...jobs[0], status: null } as never], warnings: ["odd"] }),
];
const result = { cluster: "lab", version: "0.2.0", nodes: rows };

it("fits a terminal of 80 columns and says beneath what is to be said", () => {
  const text = adminNodesText(result, now, 80, none);
  expect(Math.max(...text.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
  expect(text).toMatchInlineSnapshot(`
    "Cluster lab
    NODE           STATE       VERSION  ACCELERATORS         LOAD   JOBS  REPORT
    gpu-with-a-l…  UP          0.2.0    V100:8 (nvidia-smi)  12.35  2     3 secs ago
    n2             DRAINING    0.2.0    V100:8 (nvidia-smi)  12.35  0     3 secs ago
    n3             REMOVED     0.2.0    V100:8 (nvidia-smi)  12.35  0     3 secs ago
    n4             NEVER_SEEN  -        -                    -      0     never
    n5             UP          0.1.0    V100:8 (nvidia-smi)  12.35  1     3 secs ago

    Notes:
      n2: drained by root 5 mins ago: new disks; what runs there ends in 2h
      n3: removed by eve 5 mins ago
      n5: its agent is version 0.1.0, the coordinator 0.2.0
      n5: it has made a new key and has not connected with it yet; both keys are
      accepted
      n5: runs an attempt that the coordinator does not know: \`sky admin unknown\`
      n5: odd"
  `);
});

it("shows everything about one node, and nothing that a terminal would act on", () => {
  const bad = row("n1", { jobs: [{ ...jobs[0], name: "\u001b[2Jx" } as never], warnings: ["\u001b]0;t\u0007w"] });
  const text = adminNodeText(bad, result, { now, limit: 80 }, none);
  // oxlint-disable-next-line no-control-regex
  expect(text).not.toMatch(/[\u0000-\u0009\u001b]/);
  expect(text).toMatchInlineSnapshot(`
    "Node n1 (worker1) of cluster lab
      State         UP
      Connection    UP, last report 3 secs ago
      Version       0.2.0 (protocol 2); coordinator 0.2.0
      Address       10.0.0.2
      Key           the one in the coordinator's config
      Accelerators  V100: 3 of 8 free (found by: nvidia-smi)
      CPUs          60 of 64 not granted; load 12.35
      Memory        400 GiB of 500 GiB not granted; 321 GiB available
      Disk          20 GiB free where the agent keeps its ledger
      Clock         3.2 s behind the head's
      Up for        1d 1h 0m
      Skylets       2

    USER   JOB  NAME   STATUS   ATTEMPT
    alice  3     [2Jx  RUNNING  k3x9p2ab-17

    Warnings:
      ]0;t w"
  `);
});
