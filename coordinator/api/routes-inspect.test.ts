/** What admins ask of machines, over a real socket: machines that answer well, not at all, in part, or with garbage. */
import { Duplex } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { InspectRequest } from "../../shared/agent-wire.ts";
import type { DoctorLine, Finding } from "../../shared/doctor.ts";
import { doctorResultSchema, type DoctorResult, type JobLogsResult } from "../../shared/inspect-api.ts";
import { streamOf, startTestCluster, type TestCluster } from "../../test/help/api-parts.ts";
import { until } from "../../test/help/until.ts";

let cluster: TestCluster;
const nodes = ["one", "two"];
const asked: { node: string; request: InspectRequest }[] = [];

beforeEach(async () => {
  asked.length = 0;
  cluster = await startTestCluster(nodes);
  for (const node of nodes) {
    const hello = { type: "hello", protocol: 2, version: "1", node, stateId: null, epoch: 0, bootId: "b" } as const;
    await cluster.loop.dispatch({ type: "nodeConnected", node, hello });
    await cluster.report(node, () => undefined);
  }
});
afterEach(() => cluster.close());

const begin: DoctorLine = { type: "begin", version: "1", host: "one", clockMs: Date.now() };
const fine: Finding = { check: "sudo", level: "ok", seen: "sudo takes 0.1 s.", why: null, mend: null };
const line = (value: unknown): Buffer => Buffer.from(`${JSON.stringify(value)}\n`);
const found = (finding: Finding): DoctorLine => ({ type: "finding", finding });

function answers(by: Record<string, () => Duplex>): void {
  cluster.fleet.inspection = async (node, request) => {
    asked.push({ node, request });
    const answer = by[node];
    if (answer === undefined) {
      throw new Error("not connected");
    }
    return answer();
  };
}

async function doctor(body: unknown = {}): Promise<DoctorResult> {
  const payload = await cluster.result("/onprem/admin/doctor", body);
  expect(payload.error).toBe("null");
  return doctorResultSchema.parse(JSON.parse(payload.return_value));
}

function said(result: DoctorResult, name: string): string[] {
  const node = result.nodes.find((each) => each.name === name);
  return (node?.findings ?? []).map(({ check, level, seen }) => `${level} ${check}: ${seen}`);
}

describe("the doctor", () => {
  it("gathers what machines say and what only the coordinator sees", async () => {
    const late = { ...begin, host: "two", clockMs: Date.now() + 90_000 };
    answers({
      one: () => streamOf([line(begin), line(found(fine)), line({ type: "end" })], "stay open"),
      two: () => streamOf([line(late), line(found({ ...fine, level: "error" })), line({ type: "end" })], "end"),
    });
    const result = await doctor();
    expect(said(result, "one")).toEqual(["ok sudo: sudo takes 0.1 s."]);
    expect(said(result, "two")).toEqual(["error sudo: sudo takes 0.1 s."]);
    const own = result.coordinator.map(({ check, level }) => `${level} ${check}`);
    expect(own).toEqual(expect.arrayContaining(["error clocks", "ok nodes", "warn versions", "unknown head"]));
    expect(asked.map(({ node }) => node).sort()).toEqual(nodes);
    expect(asked[0]?.request).toMatchObject({ kind: "doctor" });
  });

  it.each([
    ["garbage", [Buffer.from("\u0000\u0001 hello\n")], "end", /sent what no doctor says/],
    ["keys that nobody knows", [line({ ...begin, uid: 0 })], "end", /sent what no doctor says/],
    ["a line without end", [Buffer.alloc(100_000, "x")], "stay open", /sent what no doctor says/],
    ["lines without end", Array.from({ length: 500 }, () => line(found(fine))), "stay open", /more than 400 lines/],
    ["the first half", [line(begin)], "end", /ended before its answer was complete/],
    ["a link that breaks", [line(begin)], "break", /cut off/],
  ] as const)(
    "a machine that answers with %s is shown as such, and the others all the same",
    async (_name, chunks, end, expected) => {
      answers({
        one: () => streamOf([...chunks], end),
        two: () => streamOf([line(begin), line(found(fine)), line({ type: "end" })], "end"),
      });
      const result = await doctor();
      expect(said(result, "one").at(-1)).toMatch(expected);
      expect(said(result, "one").at(-1)).toMatch(/^unknown doctor: /);
      expect(said(result, "two")).toEqual(["ok sudo: sudo takes 0.1 s."]);
    },
  );

  it("asks only the machines that are named, and refuses those that nobody knows", async () => {
    answers({ two: () => streamOf([line(begin), line({ type: "end" })], "end") });
    expect((await doctor({ nodes: ["two"] })).nodes.map(({ name }) => name)).toEqual(["two"]);
    const payload = await cluster.result("/onprem/admin/doctor", { nodes: ["twp"] });
    expect(payload.error).toMatch(/no node 'twp'/);
    const odd = await cluster.call("POST", "/onprem/admin/doctor", { nodes: null, uid: 0 });
    expect(odd.status).toBe(422);
  });

  it("does not ask a machine that is away or too old, and says so", async () => {
    answers({});
    await cluster.loop.dispatch({ type: "nodeDisconnected", node: "one" });
    const hello = {
      type: "hello",
      protocol: 1,
      version: "1",
      node: "two",
      stateId: null,
      epoch: 0,
      bootId: "b",
    } as const;
    await cluster.loop.dispatch({ type: "nodeConnected", node: "two", hello });
    const result = await doctor();
    expect(asked).toEqual([]);
    expect(said(result, "one")).toEqual(["unknown doctor: Node 'one' is not connected."]);
    expect(said(result, "two")).toEqual(["unknown doctor: The agent of 'two' is too old to be asked."]);
    expect(result.coordinator.map(({ seen }) => seen).join()).toMatch(/Node 'one' is silent/);
  });

  it("is one visit at a time", async () => {
    const held = nodes.map(() => streamOf([], "stay open"));
    answers({ one: () => held[0] as Duplex, two: () => held[1] as Duplex });
    const first = await cluster.call("POST", "/onprem/admin/doctor", {});
    await until(() => asked.length === 2, "both machines to be asked");
    expect((await cluster.result("/onprem/admin/doctor", {})).error).toMatch(/already looking/);
    for (const stream of held) {
      stream.destroy();
    }
    await cluster.call("GET", `/api/get?request_id=${String(first.headers["x-skypilot-request-id"])}`);
    expect((await doctor()).nodes).toHaveLength(2);
  });
});

describe("a job's lines", () => {
  it("of all machines in the order of time, with what is missing", async () => {
    await cluster.result("/launch", { task: "name: min\nnum_nodes: 2\nrun: sleep 1000\n", cluster_name: "lab" });
    await cluster.report("one", () => undefined);
    const at = Date.now() * 1000;
    const journal = (timeUs: number, msg: string): DoctorLine => ({ type: "journal", timeUs, entry: { msg, uid: 0 } });
    answers({
      one: () =>
        streamOf([line(begin), line(journal(at + 3, "c")), line(journal(at + 1, "a")), line({ type: "end" })], "end"),
      two: () =>
        streamOf([line(begin), line({ type: "note", text: "some are missing" }), line(journal(at + 2, "b"))], "end"),
    });
    const payload = await cluster.result("/onprem/admin/job_logs", { user: "root", job_id: 1 });
    expect(payload.error).toBe("null");
    const result = JSON.parse(payload.return_value) as JobLogsResult;
    const ofAgents = result.lines.filter(({ program }) => program === "agent");
    expect(ofAgents.map(({ machine, entry }) => `${machine} ${String(entry["msg"])}`)).toEqual([
      "one a",
      "two b",
      "one c",
    ]);
    expect(result.notes.join("\n")).toMatch(/two: some are missing/);
    expect(result.notes.join("\n")).toMatch(/Node 'two' ended before its answer was complete/);
    expect(result.attempts).toHaveLength(1);
    expect(asked.map(({ request }) => request)).toEqual([
      expect.objectContaining({ kind: "journal", attempts: result.attempts }),
      expect.objectContaining({ kind: "journal", attempts: result.attempts }),
    ]);
  });

  it("of a machine that sends as much as it may per line: it is cut off, the others are shown", async () => {
    await cluster.result("/launch", { task: "name: big\nnum_nodes: 2\nrun: sleep 1000\n", cluster_name: "lab" });
    await cluster.report("one", () => undefined);
    const fat = line({ type: "journal", timeUs: 1, entry: { msg: Array.from({ length: 8_000 }, () => 0) } });
    let sent = 0;
    answers({
      one: () =>
        Duplex.from(
          (async function* () {
            for (; sent < 4_000; sent += 1) {
              yield fat;
            }
          })(),
        ),
      two: () => streamOf([line(begin), line({ type: "journal", timeUs: 2, entry: { msg: "b" } })], "end"),
    });
    const asked = { user: "root", job_id: 1, lines: 20_000 };
    const payload = await cluster.result("/onprem/admin/job_logs", asked);
    const result = JSON.parse(payload.return_value) as JobLogsResult;
    expect(result.notes.join("\n")).toMatch(/Node 'one' sent more than 8 MB/);
    expect(sent).toBeLessThan(2_000);
    expect(result.lines.some(({ machine }) => machine === "two")).toBe(true);
  });

  it("of a job or user that nobody knows: an error that says so; no option is ever made of a name", async () => {
    answers({});
    const wrong = async (body: object): Promise<string> => (await cluster.result("/onprem/admin/job_logs", body)).error;
    expect(await wrong({ user: "root", job_id: 99 })).toMatch(/has no job 99/);
    expect(await wrong({ user: "nobody-knows-me", job_id: 1 })).toMatch(/no user 'nobody-knows-me'/);
    expect((await cluster.call("POST", "/onprem/admin/job_logs", { user: "--help", job_id: 1 })).status).toBe(422);
    expect((await cluster.call("POST", "/onprem/admin/job_logs", { user: "root", job_id: 1, x: 1 })).status).toBe(422);
  });
});
