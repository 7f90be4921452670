/**
 * A job's files on several nodes: two of them share the user's home, the third has one of its own, as machines have it.
 * They are one machine here, so that home lies in a mount namespace, in which the third node's agent and an sshd run. Also
 * results that are copied back from a node.
 */
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chownSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { nodePathsOf, pathsOf } from "../../scripts/cluster/layout.ts";
import { launch, type Running } from "../help/run.ts";
import { clusterName, jobLines, plain, queueOf, type Site, startSite, untilStatus } from "../help/site.ts";
import { runAs, sky, skyOk } from "../help/sky.ts";
import { type Sshd, startSshd } from "../help/sshd.ts";
import { until } from "../help/until.ts";
import type { TestUser } from "../help/users.ts";

let site: Site;
let user: TestUser;
/** The user's home on n2. */
let home: string;
let namespace: Running;
let agent: Running;
let sshd: Sshd;
const endless = { limitMs: 3_600_000 };

/** Words that run what follows where n2's home is. */
const onNode = (): string[] => ["nsenter", "--target", String(namespace.child.pid), "--mount", "--"];

beforeAll(async () => {
  site = await startSite({ accelerators: "T4:1,V100:1,T4:1" });
  user = site.users[0] as TestUser;
  home = mkdtempSync("/tmp/sky-home-");
  chownSync(home, user.uid, user.gid);
  cpSync(join(user.home, ".ssh"), join(home, ".ssh"), { recursive: true });
  execFileSync("chown", ["-R", `${user.uid}:${user.gid}`, home]);
  namespace = launch(["unshare", "--mount", "--propagation", "private", "sleep", "infinity"], endless);
  await until(
    () => readlinkSync(`/proc/${namespace.child.pid}/ns/mnt`) !== readlinkSync("/proc/self/ns/mnt"),
    "the namespace",
  );
  const [program = "", ...words] = onNode();
  execFileSync(program, [...words, "mount", "--bind", home, user.home]);
  await site.cluster.kill("agent:n2");
  const { dir } = site.cluster;
  const argv = [
    process.execPath,
    join(pathsOf(dir).programsDir, "agent.mjs"),
    "--config",
    nodePathsOf(dir, "n2").config,
  ];
  const env = { PATH: process.env["PATH"] ?? "", HOME: "/root", LANG: "C.UTF-8" };
  agent = launch([...onNode(), ...argv], { ...endless, env });
  await site.cluster.ready();
  // Where the cluster says that n2 is.
  sshd = await startSshd([], { address: "127.0.0.2", port: 22, within: onNode() });
  appendFileSync(join(user.home, ".ssh/known_hosts"), `127.0.0.2 ${sshd.hostKey}\n`);
});
afterAll(async () => {
  await sshd?.stop();
  agent?.child.kill("SIGTERM");
  await agent?.ended;
  await site?.stop();
  namespace?.child.kill("SIGKILL");
  await namespace?.ended;
  if (home !== undefined) {
    rmSync(home, { recursive: true, force: true });
  }
});

async function shell(script: string): Promise<string> {
  const result = await runAs(user, ["bash", "-ec", script]);
  expect([result.code, result.stderr]).toEqual([0, ""]);
  return result.stdout;
}

/** A launch with a working folder; what was said of its files, and what its ranks printed. */
async function launched(words: string[], run: string): Promise<{ files: string[]; own: string[]; nodes: string[] }> {
  const text = plain(
    await skyOk(user, ["launch", "-c", clusterName, "-y", "--workdir", "work", ...words, "--", run], {
      limitMs: 120_000,
    }),
  );
  const files = jobLines(text, "setup").filter((line) => line.startsWith("files: ~/sky_workdir: "));
  const id = Number(/Job submitted, ID: (\d+)/.exec(text)?.[1]);
  await untilStatus(user, id, "SUCCEEDED");
  const own = jobLines(text, "(?!setup)[^ ,)]+").sort();
  return { files, own, nodes: (await queueOf(user)).get(id)?.nodes ?? [] };
}

const written = (lines: string[]): string[] => lines.filter((line) => line.includes(" written, "));

test("two nodes that share a home: one brings the files, both have them", async () => {
  await shell("mkdir -p work/sub; echo one > work/sub/version; echo two > work/other");
  const { files, own, nodes } = await launched(["--gpus", "T4:1", "--num-nodes", "2"], "cat sub/version other");
  expect(nodes.sort()).toEqual(["n1", "n3"]);
  expect(own).toEqual(["one", "one", "two", "two"]);
  expect(written(files)).toHaveLength(1);
  expect(written(files)[0]).toMatch(/2 files written, 8 B fetched/);
  expect(existsSync(join(home, "sky_workdir"))).toBe(false);
});

test("a node with a home of its own gets them too; where they are nothing is written", async () => {
  const run = 'cat sub/version; echo "$SKYPILOT_NODE_RANK" > ~/rank; stat -c %U sub/version';
  const { files, own, nodes } = await launched(["--num-nodes", "3"], run);
  expect(nodes.sort()).toEqual(["n1", "n2", "n3"]);
  expect(own).toEqual([...["one", "one", "one"], ...[user.name, user.name, user.name]].sort());
  expect(written(files)).toHaveLength(1);
  expect(readFileSync(join(home, "sky_workdir/sub/version"), "utf8")).toBe("one\n");
  expect(readFileSync(join(home, "rank"), "utf8")).not.toBe("");

  await shell("echo changed > work/sub/version");
  const again = await launched(["--num-nodes", "3"], "cat sub/version");
  expect(again.own).toEqual(["changed", "changed", "changed"]);
  expect(written(again.files)).toHaveLength(2);
  written(again.files).forEach((line) => expect(line).toMatch(/1 file written, 8 B fetched/));
});

test("sky cp --node brings results from that node, and takes files there", async () => {
  const run = "mkdir -p ~/results/sub; echo of n2 > ~/results/sub/r; head -c 2000000 /dev/zero > ~/results/big";
  await launched(["--gpus", "V100:1"], run);
  const head = await sky(user, ["cp", "lab:results", "."]);
  expect([head.code, plain(head.stderr)]).toEqual([1, expect.stringContaining("lab:results: there is no such file")]);
  const back = await sky(user, ["cp", "lab:results", ".", "--node", "n2"]);
  expect([back.code, plain(back.stderr)]).toEqual([0, "Copied 2 files, 2.0 MB.\n"]);
  expect(readFileSync(join(user.home, "results/sub/r"), "utf8")).toBe("of n2\n");
  const there = await sky(user, ["cp", "work/other", "lab:brought", "--node", "n2"]);
  expect([there.code, plain(there.stderr)]).toEqual([0, expect.stringContaining("Copied 1 file")]);
  expect(readFileSync(join(home, "brought"), "utf8")).toBe("two\n");
  expect(existsSync(join(user.home, "brought"))).toBe(false);
});
