/**
 * Killing a part at any moment loses no acknowledged job, runs none twice and ends none. Every job appends to a file of
 * its own in the user's home, so that what really ran can be counted, whatever the programs claim.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { must } from "../help/run.ts";
import { runAs, sky, startSky } from "../help/sky.ts";
import {
  clusterName,
  jobLines,
  plain,
  type Site,
  startSite,
  statusOf,
  submit,
  tell,
  untilStatus,
} from "../help/site.ts";
import { until } from "../help/until.ts";
import { processesOf, type TestUser } from "../help/users.ts";

let site: Site;
let user: TestUser;

beforeAll(async () => {
  site = await startSite({ accelerators: "-" });
  user = site.users[0] as TestUser;
  await runAs(user, ["mkdir", join(user.home, "runs")]);
});
afterAll(async () => await site?.stop());
beforeEach(({ onTestFailed }) => {
  onTestFailed(async () => await tell(site));
});

/** Begins, waits for its release (a minute at most), ends; one line each in ~/runs/ID. */
const script = [
  "f=~/runs/$SKYPILOT_INTERNAL_JOB_ID",
  'echo begin >> "$f"',
  "echo output of the job",
  'for i in $(seq 1200); do [ -e "$f.go" ] && break; sleep 0.05; done',
  'echo end >> "$f"',
].join("; ");

function ran(id: number): string {
  const file = join(user.home, "runs", String(id));
  return existsSync(file) ? readFileSync(file, "utf8").trim().replaceAll("\n", ",") : "";
}

async function release(id: number): Promise<void> {
  await must(["touch", join(user.home, "runs", `${id}.go`)]);
}

function skyletPid(): number | null {
  const found = processesOf(user.uid).find((pid) => {
    try {
      return /skylet[^\0]*\.mjs/.test(readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, 3).join(" "));
    } catch {
      return false;
    }
  });
  return found ?? null;
}

const parts = ["coordinator", "agent:n1", "redis", "skylet"] as const;
type Part = (typeof parts)[number];

async function kill(part: Part): Promise<void> {
  if (part !== "skylet") {
    await site.cluster.kill(part);
    return;
  }
  const pid = skyletPid();
  if (pid !== null) {
    process.kill(pid, "SIGKILL");
    await until(() => skyletPid() !== pid, "the skylet's end");
  }
}

/** The agent brings a skylet back by itself. */
async function restart(part: Part): Promise<void> {
  if (part !== "skylet") {
    site.cluster.startPart(part);
  }
  await site.cluster.ready();
}

async function finished(id: number): Promise<void> {
  await release(id);
  await untilStatus(user, id, "SUCCEEDED", 60_000);
  expect(ran(id)).toBe("begin,end");
  const log = await sky(user, ["logs", clusterName, String(id), "--no-follow"]);
  expect(jobLines(log.stdout)).toEqual(["output of the job"]);
}

const rounds = 3;

describe.each(parts)("kill -9 of %s", (part) => {
  test("while a job is submitted", async () => {
    for (let round = 0; round < rounds; round += 1) {
      const running = startSky(user, ["exec", "-c", clusterName, "-d", "--", script]);
      await sleep(60 + round * 120);
      await kill(part);
      await restart(part);
      const result = await running.ended;
      const id = /Job submitted, ID: (\d+)/.exec(plain(result.stdout))?.[1];
      // Without an answer nothing was promised; with one, everything is.
      if (id !== undefined) {
        await finished(Number(id));
      } else {
        expect(plain(result.stderr)).not.toMatch(/^\s+at /m);
      }
    }
  });

  test("while a job starts", async () => {
    for (let round = 0; round < rounds; round += 1) {
      const id = await submit(user, ["--", script]);
      await sleep(round * 40);
      await kill(part);
      await restart(part);
      await finished(id);
    }
  });

  test("while a job runs", async () => {
    for (let round = 0; round < rounds; round += 1) {
      const id = await submit(user, ["--", script]);
      await until(() => ran(id) === "begin", "the job to begin");
      await kill(part);
      await restart(part);
      expect(ran(id)).toBe("begin");
      await untilStatus(user, id, "RUNNING");
      await finished(id);
    }
  });

  test("while a job ends", async () => {
    for (let round = 0; round < rounds; round += 1) {
      const id = await submit(user, ["--", script]);
      await until(() => ran(id) === "begin", "the job to begin");
      if (round === 0) {
        await kill(part);
        await release(id);
        await until(() => ran(id) === "begin,end", "the job to end while the part is down");
      } else {
        await release(id);
        await sleep(round * 30);
        await kill(part);
      }
      await restart(part);
      await finished(id);
    }
  });

  test("while a job is cancelled", async () => {
    const id = await submit(user, ["--", script]);
    await until(() => ran(id) === "begin", "the job to begin");
    const cancelling = startSky(user, ["cancel", clusterName, String(id), "-y"]);
    await sleep(150);
    await kill(part);
    await restart(part);
    await cancelling.ended;
    await sky(user, ["cancel", clusterName, String(id), "-y"]);
    await untilStatus(user, id, "CANCELLED", 60_000);
    expect(ran(id)).toBe("begin");
  });
});

test("everything at once, killed in turn while many jobs pass", async () => {
  const acknowledged: number[] = [];
  const progress = { submitting: true };
  const submitter = (async () => {
    for (let count = 0; count < 16; count += 1) {
      const result = await sky(user, [
        "exec",
        "-c",
        clusterName,
        "-d",
        "--",
        `touch ~/runs/$SKYPILOT_INTERNAL_JOB_ID.go; ${script}`,
      ]);
      const id = /Job submitted, ID: (\d+)/.exec(plain(result.stdout))?.[1];
      if (id !== undefined) {
        acknowledged.push(Number(id));
      }
    }
    progress.submitting = false;
  })();
  for (let round = 0; progress.submitting && round < 40; round += 1) {
    const part = parts[round % parts.length] as Part;
    await kill(part);
    await sleep(100);
    await restart(part);
    await sleep(200);
  }
  await submitter;
  expect(acknowledged.length).toBeGreaterThan(0);
  expect(new Set(acknowledged).size).toBe(acknowledged.length);
  for (const id of acknowledged) {
    await untilStatus(user, id, "SUCCEEDED", 120_000);
    expect(ran(id)).toBe("begin,end");
  }
});

test("a lost state kills nothing on the nodes", async () => {
  const id = await submit(user, ["--", script]);
  await until(() => ran(id) === "begin", "the job to begin");
  await site.cluster.kill("coordinator");
  await site.cluster.kill("redis");
  await must(["rm", "-rf", join(site.cluster.dir, "state/redis/appendonlydir")]);
  site.cluster.startPart("redis");
  site.cluster.startPart("coordinator");
  // The agent knows another state: it says so, keeps the job, and takes no orders.
  await until(async () => {
    const list = await sky(user, ["gpus", "list", "-o", "json"]);
    return /REFUSED|"unknown_attempts": ?1/.test(list.stdout);
  }, "the node to be refused or the attempt to be unknown");
  expect(ran(id)).toBe("begin");
  await release(id);
  await until(() => ran(id) === "begin,end", "the job's own end");
  expect(await statusOf(user, id)).not.toBe("CANCELLED");
});
