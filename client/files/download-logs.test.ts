/** Logs come home through the real routes: each rank's file, cut streams, silent nodes, what was there before. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { LogRequest } from "../../shared/agent-wire.ts";
import { SkyError } from "../../shared/errors.ts";
import { logFrame, startTestCluster, streamOf, type TestCluster } from "../../test/help/api-parts.ts";
import { until } from "../../test/help/until.ts";
import { type Calls, createCalls } from "../sdk/calls.ts";
import { Transport } from "../sdk/transport.ts";
import { downloadJobLogs, jobsNamed } from "./download-logs.ts";

let cluster: TestCluster;
let calls: Calls;
let folder: string;

beforeEach(async () => {
  cluster = await startTestCluster(["one", "two"]);
  folder = mkdtempSync(join(tmpdir(), "sky-logs-"));
  const sockets = new Set<Socket>();
  calls = createCalls(
    new Transport("lab", async () => ({
      async openStream() {
        const socket = connect(cluster.socket);
        sockets.add(socket);
        socket.on("error", () => undefined);
        return socket;
      },
      close: () => sockets.forEach((socket) => void socket.destroy()),
    })),
    () => undefined,
  );
});
afterEach(async () => {
  calls.close();
  await cluster.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A job of two ranks that has ended. */
async function finishedJob(): Promise<void> {
  await calls.launch({ task: "name: train\nnum_nodes: 2\nsetup: s\nrun: x\n" });
  for (const node of ["one", "two"]) {
    await cluster.report(node, () => undefined);
  }
  for (const node of ["one", "two"]) {
    await cluster.report(node, (attempt) => Object.assign(attempt, { state: "exited", setupExit: 0, runExit: 0 }));
  }
  await until(async () => (await calls.jobStatus({ job_ids: [1] }))["1"] === "SUCCEEDED");
}

function textOf(part: "setup" | "run", node: string): string {
  return `${part} on ${node}\n`;
}

/** What a skylet sends, from the offsets on. */
function frames(request: LogRequest, node: string, fault = ""): Buffer[] {
  const parts = (["setup", "run"] as const).map((part) => {
    const bytes = Buffer.from(textOf(part, node)).subarray(part === "setup" ? request.setupOffset : request.runOffset);
    return bytes.length === 0 ? [] : [logFrame(part, bytes)];
  });
  return [logFrame("pid", "7"), ...parts.flat(), logFrame("end", fault)];
}

const read = (name: string): string => readFileSync(join(folder, "1-train", name), "utf8");

describe("downloading a job's logs", () => {
  it("brings every rank's files and the text of all, and says where they are", async () => {
    cluster.fleet.source = (request, node) => streamOf(frames(request, node), "end");
    await finishedJob();
    expect(await downloadJobLogs(calls, 1, folder)).toEqual({ job: 1, path: join(folder, "1-train"), warnings: [] });
    expect(readdirSync(join(folder, "1-train")).sort()).toEqual([
      ".attempt",
      "run.log",
      "setup-10.0.0.2.log",
      "setup.log",
      "tasks",
    ]);
    expect(read("setup.log")).toBe("setup on one\n");
    expect(read("tasks/0-head.log")).toBe("run on one\n");
    expect(read("tasks/1-worker1.log")).toBe("run on two\n");
    expect(read("run.log")).toContain("(head, rank=0, pid=7) run on one\n");
    expect(read("run.log")).toContain("✓ Job finished (status: SUCCEEDED).\n");
  });

  it("goes on where a cut stream stopped", async () => {
    let cuts = 0;
    cluster.fleet.source = (request, node) => {
      if (node === "two" && request.runOffset === 0 && cuts < 2) {
        cuts += 1;
        return streamOf([logFrame("pid", "7"), logFrame("run", "run o")], "break");
      }
      return streamOf(frames(request, node), "end");
    };
    await finishedJob();
    expect((await downloadJobLogs(calls, 1, folder)).warnings).toEqual([]);
    expect(read("tasks/1-worker1.log")).toBe("run on two\n");
    expect(cuts).toBeGreaterThan(0);
  });

  it("keeps what was longer when a node gives less, and says what is missing", async () => {
    cluster.fleet.source = (request, node) => streamOf(frames(request, node), "end");
    await finishedJob();
    await downloadJobLogs(calls, 1, folder);
    writeFileSync(join(folder, "1-train/setup.log"), "");
    cluster.fleet.source = (request, node) => {
      // The text of all is asked from the beginning of both; a file of its own skips the other one.
      if (node === "two" && Math.max(request.setupOffset, request.runOffset) > 1e9) {
        throw new SkyError("ConnectionError", "node two does not answer");
      }
      return streamOf(frames(request, node, "the log was moved"), "end");
    };
    const { warnings } = await downloadJobLogs(calls, 1, folder);
    expect(warnings).toHaveLength(4);
    expect(warnings.join("\n")).toContain("setup.log is not complete: the log was moved");
    expect(warnings.join("\n")).toContain(
      "1-worker1.log is not complete, what was here is kept: node two does not answer",
    );
    expect(read("setup.log")).toBe("setup on one\n");
    expect(read("tasks/1-worker1.log")).toBe("run on two\n");
    expect(readdirSync(join(folder, "1-train/tasks"))).toEqual(["0-head.log", "1-worker1.log"]);
  });

  it("writes into no folder of another attempt", async () => {
    cluster.fleet.source = (request, node) => streamOf(frames(request, node), "end");
    await finishedJob();
    await downloadJobLogs(calls, 1, folder);
    writeFileSync(join(folder, "1-train/.attempt"), "other000-1\n");
    expect((await downloadJobLogs(calls, 1, folder)).path).toBe(join(folder, "1-train.2"));
    expect((await downloadJobLogs(calls, 1, folder)).path).toBe(join(folder, "1-train.2"));
  });

  it("of a job that has not begun has no folder, of one that is not there is an error", async () => {
    await calls.launch({ task: "num_nodes: 2\nrun: x\n" });
    expect(await downloadJobLogs(calls, 1, folder)).toEqual({ job: 1, path: null, warnings: [] });
    await expect(downloadJobLogs(calls, 2, folder)).rejects.toMatchObject({ type: "JobNotFoundError" });
    expect(readdirSync(folder)).toEqual([]);
  });
});

it("names jobs by numbers and by patterns of numbers and names", () => {
  const jobs = ["train", "eval", "train-2", null].map((name, index) => ({ id: index + 9, name }));
  expect(jobsNamed(["*"], jobs)).toEqual([9, 10, 11, 12]);
  expect(jobsNamed(["train*", "77", "1[!0]"], jobs)).toEqual([9, 11, 12, 77]);
  expect(jobsNamed(["e?al"], jobs)).toEqual([10]);
  expect(jobsNamed(["train"], jobs)).toEqual([9]);
  expect(jobsNamed(["tra", "ev"], jobs)).toEqual([9, 10, 11]);
  expect(() => jobsNamed(["x"], jobs)).toThrow("No job of yours is called 'x'.");
  expect(() => jobsNamed(["x*"], jobs)).toThrow("No job of yours is called 'x*'.");
  expect(() => jobsNamed(["[a"], jobs)).toThrow("no pattern");
});
