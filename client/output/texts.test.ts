/** Golden texts of the tables at 80 columns and without a terminal, times, and command lines. */
import pc from "picocolors";
import { describe, expect, it } from "vitest";
import { nodesResultSchema, queueResultSchema } from "../../shared/api.ts";
import { jobRow } from "../../test/help/stand-in-head.ts";
import { commandLineOf } from "./command-line.ts";
import { gpusText, onlyKind, requestable } from "./gpus-text.ts";
import { portsText, usefulCommands } from "./launch-text.ts";
import { queueText } from "./queue-text.ts";
import { resourcesText, statusText } from "./status-text.ts";
import { formatTable, shortenCommand, wrap } from "./table.ts";
import { ago, duration } from "./times.ts";

const none = pc.createColors(false);
const now = 100_000;

it.each([
  [undefined, null],
  [[], null],
  [["8080"], "Port 8080: at the addresses of the job's nodes, as their firewalls allow; none was opened."],
  [["80", "90-95"], "Ports 80, 90-95: at the addresses of the job's nodes, as their firewalls allow; none was opened."],
])("ports %j", (ports, text) => {
  expect(portsText(ports === undefined ? {} : { ports })).toBe(text);
});

describe("times", () => {
  it.each([
    [null, "-"],
    [now, "just now"],
    [now + 50, "just now"],
    [now - 1, "1 sec ago"],
    [now - 59, "59 secs ago"],
    [now - 60, "1 min ago"],
    [now - 150, "2 mins ago"],
    [now - 3600, "1 hr ago"],
    [now - 90_000, "1 day ago"],
  ])("ago %s is %s", (time, text) => {
    expect(ago(time, now)).toBe(text);
  });

  it.each([
    [null, null, "-"],
    [now - 0.4, null, "< 1 second"],
    [now - 2, null, "2s"],
    [10, 3733, "1h 2m 3s"],
    [0, 90_061, "1d 1h 1m"],
    [0, 3600, "1h 0m 0s"],
  ])("duration %s to %s is %s", (start, end, text) => {
    expect(duration(start, end, now)).toBe(text);
  });
});

const rows = queueResultSchema.parse([
  jobRow(12, {
    job_name: "a-quite-long-name-of-a-job",
    submitted_at: now - 720,
    resources: "2x[A100-80GB:8]",
    log_path: "~/sky_logs/12-a-quite-long-name-of-a-job",
    position_over_all: 23,
    reason: "Needs 8 free A100-80GB on 2 nodes; node2 has 3 free (bob holds 5 of 8), and n1 has none.",
    position: 1,
  }),
  jobRow(11, { status: "RUNNING", submitted_at: now - 4000, start_at: now - 3723 }),
  jobRow(2, {
    job_name: null,
    status: "FAILED_SETUP",
    submitted_at: now - 9e4,
    start_at: now - 9e4,
    end_at: now - 89_998,
  }),
]);

describe("queue", () => {
  it("fits 80 columns", () => {
    const text = queueText("lab", rows, { allUsers: false, now, limit: 80 }, none);
    expect(text).toMatchInlineSnapshot(`
      "Job queue of current user on cluster lab
      ID  NAME     SUBMITTED    STARTED    DURATION  RESOURCES     STATUS        LOG
      12  a-quit…  12 mins ago  23rd       -         2x[A100-80G…  PENDING       …-job
      11  train    1 hr ago     1 hr ago   1h 2m 3s  1x[V100:4]    RUNNING       …rain
      2   -        1 day ago    1 day ago  2s        1x[V100:4]    FAILED_SETUP  …rain

      Reasons:
        Job 12 (PENDING, 1 of yours, 23 in line): Needs 8 free A100-80GB on 2 nodes;
          node2 has 3 free (bob holds 5 of 8), and n1 has none.
      When it starts, and what would make it start: sky explain lab 12"
    `);
    expect(Math.max(...text.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
  });

  it("cuts nothing where there is no terminal, and shows users when asked", () => {
    const text = queueText("lab", rows, { allUsers: true, now, limit: Number.POSITIVE_INFINITY }, none);
    expect(text).toContain("Job queue of all users on cluster lab");
    expect(text).toContain("12  a-quite-long-name-of-a-job  alice  12 mins ago  23rd");
    expect(text).toContain("~/sky_logs/12-a-quite-long-name-of-a-job\n");
  });

  it("says so when there is nothing", () => {
    const text = queueText("lab", [], { allUsers: false, now, limit: 80 }, none);
    expect(text).toBe("Job queue of current user on cluster lab\nNo jobs.");
  });

  it("colours statuses", () => {
    const text = queueText("lab", rows, { allUsers: false, now, limit: 200 }, pc.createColors(true));
    expect(text).toContain("\u001b[34mPENDING\u001b[39m");
    expect(text).toContain("\u001b[32mRUNNING\u001b[39m");
    expect(text).toContain("\u001b[31mFAILED_SETUP\u001b[39m");
  });
});

describe("status", () => {
  it("shows both kinds of cluster", () => {
    const text = statusText(
      [
        {
          name: "lab",
          known: {
            user: "alice",
            headIp: "10.0.0.1",
            resources: resourcesText([{ V100: 4 }, {}, { A100: 2, T4: 1 }]),
            command: "sky launch -c lab --gpus V100:4 train.yaml",
          },
        },
        { name: "other", known: null },
      ],
      Number.POSITIVE_INFINITY,
      none,
    );
    expect(text).toMatchInlineSnapshot(`
      "Local clusters:
      NAME   USER   HEAD_IP   RESOURCES                                       COMMAND
      lab    alice  10.0.0.1  [{'V100': 4}, (no GPUs), {'A100': 2, 'T4': 1}]  sky launch -c lab --gpus...
      other  -      -         -                                               -"
    `);
  });

  it("fits 80 columns whatever is in it", () => {
    const known = {
      user: "alice",
      headIp: "gpu-head-01.cluster.example.org",
      resources: resourcesText(Array.from({ length: 12 }, () => ({ "A100-80GB": 8 }))),
      command: "sky launch -c lab train.yaml",
    };
    const text = statusText([{ name: "a-cluster-with-a-long-name", known }], 80, none);
    expect(Math.max(...text.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
  });

  it.each([
    ["sky launch -c lab ''", "sky launch -c lab ''"],
    ["sky launch -c lab train.yaml", "sky launch -c lab..."],
    ["sky exec lab --gpus V100:1 x", "sky exec lab --gpus..."],
    ["abcdefghijklmnopqrstuvwxyzabc", "abcdefghijklmnopqrstuvwxy..."],
  ])("shortens %s", (text, short) => {
    expect(shortenCommand(text)).toBe(short);
  });
});

it("gpus list", () => {
  const node = { label: "", address: null, cpus: 64, cpus_free: 60, memory_gb: 503.4, memory_gb_free: 1, warnings: [] };
  const screen = { limit: 80, now: 1_000_300 };
  const result = nodesResultSchema.parse({
    cluster: "lab",
    unknown_attempts: 0,
    nodes: [
      {
        ...node,
        name: "n1",
        state: "UP",
        accelerators: { V100: 4 },
        accelerators_free: { V100: 1 },
        last_report_seconds_ago: 1,
      },
      {
        ...node,
        name: "n2",
        state: "UNREACHABLE",
        accelerators: { V100: 8 },
        accelerators_free: {},
        last_report_seconds_ago: 90,
      },
      {
        ...node,
        name: "n3",
        state: "UP",
        accelerators: {},
        accelerators_free: {},
        last_report_seconds_ago: 1,
        warnings: ["mixed"],
      },
      {
        ...node,
        name: "n4",
        state: "UP",
        accelerators: { V100: 2 },
        accelerators_free: { V100: 2 },
        last_report_seconds_ago: 1,
        admin: { state: "draining", reason: "new disks", by: "root", since: 1_000_000, deadline: 1_003_900 },
      },
    ],
  });
  expect(gpusText(result, null, screen, none)).toMatchInlineSnapshot(`
    "Cluster lab
    GPU   REQUESTABLE_QTY_PER_NODE  UTILIZATION
    V100  1, 2, 4, 8                1 of 14 free (10 not ready)

    NODE  vCPU  Memory (GB)  GPU   GPU UTILIZATION  NODE STATUS
    n1    64    503.4        V100  1 of 4 free      UP
    n2    64    503.4        V100  0 of 8 free      UNREACHABLE
    n3    64    503.4        -     -                UP
    n4    64    503.4        V100  2 of 2 free      DRAINING

    Warnings:
      n3: mixed
      n4: it is drained by root 5 mins ago: new disks; what runs there ends in 1h"
  `);
  expect(gpusText({ ...result, unknown_attempts: 2 }, null, screen, none)).toContain(
    "  2 jobs on the nodes are unknown to the coordinator",
  );
  expect(gpusText(result, "v100", screen, none)).not.toContain("n3  ");
  expect(gpusText(result, "H100", screen, none)).toContain("No H100 on this cluster.");
  expect(requestable(6)).toBe("1, 2, 4, 6");
});

it("gpus list with what is known of each device, in 80 columns", () => {
  const device = {
    kind: "A100-80GB",
    name: "NVIDIA A100-SXM4-80GB",
    memory_mb: 81_920,
    memory_used_mb: null,
    fault: null,
  };
  const node = {
    label: "",
    address: null,
    cpus: 128,
    cpus_free: 60,
    memory_gb: 1007.4,
    memory_gb_free: 1,
    state: "UP",
  };
  const result = nodesResultSchema.parse({
    cluster: "lab",
    unknown_attempts: 0,
    nodes: [
      {
        ...node,
        name: "gpu-node-0001",
        accelerators: { "A100-80GB": 3, "A100-MIG-1g.10gb": 1 },
        accelerators_free: { "A100-80GB": 1, "A100-MIG-1g.10gb": 0 },
        warnings: ["A100-80GB 2 (0000:47:00.0) gets no jobs: fallen off the bus (nvidia-smi: Unknown Error)"],
        last_report_seconds_ago: 1,
        devices: [
          { ...device, index: 0, granted: 0, utilization: 0 },
          { ...device, index: 1, granted: 0.75, utilization: 97 },
          {
            ...device,
            index: 2,
            granted: 0,
            utilization: null,
            fault: "fallen off the bus (nvidia-smi: Unknown Error)",
          },
          {
            ...device,
            index: 3,
            kind: "A100-MIG-1g.10gb",
            name: "MIG",
            memory_mb: 10_240,
            granted: 1,
            utilization: null,
          },
        ],
      },
      { ...node, name: "n2", accelerators: {}, accelerators_free: {}, warnings: [], last_report_seconds_ago: 1 },
    ],
  });
  const screen = { limit: 80, now: 1_000_300 };
  const text = gpusText(result, null, screen, none);
  expect(text).toMatchInlineSnapshot(`
    "Cluster lab
    GPU               REQUESTABLE_QTY_PER_NODE  UTILIZATION                    BUSY
    A100-80GB         1, 2, 3                   1 of 3 free (+0.25, 1 faulty)  49%
    A100-MIG-1g.10gb  1                         0 of 1 free                    -

    NODE        vCPU  Memory (GB)  GPU            GPU UTILIZATION  NODE STATUS  BUSY
    gpu-node-…  128   1007.4       A100-80GB      1 of 3 free      UP           49%
    gpu-node-…  128   1007.4       A100-MIG-1g.…  0 of 1 free      UP           -
    n2          128   1007.4       -              -                UP           -

    Warnings:
      gpu-node-0001: A100-80GB 2 (0000:47:00.0) gets no jobs: fallen off the bus
      (nvidia-smi: Unknown Error)"
  `);
  expect(gpusText(result, "nvidia a100-sxm4-80gb", screen, none)).toBe(gpusText(result, "a100-80gb", screen, none));
  expect(gpusText(result, "a100-80GB", screen, none)).toMatchInlineSnapshot(`
    "Cluster lab
    GPU        REQUESTABLE_QTY_PER_NODE  UTILIZATION                    BUSY
    A100-80GB  1, 2, 3                   1 of 3 free (+0.25, 1 faulty)  49%

    NODE           vCPU  Memory (GB)  GPU        GPU UTILIZATION  NODE STATUS  BUSY
    gpu-node-0001  128   1007.4       A100-80GB  1 of 3 free      UP           49%

    NODE           INDEX  NAME                   MEMORY  GRANTED  BUSY  STATE
    gpu-node-0001  0      NVIDIA A100-SXM4-80GB  80 GiB  -        0%    ok
    gpu-node-0001  1      NVIDIA A100-SXM4-80GB  80 GiB  0.75     97%   ok
    gpu-node-0001  2      NVIDIA A100-SXM4-80GB  80 GiB  -        -     FAULTY

    Warnings:
      gpu-node-0001: A100-80GB 2 (0000:47:00.0) gets no jobs: fallen off the bus
      (nvidia-smi: Unknown Error)"
  `);
  for (const line of [text, gpusText(result, "A100-80GB", screen, none)].flatMap((one) => one.split("\n"))) {
    expect(line.length).toBeLessThanOrEqual(80);
  }
  const only = onlyKind(result, "a100-mig-1G.10GB");
  expect(only.nodes.map((one) => one.devices.map((each) => each.index))).toEqual([[3]]);
  expect(onlyKind(result, null).nodes).toHaveLength(2);
});

it("useful commands", () => {
  expect(usefulCommands("lab", 1, none)).toMatchInlineSnapshot(`
    "
    Useful Commands
    Job ID: 1
    ├── To cancel the job:       sky cancel lab 1
    ├── To stream job logs:      sky logs lab 1
    └── To view job queue:       sky queue lab
    Cluster name: lab
    ├── To submit a job:         sky exec lab yaml_file
    └── To teardown the cluster: sky down lab"
  `);
});

it("useful commands have their sign on terminals only", () => {
  expect(usefulCommands("lab", 1, pc.createColors(true))).toContain("📋 Useful Commands");
});

it("a table drops control characters of a cell", () => {
  expect(formatTable([{ title: "A" }], [["x\u001b[2Jy\nz"]], 80, none)).toBe("A\nx [2Jy z");
});

it("wraps at words", () => {
  expect(wrap("one two three", "  ", 9)).toBe("  one two\n  three");
});

it("a command line to type again, without values of --env and --secret", () => {
  expect(commandLineOf(["launch", "-c", "lab", "--env", "TOKEN=secret", "--env=B=x", ""])).toBe(
    "sky launch -c lab --env TOKEN=<redacted> --env=B=<redacted> ''",
  );
  expect(commandLineOf(["exec", "lab", "--secret", "TOKEN=secret", "--secret=B=x y", "--secret", "C", "true"])).toBe(
    "sky exec lab --secret TOKEN=<redacted> --secret=B=<redacted> --secret C true",
  );
  expect(commandLineOf(["exec", "lab", "--", "--env", "a b"])).toBe("sky exec lab -- --env 'a b'");
});
