/**
 * The head loses its power while users submit as fast as they can: on a disk that forgets what was not fsynced, every
 * acknowledged job is there when the head is back, and none is there twice. Also on a head whose state is a second old,
 * where the first keys and folders have only just been made. The moments come from a seed, which is printed. Then a full
 * disk: what was acknowledged stays, new jobs are refused in words, and everything goes on when there is space again.
 */
import { randomInt } from "node:crypto";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { QueueRow } from "../help/site.ts";
import { until } from "../help/until.ts";
import { type Cluster, clusterName, startCluster } from "./cluster.ts";
import { rowOf, submit, untilStatus } from "./jobs.ts";

const users = ["alice", "bob", "carol"];
const rounds = Number(process.env["SKY_POWER_ROUNDS"] ?? 5);
const seed = Number(process.env["SKY_POWER_SEED"] ?? randomInt(1_000_000));
let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    nodes: ["n1"],
    users,
    coordinatorConfig: { grace_seconds: 1, limits: { free_disk_mb: 24 } },
    agentConfig: { cpus: 1 },
    disks: { head: [{ path: "/var/lib/sky-onprem", megabytes: 192 }] },
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

/** Numbers from 0 to 1, the same ones for the same seed. */
function numbers(from: number): () => number {
  let state = from;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state / 2 ** 31;
  };
}

/** Submits over the API on four connections until it is ended; prints a job's name once it is acknowledged. */
const writer = `
import http.client, json, socket, sys, threading, uuid
class Call(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX); self.sock.settimeout(20)
        self.sock.connect("/run/sky-coordinator/api.sock")
said = threading.Lock()
def work(part):
    call, count, name, request = None, 0, None, None
    while True:
        try:
            call = call or Call("head")
            if name is None:
                count += 1
                name, request = "%s-%d-%d" % (sys.argv[1], part, count), str(uuid.uuid4())
            body = json.dumps({"task": "name: %s\\nrun: echo %s >> ~/ran\\n" % (name, name), "cluster_name": "lab"})
            call.request("POST", "/exec", body, {"Content-Type": "application/json", "X-Skypilot-Request-ID": request})
            reply = call.getresponse(); reply.read()
            if reply.status != 200: raise OSError(reply.status)
            call.request("GET", "/api/get?request_id=" + request)
            reply = call.getresponse(); got = json.loads(reply.read())
            if reply.status == 200 and got["status"] == "SUCCEEDED":
                with said: print(name, flush=True)
            elif got.get("detail", got).get("status") == "FAILED":
                with said: print("refused", got.get("detail", got)["error"], flush=True)
                if len(sys.argv) > 2: return
            name = None
        except Exception as error:
            print(repr(error), file=sys.stderr); call = None; threading.Event().wait(0.05)
threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
[one.start() for one in threads]; [one.join() for one in threads]
`;

async function queueOf(user: string): Promise<QueueRow[]> {
  const text = await cluster.skyMust(user, ["queue", clusterName, "-o", "json"]);
  const parsed = JSON.parse(text) as QueueRow[] | Record<string, QueueRow[]>;
  return Array.isArray(parsed) ? parsed : Object.values(parsed).flat();
}

/** Writers of every user until the power goes, `ms` after the first job was acknowledged; returns what they were promised. */
async function writeUntilPowerLoss(label: string, ms: number): Promise<Map<string, string[]>> {
  const names = new Map(users.map((user) => [user, [] as string[]]));
  const writers = users.map((user) =>
    cluster.head.launch(["python3", "-c", writer, `${label}-${user}`], { user, limitMs: 120_000 }),
  );
  const words = (): string[][] =>
    writers.map((one) =>
      one
        .stdout()
        .split("\n")
        .filter((line) => line !== ""),
    );
  await until(() => words().some((one) => one.length > 0), "the first acknowledged job", 60_000);
  await new Promise((resolve) => setTimeout(resolve, ms));
  await cluster.head.kill();
  await Promise.all(writers.map((one) => one.ended));
  for (const [index, user] of users.entries()) {
    names.set(user, words()[index] ?? []);
  }
  await cluster.head.start();
  return names;
}

/** How many were promised and are not there; fails when one is there twice. */
async function lostOf(promised: Map<string, string[]>): Promise<string[]> {
  const lost: string[] = [];
  for (const [user, names] of promised) {
    const found = (await queueOf(user)).map((row) => row.job_name);
    expect(new Set(found).size, `${user} has a job twice`).toBe(found.length);
    lost.push(...names.filter((name) => !found.includes(name)));
  }
  return lost;
}

test(`what was acknowledged survives ${rounds} power losses of the head (seed ${seed})`, async () => {
  const next = numbers(seed);
  // The node's one CPU is taken, so that the others wait and all of them can be counted at the end.
  const filler = await submit(cluster, "alice", "while [ ! -e ~/end ]; do sleep 0.2; done", ["--cpus", "1"]);
  await untilStatus(cluster, "alice", filler, "RUNNING");
  const promised = new Map(users.map((user) => [user, [] as string[]]));
  for (let round = 1; round <= rounds; round += 1) {
    for (const [user, names] of await writeUntilPowerLoss(`r${round}`, 200 + next() * 2_500)) {
      promised.get(user)?.push(...names);
    }
    await cluster.waitUp();
    expect(await lostOf(promised)).toEqual([]);
  }
  const count = [...promised.values()].flat().length;
  process.stdout.write(`power lost ${rounds} times, seed ${seed}: ${count} jobs acknowledged, 0 lost, 0 twice\n`);
  expect(count).toBeGreaterThan(rounds * users.length);
  expect((await rowOf(cluster, "alice", filler)).status).toBe("RUNNING");
  await cluster.nodes[0]?.must("touch ~/end", { user: "alice" });
  await untilStatus(cluster, "alice", filler, "SUCCEEDED");
  for (const user of users) {
    await cluster.skyMust(user, ["cancel", clusterName, "--all", "-y"]);
  }
}, 400_000);

test("a full disk: new jobs are refused in words, running ones end, and it goes on when there is space", async () => {
  const running = await submit(cluster, "bob", "while [ ! -e ~/end2 ]; do sleep 0.2; done; echo over");
  await untilStatus(cluster, "bob", running, "RUNNING");
  const waiting = await submit(cluster, "bob", "echo waited", ["--cpus", "1"]);
  // All but a little, as something else on that disk would take it; then the rest by submitting.
  await cluster.head.must(
    "fallocate -l $(($(df --output=avail -B1 /var/lib/sky-onprem | tail -1) - 28000000)) /var/lib/sky-onprem/.filler",
  );
  const result = await cluster.head.run(
    ["python3", "-c", writer.replace("echo %s >>", `true ${"x".repeat(60_000)}; echo %s >>`), "full", "stop"],
    {
      user: "carol",
      limitMs: 120_000,
    },
  );
  const lines = result.stdout.split("\n").filter((line) => line !== "");
  expect(lines.at(-1)).toMatch(/disk is nearly full \(\d+ MB free in \S+, 24 MB are kept\); no new jobs are taken/);
  const names = lines.filter((line) => !line.startsWith("refused"));
  expect(names.length).toBeGreaterThan(0);
  await cluster.nodes[0]?.must("touch ~/end2", { user: "bob" });
  await untilStatus(cluster, "bob", running, "SUCCEEDED");
  await untilStatus(cluster, "bob", waiting, "SUCCEEDED");
  // Now to the last byte: Redis may end of it. Nothing that was promised is lost by that.
  await cluster.head.must("dd if=/dev/zero of=/var/lib/sky-onprem/.filler2 bs=4k || true");
  const refused = await cluster.sky("bob", ["exec", "-c", clusterName, "-d", "--", "true"]);
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).toMatch(/disk is nearly full|Redis/);
  await cluster.head.must("rm /var/lib/sky-onprem/.filler /var/lib/sky-onprem/.filler2");
  await cluster.waitUp();
  const after = await until(
    async () => submit(cluster, "bob", "echo after").catch(() => 0),
    "submissions to be taken again",
    60_000,
  );
  await untilStatus(cluster, "bob", after, "SUCCEEDED");
  expect(await lostOf(new Map([["carol", names]]))).toEqual([]);
}, 300_000);

test("a head whose state is a second old loses nothing either", async () => {
  await cluster.head.must(
    "systemctl stop sky-coordinator sky-redis && rm -rf /var/lib/sky-onprem/redis/appendonlydir /var/lib/sky-onprem/coordinator/secrets.key && sync && systemctl start sky-redis sky-coordinator",
  );
  const promised = await writeUntilPowerLoss("new", 100);
  await until(
    async () => (await cluster.sky("alice", ["queue", clusterName, "-o", "json"])).code === 0,
    "the head",
    60_000,
  );
  expect(await lostOf(promised)).toEqual([]);
}, 200_000);
