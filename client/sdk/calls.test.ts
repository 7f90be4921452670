/** The calls over real HTTP on a real socket: results, failures, cut connections, resumed streams. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { until } from "../../test/help/until.ts";
import { type Calls, createCalls } from "./calls.ts";
import { type FakeHead, jobRow, startFakeHead } from "../../test/help/stand-in-head.ts";
import { Transport } from "./transport.ts";

let head: FakeHead;
let calls: Calls;
let said: string[];

beforeEach(async () => {
  head = await startFakeHead();
  said = [];
  calls = createCalls(new Transport("lab", () => head.connect()), (text) => said.push(text));
});
afterEach(async () => {
  calls.close();
  await head.close();
});

const submitted = { value: { job_id: 3, handle: { cluster_name: "lab" } } };

async function collect(signal = new AbortController().signal, tail = 0) {
  let text = "";
  const result = await calls.tailLogs(
    { job_id: 3, tail },
    async (chunk) => {
      text += chunk.toString("utf8");
    },
    signal,
  );
  return { text, result };
}

describe("a call", () => {
  it("gives the typed result, over one stream, without anything besides POST and get", async () => {
    head.results.set("/queue", { value: [jobRow(1)] });
    expect((await calls.queue({}))[0]?.resources).toBe("1x[V100:4]");
    await calls.queue({ skip_finished: true });
    expect(head.calls.map((call) => call.path)).toEqual(["/queue", "/api/get", "/queue", "/api/get"]);
    expect(head.connections).toBe(1);
    expect(head.calls[2]?.body).toEqual({ cluster_name: "lab", skip_finished: true });
  });

  it("throws the failure of the request with its type and hint", async () => {
    const error = { type: "ResourcesMismatchError", message: "No node has 256 V100.", hint: "The cluster has 4." };
    head.results.set("/launch", { error });
    await expect(calls.launch({ task: "run: x" })).rejects.toMatchObject({
      type: "ResourcesMismatchError",
      message: "No node has 256 V100.",
      hint: "The cluster has 4.",
    });
    expect(head.calls).toHaveLength(2);
  });

  it("refuses a result of another form, without saying what is inside zod", async () => {
    head.results.set("/cancel", { value: { cancelled: true } });
    await expect(calls.cancel({ all: true })).rejects.toThrow("in a form that this client does not know");
  });

  it("sends a change again under the same request id when its connection is cut", async () => {
    head.results.set("/launch", submitted);
    let cuts = 0;
    head.disturb = (call) => (call.path === "/launch" && cuts++ < 2 ? "cut" : null);
    expect((await calls.launch({ task: "run: x" })).job_id).toBe(3);
    const ids = head.calls.filter((call) => call.path === "/launch").map((call) => call.requestId);
    expect(ids).toHaveLength(3);
    expect(new Set(ids).size).toBe(1);
    expect(ids[0]).toMatch(/^[0-9a-f-]{36}$/);
    expect(said[0]).toMatch(/^Cluster 'lab': .*trying again/);
  });

  it("sends it again when the coordinator forgot the request before the result was fetched", async () => {
    head.results.set("/exec", submitted);
    let forgotten = false;
    head.disturb = (call) => {
      if (call.path === "/api/get" && !forgotten) {
        forgotten = true;
        return "cut";
      }
      return null;
    };
    expect((await calls.exec({ task: "run: x" })).job_id).toBe(3);
    const ids = head.calls.filter((call) => call.path === "/exec").map((call) => call.requestId);
    expect(new Set(ids).size).toBe(1);
  });

  it("waits while the coordinator says 503", async () => {
    head.results.set("/queue", { value: [] });
    let refusals = 0;
    head.disturb = () => (refusals++ < 2 ? 503 : null);
    expect(await calls.queue({})).toEqual([]);
    expect(said[0]).toContain("Redis is away; trying again");
  });

  it("does not try again what cannot be reached at all", async () => {
    let tries = 0;
    const away = new Transport("lab", async () => {
      tries += 1;
      throw new Error("connect ECONNREFUSED 10.0.0.1:22.");
    });
    const unreachable = createCalls(away, (text) => said.push(text));
    await expect(unreachable.whoami()).rejects.toThrow(
      "Cannot connect to cluster 'lab': connect ECONNREFUSED 10.0.0.1:22.",
    );
    expect(tries).toBe(1);
    expect(said).toEqual([]);
  });
});

describe("tailLogs", () => {
  it("passes bytes on as they are and ends with the job's exit code", async () => {
    head.results.set("/logs", { value: 100 });
    const long = "x".repeat(300_000);
    head.logs = async (_call, reply) => {
      reply.write(`\u001b[36m(train, pid=1)\u001b[0m 10%\r20%\r\n${long}\n`);
    };
    const { text, result } = await collect();
    expect(result).toEqual({ kind: "ended", exitCode: 100 });
    expect(text).toBe(`\u001b[36m(train, pid=1)\u001b[0m 10%\r20%\r\n${long}\n`);
  });

  it("goes on where it stopped when the connection is cut, losing and doubling nothing", async () => {
    const whole = Buffer.from("first ä line\nsecond line\nthird line\n");
    head.logs = async (call, reply) => {
      const from = Number(call.skipBytes ?? 0);
      const part = whole.subarray(from, from + 14);
      await new Promise<void>((resolve) => reply.write(part, () => resolve()));
      if (from + 14 < whole.length) {
        // Cut only when the client has these bytes: it asks again from behind them.
        reply.socket?.end();
        reply.destroy();
      }
    };
    const { text, result } = await collect();
    expect(text).toBe(whole.toString("utf8"));
    expect(result).toEqual({ kind: "ended", exitCode: 0 });
    expect(head.calls.filter((call) => call.path === "/logs").length).toBeGreaterThan(1);
    expect(said.join("\n")).toContain("following again");
  });

  it("stops when the person has seen enough, and asks nothing of the coordinator", async () => {
    const controller = new AbortController();
    head.logs = (_call, reply) =>
      new Promise<void>((resolve) => {
        reply.write("working\n");
        reply.on("close", () => resolve());
      });
    const following = collect(controller.signal);
    await until(() => head.calls.length === 1, "the stream");
    controller.abort();
    expect((await following).result).toEqual({ kind: "stopped" });
    expect(head.calls.map((call) => call.path)).toEqual(["/logs"]);
    expect(said).toEqual([]);
  });
});
