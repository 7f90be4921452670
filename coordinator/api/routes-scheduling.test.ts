/**
 * Quotas and windows over a real socket, with the real loop and reducer and the accounts of this machine: what is stored,
 * what is refused with which words, what everybody sees.
 */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { nodesResultSchema, type RequestPayload } from "../../shared/api.ts";
import {
  ownQuotaResultSchema,
  type QuotaChangeResult,
  quotasResultSchema,
  type WindowAddResult,
  windowsResultSchema,
} from "../../shared/scheduling-api.ts";
import { startTestCluster, type TestCluster } from "../../test/help/api-parts.ts";

/** No machine has an account or a group of this name. */
const nobody = "nosuch-xq7";

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

const set = (body: unknown): Promise<QuotaChangeResult> => ok("quota/set", body);

describe("quotas", () => {
  it("set changes what is named, on disk before the answer; kinds are written as the nodes do", async () => {
    await set({ subject: "user:root", accelerators: { v100: 2 }, cpus: 8 });
    await set({ subject: "user:root", cpus: null, running: 3, accelerators: { "*": 4 } });
    const stored = await cluster.store.admin.quotas();
    expect(stored.get("user:root")).toEqual({ accelerators: { V100: 2, "*": 4 }, running: 3 });
    const listed = quotasResultSchema.parse((await cluster.call("GET", "/onprem/admin/quotas")).json);
    expect(listed.quotas.map((row) => [row.subject, row.limits])).toEqual([
      ["user:root", { accelerators: { V100: 2, "*": 4 }, running: 3 }],
    ]);
    const { quota } = await set({ subject: "user:root", running: null, accelerators: { V100: null, "*": null } });
    expect(quota).toBeNull();
    expect((await cluster.store.admin.quotas()).size).toBe(0);
  });

  it("what is held and waits is counted, and an admin hears who holds more than the new limit", async () => {
    const task = "resources:\n  accelerators: V100:1\nrun: sleep 1000\n";
    for (let jobs = 0; jobs < 3; jobs += 1) {
      await cluster.result("/launch", { task, cluster_name: "lab" });
    }
    await cluster.report("one", () => undefined);
    const { quota, notes } = await set({ subject: "each", accelerators: { V100: 1 }, waiting: 5 });
    expect(quota?.users).toMatchObject([
      { user: "root", use: { accelerators: { V100: 2 }, cpus: 1, running: 2, waiting: 1 } },
    ]);
    expect(notes).toEqual(["root holds 2 V100 now. Nothing is ended; what starts next waits for less."]);
    const own = ownQuotaResultSchema.parse((await cluster.call("GET", "/onprem/quota")).json);
    expect(own).toMatchObject({ user: "root", use: { running: 2, waiting: 1 }, waiting_max: 10_000 });
    expect(own.quotas).toMatchObject([{ subject: "each", use: { running: 2 }, users: [] }]);
    // One of their own takes the place of the one for each.
    await set({ subject: "user:root", running: 9 });
    const after = ownQuotaResultSchema.parse((await cluster.call("GET", "/onprem/quota")).json);
    expect(after.quotas.map((row) => row.subject)).toEqual(["user:root"]);
  });

  it("a user without an account is refused, a group is taken with a note, a kind nobody has is refused", async () => {
    expect(await failure("quota/set", { subject: `user:${nobody}`, cpus: 1 })).toMatchObject({
      type: "ValueError",
      message: `User '${nobody}' has no account on the head machine.`,
    });
    // An id is no name.
    expect((await failure("quota/set", { subject: "user:0", cpus: 1 })).message).toContain("User '0' has no account");
    const { notes } = await set({ subject: `group:${nobody}`, cpus: 1 });
    expect(notes).toEqual([
      `The head machine knows no group '${nobody}', so the quota binds nobody until there is one.`,
    ]);
    expect(await failure("quota/set", { subject: "each", accelerators: { V10: 1 } })).toMatchObject({
      message: "No node of this cluster has an accelerator 'V10'.",
      hint: "Did you mean 'V100'?",
    });
    expect((await failure("quota/set", { subject: "each" })).message).toBe("No limit was named.");
    expect(await failure("quota/unset", { subject: "user:rooot" })).toMatchObject({
      message: "There is no quota for 'user:rooot'.",
    });
  });

  it("unset drops it", async () => {
    await set({ subject: "group:root", cpus: 1 });
    expect(await ok("quota/unset", { subject: "group:root" })).toEqual({ quota: null, notes: [] });
    expect((await cluster.store.admin.quotas()).size).toBe(0);
  });

  it("a full quota of waiting jobs refuses a submission by its name; what waits stays", async () => {
    const task = "resources:\n  accelerators: V100:2\nrun: sleep 1000\n";
    const launch = (): Promise<RequestPayload> => cluster.result("/launch", { task, cluster_name: "lab" });
    await launch();
    await set({ subject: "each", waiting: 2 });
    await launch();
    await launch();
    const refused = await launch();
    expect(refused.status).toBe("FAILED");
    expect(JSON.parse(refused.error)).toMatchObject({
      type: "ValueError",
      message: "The quota for each user allows 2 waiting jobs on cluster 'lab', and 2 wait.",
    });
    await set({ subject: "user:root", waiting: 0 });
    const none = JSON.parse((await launch()).error) as { message: string };
    expect(none.message).toBe("Your quota (user:root) allows 0 waiting jobs on cluster 'lab', and 2 wait.");
  });
});

describe("windows", () => {
  const hour = 3_600;
  const inHours = (hours: number): number => Date.now() / 1000 + hours * hour;
  const add = (body: unknown): Promise<WindowAddResult> => ok("window", body);

  it("maintenance and reservations are stored, listed, shown on nodes a day before, and removed", async () => {
    const first = await add({ kind: "maintenance", nodes: ["one"], for_seconds: 4 * hour, reason: "new disks" });
    expect(first).toMatchObject({ window: { id: "w1", on: true, by: "root", reason: "new disks" }, notes: [] });
    await add({ kind: "reservation", nodes: ["two", "two"], from: inHours(3), to: inHours(5), users: ["root"] });
    await add({ kind: "maintenance", nodes: ["two"], from: inHours(48), for_seconds: 60 });
    const listed = windowsResultSchema.parse((await cluster.call("GET", "/onprem/admin/windows")).json);
    expect(listed.windows.map(({ id, nodes, on }) => [id, nodes, on])).toEqual([
      ["w1", ["one"], true],
      ["w2", ["two"], false],
      ["w3", ["two"], false],
    ]);
    const rows = nodesResultSchema.parse((await cluster.call("GET", "/onprem/nodes")).json).nodes;
    expect(rows.map((row) => row.windows.map((window) => window.id))).toEqual([["w1"], ["w2"]]);
    expect((await cluster.store.admin.windows()).map((window) => window.id)).toEqual(["w1", "w2", "w3"]);
    await ok("window/remove", { ids: ["w1", "w2"] });
    expect((await cluster.store.admin.windows()).map((window) => window.id)).toEqual(["w3"]);
  });

  it("jobs that run there are named; with end_jobs they are ended with the window's reason", async () => {
    await cluster.result("/launch", {
      task: "resources:\n  accelerators: V100:1\nrun: sleep 1000\n",
      cluster_name: "lab",
    });
    await cluster.report("one", () => undefined);
    const later = await add({ kind: "maintenance", nodes: ["one"], from: inHours(1), for_seconds: hour });
    expect(later.notes).toEqual(["Running there now: root's job 1; may go on into it (--end-jobs ends them)."]);
    expect(cluster.queue.records.get("0/1")?.end).toBeNull();
    const now = await add({
      kind: "maintenance",
      nodes: ["one"],
      for_seconds: hour,
      end_jobs: true,
      reason: "it smokes",
    });
    expect(now.notes).toContain("one: overlaps maintenance w1.");
    expect(cluster.queue.records.get("0/1")).toMatchObject({
      end: "FAILED_DRIVER",
      reason: "one was set aside for maintenance (window w2): it smokes",
    });
  });

  it("what cannot be is refused, and nothing is stored", async () => {
    const base = { kind: "maintenance", nodes: ["one"], for_seconds: hour };
    const cases: [unknown, string][] = [
      [{ ...base, nodes: ["oen"] }, "There is no node 'oen' in this cluster."],
      [{ ...base, from: inHours(-1) }, "The window would begin in the past."],
      [{ ...base, for_seconds: null }, "A window needs an end."],
      [{ ...base, to: inHours(1) }, "A window needs an end."],
      [{ ...base, for_seconds: null, from: inHours(2), to: inHours(1) }, "The window would end before it begins."],
      [{ ...base, for_seconds: null, to: inHours(24 * 800) }, "The window would end in more than two years."],
      [{ ...base, users: ["root"] }, "Maintenance is for nobody."],
      [{ ...base, kind: "reservation" }, "A reservation needs somebody."],
      [{ ...base, kind: "reservation", users: [nobody] }, `User '${nobody}' has no account on the head machine.`],
    ];
    for (const [body, message] of cases) {
      expect((await failure("window", body)).message).toBe(message);
    }
    expect((await failure("window/remove", { ids: ["w7"] })).message).toBe(
      "There is no window 'w7'. Nothing was removed.",
    );
    expect(await cluster.store.admin.windows()).toEqual([]);
  });

  it("two reservations of one node at one time are refused; the same one sent again is the same one", async () => {
    const body = { kind: "reservation", nodes: ["one", "two"], from: inHours(1), to: inHours(3), users: ["root"] };
    await add(body);
    const again = await add(body);
    expect([again.window.id, again.notes]).toEqual(["w1", ["It was there already, as w1."]]);
    const other = { ...body, nodes: ["two"], users: [], groups: ["root"], from: inHours(2), to: inHours(4) };
    const refused = await failure("window", other);
    expect(refused.message).toContain("two: reserved already in part of that time, by window w1.");
    expect(refused.hint).toContain("sky admin windows remove w1");
    await add({ ...other, from: inHours(3), to: inHours(4) });
    const { notes } = await add({ ...other, groups: [nobody], from: inHours(5), to: inHours(6) });
    expect(notes[0]).toContain(`The head machine knows no group '${nobody}'`);
  });
});

describe("bodies", () => {
  it("with unknown keys, control characters, long texts or odd names are refused before anything happens", async () => {
    const base = { kind: "maintenance", nodes: ["one"], for_seconds: 60 };
    const bodies: [string, unknown][] = [
      ["quota/set", { subject: "each", cpus: 1, surprise: 1 }],
      ["quota/set", { subject: "each", cpus: -1 }],
      ["quota/set", { subject: "each", cpus: "many" }],
      ["quota/set", { subject: "each", running: 1.5 }],
      ["quota/set", { subject: "user:al ice", cpus: 1 }],
      ["quota/set", { subject: "group:a:b", cpus: 1 }],
      ["quota/set", { subject: "group:\u001b[31m", cpus: 1 }],
      ["quota/set", { subject: "group:$(reboot)", cpus: 1 }],
      ["quota/set", { subject: "__proto__", cpus: 1 }],
      ["quota/set", { subject: "each", accelerators: { "V100 ; x": 1 } }],
      ["quota/unset", { subject: "each", surprise: 1 }],
      ["window", { ...base, reason: "new\ndisks" }],
      ["window", { ...base, reason: "\u001b]0;title\u0007" }],
      ["window", { ...base, reason: "x".repeat(201) }],
      ["window", { ...base, nodes: [] }],
      ["window", { ...base, nodes: ["../one"] }],
      ["window", { ...base, groups: ["a\u0000b"] }],
      ["window", { ...base, by: "somebody else" }],
      ["window", { ...base, from: 1e15 }],
      ["window/remove", { ids: ["w1 w2"] }],
    ];
    for (const [path, body] of bodies) {
      const reply = await cluster.call("POST", `/onprem/admin/${path}`, body);
      expect([JSON.stringify(body), reply.status]).toEqual([JSON.stringify(body), 422]);
    }
    expect((await cluster.store.admin.quotas()).size + (await cluster.store.admin.windows()).length).toBe(0);
  });
});
