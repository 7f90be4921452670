/**
 * One user of a machine wishes another one ill, or wants to be root: on the agent's socket, with a skylet that lies,
 * with traps in the home and in the runtime folder. Whatever is tried, the other user's jobs go on, the agent lives,
 * and root has followed nothing.
 */
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { nodePathsOf, pathsOf } from "../../scripts/cluster/layout.ts";
import { attack } from "../help/attack.ts";
import { launch, must } from "../help/run.ts";
import { runAs, sky, skyOk } from "../help/sky.ts";
import { clusterName, queueOf, type Site, startSite, statusOf, submit, untilStatus } from "../help/site.ts";
import { until } from "../help/until.ts";
import { processesOf, type TestUser } from "../help/users.ts";

let site: Site;
let alice: TestUser;
let bob: TestUser;
let runtime = "";
let socket = "";
let agentPid = 0;
/** What the agent's own skylets call themselves: only such a one is listened to. */
let version = "";
/** Alice's job that must outlive everything. */
let kept = 0;

const attemptsOf = (user: TestUser): string[] => readdirSync(join(runtime, String(user.uid)));
const runnerOf = (user: TestUser, attempt: string): { pid: number; startTime: string } =>
  JSON.parse(readFileSync(join(runtime, String(user.uid), attempt, "runner.json"), "utf8")) as never;
const lives = (pid: number): boolean => existsSync(`/proc/${pid}`);
const memoryMb = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;

beforeAll(async () => {
  site = await startSite({ users: 2, accelerators: "V100:4", agentConfig: { cpus: 40 } });
  [alice, bob] = site.users as [TestUser, TestUser];
  runtime = nodePathsOf(site.cluster.dir, "n1").runtimeDir;
  socket = join(runtime, "agent.sock");
  agentPid = site.cluster.pid("agent:n1");
  const said = await must([process.execPath, join(pathsOf(site.cluster.dir).programsDir, "agent.mjs"), "--version"]);
  const [, number, commit, dirty] = /^sky-agent (\S+) \((.{7}).*?(-dirty)?\)$/.exec(said.trim()) ?? [];
  version = `${number}-${commit}${dirty ?? ""}`;
  kept = await submit(alice, ["--", "sleep 10000"]);
  await untilStatus(alice, kept, "RUNNING");
  await untilStatus(bob, await submit(bob, ["--", "sleep 10000"]), "RUNNING");
});
afterAll(async () => await site?.stop());

/** After each attack: the same agent, and Alice as if nothing had happened. */
afterEach(async () => {
  expect(site.cluster.pid("agent:n1")).toBe(agentPid);
  expect(await statusOf(alice, kept)).toBe("RUNNING");
  await aliceWorks();
});

/** Every process of this user, as after a fault; the next job needs a new session. */
function endAll(user: TestUser): void {
  for (const pid of processesOf(user.uid)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended by itself.
    }
  }
}

async function aliceWorks(): Promise<void> {
  const result = await sky(alice, ["exec", clusterName, "--", "echo still-here"], { limitMs: 30_000 });
  expect(result.stdout + result.stderr).toContain("still-here");
}

test("thousands of connections: few are kept, and others are served meanwhile", async () => {
  const attacking = attack<{ kept: number; tried: number }>(
    bob,
    { socket, version },
    `const all = [];
     const hellos = [null, { type: "hello", role: "control", version: arg.version, pid: 1 },
       { type: "hello", role: "stream", id: "0123456789abcdef" }, { type: "hello", role: "payload", attempt: "abcdefgh-1" }];
     for (let n = 0; n < 3000; n += 1) {
       try {
         const one = await open(arg.socket);
         one.on("error", () => {});
         all.push(one);
         const hello = hellos[n % 4];
         if (hello !== null) say(one, hello);
         if (n % 8 === 1) say(one, { type: "ready", attempts: [] });
       } catch {}
     }
     await delay(1000);
     const kept = all.filter((one) => !one.gone).length;
     await delay(3000);
     report({ kept, tried: all.length });`,
  );
  await aliceWorks();
  const { kept: open } = await attacking;
  expect(open).toBeLessThan(100);
  expect(memoryMb(agentPid)).toBeLessThan(200);
});

test("frames that are huge, slow, deep, broken or hold extra keys end their connection only", async () => {
  const deep = `${"[".repeat(200_000)}${"]".repeat(200_000)}`;
  const hello = JSON.stringify({ type: "hello", role: "control", version, pid: 1 });
  const beginnings = ["\n", "{}\n", "\u0000\n", `${deep}\n`, "x".repeat(5_000), `${hello.replace("}", ',"uid":0}')}\n`];
  const rest = [
    "{}\n",
    `${deep}\n`,
    `{"type":"ready","attempts":${deep}}\n`,
    `{"type":"ready","attempts":"${"x".repeat(2 * 1024 * 1024)}"}\n`,
    `{"type":"ready","attempts":[],"uid":0}\n`,
    `{"type":"ready","attempts":[],"__proto__":{"uid":0}}\n`,
    `{"type":"gone","attempt":"../../etc"}\n`,
    `{"type":"prepared","attempt":"abcdefgh-1","pid":-1,"startTime":"1","logDir":""}\n`,
  ];
  const frames = [...beginnings, ...rest.map((frame) => `${hello}\n${frame}`)];
  const open = await attack<number[]>(
    bob,
    { socket, frames },
    `const all = [];
     const bytes = [...arg.frames.map((text) => Buffer.from(text)), Buffer.from([0xff, 0xfe, 10])];
     for (const each of bytes) {
       const one = await open(arg.socket);
       one.on("error", () => {});
       all.push(one);
       one.write(each);
       await waitFor(() => one.gone, 5000);
     }
     report(all.flatMap((one, index) => one.gone ? [] : [index]));`,
  );
  expect(open).toEqual([]);
});

test("what a lying skylet says of others' attempts and processes is not believed", async () => {
  const attempt = attemptsOf(alice)[0] ?? "";
  const runner = runnerOf(alice, attempt);
  const startOf = (pid: number): string =>
    readFileSync(`/proc/${pid}/stat`, "latin1")
      .replace(/^.*\) /s, "")
      .split(" ")[19] ?? "";
  const targets = [1, agentPid, runner.pid].map((pid) => ({ pid, startTime: startOf(pid) }));
  const lying = attack<string[]>(
    bob,
    { socket, version, attempt, targets },
    `const it = await control(arg.socket, arg.version);
     it.on("error", () => {});
     const state = { attempt: arg.attempt, state: "exited", pid: 1, startTime: "1", setupExit: 0, runExit: 0, logDir: "../../etc", fault: null };
     say(it, { type: "ready", attempts: [state] });
     say(it, { type: "gone", attempt: arg.attempt });
     say(it, { type: "changed", attempt: state });
     say(it, { type: "failed", attempt: arg.attempt, error: "x" });
     say(it, { type: "prepared", attempt: arg.attempt, ...arg.targets[2], logDir: "x" });
     say(it, { type: "streamFailed", id: "0123456789abcdef", error: "x" });
     writeFileSync("lying", "");
     const got = [];
     for (const target of arg.targets) {
       const start = await waitFor(() => frames(it).find((f) => f.type === "start" && !got.includes(f.wanted.attempt)), 20000);
       if (start === null) break;
       got.push(start.wanted.attempt);
       say(it, { type: "prepared", attempt: start.wanted.attempt, ...target, logDir: "../../root" });
       await waitFor(() => it.gone, 500);
     }
     report(frames(it).filter((f) => f.type === "go").map((f) => f.attempt));`,
  );
  await until(() => existsSync(join(bob.home, "lying")));
  const ids: number[] = [];
  for (const _ of targets) {
    const id = await submit(bob, ["--", "true"]);
    await untilStatus(bob, id, "FAILED_DRIVER");
    ids.push(id);
  }
  expect(await lying).toEqual([]);
  const rows = await queueOf(bob);
  expect(ids.map((id) => rows.get(id)?.reason)).toEqual(ids.map(() => expect.stringMatching(/process \d+ /)));
  expect([1, agentPid, runner.pid].map(lives)).toEqual([true, true, true]);
});

test("a flood of messages fills neither memory nor log, and others are served meanwhile", async () => {
  const before = attemptsOf(bob);
  await untilStatus(bob, await submit(bob, ["--", "sleep 10000"]), "RUNNING");
  const own = attemptsOf(bob).find((attempt) => !before.includes(attempt));
  const logBefore = site.cluster.log("agent:n1").length;
  const flooding = attack<{ sent: number; gone: boolean }>(
    bob,
    { socket, version, own },
    `const it = await control(arg.socket, arg.version);
     it.on("error", () => {});
     const state = (attempt, n) => ({ attempt, state: n % 2 ? "running" : "setup", pid: 1, startTime: "1", setupExit: null, runExit: null, logDir: "d" + n, fault: null });
     const strangers = Array.from({ length: 4000 }, (_, n) => state("zzzzzzzz-" + (n + 1), 1));
     let sent = 0;
     for (const end = Date.now() + 5000; Date.now() < end && !it.gone; sent += 1) {
       const frame = sent % 250 === 249 ? { type: "ready", attempts: strangers }
         : sent % 3 === 0 ? { type: "gone", attempt: "zzzzzzzz-1" } : { type: "changed", attempt: state(arg.own, sent) };
       if (!say(it, frame)) await Promise.race([new Promise((done) => it.once("drain", done)), delay(5000)]);
     }
     report({ sent, gone: it.gone ?? false });`,
  );
  await aliceWorks();
  await aliceWorks();
  const { sent, gone } = await flooding;
  expect(gone, site.cluster.log("agent:n1").slice(-1000)).toBe(false);
  expect(sent).toBeGreaterThan(100);
  expect(memoryMb(agentPid)).toBeLessThan(200);
  expect(site.cluster.log("agent:n1").length - logBefore).toBeLessThan(200_000);
});

/** A folder and a file that are root's, and what would show that root was led to them. */
function makeCanary(): { dir: string; file: string; state: () => string; remove: () => void } {
  const dir = mkdtempSync("/tmp/sky-canary-");
  const file = join(dir, "shadow");
  chmodSync(dir, 0o755);
  writeFileSync(file, "root's own\n", { mode: 0o600 });
  const state = (): string =>
    JSON.stringify(
      [dir, file].map((path) => {
        const { uid, gid, mode, mtimeMs, nlink } = statSync(path);
        return [path, uid, gid, mode, mtimeMs, nlink];
      }),
    ) +
    readdirSync(dir).join() +
    readFileSync(file, "utf8");
  return { dir, file, state, remove: () => rmSync(dir, { recursive: true }) };
}

test("links and fifos in place of an attempt's files lead root nowhere", async () => {
  const canary = makeCanary();
  const before = canary.state();
  try {
    const racer = launch(
      [
        "setpriv",
        "--reuid",
        String(bob.uid),
        "--regid",
        String(bob.gid),
        "--init-groups",
        "--",
        "bash",
        "-c",
        `cd ${join(runtime, String(bob.uid))}; end=$((SECONDS + 8))
         while [ $SECONDS -lt $end ]; do
           for a in *-*; do
             case $a in *.was) continue;; esac
             for f in spec.json runner.json exit fault started running stopped wake mayrun run.sh run.env; do
               ln -sfn ${canary.file} $a/$f
             done
             mv $a $a.was && ln -sfn ${canary.dir} $a; rm -f $a/nothing; rm -f $a; mkfifo $a; rm -rf $a $a.was
           done 2>/dev/null
         done; true`,
      ],
      { limitMs: 30_000 },
    );
    const ids: number[] = [];
    for (let round = 0; round < 4; round += 1) {
      ids.push(await submit(bob, ["--", "sleep 2"]));
    }
    await sky(bob, ["cancel", clusterName, "-a", "-y"]);
    await aliceWorks();
    await racer.ended;
    expect(canary.state()).toBe(before);
    // Root's own folder holds the user's folder as before, and the user can go on.
    const facts = statSync(join(runtime, String(bob.uid)));
    expect([facts.isDirectory(), facts.uid, facts.mode & 0o777]).toEqual([true, bob.uid, 0o700]);
    await skyOk(bob, ["down", clusterName, "-y"]);
    const works = await sky(bob, ["launch", "-c", clusterName, "-y", "--", "echo bob-again"]);
    expect(works.stdout + works.stderr).toContain("bob-again");
  } finally {
    canary.remove();
  }
});

test("traps in a home catch nobody but its owner", async () => {
  const canary = makeCanary();
  const before = canary.state();
  const { dir, file } = canary;
  const traced = ["sky_logs", "sky_workdir", ".bashrc", ".profile", ".bash_profile"].map((name) => `~/${name}`);
  const traps = [
    `rm -rf ~/.sky/skylet; ln -s ${dir} ~/.sky/skylet`,
    `mkdir -p ~/.sky/skylet; for v in ${site.cluster.dir}/x 0.1.0; do rm -rf ~/.sky/skylet/*; ln -s ${dir} ~/.sky/skylet/0.1.0; done`,
    `mkdir -p ~/.sky/skylet/0.1.0; rm -rf ~/.sky/skylet/0.1.0/skylet.mjs; mkfifo ~/.sky/skylet/0.1.0/skylet.mjs`,
    `mkdir -p ~/.sky/skylet/0.1.0; rm -rf ~/.sky/skylet/0.1.0/skylet.mjs; ln -s ${file} ~/.sky/skylet/0.1.0/skylet.mjs`,
    `rm -rf ~/sky_logs; ln -s ${dir} ~/sky_logs`,
    `rm -rf ~/sky_workdir; ln -s ${file} ~/sky_workdir`,
    `echo 'yes; ' > ~/.bashrc; echo 'exit 1' > ~/.profile`,
    `rm -f ~/.bashrc ~/.profile; mkfifo ~/.bashrc; ln -s /dev/zero ~/.bash_profile`,
    `echo 'yes "output without end" & exec sleep 3600' > ~/.profile`,
  ];
  try {
    for (const trap of traps) {
      endAll(bob);
      await runAs(bob, ["bash", "--norc", "-c", `cp -a ~/.sky ~/.sky.was; ${trap}`]);
      await submit(bob, ["--", "echo trapped; exit 3"]);
      // Whether Bob's job runs is Bob's business; Alice's does at the same time.
      await aliceWorks();
      expect(canary.state(), trap).toBe(before);
      await runAs(bob, ["bash", "--norc", "-c", `rm -rf ~/.sky ${traced.join(" ")}; mv ~/.sky.was ~/.sky`]);
    }
    await sky(bob, ["cancel", clusterName, "-a", "-y"]);
    endAll(bob);
    const works = await sky(bob, ["exec", clusterName, "--", "echo bob-again"]);
    expect(works.stdout + works.stderr).toContain("bob-again");
    expect(canary.state()).toBe(before);
  } finally {
    canary.remove();
  }
});

test("logs that their owner has replaced show nothing that is not the owner's, and hold up nobody", async () => {
  const canary = makeCanary();
  try {
    const traps = (log: string): string[] => [
      `ln -sf ${canary.file} ${log}/tasks/run.log`,
      `rm -f ${log}/tasks/run.log; mkfifo ${log}/tasks/run.log`,
      `rm -f ${log}/.rank-0; mkfifo ${log}/.rank-0`,
      `rm -rf ${log}; ln -s ${canary.dir} ${log}`,
    ];
    for (const [index] of traps("").entries()) {
      const id = await submit(bob, ["--", "echo mine"]);
      await untilStatus(bob, id, "SUCCEEDED");
      const folder = readdirSync(join(bob.home, "sky_logs")).find((name) => name.startsWith(`${id}-`)) ?? "";
      const trap = traps(`~/sky_logs/${folder}`)[index] ?? "";
      await runAs(bob, ["bash", "-c", trap]);
      const seen = await sky(bob, ["logs", clusterName, String(id), "--no-follow"], { limitMs: 30_000 });
      expect(seen.stdout + seen.stderr, trap).not.toContain("root's own");
    }
    await aliceWorks();
    const works = await sky(bob, ["exec", clusterName, "--", "echo bob-again"]);
    expect(works.stdout + works.stderr).toContain("bob-again");
  } finally {
    canary.remove();
  }
});

test("a user whose skylet cannot start any more keeps no devices of a cancelled job", async () => {
  const id = await submit(bob, ["--gpus", "V100:4", "--", "sleep 10000"]);
  await untilStatus(bob, id, "RUNNING");
  const sleeps = (): number[] =>
    processesOf(bob.uid).filter((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").startsWith("sleep"));
  const before = sleeps();
  expect(before.length).toBeGreaterThan(0);
  await runAs(bob, ["bash", "--norc", "-c", "mv ~/.profile ~/.profile.was; echo 'exit 1' > ~/.profile"]);
  for (const pid of processesOf(bob.uid)) {
    if (readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("skylet.mjs")) {
      process.kill(pid, "SIGKILL");
    }
  }
  await sky(bob, ["cancel", clusterName, String(id), "-y"]);
  const next = await submit(alice, ["--gpus", "V100:4", "--", "echo mine now"]);
  await untilStatus(alice, next, "SUCCEEDED", 60_000);
  await runAs(bob, ["bash", "--norc", "-c", "mv -f ~/.profile.was ~/.profile"]);
});
