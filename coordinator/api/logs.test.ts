/** Log text as a reader gets it over the socket: lines, prefixes, broken streams, resuming, waiting, back-pressure. */
import type { IncomingMessage } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { AttemptReport } from "../../shared/agent-wire.ts";
import { until } from "../../test/help/until.ts";
import { type TestCluster, logFrame, startTestCluster, streamOf } from "../../test/help/api-parts.ts";

const waiting = "├── Waiting for task resources on 1 node.\n";
const started = "└── Job started. Streaming logs... (Ctrl-C to exit log streaming; job will not be killed)\n";
const succeeded = "✓ Job finished (status: SUCCEEDED).\n";

let cluster: TestCluster;
let streams: IncomingMessage[] = [];
beforeEach(async () => {
  cluster = await startTestCluster();
});
afterEach(async () => {
  for (const stream of streams) {
    stream.destroy();
  }
  streams = [];
  await cluster.close();
});

async function launch(task = "name: min\nrun: x\n"): Promise<void> {
  const payload = await cluster.result("/launch", { task, cluster_name: "lab" });
  expect(payload.status).toBe("SUCCEEDED");
}

function exited(code: number, more: Partial<AttemptReport> = {}): (attempt: AttemptReport) => void {
  return (attempt) => Object.assign(attempt, { state: "exited", runExit: code, ...more });
}

/** Opens /logs and collects what comes. */
async function read(body: Record<string, unknown> = {}, headers: Record<string, string> = {}) {
  const incoming = await cluster.open("POST", "/logs", { cluster_name: "lab", ...body }, headers);
  streams.push(incoming);
  const id = String(incoming.headers["x-skypilot-request-id"]);
  const reading = { bytes: Buffer.alloc(0), text: "", ended: false, broken: false, incoming, id };
  incoming.on("data", (chunk: Buffer) => {
    reading.bytes = Buffer.concat([reading.bytes, chunk]);
    reading.text = reading.bytes.toString("utf8");
  });
  incoming.on("end", () => {
    reading.ended = true;
  });
  incoming.on("error", () => {
    reading.broken = true;
  });
  return reading;
}

async function exitCode(reading: { id: string }): Promise<number> {
  const reply = await cluster.call("GET", `/api/get?request_id=${reading.id}`);
  return Number((reply.json as { return_value: string }).return_value);
}

/** Text without colours. */
function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours start with a control character
  return text.replaceAll(/\u001b\[[0-9]*m/g, "");
}

/** The last node's frames for a job with this output, as a skylet would send them from the offsets on. */
function serve(setup: string, run: string): void {
  cluster.fleet.source = (request) =>
    streamOf(
      [
        logFrame("pid", "1277"),
        ...(setup === "" ? [] : [logFrame("setup", Buffer.from(setup).subarray(request.setupOffset))]),
        ...(run === "" ? [] : [logFrame("run", Buffer.from(run).subarray(request.runOffset))]),
        logFrame("end", ""),
      ],
      "end",
    );
}

describe("a job of one rank", () => {
  it("is shown from its start to its end, with coloured prefixes, and the exit code is the request's result", async () => {
    await launch();
    serve("installing\n", "one\ntwo\n");
    const reading = await read();
    await until(() => reading.text === waiting);
    await cluster.report("one", () => undefined);
    await until(() => reading.text.includes("two"));
    expect(reading.ended).toBe(false);
    await cluster.report("one", exited(0));
    await until(() => reading.ended);
    expect(reading.text).toContain("\u001b[36m(min, pid=1277)\u001b[0m one\n");
    expect(plain(reading.text)).toBe(
      `${waiting}${started}(setup pid=1277) installing\n(min, pid=1277) one\n(min, pid=1277) two\n${succeeded}`,
    );
    expect(await exitCode(reading)).toBe(0);
  });

  it("shows bytes before their line is complete, and progress bars as they are", async () => {
    await launch();
    cluster.fleet.source = () =>
      streamOf([logFrame("pid", "7"), logFrame("run", "10%\r"), logFrame("run", "20")], "stay open");
    await cluster.report("one", () => undefined);
    const reading = await read();
    await until(() => plain(reading.text) === `${waiting}${started}(min, pid=7) 10%\r20`);
  });

  it("keeps a line of 300,000 characters whole", async () => {
    await launch();
    const long = "x".repeat(300_000);
    const bytes = Buffer.from(`${long}\n`);
    const frames = Array.from({ length: 5 }, (_, index) =>
      logFrame("run", bytes.subarray(index * 65_536, (index + 1) * 65_536)),
    );
    cluster.fleet.source = () => streamOf([logFrame("pid", "7"), ...frames, logFrame("end", "")], "end");
    await cluster.report("one", exited(0));
    const reading = await read();
    await until(() => reading.ended);
    expect(plain(reading.text)).toBe(`${waiting}${started}(min, pid=7) ${long}\n${succeeded}`);
  });

  it.each([
    [
      "FAILED",
      exited(3, { setupExit: 0 }),
      100,
      "ERROR: Job 1 failed with return code list: [3]\n✓ Job finished (status: FAILED).\n",
    ],
    ["FAILED by a crash", exited(139, { setupExit: 0 }), 100, "SIGSEGV"],
    [
      "FAILED_SETUP",
      exited(0, { setupExit: 5, runExit: null }),
      100,
      "ERROR: Job 1's setup failed. Failed workers: (pid=1000, returncode=5). See error logs above for more details.\n",
    ],
    [
      "FAILED_DRIVER",
      exited(0, { runExit: null, fault: "the machine was restarted" }),
      100,
      "the machine was restarted",
    ],
  ])("says how it ended: %s", async (_, change, code, text) => {
    await launch("name: min\nsetup: s\nrun: x\n");
    serve("", "");
    await cluster.report("one", change);
    const reading = await read();
    await until(() => reading.ended);
    expect(reading.text).toContain(text);
    expect(reading.text.endsWith(").\n")).toBe(true);
    expect(await exitCode(reading)).toBe(code);
  });

  it("that was cancelled while it waited has no output and code 103", async () => {
    await launch("resources: {cpus: 4}\nrun: x");
    await launch("resources: {cpus: 4}\nrun: x");
    const reading = await read({ job_id: 2 });
    await cluster.result("/cancel", { cluster_name: "lab", job_ids: [2] });
    await until(() => reading.ended);
    expect(reading.text.startsWith(waiting)).toBe(true);
    expect(reading.text).not.toContain("Job started");
    expect(reading.text.endsWith("✓ Job finished (status: CANCELLED).\n")).toBe(true);
    expect(await exitCode(reading)).toBe(103);
    expect(cluster.fleet.requests).toEqual([]);
  });
});

describe("a stream that breaks", () => {
  it("is opened again where it stopped, and no byte is lost or doubled", async () => {
    await launch();
    const output = "first\nsecond\nthird\n";
    let opened = 0;
    cluster.fleet.source = (request) => {
      opened += 1;
      if (opened === 2) {
        throw new Error("the agent is away");
      }
      const rest = Buffer.from(output).subarray(request.runOffset);
      const frames = [logFrame("pid", "7"), logFrame("run", opened < 5 ? rest.subarray(0, 4) : rest)];
      return streamOf(opened < 5 ? frames : [...frames, logFrame("end", "")], opened < 5 ? "break" : "end");
    };
    await cluster.report("one", exited(0));
    const reading = await read();
    await until(() => reading.ended);
    expect(plain(reading.text)).toBe(
      `${waiting}${started}(min, pid=7) first\n(min, pid=7) second\n(min, pid=7) third\n${succeeded}`,
    );
  });

  it("for good after the job's end is named, with the node and the cause", async () => {
    await launch();
    cluster.fleet.source = () => streamOf([logFrame("end", "the log file was removed")], "end");
    await cluster.report("one", exited(0));
    const reading = await read();
    await until(() => reading.ended);
    expect(reading.text).toContain("WARNING: Output of rank 0 on node one is missing: the log file was removed\n");
    expect(await exitCode(reading)).toBe(0);
  });

  it("because it keeps to no format is an error of the stream, not of the server", async () => {
    await launch();
    let opened = 0;
    cluster.fleet.source = () => {
      opened += 1;
      return opened === 1 ? streamOf([Buffer.from("garbage")], "end") : streamOf([logFrame("end", "")], "end");
    };
    await cluster.report("one", exited(0));
    const reading = await read();
    await until(() => reading.ended);
    expect(reading.text).not.toContain("garbage");
  });
});

describe("a reader", () => {
  it("that was cut off gets the rest", async () => {
    await launch();
    serve("s\n", "one\ntwo\n");
    await cluster.report("one", exited(0));
    const whole = await read();
    await until(() => whole.ended);
    const { bytes } = whole;
    for (const skip of [1, 60, 200, bytes.length - 3, bytes.length]) {
      const rest = await read({}, { "X-Sky-Skip-Bytes": String(skip) });
      await until(() => rest.ended);
      expect(rest.bytes.toString("hex")).toBe(bytes.subarray(skip).toString("hex"));
    }
  });

  it("of a job that waits is told why, and gets the same bytes when it comes back", async () => {
    await launch("resources: {cpus: 4}\nrun: x");
    await launch("name: min\nresources: {cpus: 4}\nrun: x");
    const reading = await read({ job_id: 2 });
    await until(() => reading.text.includes("│   "));
    expect(reading.text).toMatch(/resources on 1 node\.\n│ {3}\S.*\n$/);
    serve("", "out\n");
    await until(async () => {
      await cluster.report("one", exited(0));
      return reading.ended;
    });
    expect(reading.text).toContain("out\n");
    const rest = await read({ job_id: 2 }, { "X-Sky-Skip-Bytes": String(reading.bytes.length - 10) });
    await until(() => rest.ended);
    expect(rest.bytes.toString("hex")).toBe(reading.bytes.subarray(-10).toString("hex"));
  });

  it("who does not follow gets what is there, and 101 while the job goes on", async () => {
    await launch("resources: {cpus: 4}\nrun: x");
    await launch("resources: {cpus: 4}\nrun: x");
    serve("", "so far\n");
    await cluster.report("one", () => undefined);
    const running = await read({ job_id: 1, follow: false });
    const waits = await read({ job_id: 2, follow: false });
    await until(() => running.ended && waits.ended);
    expect(plain(running.text)).toBe(`${waiting}${started}(task, pid=1277) so far\n`);
    expect(waits.text).toMatch(/resources on 1 node\.\n│ {3}\S/);
    expect([await exitCode(running), await exitCode(waits)]).toEqual([101, 101]);
    expect(cluster.fleet.requests[0]).toMatchObject({ follow: false, tailLines: null });
  });

  it("may ask for the last lines", async () => {
    await launch();
    serve("", "last\n");
    await cluster.report("one", exited(0));
    const reading = await read({ tail: 1 });
    await until(() => reading.ended);
    expect(plain(reading.text)).toBe(`(min, pid=1277) last\n${succeeded}`);
    expect(cluster.fleet.requests[0]).toMatchObject({ tailLines: 1 });
  });

  it("of a job that is not there gets 102", async () => {
    const none = await read();
    await launch();
    const other = await read({ job_id: 9 });
    await until(() => none.ended && other.ended);
    expect(none.text).toContain("You have no jobs");
    expect(other.text).toContain("Job 9 not found");
    expect([await exitCode(none), await exitCode(other)]).toEqual([102, 102]);
  });

  it("who hangs up closes the node's stream", async () => {
    await launch();
    const stream = streamOf([logFrame("pid", "7"), logFrame("run", "x\n")], "stay open");
    cluster.fleet.source = () => stream;
    await cluster.report("one", () => undefined);
    const reading = await read();
    await until(() => reading.text.includes("x\n"));
    reading.incoming.destroy();
    await until(() => stream.destroyed);
  });

  it("who does not read holds the node's stream back", async () => {
    await launch();
    const total = 100_000;
    let sent = 0;
    const chunk = logFrame("run", `${"x".repeat(999)}\n`);
    cluster.fleet.source = () => {
      const stream = streamOf([logFrame("pid", "7")], "stay open");
      stream._read = () => {
        sent += 1;
        stream.push(sent > total ? null : chunk);
      };
      return stream;
    };
    await cluster.report("one", () => undefined);
    const incoming = await cluster.open("POST", "/logs", { cluster_name: "lab" });
    streams.push(incoming);
    incoming.pause();
    let before = -1;
    await until(() => {
      const still = sent > 0 && sent === before;
      before = sent;
      return still;
    });
    expect(sent).toBeLessThan(total / 10);
  });

  it("finds its stream broken, not ended, when the server closes", async () => {
    await launch();
    const reading = await read();
    await until(() => reading.text === waiting);
    await cluster.close();
    await until(() => reading.broken);
    expect(reading.ended).toBe(false);
    cluster = await startTestCluster();
  });
});

describe("a job of several ranks", () => {
  it("has whole lines with each rank's prefix, and ends when all have", async () => {
    await cluster.close();
    cluster = await startTestCluster(["one", "two"]);
    await launch("name: min\nnum_nodes: 2\nrun: x\n");
    cluster.fleet.source = (request) =>
      streamOf(
        [
          logFrame("pid", String(50 + request.rank)),
          logFrame("run", `half of ${request.rank}`),
          logFrame("run", ` and whole\nlast of ${request.rank}`),
          logFrame("end", ""),
        ],
        "end",
      );
    await cluster.report("one", () => undefined);
    await cluster.report("two", () => undefined);
    const reading = await read();
    await until(() => reading.text.includes("last of 0") && reading.text.includes("last of 1"));
    await cluster.report("one", exited(0));
    await cluster.report("two", exited(2));
    await until(() => reading.ended);
    const lines = plain(reading.text).split("\n");
    expect(lines[0]).toBe("├── Waiting for task resources on 2 nodes.");
    expect(lines.filter((line) => line.startsWith("(head"))).toEqual([
      "(head, rank=0, pid=50) half of 0 and whole",
      "(head, rank=0, pid=50) last of 0",
    ]);
    expect(lines.filter((line) => line.startsWith("(worker1"))).toEqual([
      "(worker1, rank=1, pid=51, ip=10.0.0.2) half of 1 and whole",
      "(worker1, rank=1, pid=51, ip=10.0.0.2) last of 1",
    ]);
    expect(reading.text).toContain("ERROR: Job 1 failed with return code list: [0, 2]\n");
  });

  it("does not wait for a rank that was refused before it had a process", async () => {
    await cluster.close();
    cluster = await startTestCluster(["one", "two"]);
    await launch("name: min\nnum_nodes: 2\nrun: x\n");
    cluster.fleet.source = (request) =>
      request.rank === 0
        ? streamOf([logFrame("pid", "50"), logFrame("run", "of 0\n"), logFrame("end", "")], "end")
        : streamOf([], "stay open");
    await cluster.report("one", () => undefined);
    const reading = await read();
    await until(() => reading.text.includes("of 0"));
    await cluster.report("two", exited(0, { pid: null, logDir: null, runExit: null, fault: "no account on node two" }));
    await cluster.report("one", exited(137));
    await until(() => reading.ended);
    expect(plain(reading.text)).toContain("no account on node two");
  });

  it("shows an unfinished line of a rank that has gone quiet", async () => {
    await cluster.close();
    cluster = await startTestCluster(["one", "two"]);
    await launch("name: min\nnum_nodes: 2\nrun: x\n");
    cluster.fleet.source = (request) =>
      streamOf([logFrame("pid", "5"), logFrame("run", `prompt ${request.rank}> `)], "stay open");
    await cluster.report("one", () => undefined);
    await cluster.report("two", () => undefined);
    const reading = await read();
    await until(() => reading.text.includes("prompt 0> ") && reading.text.includes("prompt 1> "));
  });
});
