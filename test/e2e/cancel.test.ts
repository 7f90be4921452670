/**
 * Cancelling in every state, with everything that a job has started; leaving a stream does not cancel.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { checkout } from "../../scripts/cluster/layout.ts";
import { sky, skyOk, startSky } from "../help/sky.ts";
import { clusterName, jobLines, plain, type Site, startSite, statusOf, submit, untilStatus } from "../help/site.ts";
import { until } from "../help/until.ts";
import { processesOf, type TestUser, writeHomeFile } from "../help/users.ts";

let site: Site;
let user: TestUser;

beforeAll(async () => {
  site = await startSite();
  user = site.users[0] as TestUser;
});
afterAll(async () => await site?.stop());

/** The user's processes whose arguments hold a word that only this test's jobs have. */
function carrying(word: string): number[] {
  return processesOf(user.uid).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(word);
    } catch {
      return false;
    }
  });
}

test("while it waits", async () => {
  const holders = [0, 1].map(() => submit(user, ["--gpus", "V100:4", "--", "sleep 1000"]));
  const ids = await Promise.all(holders);
  await Promise.all(ids.map((id) => untilStatus(user, id, "RUNNING")));
  const waiting = await submit(user, ["--gpus", "V100:4", "--", "touch ~/must-not-exist"]);
  expect(await statusOf(user, waiting)).toBe("PENDING");
  await skyOk(user, ["cancel", clusterName, String(waiting), "-y"]);
  await untilStatus(user, waiting, "CANCELLED");
  await skyOk(user, ["cancel", clusterName, ...ids.map(String), "-y"]);
  await Promise.all(ids.map((id) => untilStatus(user, id, "CANCELLED")));
  expect(existsSync(join(user.home, "must-not-exist"))).toBe(false);
});

test("while it runs: children, detached children and those in sessions of their own", async () => {
  const file = writeHomeFile(
    user,
    "tree.yaml",
    [
      "run: |",
      "  sleep 70001 &",
      "  (sleep 70002 &)",
      "  setsid sleep 70003 &",
      "  nohup setsid bash -c 'sleep 70004; echo' >/dev/null 2>&1 &",
      "  echo all started",
      "  sleep 70005",
      "  echo LINE AFTER CANCEL",
      "",
    ].join("\n"),
  );
  const id = await submit(user, [file]);
  await until(() => [1, 2, 3, 4, 5].every((number) => carrying(`7000${number}`).length > 0), "all five");
  await skyOk(user, ["cancel", clusterName, String(id), "-y"]);
  await untilStatus(user, id, "CANCELLED");
  await until(() => carrying("7000").length === 0, "the end of all five");
  const log = plain((await sky(user, ["logs", clusterName, String(id), "--no-follow"])).stdout);
  expect(log).toContain("all started");
  expect(log).not.toContain("LINE AFTER CANCEL");
});

test("no line of the script runs after a cancel, however often", async () => {
  for (let round = 0; round < 8; round += 1) {
    const mark = join(user.home, `after.${round}`);
    const id = await submit(user, ["--", `echo begun; sleep 80000; echo AFTER; touch ${mark}`]);
    await until(() => carrying("80000").length > 0, "the sleep");
    await skyOk(user, ["cancel", clusterName, String(id), "-y"]);
    await untilStatus(user, id, "CANCELLED");
    await until(() => carrying("80000").length === 0, "the end of the sleep");
    const log = (await sky(user, ["logs", clusterName, String(id), "--no-follow"])).stdout;
    expect(jobLines(log)).toEqual(["begun"]);
    expect(existsSync(mark)).toBe(false);
  }
});

test("a job that ignores TERM is killed after the grace time", async () => {
  const file = join(user.home, "ticks");
  const id = await submit(user, ["--", "trap '' TERM; while true; do echo tick >> ~/ticks; sleep 0.1; done"]);
  await until(() => existsSync(file) && readFileSync(file).length > 0, "the first tick");
  await skyOk(user, ["cancel", clusterName, String(id), "-y"]);
  await untilStatus(user, id, "CANCELLED");
  // The status is what was decided; the node needs the grace time. Nobody else gets its devices before it is gone.
  let before = -1;
  await until(async () => {
    const ticks = readFileSync(file).length;
    const still = ticks === before;
    before = ticks;
    await sky(user, ["queue", clusterName]);
    await sky(user, ["queue", clusterName]);
    return still;
  }, "the ticks to stop");
});

test("without ids the latest running job, with -a all", async () => {
  const ids = [await submit(user, ["--", "sleep 1000"]), await submit(user, ["--", "sleep 1000"])];
  await Promise.all(ids.map((id) => untilStatus(user, id, "RUNNING")));
  await skyOk(user, ["cancel", clusterName, "-y"]);
  await untilStatus(user, ids[1] as number, "CANCELLED");
  expect(await statusOf(user, ids[0] as number)).toBe("RUNNING");
  await skyOk(user, ["cancel", clusterName, "-a", "-y"]);
  await untilStatus(user, ids[0] as number, "CANCELLED");
});

test("following a job that is cancelled ends with 103", async () => {
  const running = startSky(user, ["exec", clusterName, "--", "echo begun; sleep 1000"]);
  await until(() => plain(running.stdout()).includes(") begun"), "the job's first line");
  const id = /ID: (\d+)/.exec(plain(running.stdout()))?.[1] ?? "";
  await skyOk(user, ["cancel", clusterName, id, "-y"]);
  expect((await running.ended).code).toBe(103);
});

test("Ctrl-C ends the watching, never the job, and says how to come back", async () => {
  const running = startSky(user, ["exec", clusterName, "--", "echo begun; sleep 3; echo finished"]);
  await until(() => plain(running.stdout()).includes(") begun"), "the job's first line");
  const id = Number(/ID: (\d+)/.exec(plain(running.stdout()))?.[1]);
  running.child.kill("SIGINT");
  const result = await running.ended;
  expect(result.code).toBe(130);
  expect(plain(result.stdout)).toContain(`sky logs ${clusterName} ${id}`);
  const back = await sky(user, ["logs", clusterName, String(id)]);
  expect(back.code).toBe(0);
  expect(jobLines(back.stdout)).toEqual(["begun", "finished"]);
});

test("while it is set up", async () => {
  const id = await submit(user, [join(checkout, "test/e2e/tasks/long_setup.yaml")], "launch");
  await untilStatus(user, id, "SETTING_UP");
  await until(
    async () => (await sky(user, ["logs", clusterName, String(id), "--no-follow"])).stdout.includes("setup begins"),
    "setup to begin",
  );
  await skyOk(user, ["cancel", clusterName, String(id), "-y"]);
  await untilStatus(user, id, "CANCELLED");
  await until(() => carrying("10000").length === 0, "the setup's processes to end");
  const text = (await sky(user, ["logs", clusterName, String(id), "--no-follow"])).stdout;
  expect(text).not.toContain("MUST NOT APPEAR");

  // A setup that was cancelled is not the one that a later exec needs: it must not begin to run again.
  expect((await sky(user, ["exec", clusterName, "--", "true"], { limitMs: 20_000 })).code).toBe(0);
});
