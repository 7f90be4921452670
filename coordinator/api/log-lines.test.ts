/** The exact texts around a job's output: prefixes by place in the cluster, ends, exit codes. */
import { describe, expect, it } from "vitest";
import type { JobRecord } from "../../shared/job.ts";
import { initialState } from "../core/initial.ts";
import { endLines, exitCodeOf, placeOf, prefixOf, waitingLine } from "./log-lines.ts";

function stateOf(addresses: (string | null)[]) {
  const nodes = addresses.map((address, index) => ({ name: `n${index}`, address }));
  return initialState(
    { nodes, graceSeconds: 1 },
    { stateId: "s".repeat(16), epoch: 1, nonce: "n".repeat(8), jobs: [], setups: [], uptime: 0, now: 0 },
  );
}

function ended(end: JobRecord["end"], codes: (number | null)[], reason: string | null = null): JobRecord {
  const ranks = codes.map((runExit, index) => ({
    grant: { node: `n${index}`, devices: [], share: 1, cpus: 1, memoryGb: 0 },
    ...{ setup: true, pid: 10 + index, setupExit: end === "FAILED_SETUP" ? runExit : 0, runExit, logDir: null },
  }));
  return {
    phase: "ended",
    end,
    reason,
    attempt: { id: "nnnnnnnn-1", number: 1, setupRef: null, ranks },
  } as unknown as JobRecord;
}

describe("prefixes", () => {
  it("of a cluster with one node name the task", () => {
    const place = placeOf(stateOf([null]), "n0", 0);
    expect(prefixOf("run", place, "min", 5)).toBe("(min, pid=5)");
    expect(prefixOf("run", place, null, 5)).toBe("(task, pid=5)");
    expect(prefixOf("setup", place, "min", 5)).toBe("(setup pid=5)");
  });

  it("of a larger cluster name place and rank, and the address of workers", () => {
    const state = stateOf([null, "10.0.0.2"]);
    expect(prefixOf("run", placeOf(state, "n0", 0), "min", 5)).toBe("(head, rank=0, pid=5)");
    expect(prefixOf("run", placeOf(state, "n1", 0), "min", 5)).toBe("(worker1, rank=0, pid=5, ip=10.0.0.2)");
    expect(prefixOf("setup", placeOf(state, "n1", 1), "min", 5)).toBe("(setup pid=5, ip=10.0.0.2)");
  });

  it("of a node that is no longer configured show its name", () => {
    expect(prefixOf("run", placeOf(stateOf([null, null]), "old", 1), "min", 5)).toBe("(old, rank=1, pid=5, ip=old)");
  });
});

describe("the end of a job", () => {
  it.each([
    [ended("SUCCEEDED", [0]), ["✓ Job finished (status: SUCCEEDED)."], 0],
    [ended("CANCELLED", [143]), ["✓ Job finished (status: CANCELLED)."], 103],
    [
      ended("FAILED", [1, null]),
      [
        "ERROR: Job 7 failed with return code list: [1, 137]",
        "A return code of 137 means that a process was killed, often because another node failed or memory ran out.",
        "✓ Job finished (status: FAILED).",
      ],
      100,
    ],
    [
      ended("FAILED", [0, null], "its time limit of 2h was reached"),
      ["ERROR: Job 7: its time limit of 2h was reached", "✓ Job finished (status: FAILED)."],
      100,
    ],
    [
      ended("FAILED_SETUP", [0, 4]),
      [
        "ERROR: Job 7's setup failed. Failed workers: (pid=11, returncode=4). See error logs above for more details.",
        "✓ Job finished (status: FAILED_SETUP).",
      ],
      100,
    ],
    [
      ended("FAILED_DRIVER", [null], "n0: the machine was restarted"),
      ["ERROR: Job 7: n0: the machine was restarted", "✓ Job finished (status: FAILED_DRIVER)."],
      100,
    ],
  ])("%#", (record, lines, code) => {
    expect(endLines(7, record)).toEqual(lines);
    expect(exitCodeOf(record)).toBe(code);
  });

  it("is not there while the job goes on", () => {
    expect(exitCodeOf({ ...ended(null, [null]), phase: "running" })).toBe(101);
  });
});

it("says how many nodes are waited for", () => {
  expect([waitingLine(1), waitingLine(3)]).toEqual([
    "├── Waiting for task resources on 1 node.",
    "├── Waiting for task resources on 3 nodes.",
  ]);
});
