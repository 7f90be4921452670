/**
 * What a long backlog costs: many waiting jobs of many users are put into a cluster's Redis while its coordinator is
 * down; then it is started, and `sky queue` of one user with a few jobs is timed against the same before, in the empty
 * cluster. Also the memory of coordinator and Redis for each waiting job, and the time until the coordinator serves.
 * Prints one JSON object as its last line. `--jobs N` (100000), `--users N` (500), `--rounds N` (15).
 */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { pino } from "pino";
import { pathsOf } from "../cluster/layout.ts";
import { UserQueues } from "../../coordinator/queue.ts";
import { openLink } from "../../coordinator/redis.ts";
import { openSecrets } from "../../coordinator/secrets.ts";
import { RedisStore } from "../../coordinator/store.ts";
import type { JobRecord } from "../../shared/job.ts";
import { startCluster, type TestCluster } from "../../test/help/cluster.ts";
import { register, sky, skyOk } from "../../test/help/sky.ts";
import { until } from "../../test/help/until.ts";
import { makeUser, removeUser, type TestUser } from "../../test/help/users.ts";

const { values } = parseArgs({
  options: {
    jobs: { type: "string", default: "100000" },
    users: { type: "string", default: "500" },
    rounds: { type: "string", default: "15" },
  },
});
const [jobs, users, rounds] = [Number(values.jobs), Number(values.users), Number(values.rounds)];
/** Waiting jobs of the user who looks, in the empty cluster too: only what belongs to others differs. */
const ownJobs = 20;
const clusterName = "bench";
/** Uids that no account has. */
const firstUid = 1_000_000;
const startLimitMs = 600_000;
const log = pino({ level: "silent" });

interface Sample {
  coordinatorBytes: number;
  redisBytes: number;
  cliMs: number;
  apiMs: number;
}

function median(numbers: number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** As root, on the coordinator's own socket. */
function call(socketPath: string, method: string, path: string, body?: unknown): Promise<{ id: string; text: string }> {
  const text = body === undefined ? "" : JSON.stringify(body);
  const headers = text === "" ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, path, method, headers }, (reply) => {
      let received = "";
      reply.on("data", (chunk: Buffer) => {
        received += chunk.toString();
      });
      reply.on("end", () => {
        const id = String(reply.headers["x-skypilot-request-id"] ?? "");
        return reply.statusCode === 200
          ? resolve({ id, text: received })
          : reject(new Error(`${path} answered ${reply.statusCode} ${received}`));
      });
    });
    outgoing.on("error", reject);
    outgoing.end(text);
  });
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** A reading call to the API, whose answer is waited for. */
async function ask(socket: string): Promise<void> {
  const { id } = await call(socket, "POST", "/queue", { cluster_name: clusterName });
  await call(socket, "GET", `/api/get?request_id=${id}`);
}

async function sample(cluster: TestCluster, user: TestUser): Promise<Sample> {
  const cli: number[] = [];
  const api: number[] = [];
  for (let round = -2; round < rounds; round += 1) {
    const one = await timed(async () => {
      const result = await sky(user, ["queue", clusterName]);
      if (result.code !== 0) {
        throw new Error(`sky queue ended with ${result.code}: ${result.stderr}`);
      }
    });
    const other = await timed(() => ask(cluster.socket));
    if (round >= 0) {
      cli.push(one);
      api.push(other);
    }
  }
  const status = readFileSync(`/proc/${cluster.pid("coordinator")}/status`, "utf8");
  const link = await openLink(pathsOf(cluster.dir).redisSocket, "bench");
  const info = await link.client.info("memory");
  link.close();
  return {
    coordinatorBytes: Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024,
    redisBytes: Number(/^used_memory:(\d+)/m.exec(info)?.[1]),
    cliMs: median(cli),
    apiMs: median(api),
  };
}

function recordOf(uid: number, taskRef: string): JobRecord {
  return {
    ...{
      format: 1,
      uid,
      user: `user${uid}`,
      requestId: randomUUID(),
      kind: "exec",
      name: "train",
      cluster: clusterName,
    },
    ...{ taskRef, shape: { nodes: 1, accelerators: null, cpus: 1, memoryGb: 0 }, resourcesText: "1x[CPU:1]" },
    ...{ hasSetup: false, hasRun: true, submittedAt: Date.now(), phase: "waiting", attempt: null, startedAt: null },
    ...{ cancelRequestedAt: null, endedAt: null, end: null, reason: null },
  };
}

async function fill(cluster: TestCluster): Promise<void> {
  const { redisSocket, stateDir } = pathsOf(cluster.dir);
  const queue = new UserQueues(await openLink(redisSocket, "bench"), {
    ...{ finishedKeptSeconds: 86_400, finishedKeptPerUser: 1000, log },
  });
  const store = new RedisStore(await openLink(redisSocket, "bench"), openSecrets(join(stateDir)), log);
  for (let done = 0; done < jobs; done += 2000) {
    const page = Array.from({ length: Math.min(2000, jobs - done) }, async (_, index) => {
      const uid = firstUid + ((done + index) % users);
      const taskRef = await store.putPayload(uid, { setup: null, run: `train ${done + index}`, envs: { A: "1" } });
      await queue.add(recordOf(uid, taskRef));
    });
    await Promise.all(page);
  }
  await queue.close();
  await store.close();
}

async function restart(cluster: TestCluster): Promise<number> {
  return await timed(async () => {
    cluster.startPart("coordinator");
    await until(
      () =>
        ask(cluster.socket).then(
          () => true,
          () => false,
        ),
      "an answer",
      startLimitMs,
    );
  });
}

async function measure(cluster: TestCluster, user: TestUser): Promise<Record<string, number>> {
  await skyOk(user, ["launch", "-c", clusterName, "", "-y"]);
  await call(cluster.socket, "POST", "/onprem/admin/drain", { nodes: ["n1"], reason: "bench" });
  for (let count = 0; count < ownJobs; count += 1) {
    await skyOk(user, ["exec", clusterName, "-d", "--", "true"]);
  }
  await cluster.kill("coordinator");
  const emptyStartMs = await restart(cluster);
  const empty = await sample(cluster, user);
  await cluster.kill("coordinator");
  const fillMs = await timed(() => fill(cluster));
  process.stdout.write(`${jobs} jobs of ${users} users were put there in ${(fillMs / 1000).toFixed(1)} s\n`);
  const startMs = await restart(cluster);
  const full = await sample(cluster, user);
  const round2 = (value: number): number => Math.round(value * 100) / 100;
  return {
    queue_ratio: round2(full.cliMs / empty.cliMs),
    api_queue_ratio: round2(full.apiMs / empty.apiMs),
    coordinator_bytes_per_job: Math.round((full.coordinatorBytes - empty.coordinatorBytes) / jobs),
    redis_bytes_per_job: Math.round((full.redisBytes - empty.redisBytes) / jobs),
    start_seconds: round2(startMs / 1000),
    empty_start_seconds: round2(emptyStartMs / 1000),
  };
}

const user = await makeUser();
const cluster = await startCluster([
  ...["--name", clusterName, "--accelerators=-"],
  ...["--coordinator-config", JSON.stringify({ users: { min_uid: 1000, allow: ["root"] } })],
]);
try {
  register(user, cluster, null);
  const result = await measure(cluster, user);
  process.stdout.write(
    `aims: queue_ratio 1.5\n${JSON.stringify({ bench: "queue", jobs, users, rounds, ...result })}\n`,
  );
} finally {
  await cluster.stop();
  await removeUser(user);
}
