/**
 * Time limits with real processes: the warning reaches who waits for it and ends nobody, the limit ends all of a job, also
 * over a restart of the coordinator, of the agent and of the machine's keeper of the user's jobs.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sky } from "../help/sky.ts";
import { clusterName, plain, queueOf, type Site, startSite, submit, untilStatus } from "../help/site.ts";
import { until } from "../help/until.ts";
import { processesOf, type TestUser, writeHomeFile } from "../help/users.ts";

let site: Site;
let user: TestUser;

beforeAll(async () => {
  const scheduling = { warning_seconds: 4 };
  site = await startSite({ accelerators: "V100:4", coordinatorConfig: { scheduling } });
  user = site.users[0] as TestUser;
});
afterAll(async () => await site?.stop());

const logOf = async (id: number): Promise<string> =>
  plain((await sky(user, ["logs", clusterName, String(id), "--no-follow"])).stdout);

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

async function reasonOf(id: number): Promise<string | null> {
  return (await queueOf(user)).get(id)?.reason ?? null;
}

test("a job that waits for the warning saves its state, once, and is ended at its limit", async () => {
  const file = writeHomeFile(
    user,
    "saves.yaml",
    [
      "resources: {time: 8s}",
      "run: |",
      `  trap 'echo saved $((SECONDS)) >>~/saved' USR1`,
      "  sleep 71001 &",
      "  while :; do sleep 0.2; done",
      "",
    ].join("\n"),
  );
  const id = await submit(user, [file]);
  await untilStatus(user, id, "RUNNING");
  await until(() => existsSync(join(user.home, "saved")), "the state is saved");
  expect(await reasonOf(id)).toMatch(/time limit/);
  await untilStatus(user, id, "FAILED");
  expect(await reasonOf(id)).toBe("its time limit of 8s was reached");
  await until(() => carrying("71001").length === 0, "the end of all of it");
  expect(readFileSync(join(user.home, "saved"), "utf8").trim().split("\n")).toHaveLength(1);
  expect(await logOf(id)).toContain("its time limit of 8s was reached");
});

test("one that does not wait for it is not ended by the warning", async () => {
  const commands = [
    "trap 'touch ~/left' EXIT",
    "bash -c 'trap : EXIT; sleep 72001; echo' &",
    "sleep 72002; touch ~/after",
  ];
  const id = await submit(user, ["--time", "6", "--", commands.join("\n")]);
  await untilStatus(user, id, "RUNNING");
  // Six minutes: it is warned long after this test. A job of six seconds beside it is ended meanwhile.
  const short = writeHomeFile(user, "short.yaml", `resources: {time: 6s}\nrun: |\n  ${commands.join("\n  ")}\n`);
  const other = await submit(user, [short]);
  await until(async () => (await reasonOf(other))?.includes("warned") === true, "the warning");
  const before = carrying("72002").length;
  await untilStatus(user, other, "FAILED");
  expect([before, await reasonOf(other)]).toEqual([carrying("72002").length + 1, "its time limit of 6s was reached"]);
  expect(existsSync(join(user.home, "after"))).toBe(false);
  await sky(user, ["cancel", clusterName, String(id), "-y"]);
  await untilStatus(user, id, "CANCELLED");
});

test("setup counts, too", async () => {
  const file = writeHomeFile(user, "setup.yaml", "resources: {time: 5s}\nsetup: sleep 73001\nrun: touch ~/ran\n");
  const id = await submit(user, [file], "launch");
  await untilStatus(user, id, "FAILED");
  expect(await reasonOf(id)).toBe("its time limit of 5s was reached");
  await until(() => carrying("73001").length === 0, "the end of the setup");
  expect(existsSync(join(user.home, "ran"))).toBe(false);
});

test("the limit goes on while the coordinator is away, and the warning comes once over all restarts", async () => {
  const file = writeHomeFile(
    user,
    "restarts.yaml",
    [
      "resources: {time: 14s}",
      "run: |",
      "  date +%s%3N >~/began",
      "  trap 'date +%s%3N >>~/warned' USR1",
      "  trap 'date +%s%3N >~/ended; exit 1' TERM",
      "  while :; do sleep 0.2; done",
      "",
    ].join("\n"),
  );
  const id = await submit(user, [file]);
  await until(() => existsSync(join(user.home, "began")), "it runs");
  await site.cluster.kill("coordinator");
  site.cluster.startPart("coordinator");
  await until(() => existsSync(join(user.home, "warned")), "the warning");
  await site.cluster.kill("coordinator");
  await site.cluster.kill("agent:n1");
  site.cluster.startPart("coordinator");
  site.cluster.startPart("agent:n1");
  await untilStatus(user, id, "FAILED", 60_000);
  await until(() => existsSync(join(user.home, "ended")), "the end");
  const time = (name: string): number[] => readFileSync(join(user.home, name), "utf8").trim().split("\n").map(Number);
  expect(time("warned")).toHaveLength(1);
  const [began = 0, ended = 0] = [time("began")[0], time("ended")[0]];
  // Counted from the grant, which is a little earlier than the script; never early.
  expect(ended - began).toBeGreaterThan(10_000);
  expect(await reasonOf(id)).toBe("its time limit of 14s was reached");
});
