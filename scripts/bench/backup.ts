/**
 * What a backup of a large state costs: jobs are put into a private Redis server, then `backup` runs while a second
 * connection asks the server all the time, so that the longest wait for an answer shows; then `restore` puts it back.
 * Prints one JSON object as its last line. `--jobs N` changes the number of jobs (100000).
 */
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { pino } from "pino";
import { putBack } from "../../coordinator/backup/put-back.ts";
import { takeBackup } from "../../coordinator/backup/take.ts";
import { coordinatorConfigSchema } from "../../coordinator/config.ts";
import { UserQueues } from "../../coordinator/queue.ts";
import { openLink } from "../../coordinator/redis.ts";
import { openSecrets } from "../../coordinator/secrets.ts";
import { RedisStore } from "../../coordinator/store.ts";
import type { JobRecord } from "../../shared/job.ts";
import { startRedis } from "../../test/help/redis.ts";

const { values } = parseArgs({ options: { jobs: { type: "string", default: "100000" } } });
const jobs = Number(values.jobs);
const users = 50;
const log = pino({ level: "silent" });
const redis = await startRedis();
const dir = mkdtempSync(join(tmpdir(), "sky-bench-"));

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

function recordOf(uid: number, taskRef: string): JobRecord {
  return {
    ...{ format: 1, uid, user: `user${uid}`, requestId: randomUUID(), kind: "exec", name: "train", cluster: "lab" },
    ...{ taskRef, shape: { nodes: 1, accelerators: null, cpus: 0.5, memoryGb: 0 }, resourcesText: "1x[CPU:0.5]" },
    ...{ hasSetup: false, hasRun: true, submittedAt: Date.now(), phase: "waiting", attempt: null, startedAt: null },
    ...{ cancelRequestedAt: null, endedAt: null, end: null, reason: null },
  };
}

async function fill(): Promise<void> {
  const queue = new UserQueues(await openLink(redis.socket, "bench"), {
    ...{ finishedKeptSeconds: 86_400, finishedKeptPerUser: 1000, log },
  });
  const store = new RedisStore(await openLink(redis.socket, "bench"), openSecrets(dir), log);
  await store.open();
  for (let done = 0; done < jobs; done += 2000) {
    const page = Array.from({ length: Math.min(2000, jobs - done) }, async (_, index) => {
      const uid = 2000 + (index % users);
      const taskRef = await store.putPayload(uid, { setup: null, run: `train ${done + index}`, envs: { A: "1" } });
      await queue.add(recordOf(uid, taskRef));
    });
    await Promise.all(page);
  }
  await queue.close();
  await store.close();
}

/** The longest wait (ms) for an answer while `work` runs. */
async function longestWait(work: () => Promise<unknown>): Promise<number> {
  const link = await openLink(redis.socket, "bench");
  let longest = 0;
  let over = false;
  const asking = (async () => {
    for (;;) {
      longest = Math.max(longest, await timed(() => link.client.incr("bench")));
      if (over) {
        return;
      }
    }
  })();
  await work();
  over = true;
  await asking;
  await link.client.del("bench");
  link.close();
  return longest;
}

try {
  writeFileSync(join(dir, "host_key"), "key");
  const config = coordinatorConfigSchema.parse({
    ...{ cluster: "lab", host_key: join(dir, "host_key"), redis: { socket: redis.socket }, state_dir: dir },
    ...{ socket: join(dir, "api.sock"), nodes: [{ name: "n1", key: "ssh-ed25519 AAAA" }] },
  });
  await fill();
  const file = join(dir, "backup");
  let backupMs = 0;
  const usual = await longestWait(() => new Promise((resolve) => setTimeout(resolve, 3000)));
  const longest = await longestWait(async () => {
    backupMs = await timed(() => takeBackup(config, { file, configText: "", move: false }, () => {}));
  });
  await redis.kill();
  const restoreMs = await timed(() => putBack(config, { file, replace: true }, () => {}));
  const megabytes = Math.round(statSync(file).size / 1024 / 1024);
  const seconds = (ms: number): number => Math.round(ms / 10) / 100;
  const rounded = { longest_wait_ms: Math.round(longest), usual_longest_wait_ms: Math.round(usual) };
  const result = { jobs, backup_mb: megabytes, backup_seconds: seconds(backupMs), ...rounded };
  process.stdout.write(`${JSON.stringify({ ...result, restore_seconds: seconds(restoreMs) })}\n`);
} finally {
  await redis.remove();
  rmSync(dir, { recursive: true, force: true });
}
