/**
 * Files of a task from the user's folder to the job, over a real SSH connection whose bytes are counted: what goes up the
 * first time, the second time, after one changed byte, and after an upload that was stopped; and files that come back.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { chunkBytes } from "../../shared/files.ts";
import { type CountingProxy, startCountingProxy } from "../help/counting-proxy.ts";
import { clusterName, jobLines, plain, type Site, startSite, submit, untilStatus } from "../help/site.ts";
import { register, runAs, sky, skyOk, startSky } from "../help/sky.ts";
import { until } from "../help/until.ts";
import type { TestUser } from "../help/users.ts";

let site: Site;
let user: TestUser;
let proxy: CountingProxy;

const megabyte = 1024 * 1024;
const largeBytes = 64 * megabyte;
/** What a command costs besides its files: the connection, the task, the log stream. */
const talkBytes = 64 * 1024;

beforeAll(async () => {
  site = await startSite({ accelerators: "-,-" });
  user = site.users[0] as TestUser;
  proxy = await startCountingProxy(site.sshd.port);
  register(user, site.cluster, { port: proxy.port, hostKey: site.sshd.hostKey });
});
afterAll(async () => {
  await proxy?.stop();
  await site?.stop();
});

/** Runs a script as the user in the home; returns what it prints. */
async function shell(script: string): Promise<string> {
  const result = await runAs(user, ["bash", "-ec", script]);
  expect([result.code, result.stderr]).toEqual([0, ""]);
  return result.stdout;
}

/** Runs `sky`, which must succeed, and counts what it sends to the head. */
async function counted(args: string[]): Promise<{ sent: number; stdout: string }> {
  proxy.reset();
  const stdout = plain(await skyOk(user, args));
  return { sent: proxy.up(), stdout };
}

const inFolder = (folder: string, command: string): string[] => [
  ...["launch", "-c", clusterName, "-y", "--workdir", folder, "--", command],
];

test("a folder goes up once, arrives as it is, and costs nothing the second time", async () => {
  await shell(`mkdir -p proj/sub proj/empty proj/closed; cd proj
    echo "echo hello" > run.sh; chmod 750 run.sh; touch -d @1600000000.123 run.sh
    printf D > sub/Data; printf d > sub/data; ln -s sub/data link; ln -s /nowhere gone; ln sub/data hard
    head -c 2000000 /dev/urandom > big.bin; printf odd > $'od\\xffd'; printf nl > $'a\\nb'
    chmod 700 closed; printf no > x.key; printf '*.key\\n' > .skyignore`);
  const list =
    "find . -mindepth 1 ! -name x.key -printf '%y %m %u %p %l\\0' | sort -z | base64 -w0; stat -c ' %.3Y' run.sh; cat big.bin | sha256sum";
  const here = (await shell(`cd proj; ${list}`)).trimEnd().split("\n");
  const first = await counted(inFolder("proj", `ls -d x.key; ${list}`));
  expect(jobLines(first.stdout, "head").slice(-here.length)).toEqual(here);
  expect(first.stdout).toMatch(/ls: cannot access 'x\.key'/);
  expect(first.sent).toBeGreaterThan(2_000_000);
  const again = await counted(inFolder("proj", list));
  expect(jobLines(again.stdout, "head")).toEqual(here);
  expect(again.sent).toBeLessThan(talkBytes);
});

test("mounts come with a launch, the working folder with every job, and a dry run sends nothing", async () => {
  await shell(`mkdir -p task/code task/data/sub; cd task; echo one > code/version; echo first > data/sub/x; echo single > file
    echo 'workdir: task/code' > ../task.yaml
    printf 'file_mounts:\n  ~/brought/data: task/data\n  ~/brought/renamed: ~/task/file\n' >> ../task.yaml
    printf 'run: cat version ~/brought/data/sub/x ~/brought/renamed\n' >> ../task.yaml`);
  const task = join(user.home, "task.yaml");
  proxy.reset();
  const dry = await sky(user, ["launch", "-c", clusterName, "-y", "--dryrun", task]);
  expect([dry.code, plain(dry.stderr)]).toEqual([0, ""]);
  const launched = await counted(["launch", "-c", clusterName, "-y", task]);
  expect(jobLines(launched.stdout, "head")).toEqual(["one", "first", "single"]);
  await shell("echo two > task/code/version; echo second > task/data/sub/x");
  expect(jobLines((await counted(["exec", clusterName, task])).stdout, "head")).toEqual(["two", "first", "single"]);
  expect(jobLines((await counted(["launch", "-c", clusterName, "-y", task])).stdout, "head")).toEqual([
    "two",
    "second",
    "single",
  ]);
});

test("one changed byte in a large file sends little", async () => {
  await shell(`mkdir -p large; head -c ${largeBytes} /dev/urandom > large/data`);
  const first = await counted(inFolder("large", "sha256sum data"));
  expect(first.sent).toBeGreaterThan(largeBytes);
  expect(first.stdout).toContain((await shell("cd large; sha256sum data")).trimEnd());
  await shell(`printf x | dd of=large/data bs=1 seek=${largeBytes / 2 + 1} conv=notrunc status=none`);
  const changed = await counted(inFolder("large", "sha256sum data"));
  expect(changed.stdout).toContain((await shell("cd large; sha256sum data")).trimEnd());
  expect(changed.sent).toBeLessThan(3 * chunkBytes.max + talkBytes);
});

test("an upload that was killed is taken up by the next one, one that was cut goes on by itself", async () => {
  await shell(`mkdir -p stopped; head -c ${largeBytes} /dev/urandom > stopped/data`);
  proxy.reset();
  proxy.holdAt(48 * megabyte);
  const killed = startSky(user, inFolder("stopped", "true"));
  await until(() => proxy.up() >= 48 * megabyte, "48 MB on their way", 60_000);
  killed.child.kill("SIGKILL");
  await killed.ended;
  proxy.cut();
  proxy.reset();
  proxy.holdAt(4 * megabyte);
  const second = startSky(user, inFolder("stopped", "sha256sum data"));
  await until(() => proxy.up() >= 4 * megabyte, "4 MB more", 60_000);
  const beforeCut = proxy.up();
  proxy.reset();
  proxy.cut();
  const result = await second.ended;
  expect([result.code, plain(result.stderr)]).toEqual([0, expect.stringContaining("trying again")]);
  expect(plain(result.stdout)).toContain((await shell("cd stopped; sha256sum data")).trimEnd());
  // At least one pack of the first 48 MB had arrived; what was on its way at each stop goes again.
  expect(beforeCut + proxy.up()).toBeLessThan(largeBytes);
});

test("what cannot be uploaded is named before anything is done", async () => {
  await shell("mkdir -p bad; echo x > bad/closed; chmod 000 bad/closed");
  const closed = await sky(user, inFolder("bad", "true"));
  expect([closed.code, plain(closed.stderr)]).toEqual([
    1,
    expect.stringMatching(/bad\/closed: you may not read it\.[^]*\.skyignore/),
  ]);
  const missing = await sky(user, [...inFolder("nowhere", "true"), "--dryrun"]);
  expect([missing.code, plain(missing.stderr)]).toEqual([
    1,
    expect.stringContaining("there is no such file or folder"),
  ]);
  expect(plain(closed.stdout + missing.stdout)).not.toContain("Job submitted");
  await shell("chmod 600 bad/closed");
});

test("logs come home", async () => {
  const one = await submit(user, ["-n", "first", "--", "seq 1 1000"]);
  const two = await submit(user, ["-n", "second", "--num-nodes", "2", "--", "echo rank $SKYPILOT_NODE_RANK"]);
  await untilStatus(user, one, "SUCCEEDED");
  await untilStatus(user, two, "SUCCEEDED");
  const text = plain(await skyOk(user, ["logs", clusterName, "first", "sec*", "--sync-down"]));
  const [first, second] = [join(user.home, `sky_logs/lab/${one}-first`), join(user.home, `sky_logs/lab/${two}-second`)];
  expect(text).toBe(`Job ${one} logs: ${first}\nJob ${two} logs: ${second}\n`);
  expect(readFileSync(join(first, "tasks/0-head.log"), "utf8").split("\n")).toHaveLength(1001);
  expect(readdirSync(join(second, "tasks")).sort()).toEqual(["0-head.log", "1-worker1.log"]);
  expect(readFileSync(join(second, "tasks/1-worker1.log"), "utf8")).toBe("rank 1\n");
  expect(plain(readFileSync(join(second, "run.log"), "utf8"))).toContain("rank 1\n");
  expect((await sky(user, ["logs", clusterName, "-s", "999"])).code).toBe(102);
});

test("sky cp copies to the home on the head and back", async () => {
  await shell(
    "mkdir -p out/sub; echo result > out/sub/r; chmod 640 out/sub/r; ln -s sub/r out/l; head -c 3000000 /dev/urandom > out/big",
  );
  const up = await sky(user, ["cp", "out", "lab:moved/"]);
  expect([up.code, plain(up.stderr)]).toEqual([0, "Copied 2 files, 3.0 MB.\n"]);
  await skyOk(user, ["cp", "lab:moved/out/", "back"]);
  expect(await shell("diff -r out back; stat -c '%a %Y' back/sub/r; readlink back/l")).toBe(
    await shell("stat -c '%a %Y' out/sub/r; readlink out/l"),
  );
  const again = await sky(user, ["cp", "-r", "lab:~/moved/out/", "back"]);
  expect(plain(again.stderr)).toBe("Copied 0 files, 0 B; 2 were there already.\n");
  const none = await sky(user, ["cp", "lab:nothing", "."]);
  expect([none.code, plain(none.stderr)]).toEqual([1, expect.stringContaining("lab:nothing: there is no such file")]);
  const node = await sky(user, ["cp", "lab:out", "x", "--node", "n9"]);
  expect([node.code, plain(node.stderr)]).toEqual([1, expect.stringContaining("has no node 'n9'")]);
  // No sshd of the test's stands behind the head's address of the node.
  const closed = await sky(user, ["cp", "lab:out", "x", "--node", "n1"]);
  expect([closed.code, plain(closed.stderr)]).toEqual([1, expect.stringContaining("You cannot log in to node 'n1'")]);
  expect(existsSync(join(user.home, "x"))).toBe(false);
});
