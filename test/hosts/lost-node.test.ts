/**
 * A node that disappears, on real machines: its network is cut, or it loses its power. Its jobs are unknown, then end with
 * the cause or start elsewhere, and never while the first copy lives: every copy writes down the time by itself, in a home
 * that all machines share. A node that comes back late is cleaned; one that comes back in time has lost nothing.
 */
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { until } from "../help/until.ts";
import { type Cluster, clusterName, startCluster } from "./cluster.ts";
import { rowOf, untilStatus } from "./jobs.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    nodes: ["n1", "n2"],
    users: ["alice"],
    sharedHome: true,
    coordinatorConfig: { grace_seconds: 1, lost_node_seconds: 15, lease_seconds: 10 },
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

/** Writes the time ten times a second into a file of its own, also from a helper that has left the session; ignores TERM. */
function task(recovery: string): string {
  const run = [
    "trap '' TERM",
    'mkdir -p ~/runs/$SKYPILOT_INTERNAL_JOB_ID && cd ~/runs/$SKYPILOT_INTERNAL_JOB_ID && f="$SKY_ONPREM_ATTEMPT"',
    'setsid env -i bash -c \'while :; do date +%s%3N >> "$0"; sleep 0.1; done\' "$f.helper" >/dev/null 2>&1 &',
    'while [ ! -e go ]; do date +%s%3N >> "$f"; sleep 0.1; done',
  ];
  return `resources:\n  accelerators: V100:1\n  job_recovery: ${recovery}\nrun: |\n  ${run.join("\n  ")}\n`;
}

async function submitTask(recovery: string): Promise<number> {
  await cluster.head.must(["sh", "-c", 'printf %s "$1" > ~/task.yaml', "sh", task(recovery)], { user: "alice" });
  const text = await cluster.skyMust("alice", ["exec", "-c", clusterName, "-d", "/home/alice/task.yaml"]);
  return Number(/Job submitted, ID: (\d+)/.exec(text)?.[1]);
}

/** First and last time (ms since 1970) that each copy has written, in the order in which they began. */
async function copies(id: number): Promise<{ name: string; first: number; last: number }[]> {
  const script = `cd ~alice/runs/${id} 2>/dev/null || exit 0; for f in *-*; do echo "$f $(head -n1 "$f") $(tail -n1 "$f")"; done`;
  const lines = (await cluster.head.must(script))
    .trim()
    .split("\n")
    .filter((line) => line.includes(" "));
  const found = lines.map((line) => line.split(" "));
  return found
    .map(([name = "", first, last]) => ({ name, first: Number(first), last: Number(last) }))
    .sort((a, b) => a.first - b.first);
}

async function untilBegun(id: number, count: number): Promise<Awaited<ReturnType<typeof copies>>> {
  return await until(
    async () => {
      const found = await copies(id);
      return found.length === count ? found : null;
    },
    `${count} writers of job ${id}`,
    120_000,
  );
}

/** The second copy's writers began after the first one's had all written their last. */
async function expectApart(id: number): Promise<void> {
  const [first, helper, ...second] = await untilBegun(id, 4);
  const died = Math.max(first?.last ?? Number.POSITIVE_INFINITY, helper?.last ?? Number.POSITIVE_INFINITY);
  expect(died).toBeLessThan(Math.min(...second.map((one) => one.first)));
}

test("a cut node: unknown, FAILED_DRIVER or started elsewhere; cleaned when it is back", async () => {
  const [n1] = cluster.nodes;
  const plain = await submitTask("none");
  const recovers = await submitTask("EAGER_NEXT_REGION");
  await untilBegun(plain, 2);
  await untilBegun(recovers, 2);
  expect([await rowOf(cluster, "alice", plain), await rowOf(cluster, "alice", recovers)]).toMatchObject([
    { nodes: ["n1"] },
    { nodes: ["n1"] },
  ]);
  await n1?.cut();
  await until(
    async () => (await rowOf(cluster, "alice", plain)).reason?.startsWith("n1 is unreachable") === true,
    "the job to be unknown",
    60_000,
  );
  expect((await rowOf(cluster, "alice", plain)).status).toBe("RUNNING");
  const ended = await untilStatus(cluster, "alice", plain, "FAILED_DRIVER");
  expect(ended.reason).toMatch(/^n1 was lost: no report came from it for \d+ s/);
  await expectApart(recovers);
  expect((await untilStatus(cluster, "alice", recovers, "RUNNING")).nodes).toEqual(["n2"]);
  // What does not recover has run on all the time, and is stopped only now.
  expect((await n1?.must("pgrep -u alice -c bash"))?.trim()).not.toBe("0");
  await n1?.join();
  await cluster.waitUp();
  await until(async () => (await n1?.run("pgrep -u alice bash"))?.code === 1, "a clean node", 60_000);
  await cluster.head.must(`touch ~alice/runs/${recovers}/go`);
  await untilStatus(cluster, "alice", recovers, "SUCCEEDED");
  expect(await copies(recovers)).toHaveLength(4);
}, 400_000);

test("a short cut loses nothing; a power loss starts what recovers elsewhere", async () => {
  const id = await submitTask("FAILOVER");
  await untilBegun(id, 2);
  // Which of the two: n1 may still be giving back what the test above left there.
  const [first] = (await rowOf(cluster, "alice", id)).nodes;
  const node = cluster.nodes.find((one) => one.name === first);
  const other = cluster.nodes.find((one) => one.name !== first);
  expect(new Set([node?.name, other?.name])).toEqual(new Set(["n1", "n2"]));
  await node?.cut();
  await until(async () => (await copies(id)).length === 2, "the job", 5_000);
  await node?.join();
  await cluster.waitUp();
  expect((await rowOf(cluster, "alice", id)).status).toBe("RUNNING");
  await node?.kill();
  await expectApart(id);
  expect((await untilStatus(cluster, "alice", id, "RUNNING")).nodes).toEqual([other?.name]);
  await node?.start();
  await cluster.waitUp();
  await cluster.head.must(`touch ~alice/runs/${id}/go`);
  await untilStatus(cluster, "alice", id, "SUCCEEDED");
  expect(await copies(id)).toHaveLength(4);
}, 400_000);
