/**
 * Node administration with real programs and real users: an admin by membership of the group that the config names, and
 * an ordinary user whose jobs the admin's decisions meet. The coordinator is killed and started in between.
 */
import { randomBytes, randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import ssh2 from "ssh2";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { AdminNodeRow, AdminNodesResult } from "../../shared/admin-api.ts";
import { must, run } from "../help/run.ts";
import { clusterName, plain, queueOf, type Site, startSite, submit, tell, untilStatus } from "../help/site.ts";
import { sky, skyOk, startSky, startSkyAtTerminal } from "../help/sky.ts";
import { until } from "../help/until.ts";
import type { TestUser } from "../help/users.ts";

const group = `skytest${randomBytes(3).toString("hex")}`;
/** Found again among all processes of the machine. */
const sleeper = `sleep ${randomInt(100_000, 1_000_000)}`;

let site: Site;
let admin: TestUser;
let user: TestUser;

beforeAll(async () => {
  await must(["groupadd", group]);
  site = await startSite({ users: 2, accelerators: "V100:4,-", coordinatorConfig: { admin_group: group } });
  [admin, user] = site.users as [TestUser, TestUser];
  await must(["usermod", "-aG", group, admin.name]);
  await until(async () => (await sky(admin, ["admin", "nodes"])).code === 0, "the admin to be one", 60_000);
});
afterAll(async () => {
  await site?.stop();
  await run(["groupdel", group]);
});
beforeEach(({ onTestFailed }) => {
  onTestFailed(async () => await tell(site));
});

async function rowOf(name: string): Promise<AdminNodeRow> {
  const result = JSON.parse(await skyOk(admin, ["admin", "nodes", name, "-o", "json"])) as AdminNodesResult;
  // All programs of a site are of one build, so an admin is told of no difference; nothing is known of who never came.
  expect([result.version, null]).toContain(result.nodes[0]?.version);
  return result.nodes[0] as AdminNodeRow;
}

async function restartCoordinator(): Promise<void> {
  await site.cluster.kill("coordinator");
  site.cluster.startPart("coordinator");
  await site.cluster.ready();
}

/** Whether the coordinator lets a caller in by this node's name and key. */
async function letsIn(node: string, privateKey: string): Promise<boolean> {
  const config = readFileSync(join(site.cluster.dir, "coordinator.yaml"), "utf8");
  const port = Number(/"?port"?: ?(\d+)/.exec(config)?.[1]);
  const client = new ssh2.Client();
  try {
    return await new Promise<boolean>((resolve) => {
      client.on("ready", () => resolve(true)).on("error", () => resolve(false));
      client.connect({ host: "127.0.0.1", port, username: node, privateKey });
    });
  } finally {
    client.destroy();
  }
}

test("every verb is refused to an ordinary user, by the name of the group", async () => {
  const verbs = [
    ["nodes"],
    ["drain", "n1", "-r", "x"],
    ["resume", "n1"],
    ["remove", "n1"],
    ["rotate-key", "n1"],
    ["unknown"],
    ["unknown", "--end", "abcdefgh-1", "-y"],
  ];
  for (const verb of verbs) {
    const refused = await sky(user, ["admin", ...verb]);
    expect(refused.code, verb.join(" ")).toBe(1);
    expect(plain(refused.stderr)).toContain(`Only members of the group '${group}'`);
  }
  expect((await rowOf("n1")).admin).toBeNull();
});

test("nodes: state, version, accelerators and how they were found, load, jobs; 80 columns on a terminal", async () => {
  const id = await submit(user, ["--gpus", "V100:1", "--", sleeper]);
  await untilStatus(user, id, "RUNNING");
  await until(async () => (await rowOf("n1")).load1 !== null, "the node's vitals");
  const row = await rowOf("n1");
  expect(row).toMatchObject({
    state: "UP",
    source: "config",
    accelerators: { V100: 4 },
    protocol: 2,
    key: "configured",
  });
  expect(row.jobs).toMatchObject([{ user: user.name, job_id: id, status: "RUNNING" }]);
  expect(Math.abs(row.clock_skew_seconds ?? 99)).toBeLessThan(2);
  expect(row.disk_free_gb).toBeGreaterThan(0);
  const shown = startSkyAtTerminal(admin, ["admin", "nodes"]);
  await shown.ended;
  const text = plain(shown.stdout());
  expect(Math.max(...text.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
  expect(text).toMatch(/n1 +UP +\S+ +V100:4 \(config\) +\d+\.\d+ +1 /);
  await skyOk(user, ["cancel", clusterName, "-a", "-y"]);
});

test("drain, wait and resume: a running job goes on, new ones wait with the reason, also after a restart", async () => {
  const id = await submit(user, ["--gpus", "V100:1", "--", "until [ -e ~/go ]; do sleep 0.1; done"]);
  await untilStatus(user, id, "RUNNING");
  const draining = startSky(admin, ["admin", "drain", "n1", "-r", "new disks", "--wait"]);
  await until(
    () => draining.stderr().includes(`n1 waits for ${user.name}'s job ${id} (RUNNING).`),
    "what it waits for",
  );
  await restartCoordinator();
  const waiting = await submit(user, ["--gpus", "V100:4", "--", "true"]);
  const queue = await queueOf(user);
  expect(queue.get(waiting)?.reason).toContain(`n1 is drained by ${admin.name}: new disks`);
  const list = plain(await skyOk(user, ["gpus", "list"]));
  expect(list).toMatch(/n1 .*DRAINING/);
  expect(list).toContain(`n1: it is drained by ${admin.name}`);
  await until(() => !/error/i.test(draining.stderr()), "no fault");
  await must(["touch", join(user.home, "go")]);
  await untilStatus(user, id, "SUCCEEDED");
  const ended = await draining.ended;
  expect([ended.code, plain(ended.stdout)]).toEqual([0, expect.stringContaining("✓ n1: empty.")]);
  expect((await rowOf("n1")).admin).toMatchObject({ state: "drained", reason: "new disks", by: admin.name });
  expect((await queueOf(user)).get(waiting)?.status).toBe("PENDING");
  expect(await skyOk(admin, ["admin", "resume", "n1"])).toContain("n1 takes jobs again.");
  await untilStatus(user, waiting, "SUCCEEDED");
});

test("Ctrl-C only stops the watching; a deadline asks first and ends what still runs with the admin's reason", async () => {
  const id = await submit(user, ["--gpus", "V100:1", "--", sleeper]);
  await untilStatus(user, id, "RUNNING");
  const watching = startSkyAtTerminal(admin, ["admin", "drain", "n1", "-r", "new driver", "--wait"]);
  await until(() => watching.stdout().includes("n1 waits for"), "the watching");
  watching.type("\u0003");
  expect((await watching.ended).code).toBe(130);
  expect(watching.stdout()).toContain("Stopped watching.");
  expect((await rowOf("n1")).admin?.state).toBe("draining");

  const unasked = await sky(admin, ["admin", "drain", "n1", "-r", "new driver", "--deadline", "0"]);
  expect([unasked.code, plain(unasked.stderr)]).toEqual([1, expect.stringContaining("Add -y")]);
  const asked = startSkyAtTerminal(admin, ["admin", "drain", "n1", "-r", "new driver", "--deadline", "2s", "--wait"]);
  await until(() => asked.stdout().includes("Proceed?"), "the question");
  expect(plain(asked.stdout())).toContain(`${user.name}'s job ${id} (RUNNING) will be ended in 2s`);
  asked.type("y\r");
  expect((await asked.ended).code).toBe(0);
  await untilStatus(user, id, "FAILED_DRIVER");
  expect((await queueOf(user)).get(id)?.reason).toBe("n1 was drained: new driver");
  await skyOk(admin, ["admin", "resume", "n1"]);
});

test("remove: jobs hinder it, force ends them, the key is refused also after a restart, resume lets it in again", async () => {
  const id = await submit(user, ["--gpus", "V100:1", "--", sleeper]);
  await untilStatus(user, id, "RUNNING");
  const hindered = await sky(admin, ["admin", "remove", "n1"]);
  expect(hindered.code).toBe(1);
  expect(plain(hindered.stderr)).toContain(`Node 'n1' still runs ${user.name}'s job ${id}.`);
  const key = readFileSync(join(site.cluster.dir, "nodes/n1/key"), "utf8");
  expect(await letsIn("n1", key)).toBe(true);
  await skyOk(admin, ["admin", "remove", "n1", "--force", "-y", "-r", "it smokes"]);
  await untilStatus(user, id, "FAILED_DRIVER");
  expect((await queueOf(user)).get(id)?.reason).toBe("n1 was removed from the cluster: it smokes");
  expect(await letsIn("n1", key)).toBe(false);
  await until(async () => (await rowOf("n1")).state === "UNREACHABLE", "the connection's end");
  // It was told what has ended before it was cut off: nothing of the job is left there.
  await until(
    async () => !(await must(["ps", "-eo", "args"])).split("\n").includes(sleeper),
    "the job's processes to end",
  );
  await site.cluster.kill("coordinator");
  site.cluster.startPart("coordinator");
  await until(async () => (await sky(admin, ["admin", "nodes"])).code === 0, "the coordinator");
  expect((await rowOf("n1")).admin).toMatchObject({ state: "removed", reason: "it smokes", by: admin.name });
  expect(await letsIn("n1", key)).toBe(false);
  const never = await sky(user, ["exec", "-c", clusterName, "-d", "--gpus", "V100:1", "--", "true"]);
  expect(plain(never.stderr)).toContain("Requested resources do not match the existing cluster");
  await skyOk(admin, ["admin", "resume", "n1"]);
  await site.cluster.ready();
  await untilStatus(user, await submit(user, ["--gpus", "V100:4", "--", "true"]), "SUCCEEDED");
});

test("rotate-key: the node uses a new key, the old one is refused, also after restarts of both", async () => {
  const file = join(site.cluster.dir, "nodes/n1/key");
  const old = readFileSync(file, "utf8");
  const id = await submit(user, ["--gpus", "V100:1", "--", sleeper]);
  await untilStatus(user, id, "RUNNING");
  const text = plain(await skyOk(admin, ["admin", "rotate-key", "n1"]));
  expect(text).toContain("n1 uses its new key; the old one is refused.");
  const now = readFileSync(file, "utf8");
  expect(now).not.toBe(old);
  expect([await letsIn("n1", old), await letsIn("n1", now)]).toEqual([false, true]);
  expect((await rowOf("n1")).key).toBe("new");
  await site.cluster.kill("agent:n1");
  await site.cluster.kill("coordinator");
  site.cluster.startPart("coordinator");
  site.cluster.startPart("agent:n1");
  await site.cluster.ready();
  expect([await letsIn("n1", old), await letsIn("n1", now)]).toEqual([false, true]);
  await untilStatus(user, id, "RUNNING");
  await skyOk(user, ["cancel", clusterName, "-a", "-y"]);
});

test("what the state does not know is listed, and ended when an admin says so", async () => {
  const state = join(site.cluster.dir, "state/redis");
  const copy = join(site.cluster.dir, "copy");
  const restart = async (meanwhile: string[]): Promise<void> => {
    await site.cluster.kill("coordinator");
    await site.cluster.kill("redis");
    await must(["bash", "-c", meanwhile.join(" && ")]);
    site.cluster.startPart("redis");
    site.cluster.startPart("coordinator");
    await site.cluster.ready();
  };
  await restart([`cp -a ${state}/appendonlydir ${copy}`]);
  const id = await submit(user, ["--gpus", "V100:1", "--", sleeper]);
  await untilStatus(user, id, "RUNNING");
  const { attempt } = (await rowOf("n1")).jobs[0] as { attempt: string };
  await restart([`rm -r ${state}/appendonlydir`, `mv ${copy} ${state}/appendonlydir`]);
  expect(plain(await skyOk(admin, ["admin", "unknown"]))).toMatch(
    new RegExp(`${attempt} +n1 +${user.name.slice(0, 5)}`),
  );
  expect(plain(await skyOk(user, ["gpus", "list"]))).toContain("sky admin unknown");
  expect(plain(await skyOk(admin, ["admin", "unknown", "--end", attempt, "-y"]))).toContain("is being ended");
  await until(async () => (await skyOk(admin, ["admin", "unknown"])).includes("knows everything"), "its end");
  await until(
    async () => !(await must(["ps", "-eo", "args"])).split("\n").includes(sleeper),
    "the job's processes to end",
  );
});

test("root on the head needs no registration, only the socket", async () => {
  const root: TestUser = { name: "root", uid: 0, gid: 0, home: site.cluster.dir, key: "" };
  expect(plain(await skyOk(root, ["admin", "nodes", "--socket", site.cluster.socket]))).toContain(
    `Cluster ${clusterName}`,
  );
  const none = await sky(root, ["admin", "nodes", "--socket", "/nonexistent/api.sock"]);
  expect([none.code, plain(none.stderr)]).toEqual([2, expect.stringContaining("There is no socket")]);
});

test("each thing that an admin did is one line in the log: who, what, why", async () => {
  const lines = site.cluster
    .log("coordinator")
    .split("\n")
    .filter((line) => line.includes("an admin acted"))
    .map((line) => JSON.parse(line) as { admin: string; action: string; reason?: string });
  expect(lines.every((line) => line.admin === admin.name)).toBe(true);
  expect(new Set(lines.map((line) => line.action))).toEqual(
    new Set(["drain", "resume", "remove", "rotate-key", "end-unknown"]),
  );
  expect(lines.find((line) => line.action === "remove")?.reason).toBe("it smokes");
});
