/** Usage over a real socket: what runs and what is in the history, who sees whose, idle accelerators, odd questions. */
import { execFile } from "node:child_process";
import { chmodSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type IdleResult, idleResultSchema, type UsageResult, usageResultSchema } from "../../shared/usage-api.ts";
import { rootAccount, startTestCluster, type TestCluster } from "../../test/help/api-parts.ts";
import { appendUsage } from "../usage-files.ts";

const run = promisify(execFile);
const isRoot = process.getuid?.() === 0;
const hour = 3_600_000;

let cluster: TestCluster;
beforeEach(async () => {
  cluster = await startTestCluster(["one", "two"]);
});
afterEach(() => cluster.close());

async function launch(): Promise<void> {
  const task = "name: min\nresources:\n  accelerators: V100:1\n  cpus: 2\nrun: sleep 1000\n";
  await cluster.result("/launch", { task, cluster_name: "lab" });
  await cluster.report("one", () => undefined);
}

async function usage(query = ""): Promise<UsageResult> {
  const reply = await cluster.call("GET", `/onprem/usage${query}`);
  expect(reply.status, reply.text).toBe(200);
  return usageResultSchema.parse(reply.json);
}

const asker = `const {request}=require("node:http");const [,socketPath,path]=process.argv;
request({socketPath,path,agent:false},(reply)=>{reply.pipe(process.stdout)}).end();`;

async function askAs(uid: number, path: string): Promise<unknown> {
  chmodSync(dirname(cluster.socket), 0o755);
  const ids = [`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"];
  const { stdout } = await run("setpriv", [...ids, process.execPath, "-e", asker, cluster.socket, path]);
  return JSON.parse(stdout);
}

const lineOf = (uid: number, user: string, from: number) => ({
  ...{ attempt: `aaaaaaaa-${uid}`, node: "two", uid, user, groups: ["prof"], jobId: 1, kind: "H100" },
  ...{ accelerators: 2, cpus: 8, memoryGb: 16, from, to: from + hour },
});

it("what runs counts up to now, by all keys; what waits in the store and what is in the files counts once", async () => {
  await launch();
  const now = Date.now();
  const old = lineOf(1001, "alice", now - 3 * hour);
  await appendUsage(join(cluster.config.state_dir, "usage"), [old]);
  await cluster.store.admin.recordUsage([old, lineOf(1002, "bob", now - 2 * hour)]);
  const all = await usage("?by=user,kind");
  expect(all).toMatchObject({ cluster: "lab", scope: "all", by: ["user", "kind"], more: 0 });
  const running = all.rows.find((row) => row.keys.user === "root");
  expect(running?.keys).toEqual({ user: "root", kind: "V100" });
  expect(running?.cpu_hours).toBeGreaterThan(0);
  expect(running?.cpu_hours).toBeLessThan(0.1);
  expect(all.rows.filter((row) => row.keys.kind === "H100").map((row) => row.accelerator_hours)).toEqual([2, 2]);
  const edge = (now - 2.5 * hour) / 1000;
  const [before, after] = [await usage(`?to=${edge}&by=node`), await usage(`?from=${edge}&by=node`)];
  expect(before.total.accelerator_hours).toBeCloseTo(1, 6);
  expect(before.total.accelerator_hours + after.total.accelerator_hours).toBeCloseTo(all.total.accelerator_hours, 3);
});

it.skipIf(!isRoot)("an ordinary user sees their own use only, an admin everybody's", async () => {
  cluster.accounts.set(65533, { ...rootAccount, uid: 65533, name: "eve", groups: ["users"] });
  await cluster.store.admin.recordUsage([
    lineOf(65533, "eve", Date.now() - 2 * hour),
    lineOf(1002, "bob", Date.now() - 2 * hour),
  ]);
  const own = usageResultSchema.parse(await askAs(65533, "/onprem/usage?by=user"));
  expect([own.scope, own.rows.map((row) => row.keys.user)]).toEqual(["own", ["eve"]]);
  cluster.accounts.set(65533, { ...rootAccount, uid: 65533, name: "eve", groups: ["sky-admin"] });
  expect(usageResultSchema.parse(await askAs(65533, "/onprem/usage")).rows).toHaveLength(2);
});

it.skipIf(!isRoot)(
  "idle accelerators name their holder to admins, to the holder, and to whom the config allows",
  async () => {
    await launch();
    const { state } = cluster.loop;
    const [index] = [...state.jobs.values()][0]?.record.attempt?.ranks[0]?.grant.devices ?? [];
    state.nodes.get("one")?.idleSince.set(index ?? -1, state.uptime - 60_000);
    state.nodes.get("one")?.idleSince.set(1 - (index ?? 0), state.uptime - 90_000);
    const idle = async (): Promise<IdleResult> =>
      idleResultSchema.parse((await cluster.call("GET", "/onprem/usage/idle")).json);
    const { idle: rows, now } = await idle();
    expect(rows).toMatchObject([{ node: "one", index, kind: "V100", user: "root", job: 1 }]);
    expect(now - (rows[0]?.idle_since ?? 0)).toBeCloseTo(60, 0);
    expect(now - (rows[0]?.held_since ?? 0)).toBeLessThan(60);
    cluster.accounts.set(65533, { ...rootAccount, uid: 65533, name: "eve", groups: ["users"] });
    const seen = idleResultSchema.parse(await askAs(65533, "/onprem/usage/idle"));
    expect(seen.idle).toMatchObject([{ node: "one", user: null, job: null }]);
  },
);

it.each([
  ["?by=colour", "by"],
  ["?from=yesterday", "from"],
  ["?from=-5", "from"],
  ["?to=1e99", "to"],
  ["?surprise=1", "surprise"],
])("the question %s is refused with its place", async (query, place) => {
  const reply = await cluster.call("GET", `/onprem/usage${query}`);
  expect([reply.status, reply.text]).toEqual([400, expect.stringContaining(place)]);
});

it("a period that is over before it begins, or long ago, is simply empty", async () => {
  await launch();
  for (const query of ["?from=5&to=4", "?from=0&to=1000"]) {
    expect((await usage(query)).rows).toEqual([]);
  }
});
