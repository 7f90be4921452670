/** The routes for admins over a real socket, with the real loop and reducer: who may, what is stored, what is refused. */
import { execFile } from "node:child_process";
import { chmodSync } from "node:fs";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type AdminNodeRow, adminNodesResultSchema, unknownResultSchema } from "../../shared/admin-api.ts";
import { nodesResultSchema, type RequestPayload } from "../../shared/api.ts";
import { type TestCluster, rootAccount, startTestCluster } from "../../test/help/api-parts.ts";

const run = promisify(execFile);
const isRoot = process.getuid?.() === 0;

let cluster: TestCluster;
beforeEach(async () => {
  cluster = await startTestCluster(["one", "two"]);
});
afterEach(() => cluster.close());

async function ok<T>(path: string, body: unknown): Promise<T> {
  const payload = await cluster.result(`/onprem/admin/${path}`, body);
  expect(payload).toMatchObject({ status: "SUCCEEDED", error: "null" });
  return JSON.parse(payload.return_value) as T;
}

async function failure(path: string, body: unknown): Promise<{ type: string; message: string; hint: string }> {
  const payload: RequestPayload = await cluster.result(`/onprem/admin/${path}`, body);
  expect(payload.status).toBe("FAILED");
  return JSON.parse(payload.error) as { type: string; message: string; hint: string };
}

async function rows(): Promise<Map<string, AdminNodeRow>> {
  const reply = await cluster.call("GET", "/onprem/admin/nodes");
  return new Map(adminNodesResultSchema.parse(reply.json).nodes.map((row) => [row.name, row]));
}

async function launch(): Promise<void> {
  const task = "name: min\nresources:\n  accelerators: V100:1\nrun: sleep 1000\n";
  await cluster.result("/launch", { task, cluster_name: "lab" });
  await cluster.report("one", () => undefined);
}

/** Asks for every path given over the socket and prints status and body of each; run as another user. */
const asker = `const {request}=require("node:http");const [,socketPath,...calls]=process.argv;
const ask=(call)=>new Promise((done)=>{const [method,path]=call.split(" ");
const r=request({socketPath,path,method,agent:false,headers:{"content-type":"application/json"}},(reply)=>{let text="";
reply.on("data",(part)=>text+=part);reply.on("end",()=>done({call,status:reply.statusCode,text}));});
r.end(method==="POST"?"{}":undefined);});
(async()=>{const all=[];for(const call of calls)all.push(await ask(call));console.log(JSON.stringify(all));})();`;

async function askAs(uid: number, calls: string[]): Promise<{ call: string; status: number; text: string }[]> {
  chmodSync(dirname(cluster.socket), 0o755);
  const ids = [`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"];
  const { stdout } = await run("setpriv", [...ids, process.execPath, "-e", asker, cluster.socket, ...calls]);
  return JSON.parse(stdout) as { call: string; status: number; text: string }[];
}

describe.skipIf(!isRoot)("every verb", () => {
  it("is refused to an ordinary user with a text that names the group, and open to its members", async () => {
    const document = (await cluster.call("GET", "/api/openapi.json")).json as { paths: Record<string, object> };
    const calls = Object.entries(document.paths).flatMap(([path, methods]) =>
      path.startsWith("/onprem/admin/") ? Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`) : [],
    );
    expect(calls.length).toBeGreaterThanOrEqual(7);
    const eve = { ...rootAccount, uid: 65533, gid: 65533, name: "eve", groups: ["users"] };
    cluster.accounts.set(65533, eve);
    for (const reply of await askAs(65533, calls)) {
      expect(reply.status, reply.call).toBe(403);
      expect(reply.text, reply.call).toContain("group 'sky-admin'");
      expect(reply.text, reply.call).toContain("usermod -aG sky-admin eve");
    }
    cluster.accounts.set(65533, { ...eve, groups: ["users", "sky-admin"] });
    for (const reply of await askAs(65533, calls)) {
      expect([200, 422, 500], reply.text).toContain(reply.status);
    }
  });
});

it("drain: is stored, users see it with its reason, and nothing new starts there; resume takes it back", async () => {
  const changed = await ok<AdminNodeRow[]>("drain", { nodes: ["one"], reason: "new disks", deadline_seconds: 3600 });
  expect(changed).toMatchObject([{ name: "one", admin: { state: "drained", reason: "new disks", by: "root" } }]);
  expect(cluster.store.admins.get("one")).toMatchObject({ state: "draining", reason: "new disks", by: "root" });
  const seen = nodesResultSchema.parse((await cluster.call("GET", "/onprem/nodes")).json);
  expect(seen.nodes.map((row) => row.admin?.reason ?? null)).toEqual(["new disks", null]);
  await launch();
  const queue = JSON.parse((await cluster.result("/queue", { cluster_name: "lab" })).return_value) as {
    reason: string;
  }[];
  expect(queue[0]?.reason).toContain("one is drained by root: new disks");
  await ok("resume", { nodes: ["one"] });
  expect(cluster.store.admins.get("one")).toMatchObject({ state: "open", reason: null });
  await cluster.report("one", () => undefined);
  expect((await rows()).get("one")?.jobs).toMatchObject([{ user: "root", job_id: 1, name: "min", status: "RUNNING" }]);
});

it("remove: is refused while jobs run, says which and what to do, and with force ends them and cuts the node off", async () => {
  await launch();
  const refused = await failure("remove", { nodes: ["two", "one"] });
  expect(refused.message).toBe("Node 'one' still runs root's job 1. Nothing was removed.");
  expect(refused.hint).toContain("sky admin drain one");
  expect(cluster.store.admins.size).toBe(0);
  await ok("remove", { nodes: ["one"], force: true, reason: "lost" });
  expect(cluster.queue.records.get("0/1")).toMatchObject({
    end: "FAILED_DRIVER",
    reason: "one was removed from the cluster: lost",
  });
  expect(cluster.fleet.cuts).toContain("one");
  expect((await rows()).get("one")?.admin?.state).toBe("removed");
  expect((await failure("drain", { nodes: ["one"], reason: "x" })).hint).toBe(
    "Take it in again first: sky admin resume one",
  );
});

it("names that are no nodes and bodies with other keys change nothing", async () => {
  const unknown = await failure("drain", { nodes: ["two", "onne"], reason: "x" });
  expect(unknown).toMatchObject({ type: "ValueError", message: "There is no node 'onne' in this cluster." });
  expect(unknown.hint).toBe("Did you mean 'one'?");
  const bodies: [string, unknown][] = [
    ["drain", { nodes: ["one"], reason: "x", deadline: 5 }],
    ["drain", { nodes: ["one"] }],
    ["drain", { nodes: ["one"], reason: "two\nlines" }],
    ["drain", { nodes: ["one"], reason: "x", deadline_seconds: -1 }],
    ["resume", { nodes: [] }],
    ["remove", { nodes: ["one"], force: "yes" }],
    ["rotate-key", { node: "../one" }],
    ["unknown/end", { attempt: "X; rm" }],
  ];
  for (const [path, body] of bodies) {
    const reply = await cluster.call("POST", `/onprem/admin/${path}`, body);
    expect(reply.status, `${path} ${JSON.stringify(body)}`).toBe(422);
  }
  expect(cluster.store.admins.size).toBe(0);
});

it("rotate-key: asks the node, stores what it made, and says whether the node has come back with it", async () => {
  const hello = {
    type: "hello",
    protocol: 2,
    version: "9",
    node: "one",
    stateId: null,
    epoch: 0,
    bootId: "b",
  } as const;
  await cluster.loop.dispatch({ type: "nodeDisconnected", node: "two" });
  expect((await failure("rotate-key", { node: "two" })).message).toContain("is not connected");
  await cluster.loop.dispatch({ type: "nodeConnected", node: "one", hello: { ...hello, protocol: 1 } });
  expect((await failure("rotate-key", { node: "one" })).message).toBe("The agent of 'one' (9) knows no new keys.");
  await cluster.loop.dispatch({ type: "nodeConnected", node: "one", hello });
  const key = `ssh-ed25519 ${"B".repeat(68)}`;
  cluster.fleet.newKey = async () => {
    // As a real node does: it comes back with the new key a moment after it was stored.
    setTimeout(() => cluster.loop.note({ type: "nodeConnected", node: "one", hello, key }), 50);
    return key;
  };
  const both = await Promise.all([1, 2].map(() => cluster.result("/onprem/admin/rotate-key", { node: "one" })));
  expect(both.map(({ status }) => status).sort()).toEqual(["FAILED", "SUCCEEDED"]);
  expect(both.map(({ error }) => error).join()).toContain("exchanging its key already");
  expect(await ok("rotate-key", { node: "one" })).toEqual({ node: "one", key, used: true });
  expect(cluster.store.admins.get("one")?.key).toMatchObject({ key, used: true });
  expect((await rows()).get("one")?.key).toBe("new");
});

it("unknown: lists what only nodes know, and ends the one that is named", async () => {
  const attempt = "abcdefgh-7";
  const grant = { node: "two", devices: [], share: 1, cpus: 1, memoryGb: 0 };
  const report = {
    ...{ attempt, uid: 1001, user: "alice", jobId: 4, jobName: "old", submittedAt: 1_000_000, rank: 0, grant },
    ...{ state: "running" as const, pid: 5, setupExit: null, runExit: null, logDir: null, fault: null },
  };
  await cluster.loop.dispatch({
    type: "nodeReported",
    node: "two",
    report: {
      ...{ type: "report", stateId: "s".repeat(16), epoch: 1, seq: 1, warnings: [], attempts: [report] },
      inventory: { address: "a", cpus: 4, memoryGb: 8, accelerators: [], source: "test", mixedAllowed: false },
    },
  });
  const listed = async () =>
    unknownResultSchema.parse((await cluster.call("GET", "/onprem/admin/unknown")).json).attempts;
  expect(await listed()).toMatchObject([{ attempt, nodes: ["two"], user: "alice", job_id: 4, submitted_at: 1000 }]);
  expect((await failure("remove", { nodes: ["two"] })).message).toContain("alice's job 4");
  expect((await failure("unknown/end", { attempt: "abcdefgh-8" })).hint).toContain("sky admin unknown");
  await ok("unknown/end", { attempt });
  expect(await listed()).toEqual([]);
  const told = cluster.fleet.told.filter(({ node, message }) => node === "two" && message.type === "desired").at(-1);
  expect(told?.message).toMatchObject({ ended: [attempt] });
});
