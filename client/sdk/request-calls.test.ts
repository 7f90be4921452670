/** Requests as programs manage them, against the coordinator's real API over a real socket. */
import { randomUUID } from "node:crypto";
import { connect, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startTestCluster, type TestCluster } from "../../test/help/api-parts.ts";
import { createCalls } from "./calls.ts";
import { createRequestCalls, type RequestCalls } from "./request-calls.ts";
import { RequestTaken } from "./requests.ts";
import { Transport } from "./transport.ts";

let cluster: TestCluster;
let requests: RequestCalls;
const transports: Transport[] = [];

function openTransport(leaves = false): Transport {
  const open = async (): Promise<Socket> => connect(cluster.socket);
  const transport = new Transport("lab", async () => ({ openStream: open, close: () => undefined }), {
    leavesRequests: leaves,
  });
  transports.push(transport);
  return transport;
}

beforeEach(async () => {
  cluster = await startTestCluster();
  requests = createRequestCalls(openTransport(), () => undefined);
});
afterEach(async () => {
  for (const transport of transports.splice(0)) {
    transport.close();
  }
  await cluster.close();
});

async function leave(): Promise<string> {
  const calls = createCalls(openTransport(true), () => undefined);
  const taken = await calls.launch({ task: "run: 'true'" }).catch((error: unknown) => error);
  expect(taken).toBeInstanceOf(RequestTaken);
  return (taken as RequestTaken).requestId;
}

describe("a request that nobody waits for", () => {
  it("has an id at once, a value and a text later, and is known by a part of its id", async () => {
    const id = await leave();
    expect(await requests.get(id.slice(0, 9))).toMatchObject({ job_id: 1 });
    const chunks: Buffer[] = [];
    const write = async (chunk: Buffer): Promise<void> => void chunks.push(chunk);
    expect(await requests.streamAndGet(id, write)).toMatchObject({ job_id: 1 });
    expect(Buffer.concat(chunks).toString()).toContain("Job submitted, ID: 1");
    expect(await requests.streamAndGet(id, write, { follow: false })).toBeNull();
  });

  it("is listed while it is under way, and with all when it has ended", async () => {
    const id = await leave();
    await requests.get(id);
    expect(await requests.apiStatus({ ids: null, all: false, limit: null })).toEqual([]);
    const [row, ...rest] = await requests.apiStatus({ ids: null, all: true, limit: 5 });
    expect([row?.request_id, row?.name, row?.status, rest.length]).toEqual([id, "sky.launch", "SUCCEEDED", 0]);
    expect(await requests.apiStatus({ ids: [id.slice(0, 8)], all: true, limit: null })).toHaveLength(1);
  });

  it("raises what it ended with", async () => {
    const calls = createCalls(openTransport(true), () => undefined);
    const taken = await calls.launch({ task: "run: [1" }).catch((error: unknown) => error);
    const { requestId } = taken as RequestTaken;
    await expect(requests.get(requestId)).rejects.toMatchObject({ name: expect.stringMatching(/Error$/) });
    await expect(requests.streamAndGet(requestId, async () => undefined)).rejects.toThrow("task");
  });
});

describe("ids", () => {
  it("that nobody knows, and parts of several, are refused with what to do", async () => {
    await expect(requests.get(randomUUID())).rejects.toThrow("knows no request");
    for (const last of ["1", "2"]) {
      const headers = { "x-skypilot-request-id": `11111111-0000-4000-8000-00000000000${last}` };
      await cluster.result("/launch", { task: "run: 'true'", cluster_name: "lab" }, headers);
    }
    await expect(requests.get("1111")).rejects.toMatchObject({ name: "ValueError", hint: expect.any(String) });
    expect((await cluster.call("GET", "/api/get?request_id=1111")).status).toBe(400);
    expect((await cluster.call("GET", "/api/status?request_ids=1111")).status).toBe(400);
  });
});

it("cancels what is under way, and says who answers", async () => {
  cluster.queue.submit = () => new Promise(() => undefined);
  const id = await leave();
  expect(await requests.apiCancel([id.slice(0, 8)])).toEqual([id]);
  await expect(requests.get(id)).rejects.toMatchObject({ name: "RequestCancelled" });
  expect(await requests.apiCancel(null)).toEqual([]);
  expect(await requests.apiInfo()).toMatchObject({ status: "healthy", version: "1.2.3", cluster: "lab" });
});

it("tells when a call begins and when it has ended, also when it failed", async () => {
  const heard: string[] = [];
  const open = async (): Promise<Socket> => connect(cluster.socket);
  const transport = new Transport("lab", async () => ({ openStream: open, close: () => undefined }), {
    waiting: () => {
      heard.push("begins");
      return () => void heard.push("ended");
    },
  });
  transports.push(transport);
  const calls = createRequestCalls(transport, () => undefined);
  await calls.apiInfo();
  await expect(calls.get(randomUUID())).rejects.toThrow("knows no request");
  expect(heard).toEqual(["begins", "ended", "begins", "ended"]);
});
