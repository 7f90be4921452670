/** The server itself, over a real unix socket: who is let in, what every reply carries, limits, and the socket's file. */
import { execFile } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { type Socket, connect } from "node:net";
import { dirname, join } from "node:path";
import { tmpdir } from "node:os";
import { promisify } from "node:util";
import { afterEach, describe, expect, it } from "vitest";
import { apiBodyBytesMax } from "../../shared/api.ts";
import { DiskFileStore } from "../files/store.ts";
import { openLog } from "../log.ts";
import { DecisionLog } from "../policy/decision-log.ts";
import { PolicyChanges } from "../policy/policy-changes.ts";
import { WorkloadPolicies } from "../policy/workload-policies.ts";
import { buildApp } from "./app.ts";
import { logTimes } from "./log-rank.ts";
import { WaitingNotices } from "./logs.ts";
import { RequestTable } from "./requests.ts";
import { startApi } from "./server.ts";
import { type TestCluster, rootAccount, startTestCluster } from "../../test/help/api-parts.ts";
import { ZipUploads } from "../zips/zips.ts";
import { Turns } from "./turns.ts";
import { UnknownKeys } from "./unknown-keys.ts";

const run = promisify(execFile);
const isRoot = process.getuid?.() === 0;
const build = { version: "1.2.3", commit: "abc" };
const files = { quota_gb_per_user: 0, keep_days: 1 };
const noParts = {
  onLive: () => undefined,
  current: () => ({ unavailable: "test" }),
  accounts: { byUid: async () => rootAccount },
  files: new DiskFileStore({ state_dir: "/nonexistent", files, limits: { free_disk_mb: 0 } }, openLog("error")),
};

let cluster: TestCluster | null = null;
afterEach(async () => {
  await cluster?.close();
  cluster = null;
});

/** A program that asks for a path over the socket and prints status and body; run as another user. */
const asker = `const {request}=require("node:http");
request({socketPath:process.argv[1],path:process.argv[2]},(reply)=>{let text="";
reply.on("data",(part)=>text+=part);reply.on("end",()=>console.log(JSON.stringify({status:reply.statusCode,text})));}).end();`;

async function askAs(uid: number, socket: string, path: string): Promise<{ status: number; text: string }> {
  chmodSync(dirname(socket), 0o755);
  const { stdout } = await run("setpriv", [
    ...[`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"],
    ...[process.execPath, "-e", asker, socket, path],
  ]);
  return JSON.parse(stdout) as { status: number; text: string };
}

/** What of policies is for admins: everything but what a user may ask about their own. */
function isOfPolicies(path: string): boolean {
  const open = ["", "/get", "/effective", "/log", "/check"].map((end) => `/onprem/policies${end}`);
  return path.startsWith("/onprem/policies") && !open.includes(path);
}

describe("routes", () => {
  it("have an identity each, and there is no other way in", async () => {
    cluster = await startTestCluster();
    const log = openLog("error");
    const requests = new RequestTable(log);
    const decisions = new DecisionLog(cluster.config.state_dir, 1, log);
    const policies = new WorkloadPolicies(noParts, cluster.config, decisions, async (_uid, work) => work(), log);
    const context = {
      parts: noParts,
      config: cluster.config,
      build,
      requests,
      notices: new WaitingNotices(),
      logTimes,
      turns: new Turns(),
      unknownKeys: new UnknownKeys(log),
      zips: new ZipUploads(cluster.config.state_dir, 0, noParts.files),
      policies,
      policyChanges: new PolicyChanges(policies),
      log,
    };
    const { app, declared } = buildApp(context, () => null);
    const routed = app.routes.map((one) => `${one.method} ${one.path}`).sort();
    expect(routed).toEqual(declared.map((one) => `${one.method} ${one.path}`).sort());
    expect(new Set(routed).size).toBe(routed.length);
    expect(routed.length).toBeGreaterThan(20);
    for (const route of declared) {
      expect(["account", "jobUser", "admin"]).toContain(route.identity);
      const isForAdmins = route.path.startsWith("/onprem/admin/") || isOfPolicies(route.path);
      expect(route.identity === "admin", route.path).toBe(isForAdmins);
    }
    requests.close();
    context.zips.close();
  });

  it("are all described by the published document", async () => {
    cluster = await startTestCluster();
    const reply = await cluster.call("GET", "/api/openapi.json");
    const document = reply.json as { openapi: string; paths: Record<string, Record<string, unknown>> };
    expect(document.openapi).toBe("3.1.0");
    expect(document.paths["/launch"]?.["post"]).toMatchObject({ requestBody: { content: { "application/json": {} } } });
    expect(Object.keys(document.paths)).toEqual(expect.arrayContaining(["/api/get", "/onprem/nodes", "/logs"]));
  });
});

describe.skipIf(!isRoot)("identity", () => {
  it("comes from the kernel: a uid without account is refused, one with an account is named", async () => {
    cluster = await startTestCluster();
    const refused = await askAs(65533, cluster.socket, "/onprem/whoami");
    expect(refused.status).toBe(403);
    expect(refused.text).toContain("Uid 65533 has no account");
    cluster.accounts.set(65533, { ...rootAccount, uid: 65533, gid: 65533, name: "guest", groups: ["guest"] });
    const known = await askAs(65533, cluster.socket, "/onprem/whoami");
    expect(known.status).toBe(200);
    expect(JSON.parse(known.text)).toMatchObject({ uid: 65533, user: "guest" });
  });

  it("belongs to its connection, however many callers there are at once", async () => {
    cluster = await startTestCluster();
    const test = cluster;
    for (const uid of [65531, 65532]) {
      test.accounts.set(uid, { ...rootAccount, uid, gid: uid, name: `user${uid}`, groups: [] });
    }
    const uids = Array.from({ length: 12 }, (_, index) => [0, 65531, 65532][index % 3] ?? 0);
    const answers = await Promise.all(uids.map((uid) => askAs(uid, test.socket, "/onprem/whoami")));
    expect(answers.map((answer) => (JSON.parse(answer.text) as { uid: number }).uid)).toEqual(uids);
  });

  it("is not taken when the name service names another uid", async () => {
    cluster = await startTestCluster();
    cluster.accounts.set(0, { ...rootAccount, uid: 5 });
    expect((await cluster.call("GET", "/onprem/whoami")).status).toBe(403);
  });

  it("is asked about jobs: the users policy refuses a submission with its own text", async () => {
    cluster = await startTestCluster(["one"], { users: { min_uid: 1000 } });
    const reply = await cluster.call("POST", "/launch", { task: "run: 'true'", cluster_name: "lab" });
    expect(reply.status).toBe(403);
    expect(reply.text).toContain("it is a system account");
    expect((await cluster.call("GET", "/onprem/whoami")).json).toMatchObject({
      refused: expect.stringContaining("system account"),
    });
  });
});

describe("every reply", () => {
  it("carries both version headers, also refusals", async () => {
    cluster = await startTestCluster();
    for (const path of ["/api/health", "/nothing", "/api/get?request_id=zz"]) {
      const reply = await cluster.call("GET", path);
      expect(reply.headers).toMatchObject({ "x-skypilot-api-version": "56", "x-skypilot-version": "1.2.3" });
    }
  });

  it("refuses clients that are too old and headers that are no number, and serves newer ones", async () => {
    cluster = await startTestCluster();
    const ask = (version: string) =>
      cluster?.call("GET", "/api/health", undefined, { "X-SkyPilot-API-Version": version });
    expect(await ask("23")).toMatchObject({ status: 400, json: { error: "version_mismatch" } });
    expect(await ask("x")).toMatchObject({ status: 400, json: { error: "version_mismatch" } });
    expect(await ask("24")).toMatchObject({ status: 200 });
    expect(await ask("99")).toMatchObject({ status: 200 });
  });

  it("refuses web pages", async () => {
    cluster = await startTestCluster();
    const reply = await cluster.call("GET", "/api/health", undefined, { Origin: "http://example.org" });
    expect(reply.status).toBe(403);
  });

  it("says what is wrong with a body", async () => {
    cluster = await startTestCluster();
    const post = (body: unknown) => cluster?.call("POST", "/queue", body);
    expect(await post("{")).toMatchObject({ status: 422, text: expect.stringContaining("not JSON") });
    expect(await post("null")).toMatchObject({ status: 422 });
    expect(await post({})).toMatchObject({ status: 422, text: expect.stringContaining("'cluster_name'") });
    const newer = await post({ cluster_name: "lab", a_field_of_tomorrow: 1 });
    expect(newer).toMatchObject({ status: 200 });
  });

  it("refuses a body over the limit, whether its length is declared or not", async () => {
    cluster = await startTestCluster();
    const big = JSON.stringify({ cluster_name: "x".repeat(apiBodyBytesMax) });
    const declared = await cluster
      .call("POST", "/queue", undefined, { "Content-Length": String(big.length) })
      .catch(() => null);
    expect(declared === null || declared.status === 413).toBe(true);
    const chunked = await cluster.call("POST", "/queue", big, { "Transfer-Encoding": "chunked" }).catch(() => null);
    expect(chunked === null || chunked.status === 413).toBe(true);
    expect((await cluster.call("GET", "/api/health")).status).toBe(200);
  });

  it("names the cause while the store is away, and health still answers", async () => {
    cluster = await startTestCluster();
    cluster.unavailable.cause = "Redis does not answer";
    expect((await cluster.call("GET", "/api/health")).json).toMatchObject({
      status: "unhealthy",
      message: "Redis does not answer",
    });
    const reply = await cluster.call("POST", "/queue", { cluster_name: "lab" });
    expect(reply.status).toBe(503);
    expect(reply.headers["retry-after"]).toBe("1");
    expect(reply.json).toMatchObject({
      detail: { type: "ServerUnavailableError", message: expect.stringContaining("Redis does not answer") },
    });
  });
});

describe("the socket", () => {
  it("may be opened by everybody, and goes away with the server", async () => {
    cluster = await startTestCluster();
    const { socket } = cluster;
    expect(statSync(socket).mode & 0o777).toBe(0o666);
    await cluster.close();
    cluster = null;
    expect(() => statSync(socket)).toThrow();
  });

  it("replaces one that nobody answers, and nothing else", async () => {
    const folder = mkdtempSync(join(tmpdir(), "sky-api-"));
    cluster = await startTestCluster();
    const config = { ...cluster.config, socket: join(folder, "api.sock") };
    try {
      await expect(startApi(noParts, { ...config, socket: cluster.socket }, build)).rejects.toThrow(
        "another coordinator",
      );
      writeFileSync(config.socket, "precious");
      await expect(startApi(noParts, config, build)).rejects.toThrow("is no socket");
      rmSync(config.socket);
      await leaveStaleSocket(config.socket);
      const api = await startApi(noParts, config, build, openLog("error"));
      await api.close();
      await expect(startApi(noParts, { ...config, socket: `/${"x".repeat(100)}` }, build)).rejects.toThrow("101 bytes");
      await expect(startApi(noParts, { ...config, socket: join(folder, "no/api.sock") }, build)).rejects.toThrow(
        "does not exist",
      );
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

/** A process that listens and is killed leaves its socket's file behind. */
async function leaveStaleSocket(path: string): Promise<void> {
  const program = `require("node:net").createServer().listen(process.argv[1],()=>process.kill(process.pid,"SIGKILL"))`;
  await run(process.execPath, ["-e", program, path]).catch(() => undefined);
  expect(statSync(path).isSocket()).toBe(true);
}

describe("too many connections", () => {
  it("of one user are answered 429, and those before go on", async () => {
    cluster = await startTestCluster();
    const path = cluster.socket;
    const held = await Promise.all(
      Array.from(
        { length: 200 },
        () =>
          new Promise<Socket>((resolve) => {
            const socket = connect(path, () => resolve(socket));
          }),
      ),
    );
    const reply = await cluster.call("GET", "/api/health");
    expect(reply.status).toBe(429);
    for (const socket of held) {
      socket.destroy();
    }
    await expect.poll(async () => (await cluster?.call("GET", "/api/health"))?.status, { timeout: 10_000 }).toBe(200);
  });
});
