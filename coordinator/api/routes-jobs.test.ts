/** Submitting, looking at, cancelling and ending jobs through the API, with the real loop and reducer behind it. */
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { RequestPayload } from "../../shared/api.ts";
import { queueResultSchema } from "../../shared/api.ts";
import { until } from "../../test/help/until.ts";
import { type TestCluster, rootAccount, startTestCluster } from "../../test/help/api-parts.ts";

let cluster: TestCluster;
beforeEach(async () => {
  cluster = await startTestCluster();
});
afterEach(() => cluster.close());

const sleeper = "name: min\nrun: sleep 1000\n";

function valueOf(payload: RequestPayload): unknown {
  expect(payload).toMatchObject({ status: "SUCCEEDED", error: "null" });
  return JSON.parse(payload.return_value);
}

function errorOf(payload: RequestPayload): { type: string; message: string; object: string } {
  expect(payload.status).toBe("FAILED");
  return JSON.parse(payload.error) as { type: string; message: string; object: string };
}

async function launch(task = sleeper, more: Record<string, unknown> = {}): Promise<number | null> {
  const payload = await cluster.result("/launch", { task, cluster_name: "lab", ...more });
  return (valueOf(payload) as { job_id: number | null }).job_id;
}

async function queue(more: Record<string, unknown> = {}) {
  return queueResultSchema.parse(valueOf(await cluster.result("/queue", { cluster_name: "lab", ...more })));
}

describe("launch", () => {
  it("queues a job for the caller, whatever the body says, and keeps its payload in the store", async () => {
    const task =
      "name: min\nresources:\n  accelerators: V100:2\n  memory: 4\nenvs:\n  A: 1\nsetup: echo s\nrun: echo r\n";
    expect(await launch(task, { user: "alice", uid: 1000, env_vars: { SKYPILOT_USER: "alice" } })).toBe(1);
    const record = cluster.queue.records.get("0/1");
    expect(record).toMatchObject({
      ...{ uid: 0, user: "root", kind: "launch", name: "min", cluster: "lab", hasSetup: true, hasRun: true },
      shape: { nodes: 1, accelerators: { kind: "V100", count: 2 }, cpus: 0.5, memoryGb: 4 },
      resourcesText: "1x[V100:2, mem=4]",
    });
    expect(cluster.store.payloads).toEqual([{ setup: "echo s", run: "echo r", envs: { A: "1" } }]);
  });

  it("answers null with the request's id, and gives a handle with the result", async () => {
    const reply = await cluster.call("POST", "/launch", { task: sleeper, cluster_name: "mine" });
    expect(reply).toMatchObject({ status: 200, text: "null" });
    const id = String(reply.headers["x-skypilot-request-id"]);
    const got = await cluster.call("GET", `/api/get?request_id=${id.slice(0, 8)}`);
    const payload = got.json as RequestPayload;
    expect(payload).toMatchObject({ request_id: id, name: "sky.launch", entrypoint: "gAROLg==", user_name: "root" });
    expect(JSON.parse(payload.return_value)).toMatchObject({ job_id: 1, handle: { cluster_name: "mine" } });
    const text = await cluster.call("GET", `/api/stream?request_id=${id}`);
    expect(text.headers["x-skypilot-stream-request-id"]).toBe(id);
    expect(text.text).toBe(
      "⚙︎ Launching on Local (mine).\n└── Cluster mine is up.\n✓ Setup detached.\n⚙︎ Job submitted, ID: 1\n",
    );
  });

  it("makes one job of one request id, also when the coordinator has forgotten the request", async () => {
    const id = randomUUID();
    const body = { task: sleeper, cluster_name: "lab" };
    const headers = { "X-Skypilot-Request-ID": id };
    const both = await Promise.all([
      cluster.result("/launch", body, headers),
      cluster.result("/launch", body, headers),
    ]);
    expect(both.map((payload) => (valueOf(payload) as { job_id: number }).job_id)).toEqual([1, 1]);
    expect(cluster.queue.records.get("0/1")?.requestId).toBe(id);
    expect(cluster.queue.records.size).toBe(1);
    // What a restarted coordinator would do with the same id: the queue knows it.
    const record = cluster.queue.records.get("0/1");
    expect(record === undefined ? null : await cluster.queue.add(record)).toBe(1);
  });

  it("refuses an id that is in use for another call", async () => {
    const headers = { "X-Skypilot-Request-ID": randomUUID() };
    await cluster.result("/launch", { task: sleeper, cluster_name: "lab" }, headers);
    const other = await cluster.call("POST", "/cancel", { cluster_name: "lab" }, headers);
    expect(other).toMatchObject({ status: 400, text: expect.stringContaining("belongs to a 'launch' call") });
  });

  it("queues nothing for a task without setup and run, for a dry run, and for setup alone when setup is left out", async () => {
    expect(await launch("")).toBeNull();
    expect(await launch(sleeper, { dryrun: true })).toBeNull();
    expect(await launch("setup: echo", { no_setup: true })).toBeNull();
    expect(await launch("setup: echo", { fast: true })).toBeNull();
    expect(cluster.queue.records.size).toBe(0);
  });

  it("explains a faulty task, also to SkyPilot's own client", async () => {
    const error = errorOf(await cluster.result("/launch", { task: "rum: x", cluster_name: "lab" }));
    expect(error.type).toBe("InvalidTaskError");
    expect(error.message).toContain("task:1");
    expect(Buffer.from(error.object, "base64").toString("latin1")).toContain("InvalidTaskError");
    const checked = await cluster.call("POST", "/validate", { dag: "rum: x" });
    expect(checked).toMatchObject({ status: 400, json: { detail: { type: "InvalidTaskError", attributes: {} } } });
    expect(await cluster.call("POST", "/validate", { dag: sleeper })).toMatchObject({ status: 200, text: "null" });
    const dumped = await cluster.call("POST", "/validate", { dag: `name: dag\n---\n${sleeper}` });
    expect(dumped).toMatchObject({ status: 200, text: "null" });
  });

  it("takes a task that names this cluster as SkyPilot's client names it, and refuses another's name", async () => {
    const named = (infra: string): string => `resources: {infra: ${infra}}\n${sleeper}`;
    expect(await cluster.call("POST", "/validate", { dag: named("ssh/lab") })).toMatchObject({ status: 200 });
    expect(await launch(named("ssh/lab"))).toBe(1);
    const message = expect.stringContaining("names cluster 'other' as its 'infra', and was sent to cluster 'lab'");
    const checked = await cluster.call("POST", "/validate", { dag: named("ssh/other") });
    expect(checked).toMatchObject({ status: 400, json: { detail: { type: "ResourcesMismatchError", message } } });
    const error = errorOf(await cluster.result("/launch", { task: named("ssh/other"), cluster_name: "lab" }));
    expect(error).toMatchObject({ type: "ResourcesMismatchError", message });
  });

  it("refuses what can never fit", async () => {
    const error = errorOf(
      await cluster.result("/launch", { task: "resources: {accelerators: V100:3}\nrun: x", cluster_name: "lab" }),
    );
    expect(error).toMatchObject({ type: "ResourcesMismatchError" });
    expect(cluster.queue.records.size).toBe(0);
  });

  it("refuses when the caller's waiting jobs are too many or the disk is nearly full", async () => {
    await cluster.close();
    cluster = await startTestCluster(["one"], { limits: { waiting_jobs_per_user: 1, free_disk_mb: 0 } });
    const all = "resources: {cpus: 4}\nrun: x";
    expect([await launch(all), await launch(all)]).toEqual([1, 2]);
    expect(errorOf(await cluster.result("/launch", { task: all, cluster_name: "lab" })).message).toContain(
      "waiting_jobs_per_user",
    );
    await cluster.close();
    cluster = await startTestCluster(["one"], { limits: { free_disk_mb: 1e12 } });
    expect(errorOf(await cluster.result("/launch", { task: all, cluster_name: "lab" })).message).toContain(
      "nearly full",
    );
  });

  it("refuses more different demands of one user than the plan is to look at, and any number of equal ones", async () => {
    await cluster.close();
    cluster = await startTestCluster(["one"], { limits: { waiting_demands_per_user: 4, free_disk_mb: 0 } });
    const cpus = (count: number): string => `resources: {cpus: ${count}}\nrun: x`;
    const ways = "resources: {any_of: [{cpus: 3}, {cpus: 4}]}\nrun: x";
    await launch(cpus(4));
    expect([await launch(ways), await launch(cpus(3)), await launch(cpus(3.5))]).toEqual([2, 3, 4]);
    expect([await launch(ways), await launch(cpus(3))]).toEqual([5, 6]);
    for (const more of [cpus(3.25), "resources: {cpus: 3, priority: 1}\nrun: x"]) {
      const error = errorOf(await cluster.result("/launch", { task: more, cluster_name: "lab" }));
      expect(error.message).toContain("would ask for 5 different things");
      expect(error.message).toContain("waiting_demands_per_user");
    }
  });

  it("keeps one copy of many ways, whoever asks for them", async () => {
    const ways = "resources: {any_of: [{cpus: 3}, {cpus: 4}]}\nrun: x";
    await launch("resources: {cpus: 4}\nrun: x");
    expect([await launch(ways), await launch(ways)]).toEqual([2, 3]);
    const { jobs } = cluster.loop.state;
    expect(jobs.get("0/3")?.record.shape).toBe(jobs.get("0/2")?.record.shape);
  });

  it("lets admins send what ordinary users may not put first", async () => {
    await cluster.close();
    cluster = await startTestCluster(["one"], { scheduling: { max_priority: 0 } });
    expect(await launch("resources: {cpus: 1, priority: 1000}\nrun: x")).toBe(1);
  });

  it("leaves setup out of exec", async () => {
    await cluster.result("/exec", { task: "setup: a\nrun: b", cluster_name: "lab" });
    expect(cluster.store.payloads).toEqual([{ setup: null, run: "b", envs: {} }]);
    expect(cluster.queue.records.get("0/1")).toMatchObject({ kind: "exec", hasSetup: false, hasRun: true });
  });
});

describe("jobs", () => {
  it("are listed newest first with reason and position, and with their end when they have one", async () => {
    await launch("resources: {cpus: 3}\nrun: x");
    await launch("name: second\nresources: {cpus: 3}\nrun: x");
    await cluster.report("one", () => undefined);
    const rows = await queue();
    expect(rows.map((row) => [row.job_id, row.job_name, row.status, row.position])).toEqual([
      [2, "second", "PENDING", 1],
      [1, null, "RUNNING", null],
    ]);
    expect(rows[0]?.reason).toEqual(expect.any(String));
    expect(rows[1]).toMatchObject({
      nodes: ["one"],
      log_path: "~/sky_logs/1",
      username: "root",
      user_hash: "00000000",
    });
    await cluster.report("one", (attempt) => Object.assign(attempt, { state: "exited", runExit: 0 }));
    await until(async () => (await queue()).find((row) => row.job_id === 1)?.status === "SUCCEEDED");
    await until(async () => (await queue({ skip_finished: true })).map((row) => row.job_id).join() === "2");
    const statuses = valueOf(await cluster.result("/job_status", { cluster_name: "lab", job_ids: [1, 9] }));
    expect(statuses).toEqual({ 1: "SUCCEEDED", 9: null });
    const latest = valueOf(await cluster.result("/job_status", { cluster_name: "lab" }));
    expect(Object.keys(latest as object)).toEqual(["2"]);
  });

  it("of others are not there for a user; an admin who asks sees them", async () => {
    await launch();
    const record = cluster.queue.records.get("0/1");
    if (record === undefined) {
      throw new Error("no record");
    }
    const other = { ...record, uid: 1234, user: "other" };
    cluster.queue.records.set("1234/1", other);
    await cluster.loop.dispatch({
      type: "jobSubmitted",
      uid: 1234,
      id: 1,
      record: { ...other, phase: "waiting", attempt: null },
    });
    expect((await queue()).map((row) => row.username)).toEqual(["root"]);
    expect((await queue({ all_users: true })).map((row) => row.username).sort()).toEqual(["other", "root"]);
  });

  it("of others that have ended are shown to an admin who asks, the newest of each and no more than of oneself", async () => {
    await cluster.close();
    cluster = await startTestCluster(["one"], { limits: { finished_jobs_kept_per_user: 4 } });
    await launch();
    const record = cluster.queue.records.get("0/1");
    if (record === undefined) {
      throw new Error("no record");
    }
    const done = { ...record, phase: "ended", end: "SUCCEEDED", attempt: null } as const;
    for (const [uid, user] of [
      [1234, "other"],
      [1235, "third"],
    ] as const) {
      for (const id of [1, 2, 3, 4, 5]) {
        cluster.queue.records.set(`${uid}/${id}`, { ...done, uid, user, endedAt: 1000 * id });
      }
    }
    const shown = (rows: Awaited<ReturnType<typeof queue>>): string[] =>
      rows.map((row) => `${row.username} ${row.job_id} ${row.status}`).sort();
    expect(shown(await queue({ all_users: true }))).toEqual([
      "other 5 SUCCEEDED",
      expect.stringMatching(/^root 1 /),
      "third 5 SUCCEEDED",
    ]);
    expect(shown(await queue({ all_users: true, skip_finished: true }))).toEqual([expect.stringMatching(/^root 1 /)]);
    expect(shown(await queue())).toEqual([expect.stringMatching(/^root 1 /)]);
    const names = (await queue({ all_users: true })).map((row) => Object.keys(row).sort().join());
    expect(new Set(names).size).toBe(1);
  });

  it("are cancelled: the latest, by number, all; and only what is there", async () => {
    const cancel = async (more: Record<string, unknown>) =>
      valueOf(await cluster.result("/cancel", { cluster_name: "lab", ...more }));
    for (let count = 0; count < 4; count += 1) {
      await launch("resources: {cpus: 2}\nrun: x");
    }
    await cluster.report("one", () => undefined);
    expect(await cancel({})).toEqual([2]);
    expect(await cancel({ job_ids: [4, 77] })).toEqual([4]);
    expect(cluster.queue.records.get("0/4")).toMatchObject({ phase: "ended", end: "CANCELLED" });
    expect(await cancel({ job_ids: [4] })).toEqual([]);
    expect(await cancel({ all: true })).toEqual(expect.arrayContaining([1, 3]));
    expect(cluster.queue.records.get("0/1")?.cancelRequestedAt).toEqual(expect.any(Number));
    expect((await cluster.call("POST", "/cancel", { cluster_name: "lab", all_users: true })).status).toBe(400);
  });

  it("all end with down, which waits for the nodes", async () => {
    await launch("resources: {cpus: 4}\nrun: x");
    await launch("resources: {cpus: 4}\nrun: x");
    await cluster.report("one", () => undefined);
    const downed = cluster.result("/down", { cluster_name: "lab" });
    await until(() => cluster.queue.records.get("0/2")?.end === "CANCELLED");
    await cluster.report("one", (attempt) => Object.assign(attempt, { state: "exited", runExit: 143 }));
    expect(valueOf(await downed)).toBeNull();
    expect(cluster.queue.records.get("0/1")).toMatchObject({ phase: "ended", end: "CANCELLED" });
  });
});

describe("the cluster", () => {
  it("is described by status, nodes, check and accelerator counts", async () => {
    await launch("resources: {accelerators: V100:1}\nrun: x");
    const [record] = valueOf(await cluster.result("/status", { cluster_names: ["mine"] })) as Record<string, unknown>[];
    expect(record).toMatchObject({
      name: "mine",
      status: "UP",
      nodes: 1,
      autostop: -1,
      user_name: "root",
      resources_str: "1x(gpus=V100:2, cpus=4, mem=8)",
    });
    const nodes = await cluster.call("GET", "/onprem/nodes");
    expect(nodes.json).toMatchObject({
      cluster: "lab",
      unknown_attempts: 0,
      nodes: [
        {
          name: "one",
          label: "head",
          state: "UP",
          cpus_free: 3.5,
          accelerators: { V100: 2 },
          accelerators_free: { V100: 1 },
        },
      ],
    });
    const checked = await cluster.call("POST", "/check", {});
    const text = await cluster.call(
      "GET",
      `/api/stream?request_id=${String(checked.headers["x-skypilot-request-id"])}`,
    );
    expect(text.text).toContain("Local (lab): enabled [compute]");
    expect(valueOf(await cluster.result("/list_accelerator_counts", {}))).toEqual({ V100: [1, 2] });
  });

  it.each(["start", "stop", "autostop"])("refuses %s", async (verb) => {
    const error = errorOf(await cluster.result(`/${verb}`, { cluster_name: "lab" }));
    expect(error).toMatchObject({
      type: "NotSupportedError",
      message: expect.stringContaining("Skipping local cluster lab, as it does not support"),
    });
  });
});

describe("requests", () => {
  it("of others look like unknown ones; read-only ones leave no trace after they were fetched", async () => {
    expect(await cluster.call("GET", `/api/get?request_id=${randomUUID()}`)).toMatchObject({ status: 404 });
    await launch();
    await queue();
    const listed = (await cluster.call("GET", "/api/status")).json as RequestPayload[];
    expect(listed.map((one) => one.name)).toEqual(["sky.launch"]);
    cluster.accounts.set(0, { ...rootAccount, name: "renamed" });
    expect((await cluster.call("GET", "/api/status")).json).toHaveLength(1);
  });
});
