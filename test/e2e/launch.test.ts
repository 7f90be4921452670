/**
 * What a person sees from registering a cluster to the end of a first job: texts in their order, exit codes, refusals.
 */
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { checkout } from "../../scripts/cluster/layout.ts";
import { sky, skyOk } from "../help/sky.ts";
import { clusterName, jobLines, plain, type Site, startSite, submit, untilStatus } from "../help/site.ts";
import { type TestUser, writeHomeFile } from "../help/users.ts";

let site: Site;
let user: TestUser;

beforeAll(async () => {
  site = await startSite({ initialized: false });
  user = site.users[0] as TestUser;
});
afterAll(async () => await site?.stop());

const example = (name: string): string => join(checkout, "examples", name);

/** The lines of a text, and the index of the first that holds a phrase. */
function linesOf(text: string): { lines: string[]; find: (phrase: string) => number } {
  const lines = plain(text).split("\n");
  return { lines, find: (phrase) => lines.findIndex((line) => line.includes(phrase)) };
}

test("an unregistered, then an uninitialized, then an initialized cluster", async () => {
  expect(plain(await skyOk(user, ["status"]))).toMatch(new RegExp(`Local clusters:\\n.*\\n${clusterName} +- +- +- +-`));
  const early = await sky(user, ["exec", clusterName, "true"]);
  expect(early.code).not.toBe(0);
  expect(plain(early.stderr)).toContain(`Found uninitialized local cluster ${clusterName}.`);
  expect(plain(early.stderr)).toContain(`sky launch -c ${clusterName} ''`);

  const asked = await sky(user, ["launch", "-c", clusterName, ""], { input: "n\n" });
  expect(plain(asked.stdout + asked.stderr)).toContain(`Initializing local cluster '${clusterName}'. Proceed?`);
  expect(plain(await skyOk(user, ["status"]))).toMatch(new RegExp(`\\n${clusterName} +- +-`));

  await skyOk(user, ["launch", "-c", clusterName, "", "-y"]);
  const status = plain(await skyOk(user, ["status"]));
  expect(status).toContain(user.name);
  expect(status).toContain("127.0.0.1");
  expect(status).toContain("[{'V100': 4}, {'V100': 4}, (no GPUs)]");
});

test("exec runs a command line, without setup", async () => {
  const result = await sky(user, ["exec", clusterName, "--", "echo", '"it is $HOME"', "done"]);
  expect(result.code).toBe(0);
  expect(jobLines(result.stdout)).toEqual([`it is ${user.home} done`]);
});

test("exit codes: 0, 100, 101, 102, 103", async () => {
  expect((await sky(user, ["exec", clusterName, "--", "exit 7"])).code).toBe(100);
  const waiting = await submit(user, ["--", "sleep 1000"]);
  await untilStatus(user, waiting, "RUNNING");
  expect((await sky(user, ["logs", clusterName, String(waiting), "--no-follow"])).code).toBe(101);
  expect((await sky(user, ["logs", clusterName, String(waiting), "--status"])).code).toBe(101);
  expect((await sky(user, ["logs", clusterName, "999"])).code).toBe(102);
  await skyOk(user, ["cancel", clusterName, String(waiting), "-y"]);
  await untilStatus(user, waiting, "CANCELLED");
  expect((await sky(user, ["logs", clusterName, String(waiting)])).code).toBe(103);
  expect((await sky(user, ["launch", "--no-such-option"])).code).toBe(2);
});

test("a finished job's text can be read again, whole or the end of it", async () => {
  const id = await submit(user, ["--", "seq 1 50"]);
  await untilStatus(user, id, "SUCCEEDED");
  const whole = await skyOk(user, ["logs", clusterName, String(id), "--no-follow"]);
  expect(jobLines(whole)).toEqual(Array.from({ length: 50 }, (_, at) => String(at + 1)));
  const end = await skyOk(user, ["logs", clusterName, String(id), "--no-follow", "--tail", "3"]);
  expect(jobLines(end)).toEqual(["48", "49", "50"]);
  const status = plain((await sky(user, ["logs", clusterName, String(id), "--status"])).stdout);
  expect(status.trim()).toBe(`Job ${id}: SUCCEEDED`);
});

test("fields without a meaning here, and fields that never were", async () => {
  const later = writeHomeFile(user, "later.yaml", "run: echo hi\nresources:\n  use_spot: true\n");
  const refused = await sky(user, ["launch", "-c", clusterName, "-y", later]);
  expect(refused.code).not.toBe(0);
  expect(plain(refused.stderr)).toContain("'resources.use_spot' cannot be used here.");
  const wrong = writeHomeFile(user, "wrong.yaml", "run: echo hi\nsetpu: echo\n");
  const hinted = plain((await sky(user, ["launch", "-c", clusterName, "-y", wrong])).stderr);
  expect(hinted).toContain("setpu");
  expect(hinted).toContain("setup");
  expect(hinted).toMatch(/line 2|:2\b/);
});

test("start, stop and autostop refuse and go on", async () => {
  const stop = await sky(user, ["stop", clusterName, "-y"]);
  expect(plain(stop.stdout + stop.stderr)).toContain(
    `Skipping local cluster ${clusterName}, as it does not support \`sky stop/autostop\`.`,
  );
  const start = await sky(user, ["start", clusterName, "-y"]);
  expect(plain(start.stdout + start.stderr)).toContain(
    `Skipping local cluster ${clusterName}, as it does not support \`sky start\`.`,
  );
});

test("check and gpus list", async () => {
  expect(plain(await skyOk(user, ["check"]))).toContain(clusterName);
  expect(plain(await skyOk(user, ["gpus", "list"]))).toMatch(/V100.*8 of 8 free/);
});

test("the text of a first launch on a cluster of one node, line after line", async () => {
  const single = await startSite({ accelerators: "-", initialized: false });
  onTestFinished(single.stop);
  const newcomer = single.users[0] as TestUser;
  const result = await sky(newcomer, ["launch", "-c", clusterName, "-y", example("minimal.yaml")]);
  expect(result.code).toBe(0);
  const { lines, find } = linesOf(result.stdout);
  expect(lines[find("Launching on") + 1]).toContain("is up.");
  const submitted = lines.slice(find("Setup detached."), find("Setup detached.") + 6);
  expect(submitted.some((line) => line.includes("Job submitted"))).toBe(true);
  expect(lines[find("Job submitted, ID: 1") + 1]).toContain("Waiting for task resources on ");
  const started = find("Job started. Streaming logs...");
  expect(started).toBeGreaterThan(0);
  expect(lines[started + 1]).toMatch(/^\(setup pid=\d+\) running setup/);
  expect(
    lines.some((line, at) => line.startsWith("(setup pid=") && /^\(min, pid=\d+\)/.test(lines[at + 1] ?? "")),
  ).toBe(true);
  expect(lines[find("task run finish") + 1]).toContain("Job finished (status: SUCCEEDED)");
  const tail = lines.slice(find("Job finished"), find("Job finished") + 6).join("\n");
  expect(tail).toContain("Job ID:");
  expect(tail).toContain("Useful Commands");
});
