/**
 * Kills with SIGKILL while jobs of two ranks are submitted, start, run and end: each rank begins and ends exactly once,
 * and exit codes and both outputs arrive. A rank appends to a file of its own, so what ran can be counted. Also output
 * that is being followed meanwhile.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { must } from "../help/run.ts";
import { runAs, sky, startSky } from "../help/sky.ts";
import { clusterName, jobLines, type Site, startSite, submit, tell, untilStatus } from "../help/site.ts";
import { until } from "../help/until.ts";
import { processesOf, type TestUser } from "../help/users.ts";

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

/** Rank 0 ends with 0, rank 1 too; one line each at the beginning and at the end in ~/runs/ID.RANK. */
const script = [
  "f=~/runs/$SKYPILOT_INTERNAL_JOB_ID",
  'echo begin >> "$f.$SKYPILOT_NODE_RANK"',
  "echo output of rank $SKYPILOT_NODE_RANK",
  'for i in $(seq 1200); do [ -e "$f.go" ] && break; sleep 0.05; done',
  'echo end >> "$f.$SKYPILOT_NODE_RANK"',
].join("; ");

function ran(id: number): string {
  return [0, 1]
    .map((rank) => join(user.home, "runs", `${id}.${rank}`))
    .map((file) => (existsSync(file) ? readFileSync(file, "utf8").trim().replaceAll("\n", ",") : ""))
    .join(" ");
}

async function kill(part: string): Promise<void> {
  if (part !== "skylets") {
    await site.cluster.kill(part);
    return;
  }
  for (const pid of processesOf(user.uid)) {
    try {
      if (/\0--socket\0/.test(readFileSync(`/proc/${pid}/cmdline`, "utf8"))) {
        process.kill(pid, "SIGKILL");
      }
    } catch {
      // It has ended by itself.
    }
  }
}

async function restart(part: string): Promise<void> {
  if (part !== "skylets") {
    site.cluster.startPart(part);
  }
  await site.cluster.ready();
}

async function finished(id: number): Promise<void> {
  await must(["touch", join(user.home, "runs", `${id}.go`)]);
  await untilStatus(user, id, "SUCCEEDED", 90_000);
  expect(ran(id)).toBe("begin,end begin,end");
  const log = await sky(user, ["logs", clusterName, String(id), "--no-follow"]);
  expect(jobLines(log.stdout).sort()).toEqual(["output of rank 0", "output of rank 1"]);
}

const args = ["--num-nodes", "2", "--", script];

test.each(["coordinator", "agent:n2", "redis", "skylets"])("kill -9 of %s", async (part) => {
  for (let round = 0; round < 4; round += 1) {
    const id = await submit(user, args);
    await sleep(round * 60);
    await kill(part);
    await restart(part);
    await finished(id);
  }
  const id = await submit(user, args);
  await until(() => ran(id) === "begin begin", "both ranks to begin", 60_000);
  await kill(part);
  await must(["touch", join(user.home, "runs", `${id}.go`)]);
  await until(() => ran(id) === "begin,end begin,end", "both ends while the part is down");
  await restart(part);
  await finished(id);
});

test.each(["coordinator", "agent:n1", "redis", "skylets"])("output is followed over a kill -9 of %s", async (part) => {
  const counting = 'for i in $(seq 40); do echo "line $i"; sleep 0.1; done; exit 5';
  const following = startSky(user, ["exec", "-c", clusterName, "--", counting], { limitMs: 90_000 });
  await until(() => /line 5/.test(following.stdout()), "the first lines", 60_000);
  await kill(part);
  await restart(part);
  const result = await following.ended;
  expect(jobLines(result.stdout)).toEqual(Array.from({ length: 40 }, (_, index) => `line ${index + 1}`));
  expect(result.code).toBe(100);
});
