/**
 * The newcomer's one command, as each of the three kinds of people who may type it: root, an ordinary user without
 * sudo, and one with. From the first run to a second one that changes nothing to an end that leaves nothing behind.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { checkout } from "../../scripts/cluster/layout.ts";
import { type Result, run } from "../help/run.ts";
import { plain } from "../help/site.ts";
import { runAs } from "../help/sky.ts";
import { makeUser, removeUser, type TestUser } from "../help/users.ts";

const script = join(checkout, "scripts/quickstart");
const rootFolder = "/var/lib/sky-onprem-quickstart";
type Type = (args: readonly string[]) => Promise<Result>;

beforeAll(() => {
  if (existsSync(rootFolder)) {
    throw new Error(`a quickstart cluster is running on this machine; end it first: ${script} --stop`);
  }
});

/** Processes whose command line names this folder. */
async function processesOf(folder: string): Promise<string> {
  const listed = await run(["ps", "-eo", "args"], {});
  return listed.stdout
    .split("\n")
    .filter((line) => line.includes(folder))
    .join("\n");
}

async function firstSecondStop(type: Type, home: string, folder: string): Promise<string> {
  const first = await type([]);
  expect(first.code, first.stdout + first.stderr).toBe(0);
  const text = plain(first.stdout);
  expect(text).toContain("$ sky launch -c local examples/hello.yaml");
  expect(text).toMatch(/\(hello, pid=\d+\) Hello from/);
  expect(text).toContain("✓ Job finished (status: SUCCEEDED)");
  expect(text.split("Three commands to try next")[1]?.match(/^ {2}npx sky /gm)).toHaveLength(3);
  expect(existsSync(join(home, ".sky/local/local.yml"))).toBe(true);

  const before = await processesOf(folder);
  const second = await type([]);
  expect(second.code, second.stdout + second.stderr).toBe(0);
  expect(plain(second.stdout)).toMatch(/\(hello, pid=\d+\) Hello from/);
  expect(plain(second.stdout)).not.toContain("Job submitted");
  expect(await processesOf(folder)).toBe(before);

  const stopped = await type(["--stop"]);
  expect(stopped.code, stopped.stdout + stopped.stderr).toBe(0);
  expect(existsSync(folder)).toBe(false);
  expect(readdirSync(join(home, ".sky/local"))).toEqual([]);
  expect(await processesOf(folder)).toBe("");
  expect((await type(["--stop"])).stdout).toContain("nothing to stop");
  return text;
}

test("root, in a bare container", async () => {
  const home = mkdtempSync(join(tmpdir(), "sky-root-"));
  // Root's job runs in root's real home.
  const traces = ["sky_logs", "sky_workdir", ".sky"]
    .map((name) => join("/root", name))
    .filter((path) => !existsSync(path));
  const env = { PATH: process.env["PATH"] ?? "", HOME: home, LANG: "C.UTF-8" };
  try {
    const text = await firstSecondStop((args) => run([script, ...args], { env, limitMs: 120_000 }), home, rootFolder);
    expect(text).toContain("root");
    expect(text).toContain("on this throwaway cluster they are allowed");
  } finally {
    await run([script, "--stop"], { env, limitMs: 60_000 });
    for (const path of [home, ...traces]) {
      rmSync(path, { recursive: true, force: true });
    }
  }
});

let user: TestUser;
beforeAll(async () => {
  user = await makeUser();
});
afterAll(async () => await removeUser(user));
const asUser: Type = (args) => runAs(user, [script, ...args], { limitMs: 120_000 });

test("an ordinary user who cannot sudo", async () => {
  const text = await firstSecondStop(asUser, user.home, join(user.home, ".sky/quickstart"));
  expect(text).toContain("single-user cluster");
  expect(text).toContain(`Hello from ${user.name}`);
});

test("an ordinary user who can", async () => {
  const rule = `/etc/sudoers.d/${user.name}`;
  writeFileSync(rule, `${user.name} ALL=(ALL) NOPASSWD: ALL\n`, { mode: 0o440 });
  try {
    const text = await firstSecondStop(asUser, user.home, rootFolder);
    expect(text).toContain("with sudo");
    expect(text).toContain(`Hello from ${user.name}`);
  } finally {
    await asUser(["--stop"]);
    rmSync(rule);
  }
});
