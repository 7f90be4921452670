/**
 * Tasks with an image, run by a real rootless podman: what the scripts see, whose files they write, how they end, and that
 * nothing is left. The image is made on the machine; there is no registry.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { checkout } from "../../scripts/cluster/layout.ts";
import { giveImage, removePodmanFiles, testImage, testImageMark } from "../help/image.ts";
import { clusterName, jobLines, plain, queueOf, type Site, startSite, submit, untilStatus } from "../help/site.ts";
import { runAs, sky, skyOk } from "../help/sky.ts";
import { until } from "../help/until.ts";
import { processesOf, type TestUser, writeHomeFile } from "../help/users.ts";

let site: Site;
let user: TestUser;
/** For what podman does on a busy machine. */
const waitMs = 120_000;

beforeAll(async () => {
  // Time for last words on a busy machine.
  site = await startSite({ accelerators: "-,-", coordinatorConfig: { grace_seconds: 6 } });
  user = site.users[0] as TestUser;
  await giveImage(user);
});
afterAll(async () => {
  await site?.stop();
  if (user !== undefined) {
    removePodmanFiles(user);
  }
});

const inImage = (rest: string, image = testImage): string => `resources: {image_id: 'docker:${image}'}\n${rest}`;

function taskFile(name: string, text: string): string {
  return writeHomeFile(user, name, text);
}

const launch = async (task: string, ...more: string[]) =>
  await sky(user, ["launch", "-c", clusterName, "-y", ...more, task], { limitMs: waitMs });

/** What run wrote: an exec in the image has a setup of its own there. */
const ownLines = (text: string): string[] => jobLines(text, "(?!setup)[^ ,)]+");

/** Containers that podman still knows, whatever their state. */
async function containers(): Promise<string> {
  return (await runAs(user, ["podman", "ps", "--all", "--quiet"])).stdout;
}

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

test("setup and run in one container of the image, as the user, with variables and files as they are", async () => {
  const odd = `a "b" 'c' $HOME \\ ü`;
  mkdirSync(join(user.home, "work"));
  writeFileSync(join(user.home, "work/word.txt"), "brought\n");
  const text = inImage(`workdir: ${user.home}/work
file_mounts: {~/mounted: ~/work}
envs: {ODD: ${JSON.stringify(odd)}}
secrets: {KEY: hunter2}
setup: touch /tmp/of-setup; echo set up
run: |
  cat /etc/os-release
  ls /tmp/of-setup
  id -un; id -u; pwd
  cat word.txt ~/mounted/word.txt
  echo "$ODD" "\${#KEY}" "$SKYPILOT_NODE_RANK/$SKYPILOT_NUM_NODES"
  echo made > ~/made; chmod 640 ~/made
`);
  const result = await launch(taskFile("all.yaml", text));
  expect(jobLines(result.stdout), plain(result.stdout + result.stderr)).toEqual(
    expect.arrayContaining(["set up", testImageMark]),
  );
  expect(ownLines(result.stdout)).toEqual([
    testImageMark,
    "/tmp/of-setup",
    ...[user.name, String(user.uid), join(user.home, "sky_workdir")],
    ...["brought", "brought"],
    `${odd} 7 0/1`,
  ]);
  expect(result.code).toBe(0);
  const made = statSync(join(user.home, "made"));
  expect([made.uid, made.gid, made.mode & 0o777]).toEqual([user.uid, user.gid, 0o640]);
  expect(existsSync("/tmp/of-setup")).toBe(false);
  expect(await containers()).toBe("");
});

test("exit codes of setup and run are those of the scripts in the container", async () => {
  const failed = await launch(taskFile("run.yaml", inImage("run: |\n  echo before\n  exit 7\n  echo after\n")));
  expect([failed.code, jobLines(failed.stdout)]).toEqual([100, ["before"]]);
  expect(plain(failed.stdout + failed.stderr)).toContain("failed with return code list: [7]");
  const setup = await launch(taskFile("setup.yaml", inImage("setup: exit 3\nrun: echo never\n")));
  expect([setup.code, jobLines(setup.stdout)]).toEqual([100, []]);
  expect(plain(setup.stdout + setup.stderr)).toMatch(/setup failed\. Failed workers: .*returncode=3/);
  expect(await containers()).toBe("");
});

test("options of the start reach podman; an image that is not there fails with podman's words", async () => {
  const options = `config: {docker: {run_options: ["--env 'FROM=the options'", "--tmpfs", "/scratch"]}}\n`;
  const task = taskFile("options.yaml", inImage(`${options}run: echo "$FROM"; touch /scratch/x && echo can write\n`));
  const result = await launch(task);
  expect(jobLines(result.stdout), plain(result.stdout + result.stderr)).toEqual(["the options", "can write"]);
  const missing = await launch(taskFile("missing.yaml", inImage("run: echo never\n", "localhost/sky-none:1")));
  expect(missing.code).toBe(100);
  expect(plain(missing.stdout)).toContain("localhost/sky-none");
  expect(jobLines(missing.stdout)).not.toContain("never");
});

test("a cancel ends all that runs in the container, after its grace time", async () => {
  const script = `run: |
  trap 'echo saving; sleep 0.5; echo saved > ~/saved; echo saved; exit 1' TERM
  setsid sleep 86001 &
  (sleep 86002 &)
  echo begun
  while true; do sleep 0.2; done
`;
  const id = await submit(user, [taskFile("tree.yaml", inImage(script))]);
  await until(() => [1, 2].every((number) => carrying(`8600${number}`).length > 0), "both", waitMs);
  await skyOk(user, ["cancel", clusterName, String(id), "-y"]);
  await untilStatus(user, id, "CANCELLED", waitMs);
  await until(() => carrying("8600").length === 0, "the end of both", waitMs);
  await until(async () => (await containers()) === "", "the container's removal", waitMs);
  const log = await sky(user, ["logs", clusterName, String(id), "--no-follow"]);
  expect(ownLines(log.stdout)).toEqual(["begun", "saving", "saved"]);
  expect(readFileSync(join(user.home, "saved"), "utf8")).toBe("saved\n");
  // What ignores TERM is killed when the grace time is over, and the user's podman is as it was.
  const stubborn = await submit(user, [
    taskFile("stubborn.yaml", inImage("run: |\n  trap '' TERM\n  while true; do sleep 0.2; touch ~/tick; done\n")),
  ]);
  await until(() => existsSync(join(user.home, "tick")), "the first tick", waitMs);
  await skyOk(user, ["cancel", clusterName, String(stubborn), "-y"]);
  await until(async () => (await containers()) === "", "the container's removal", waitMs);
  expect(jobLines((await launch(taskFile("again.yaml", inImage("run: echo again\n")))).stdout)).toEqual(["again"]);
});

test("two jobs at a time have a container each; the end of one leaves the other alone", async () => {
  const waiting = (name: string): string =>
    inImage(`run: |\n  touch ~/${name}.here\n  while [ ! -e ~/${name}.go ]; do sleep 0.2; done\n  echo ${name} ends\n`);
  const first = await submit(user, [taskFile("first.yaml", waiting("first"))]);
  const second = await submit(user, [taskFile("second.yaml", waiting("second"))]);
  const isHere = (name: string): boolean => existsSync(join(user.home, `${name}.here`));
  await until(() => isHere("first") && isHere("second"), "both containers", waitMs);
  expect((await containers()).trim().split("\n")).toHaveLength(2);
  await skyOk(user, ["cancel", clusterName, String(first), "-y"]);
  await until(async () => (await containers()).trim().split("\n").length === 1, "the first one's removal", waitMs);
  writeFileSync(join(user.home, "second.go"), "");
  await untilStatus(user, second, "SUCCEEDED", waitMs);
  expect(await containers()).toBe("");
});

test("a later exec: the image's setup is run in each new container of it, and never anywhere else", async () => {
  const setup = "setup: |\n  touch /tmp/of-setup\n  echo setup >> ~/setups\n";
  await launch(taskFile("image.yaml", inImage(`${setup}run: ls /tmp/of-setup\n`)));
  const setups = (): number => readFileSync(join(user.home, "setups"), "utf8").trim().split("\n").length;
  expect(setups()).toBe(1);
  const inside = ["exec", clusterName, "--image-id", `docker:${testImage}`, "--", "ls /tmp/of-setup"];
  expect(jobLines(await skyOk(user, inside, { limitMs: waitMs }))).toContain("/tmp/of-setup");
  expect(setups()).toBe(2);
  const outside = await skyOk(user, ["exec", clusterName, "--", "ls /tmp/of-setup 2>&1 || grep ^ID= /etc/os-release"]);
  expect(jobLines(outside)).toEqual([expect.stringContaining("No such file"), expect.stringMatching(/^ID=(?!sky)/)]);
  expect(setups()).toBe(2);
});

test("ranks on two nodes have a container each; the failure of one ends the other", async () => {
  const both = taskFile(
    "both.yaml",
    inImage("num_nodes: 2\nrun: |\n  cat /etc/os-release\n  touch ~/rank.$SKYPILOT_NODE_RANK\n"),
  );
  expect(ownLines((await launch(both)).stdout)).toEqual([testImageMark, testImageMark]);
  const script = `num_nodes: 2
run: |
  if [ "$SKYPILOT_NODE_RANK" = 0 ]; then sleep 86003; fi
  while [ ! -e ~/fail-now ]; do sleep 0.2; done
  exit 4
`;
  const id = await submit(user, [taskFile("one.yaml", inImage(script))]);
  await until(() => carrying("86003").length > 0, "rank 0", waitMs);
  writeFileSync(join(user.home, "fail-now"), "");
  await untilStatus(user, id, "FAILED", waitMs);
  await until(() => carrying("86003").length === 0, "the end of rank 0", waitMs);
  await until(async () => (await containers()) === "", "the containers' removal", waitMs);
});

test("the command of a function runs in the container", async () => {
  mkdirSync(join(user.home, "node_modules"));
  symlinkSync(checkout, join(user.home, "node_modules/sky-onprem"));
  const program = `import * as sky from "sky-onprem";
    const task = new sky.Task({ run: (rank, ips) => "echo " + rank + " of " + ips.length + "; cat /etc/os-release" });
    task.setResources(new sky.Resources({ imageId: "docker:${testImage}" }));
    const { jobId } = await sky.get(await sky.launch(task, { clusterName: "${clusterName}" }));
    process.exitCode = await sky.tailLogs("${clusterName}", jobId);`;
  const result = await runAs(user, [process.execPath, taskFile("generator.mjs", program)], { limitMs: waitMs });
  expect(jobLines(result.stdout), result.stdout + result.stderr).toEqual(["0 of 1", testImageMark]);
  expect(result.code).toBe(0);
});

test("no job leaves a container, nor a process that carries its folder", async () => {
  const rows = [...(await queueOf(user)).values()];
  expect(rows.length).toBeGreaterThan(5);
  expect(rows.filter(({ status }) => status === "RUNNING")).toEqual([]);
  expect(await containers()).toBe("");
  const marked = processesOf(user.uid).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/environ`, "utf8").includes("SKY_ONPREM_FOLDER=");
    } catch {
      return false;
    }
  });
  expect(marked).toEqual([]);
  expect(readdirSync(user.home).filter((name) => name.startsWith("container"))).toEqual([]);
});
