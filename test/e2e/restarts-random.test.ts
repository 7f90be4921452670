/**
 * Parts are killed at random moments, also several at once, while jobs of one and two ranks are submitted, start, run
 * and end. Whatever was acknowledged runs exactly once and ends as its script says. SKY_STRESS_SECONDS makes it longer,
 * SKY_STRESS_SEED repeats a choice of kills; neither decides the exact moments.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { runAs, sky } from "../help/sky.ts";
import { clusterName, jobLines, plain, queueOf, type Site, startSite, tell } from "../help/site.ts";
import { until } from "../help/until.ts";
import { processesOf, type TestUser } from "../help/users.ts";

const seconds = Number(process.env["SKY_STRESS_SECONDS"] ?? "25");
const seed = Number(process.env["SKY_STRESS_SEED"] ?? Date.now() % 100_000);
const parts = ["coordinator", "redis", "agent:n1", "agent:n2", "skylets"];

let site: Site;
let user: TestUser;

beforeAll(async () => {
  site = await startSite({ accelerators: "-,-" });
  user = site.users[0] as TestUser;
  await runAs(user, ["mkdir", join(user.home, "runs")]);
});
afterAll(async () => await site?.stop());
beforeEach(({ onTestFailed }) => {
  onTestFailed(async () => await tell(site));
});

/** Numbers from 0 to 1 that depend on the seed only (mulberry32). */
function randomFrom(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

interface Submitted {
  id: number;
  ranks: number;
  code: number;
}

function script(code: number): string {
  const file = "~/runs/$SKYPILOT_INTERNAL_JOB_ID.$SKYPILOT_NODE_RANK";
  return `echo begin >> ${file}; echo out $SKYPILOT_NODE_RANK; sleep 0.4; echo end >> ${file}; exit ${code}`;
}

/** Null when nothing was acknowledged. */
async function submitOne(ranks: number, code: number): Promise<Submitted | null> {
  const args = ["exec", "-c", clusterName, "-d", "--num-nodes", String(ranks), "--", script(code)];
  const result = await sky(user, args, { limitMs: 90_000 });
  const id = /Job submitted, ID: (\d+)/.exec(plain(result.stdout))?.[1];
  return id === undefined ? null : { id: Number(id), ranks, code };
}

async function killAndRestart(chosen: string[]): Promise<void> {
  for (const part of chosen) {
    if (part !== "skylets") {
      await site.cluster.kill(part);
      continue;
    }
    for (const pid of processesOf(user.uid)) {
      try {
        if (readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("\0--socket\0")) {
          process.kill(pid, "SIGKILL");
        }
      } catch {
        // It has ended by itself.
      }
    }
  }
  for (const part of chosen.filter((one) => one !== "skylets")) {
    site.cluster.startPart(part);
  }
}

function ran(job: Submitted): string[] {
  return Array.from({ length: job.ranks }, (_, rank) => {
    const file = join(user.home, "runs", `${job.id}.${rank}`);
    return existsSync(file) ? readFileSync(file, "utf8").trim().replaceAll("\n", ",") : "";
  });
}

test(`random kills (seed ${seed})`, { timeout: (seconds + 240) * 1000 }, async () => {
  const random = randomFrom(seed);
  const end = performance.now() + seconds * 1000;
  const jobs: Submitted[] = [];
  const submitter = async (ranks: number, code: number): Promise<void> => {
    while (performance.now() < end) {
      const job = await submitOne(ranks, code);
      if (job !== null) {
        jobs.push(job);
      }
    }
  };
  const submitting = Promise.all([submitter(1, 0), submitter(2, 0), submitter(1, 7)]);
  while (performance.now() < end) {
    await sleep(random() * 1_500);
    await killAndRestart(parts.filter(() => random() < 0.3));
    if (random() < 0.5) {
      // Otherwise the next kill meets a cluster that is still coming back.
      await site.cluster.ready();
    }
  }
  await submitting;
  await site.cluster.ready();
  process.stdout.write(`${jobs.length} jobs were acknowledged\n`);
  expect(jobs.length).toBeGreaterThan(0);
  expect(new Set(jobs.map((job) => job.id)).size).toBe(jobs.length);
  await until(
    async () => [...(await queueOf(user)).values()].every((row) => /SUCCEEDED|FAILED|CANCELLED/.test(row.status)),
    "every job's end",
    180_000,
  );
  const rows = await queueOf(user);
  for (const job of jobs) {
    expect(rows.get(job.id)).toMatchObject({ status: job.code === 0 ? "SUCCEEDED" : "FAILED" });
    expect({ ...job, ran: ran(job) }).toEqual({ ...job, ran: Array(job.ranks).fill("begin,end") });
  }
  for (const job of jobs.slice(-6)) {
    const log = await sky(user, ["logs", clusterName, String(job.id), "--no-follow"]);
    expect(jobLines(log.stdout).sort()).toEqual(Array.from({ length: job.ranks }, (_, rank) => `out ${rank}`));
  }
});
