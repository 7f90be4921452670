/**
 * Backup, restore and moving as docs/admin/operations.md says it, on an installed cluster with systemd: the commands are
 * the document's own. Jobs run on all the time, on nodes that keep the keys that they have pinned.
 */
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type Cluster, clusterName, startCluster } from "./cluster.ts";
import { linesOf, rowOf, submit, untilStatus } from "./jobs.ts";
import { runPlaybook } from "./playbooks.ts";
import { theRelease } from "./release.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    users: ["alice"],
    laptop: true,
    coordinatorConfig: { grace_seconds: 2 },
    // As on a real head: a machine's root here is an overlay, in which folders of the image cannot be renamed.
    disks: { head: [{ path: "/var/lib/sky-onprem" }] },
  });
  await cluster.head.must("usermod -aG sky-admin alice");
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") {
    process.stdout.write(await cluster.tell());
  }
});
afterAll(async () => {
  await cluster?.stop();
});

const whole = ["--gpus", "V100:4"];

/** A job that takes a whole node until ~/NAME is there, and says on which one it runs. */
async function longJob(name: string, words: readonly string[] = whole): Promise<number> {
  return submit(cluster, "alice", `echo began; while [ ! -e ~/${name} ]; do sleep 0.2; done; echo over`, words);
}

async function end(name: string): Promise<void> {
  for (const node of cluster.nodes) {
    await node.must(`touch ~/${name}`, { user: "alice" });
  }
}

async function untilOver(id: number): Promise<void> {
  await untilStatus(cluster, "alice", id, "SUCCEEDED");
  expect(await linesOf(cluster, "alice", id)).toEqual(["began", "over"]);
}

test("a backup is put back on the head: nothing is ended, nothing runs twice, what waited is held", async () => {
  const first = await longJob("first");
  const second = await longJob("second");
  await untilStatus(cluster, "alice", first, "RUNNING");
  await untilStatus(cluster, "alice", second, "RUNNING");
  const waits = await longJob("waits");
  const { head } = cluster;
  const refused = await head.run(["sky", "admin", "backup", "/var/backups/sky-1"], { user: "alice" });
  expect([refused.code, refused.stderr]).toEqual([
    1,
    expect.stringContaining("Run: sudo sky admin backup /var/backups/sky-1"),
  ]);
  const said = await head.must("sky admin backup /var/backups/sky-1");
  expect(said).toContain("/var/backups/sky-1 is complete");
  expect((await head.must("stat -c %a:%U /var/backups/sky-1")).trim()).toBe("600:root");
  const daily = "/usr/local/bin/sky admin backup /var/backups/sky-$(date +%F)";
  await head.must(`${daily} && find /var/backups -name 'sky-*' -mtime +14 -delete`);
  expect((await head.must("ls /var/backups | grep -c ^sky-")).trim()).toBe("2");
  await end("first");
  await untilOver(first);
  // It runs and ends, and its node forgets it: only the held mark can save it from running again.
  await end("waits");
  await untilOver(waits);
  const early = await head.run("sky admin restore /var/backups/sky-1 --replace");
  expect(early.code).toBe(1);
  expect(early.stderr).toContain("systemctl stop sky-coordinator");
  await head.must("systemctl stop sky-coordinator");
  const stopped = await head.run("sky admin nodes");
  expect([stopped.code, stopped.stderr]).toEqual([
    1,
    expect.stringContaining("Start it: sudo systemctl start sky-coordinator"),
  ]);
  const restored = await head.must("sky admin restore /var/backups/sky-1 --replace && systemctl start sky-coordinator");
  expect(restored).toMatch(/1 waiting and 2 begun jobs[\s\S]*redis\/before-restore-/);
  const owners = await head.must(
    "find /var/lib/sky-onprem/redis /var/lib/sky-onprem/coordinator -printf '%u\\n' | sort -u",
  );
  expect(owners.trim()).toBe("sky-coordinator");
  await cluster.waitUp();
  await untilStatus(cluster, "alice", second, "RUNNING");
  await untilStatus(cluster, "alice", first, "FAILED_DRIVER");
  expect((await rowOf(cluster, "alice", waits)).reason).toContain("held after a restore");
  const fresh = await longJob("fresh", []);
  await end("fresh");
  await untilOver(fresh);
  expect((await rowOf(cluster, "alice", waits)).status).toBe("PENDING");
  expect(await cluster.skyMust("alice", ["admin", "release"])).toContain(`alice/${waits}`);
  await cluster.skyMust("alice", ["admin", "release", `alice/${waits}`, "--cancel"]);
  await untilStatus(cluster, "alice", waits, "CANCELLED");
  await end("second");
  await untilOver(second);
}, 300_000);

test("the coordinator moves to another machine while jobs run", async () => {
  const runs = await longJob("runs");
  const other = await longJob("other");
  await untilStatus(cluster, "alice", runs, "RUNNING");
  await untilStatus(cluster, "alice", other, "RUNNING");
  const waits = await longJob("waits2");
  const { head } = cluster;
  const fresh = cluster.machine("laptop");
  await head.must("systemctl stop sky-coordinator && sky admin backup /root/sky-move --move");
  await head.must("systemctl start sky-coordinator", { limitMs: 90_000 }).catch(() => {});
  const refused = await cluster.sky("alice", ["queue", clusterName]);
  expect(refused.stderr).toContain("handed over");
  await head.must("systemctl stop sky-coordinator");
  await fresh.must("mkdir -p /etc/sky-onprem && base64 -d >/root/sky-move", {
    input: await head.must("base64 /root/sky-move"),
  });
  await fresh.must("tar -xOf /root/sky-move coordinator.yaml >/etc/sky-onprem/coordinator.yaml");
  const release = await theRelease();
  const inventory = {
    vars: { sky_cluster: clusterName, sky_releases: { [process.arch]: release.archive } },
    head: "laptop",
    nodes: { n1: { sky_agent_accelerators: "V100:4" }, n2: { sky_agent_accelerators: "V100:4" } },
  };
  const installed = await runPlaybook(cluster, "site.yml", inventory, ["--limit", "laptop"]);
  expect(installed.code, installed.text).toBe(0);
  await fresh.must(
    "systemctl stop sky-coordinator && sky admin restore /root/sky-move && systemctl start sky-coordinator",
  );
  const pointed = await runPlaybook(cluster, "site.yml", inventory);
  expect(pointed.code, pointed.text).toBe(0);
  const file = `/etc/sky-onprem/${clusterName}.yml`;
  await fresh.must(
    `sed -e 's/ssh_user: .*/ssh_user: alice/' -e 's|ssh_private_key: .*|ssh_private_key: ~/.ssh/id_ed25519|' ${file} >/home/alice/.sky/local/${clusterName}.yml`,
  );
  await untilStatus(cluster, "alice", runs, "RUNNING");
  expect((await rowOf(cluster, "alice", waits)).reason).not.toContain("held after a restore");
  for (const name of ["runs", "other", "waits2"]) {
    await end(name);
  }
  for (const id of [runs, other, waits]) {
    await untilOver(id);
  }
}, 500_000);
