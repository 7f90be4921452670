/** Requests that survive: what a restart of the coordinator finds stored is carried out again, once, and as it was meant. */
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { rootAccount, startTestCluster, type TestCluster } from "../../test/help/api-parts.ts";
import type { MemoryRequestStore } from "../../test/help/memory-request-store.ts";
import { until } from "../../test/help/until.ts";
import { headers, type RequestPayload } from "../../shared/api.ts";
import { openLog } from "../log.ts";
import type { ApiParts, StoredRequest } from "../parts.ts";
import { RequestKeeper } from "./request-keeper.ts";
import { requestLimits } from "./request-entry.ts";
import { RequestTable } from "./requests.ts";

let cluster: TestCluster;
let stored: MemoryRequestStore;
beforeEach(async () => {
  cluster = await startTestCluster();
  stored = cluster.store.requests;
});
afterEach(() => cluster.close());

const task = JSON.stringify({ run: "true" });
const launchBody = { task, cluster_name: "lab" };

/** What a process that is gone has left of a request. */
function leave(changes: Partial<StoredRequest>, body: unknown): string {
  const id = randomUUID();
  const request: StoredRequest = {
    ...{ id, uid: 0, user: "root", name: "launch", path: "/launch", cluster: "lab", createdAt: Date.now() },
    ...{ status: "RUNNING" as const, resolved: null, result: "null", error: null, text: "", finishedAt: null },
    ...changes,
  };
  stored.records.set(request.id, request);
  stored.bodies.set(request.id, JSON.stringify(body));
  return request.id;
}

const get = async (id: string): Promise<RequestPayload> => {
  const reply = await cluster.call("GET", `/api/get?request_id=${id}`);
  return (reply.status === 500 ? (reply.json as { detail: unknown }).detail : reply.json) as RequestPayload;
};

/** A restart: the cluster begins anew with what is stored. */
async function restart(): Promise<void> {
  const { queue } = cluster;
  await cluster.close();
  cluster = await startTestCluster(["one"], {}, { requests: stored, queue });
}

const phases = (): string[] => [...cluster.queue.records.values()].map((record) => record.phase);

describe("a request that changes something", () => {
  it("is stored before its id is given out, and its body goes when it has ended", async () => {
    const payload = await cluster.result("/launch", launchBody);
    await until(() => stored.bodies.size === 0);
    const record = stored.records.get(payload.request_id);
    expect(record).toMatchObject({
      name: "launch",
      path: "/launch",
      status: "SUCCEEDED",
      user: "root",
      cluster: "lab",
    });
    expect(JSON.parse(record?.result ?? "")).toMatchObject({ job_id: 1 });
    expect(record?.text).toContain("Job submitted, ID: 1");
  });

  it("is stored also when it fails; one that only reads, and a dry run, never are", async () => {
    await cluster.result("/queue", { cluster_name: "lab" });
    await cluster.result("/launch", { ...launchBody, dryrun: true });
    expect(stored.records.size).toBe(0);
    await cluster.result("/stop", { cluster_name: "lab" });
    await until(() => [...stored.records.values()][0]?.status === "FAILED");
    expect([...stored.records.values()][0]?.error).toMatchObject({ type: "NotSupportedError" });
  });

  it("can be fetched after a restart, with its text, under a part of its id", async () => {
    const before = await cluster.result("/launch", launchBody);
    await until(() => stored.bodies.size === 0);
    await restart();
    const after = await get(before.request_id.slice(0, 12));
    expect(after).toMatchObject({ request_id: before.request_id, status: "SUCCEEDED" });
    expect(after.return_value).toBe(before.return_value);
    expect((await cluster.call("GET", `/api/stream?request_id=${before.request_id}`)).text).toContain("ID: 1");
    expect((await cluster.call("GET", "/api/status?all_status=false")).json).toEqual([]);
    expect((await cluster.call("GET", "/api/status")).json).toHaveLength(1);
  });

  it("that was under way is carried out by the next process, without its client", async () => {
    const id = leave({}, launchBody);
    await restart();
    expect(await get(id)).toMatchObject({ status: "SUCCEEDED" });
    expect(phases()).toHaveLength(1);
    await until(() => stored.bodies.size === 0);
  });

  it("is joined by its own client, and queues one job", async () => {
    const id = leave({}, launchBody);
    await restart();
    const again = await cluster.result("/launch", launchBody, { [headers.requestId]: id });
    expect(JSON.parse(again.return_value)).toMatchObject({ job_id: 1 });
    expect(cluster.queue.records.size).toBe(1);
  });

  it("has the rights that its user has now", async () => {
    const id = leave({ name: "admin.drain", path: "/onprem/admin/drain", uid: 7, user: "ann" }, {});
    cluster.accounts.set(7, { ...rootAccount, uid: 7, name: "ann", groups: [] });
    const gone = leave({ uid: 8, user: "bob" }, launchBody);
    await restart();
    await until(() => stored.bodies.size === 0);
    expect(stored.records.get(id)?.error).toMatchObject({ type: "PermissionDeniedError" });
    expect(stored.records.get(gone)?.error?.message).toContain("not the account of bob");
    expect(cluster.queue.records.size).toBe(0);
  });

  it("does not begin while the store is away, and says so", async () => {
    stored.begin = async () => {
      throw new (await import("../parts.ts")).StoreUnavailable("gone");
    };
    const reply = await cluster.call("POST", "/launch", launchBody);
    expect(reply.status).toBe(503);
    expect(cluster.queue.records.size).toBe(0);
    cluster.unavailable.cause = "Redis is away";
    expect((await cluster.call("GET", `/api/get?request_id=${randomUUID()}`)).status).toBe(503);
  });
});

describe("a plain cancel that is carried out again", () => {
  it("cancels the job that it meant at first, never the next one", async () => {
    await cluster.result("/launch", launchBody);
    await cluster.result("/launch", launchBody);
    const id = leave(
      { name: "cancel", path: "/cancel", resolved: "[1]" },
      { cluster_name: "lab", job_ids: null, all: false },
    );
    const keeper = new RequestKeeper(parts(), openLog("error"));
    const table = new RequestTable(openLog("error"), requestLimits, keeper);
    const recalled: unknown[] = [];
    keeper.attach(table, async (path, account, body, requestId) => {
      const spec = { name: "cancel", account, cluster: "lab", id: requestId, readOnly: false, stream: false };
      const entry = table.start(spec, async (running) => {
        recalled.push([path, JSON.parse(body), running.isAgain, await running.once(() => [2])]);
      });
      await entry.done;
    });
    await until(() => recalled.length === 1);
    expect(recalled[0]).toEqual(["/cancel", { cluster_name: "lab", job_ids: null, all: false }, true, [1]]);
    expect(id).toBe([...stored.records.keys()].at(-1));
    table.close();
  });

  it("stores what it meant before it has an effect", async () => {
    await cluster.result("/launch", launchBody);
    const payload = await cluster.result("/cancel", { cluster_name: "lab" });
    expect(JSON.parse(payload.return_value)).toEqual([1]);
    expect(stored.records.get(payload.request_id)?.resolved).toBe("[1]");
  });
});

function parts(): ApiParts {
  const { loop, queue, store, fleet, accounts } = cluster;
  return {
    current: () => ({ loop, queue, store, fleet }),
    onLive: () => undefined,
    accounts: { byUid: async (uid) => accounts.get(uid) ?? null },
    files: null as never,
  };
}

it("a log stream that is cancelled ends, and its result says so", async () => {
  await cluster.result("/launch", launchBody);
  const id = randomUUID();
  const stream = await cluster.open("POST", "/logs", { cluster_name: "lab", job_id: 1 }, { [headers.requestId]: id });
  stream.resume();
  const ended = new Promise((resolve, reject) => stream.once("end", resolve).once("error", reject));
  await cluster.result("/api/cancel", { request_ids: [id] });
  await ended;
  expect((await get(id)).status).toBe("CANCELLED");
  expect(stored.records.has(id)).toBe(false);
});

describe("a cancelled launch", () => {
  it("that is not queued yet is not queued, also after a restart", async () => {
    let go = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      go = resolve;
    });
    const put = cluster.store.putPayload.bind(cluster.store);
    cluster.store.putPayload = async (uid, payload) => {
      await held;
      return put(uid, payload);
    };
    const id = randomUUID();
    await cluster.call("POST", "/launch", launchBody, { [headers.requestId]: id });
    const cancelled = await cluster.result("/api/cancel", { request_ids: [id.slice(0, 10)] });
    expect(JSON.parse(cancelled.return_value)).toEqual([id]);
    expect(stored.records.get(id)?.status).toBe("CANCELLED");
    expect((await get(id)).status).toBe("CANCELLED");
    go();
    await until(() => stored.bodies.size === 0);
    expect(cluster.queue.records.size).toBe(0);
    await restart();
    expect((await get(id)).status).toBe("CANCELLED");
  });

  it("that has queued its job meanwhile cancels it", async () => {
    const submit = cluster.queue.submit.bind(cluster.queue);
    const id = randomUUID();
    cluster.queue.submit = async (record) => {
      const result = await submit(record);
      await cluster.result("/api/cancel", { request_ids: [id] });
      return result;
    };
    await cluster.call("POST", "/launch", launchBody, { [headers.requestId]: id });
    await until(() => phases().join() === "ended");
    expect(cluster.queue.records.get("0/1")?.end).toBe("CANCELLED");
    expect((await get(id)).status).toBe("CANCELLED");
  });
});
