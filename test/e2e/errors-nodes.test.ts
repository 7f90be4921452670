/**
 * Nodes that will not run a user's jobs, and nodes that mix kinds of accelerators: what a person is told, and that what
 * can run elsewhere still does. An agent in a mount namespace of its own sees other accounts than the rest of the machine.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { nodePathsOf, pathsOf, readCluster } from "../../scripts/cluster/layout.ts";
import { launch, type Running } from "../help/run.ts";
import { sky, skyOk } from "../help/sky.ts";
import { clusterName, jobLines, plain, queueOf, type Site, startSite } from "../help/site.ts";
import { processesOf, type TestUser } from "../help/users.ts";

let site: Site;
let user: TestUser;
let folder: string;
let agent: Running | null = null;

beforeAll(async () => {
  site = await startSite({ accelerators: "-,-" });
  user = site.users[0] as TestUser;
  folder = mkdtempSync("/tmp/sky-accounts-");
});
afterEach(async () => {
  await startWithConfig({});
  // Nothing of the refused job is left in the way.
  const result = await sky(user, ["exec", clusterName, "--num-nodes", "2", "--", "echo here"]);
  expect(jobLines(result.stdout), result.stderr).toEqual(["here", "here"]);
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await site?.stop();
});

async function end(): Promise<void> {
  if (agent === null) {
    await site.cluster.kill("agent:n2");
  } else {
    agent.child.kill("SIGKILL");
    await agent.ended;
    agent = null;
  }
}

const configFile = (): string => nodePathsOf(site.cluster.dir, "n2").config;
let written: Record<string, unknown> | null = null;

async function startWithConfig(changes: Record<string, unknown>): Promise<void> {
  await end();
  written ??= JSON.parse(readFileSync(configFile(), "utf8")) as Record<string, unknown>;
  writeFileSync(configFile(), JSON.stringify({ ...written, ...changes }));
  site.cluster.startPart("agent:n2");
  await site.cluster.ready();
}

/** The agent of n2 again, for which /etc/passwd is this file. */
async function startWithAccounts(change: (passwd: string) => string): Promise<void> {
  const passwd = join(folder, "passwd");
  writeFileSync(passwd, change(readFileSync("/etc/passwd", "utf8")), { mode: 0o644 });
  await end();
  const cluster = readCluster(site.cluster.dir);
  const program = join(pathsOf(cluster?.options.dir ?? "").programsDir, "agent.mjs");
  const command = 'mount --bind "$1" /etc/passwd && shift && exec "$@"';
  agent = launch(
    [
      "unshare",
      "--mount",
      "--",
      "sh",
      "-c",
      command,
      "sh",
      passwd,
      process.execPath,
      program,
      "--config",
      configFile(),
    ],
    {
      limitMs: 300_000,
      env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root" },
    },
  );
  await site.cluster.ready();
}

/** A job on both nodes fails; what the person sees. */
async function failsOnBoth(): Promise<string> {
  const result = await sky(user, ["exec", clusterName, "--num-nodes", "2", "--", "sleep 1000"], { limitMs: 15_000 });
  const text = plain(result.stdout + result.stderr);
  expect(result.code, text).toBe(100);
  const id = Number(/ID: (\d+)/.exec(text)?.[1]);
  const table = plain(await skyOk(user, ["queue", clusterName]));
  expect((await queueOf(user)).get(id)?.status).toMatch(/^FAILED/);
  return `${text}\n${table}`;
}

test("the user is denied there", async () => {
  await startWithConfig({ users: { min_uid: 1000, deny: [user.name] } });
  const text = await failsOnBoth();
  expect(text).toMatch(/n2/);
  expect(text).toContain(`Jobs of user '${user.name}' are not allowed here`);
  expect((await sky(user, ["exec", clusterName, "--", "echo elsewhere"])).code).toBe(0);
});

test("the user has no account there", async () => {
  await startWithAccounts((passwd) => passwd.replace(new RegExp(`^${user.name}:.*\n`, "m"), ""));
  const text = await failsOnBoth();
  expect(text).toContain(`user '${user.name}' (uid ${user.uid} on the head) has no account on node n2`);
  expect(text).toContain("Ask an admin");
});

test("the user has another uid there", async () => {
  const other = user.uid + 1000;
  await startWithAccounts((passwd) => passwd.replace(`${user.name}:x:${user.uid}:`, `${user.name}:x:${other}:`));
  const text = await failsOnBoth();
  expect(text).toContain(`user '${user.name}' has uid ${user.uid} on the head but uid ${other} on node n2`);
  expect(processesOf(other)).toEqual([]);
});

const mixed = { accelerators: "V100:2,A100:2" };

test("a node that mixes accelerators is reported and takes no accelerator jobs", async () => {
  await startWithConfig(mixed);
  const gpus = plain(await skyOk(user, ["gpus", "list"]));
  expect(gpus).toContain("n2: Node n2 mixes accelerators (V100, A100): it takes no accelerator jobs");
  const refused = await sky(user, ["exec", clusterName, "--gpus", "V100:1", "--", "true"]);
  expect(refused.code).toBe(1);
  expect(plain(refused.stderr)).toContain("of several kinds, so it takes no accelerator jobs");
  expect((await sky(user, ["exec", clusterName, "--num-nodes", "2", "--", "true"])).code).toBe(0);
});

test("a node that mixes accelerators takes them when its config says so", async () => {
  await startWithConfig({ ...mixed, mixed_accelerators: true });
  const seen: string[] = [];
  for (const gpus of ["V100:2", "A100:1"]) {
    const result = await sky(user, ["exec", clusterName, "--gpus", gpus, "--", "echo $CUDA_VISIBLE_DEVICES"]);
    seen.push(...jobLines(result.stdout));
  }
  expect(seen).toEqual(["0,1", "2"]);
});
