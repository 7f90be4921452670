/** An installed cluster on whole machines: what happens to jobs when sessions end, power goes, or a network is cut. */
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { until } from "../help/until.ts";
import { type Cluster, startCluster } from "./cluster.ts";
import { writeGuestFile } from "./guest-files.ts";
import { linesOf, rowOf, submit, untilStatus } from "./jobs.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    users: ["alice", "bob"],
    laptop: true,
    coordinatorConfig: { grace_seconds: 2 },
    before: (machine) =>
      writeGuestFile(machine.root, "/etc/systemd/logind.conf.d/kill.conf", "[Login]\nKillUserProcesses=yes\n"),
  });
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") {
    process.stdout.write(await cluster.tell());
  }
});
afterAll(async () => {
  await cluster?.stop();
});

const countTo = (lines: number, pause: string): string =>
  `for i in $(seq ${lines}); do echo line $i; sleep ${pause}; done`;
const counted = (lines: number): string[] => Array.from({ length: lines }, (_, index) => `line ${index + 1}`);

test("where logind ends what a user leaves behind, jobs go on when their user has logged out", async () => {
  const id = await submit(
    cluster,
    "alice",
    'hostname; touch ~/began; while [ ! -e ~/end ]; do sleep 0.1; done; echo "over"',
  );
  const row = await untilStatus(cluster, "alice", id, "RUNNING");
  const node = cluster.machine(row.nodes[0] ?? "");
  // A login on that node that leaves a process of its own behind.
  const left = await node.sshMust("alice", "nohup sleep 1000 >/dev/null 2>&1 & echo $!");
  await until(async () => (await node.run(["ps", "-p", left.trim()])).code !== 0, "logind to end what the login left");
  expect((await rowOf(cluster, "alice", id)).status).toBe("RUNNING");
  await node.must("touch ~/end", { user: "alice" });
  await untilStatus(cluster, "alice", id, "SUCCEEDED");
  expect(await linesOf(cluster, "alice", id)).toEqual([node.name, "over"]);
});

test("a job goes on while its node's network is cut, and nothing of its output is missing", async () => {
  const id = await submit(cluster, "bob", countTo(150, "0.2"));
  const row = await untilStatus(cluster, "bob", id, "RUNNING");
  const node = cluster.machine(row.nodes[0] ?? "");
  await until(async () => (await linesOf(cluster, "bob", id)).length > 2, "the first lines");
  await node.cut();
  // How long the cut lasts is what is tried: longer than any answer may take.
  const before = Date.now();
  await until(() => Date.now() - before > 20_000, "20 seconds", 60_000);
  expect((await rowOf(cluster, "bob", id)).status).toBe("RUNNING");
  await node.join();
  await untilStatus(cluster, "bob", id, "SUCCEEDED", 120_000);
  expect(await linesOf(cluster, "bob", id)).toEqual(counted(150));
  await cluster.waitUp();
});

test("a node that loses its power: its job ends with the cause when the node is back, and others can run there", async () => {
  const id = await submit(cluster, "alice", "echo begun; sleep 1000", ["--gpus", "V100:4"]);
  const row = await untilStatus(cluster, "alice", id, "RUNNING");
  const node = cluster.machine(row.nodes[0] ?? "");
  await node.kill();
  await node.start();
  const ended = await untilStatus(cluster, "alice", id, "FAILED_DRIVER", 120_000);
  expect(ended.reason).toMatch(/restarted while the job ran/);
  expect(ended.reason).toContain(node.name);
  await cluster.waitUp();
  const both = await submit(cluster, "alice", "hostname", ["--gpus", "V100:4", "--num-nodes", "2"]);
  await untilStatus(cluster, "alice", both, "SUCCEEDED");
  expect((await linesOf(cluster, "alice", both)).sort()).toEqual(["n1", "n2"]);
});

test("a job goes on while the head has lost its power, and its user sees its end", async () => {
  const id = await submit(cluster, "alice", countTo(60, "0.2"));
  await untilStatus(cluster, "alice", id, "RUNNING");
  await cluster.head.kill();
  await cluster.head.start();
  await cluster.waitUp();
  await untilStatus(cluster, "alice", id, "SUCCEEDED", 120_000);
  expect(await linesOf(cluster, "alice", id)).toEqual(counted(60));
});
