/**
 * The whole agent against the coordinator's real fleet on loopback: real users, sudo, login, skylets and runners. Only
 * the coordinator's decisions are written by hand here.
 */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, cp, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { coordinatorConfigSchema } from "../../coordinator/config.ts";
import type { CoreEvent } from "../../coordinator/core/state.ts";
import { DiskFileStore } from "../../coordinator/files/store.ts";
import { startFleet } from "../../coordinator/fleet.ts";
import { configuredKeys } from "../../coordinator/fleet-listen.ts";
import type { LogRequest, AttemptReport, Report, WantedAttempt } from "../../shared/agent-wire.ts";
import type { Payload } from "../../shared/job.ts";
import { launch, must, run } from "../help/run.ts";
import { until } from "../help/until.ts";
import { makeUser, processesOf, removeUser, type TestUser } from "../help/users.ts";
import { type Agent, prepareFolders, startAgent } from "../../agent/agent.ts";
import { Cgroups } from "../../agent/cgroup.ts";
import { type AgentConfig, agentConfigSchema } from "../../agent/config.ts";
import { Ledger } from "../../agent/ledger.ts";
import { makeKeyPair } from "../../system/key-pair.ts";

const here = join(dirname(fileURLToPath(import.meta.url)), "../../agent");
const canSwitchUser = process.getuid?.() === 0 && existsSync("/usr/bin/sudo");
const log = pino({ level: process.env["SKY_TEST_LOG"] ?? "silent" });
const keys = { host: makeKeyPair(), node: makeKeyPair() };

let installed = "";
let alice: TestUser;
let bob: TestUser;
let dir = "";
let fleet: Awaited<ReturnType<typeof startFleet>>;
let agent: Agent | null = null;
let config: AgentConfig;
let seq = 0;
let stateId = "s".repeat(16);
const events: CoreEvent[] = [];
const payloads = new Map<string, Payload>();
/** Go ahead of the order. */
const atHand = new Map<string, Payload>();

beforeAll(async () => {
  if (!canSwitchUser) {
    return;
  }
  installed = await mkdtemp(join(tmpdir(), "sky-installed-"));
  await chmod(installed, 0o755);
  const bundle = join(installed, "skylet.mjs");
  await build({
    entryPoints: [join(here, "skylet/main.ts")],
    outfile: bundle,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    logLevel: "error",
  });
  await cp(join(here, "start-skylet.sh"), join(installed, "start-skylet.sh"));
  [alice, bob] = [await makeUser(), await makeUser()];
});

afterAll(async () => {
  if (canSwitchUser) {
    await removeUser(alice);
    await removeUser(bob);
    await rm(installed, { recursive: true });
  }
});

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "sky-agent-"));
  await chmod(dir, 0o755);
  await writeFile(join(dir, "host_key"), keys.host.private, { mode: 0o600 });
  await writeFile(join(dir, "node_key"), keys.node.private, { mode: 0o600 });
  events.length = 0;
  payloads.clear();
  atHand.clear();
  seq = 0;
  stateId = "s".repeat(16);
  const coordinator = coordinatorConfigSchema.parse({
    cluster: "t",
    host_key: join(dir, "host_key"),
    state_dir: dir,
    redis: { socket: join(dir, "none") },
    listen: { port: 0 },
    nodes: [{ name: "n1", key: keys.node.public }],
  });
  const owner = {
    dispatch: (event: CoreEvent) => {
      events.push(event);
      if (event.type === "nodeConnected") {
        fleet.tell("n1", { type: "welcome", protocol: 1, version: "t", node: "n1", stateId, epoch: 1 });
      }
    },
    keysOf: () => [...configuredKeys(coordinator).values()],
    payloadFor: async (_node: string, attempt: string) => payloads.get(attempt) ?? null,
    payloadAtHand: (_node: string, attempt: string) => atHand.get(attempt) ?? null,
    filesFor: async () => null,
    files: new DiskFileStore(coordinator, log),
  };
  fleet = await startFleet(coordinator, owner, log);
  config = agentConfigSchema.parse({
    node: "n1",
    coordinator: { address: "127.0.0.1", port: fleet.port, host_key: keys.host.public },
    key: join(dir, "node_key"),
    runtime_dir: join(dir, "run"),
    state_dir: join(dir, "state"),
    accelerators: "-",
  });
});

afterEach(async () => {
  await agent?.stop();
  agent = null;
  await fleet.close();
  for (const user of canSwitchUser ? [alice, bob] : []) {
    await until(() => {
      for (const pid of processesOf(user.uid)) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // It ended by itself.
        }
      }
      return processesOf(user.uid).length === 0;
    });
  }
  // Jobs that were killed above were never named as ended, so their groups are still there.
  await (await Cgroups.open("n1", null)).sweep(() => false);
  await rm(dir, { recursive: true });
});

async function start(version = "0.0.0-test"): Promise<void> {
  const files = {
    script: join(installed, "start-skylet.sh"),
    node: process.execPath,
    bundle: join(installed, "skylet.mjs"),
  };
  agent = await startAgent(config, { ...files, version }, log);
  await until(() => lastReport() !== undefined, "a report");
}

function lastReport(): Report | undefined {
  const last = events.filter((event) => event.type === "nodeReported").at(-1);
  return last?.type === "nodeReported" ? last.report : undefined;
}

const reported = (attempt: string): AttemptReport | undefined =>
  lastReport()?.attempts.find((one) => one.attempt === attempt);

const newId = (): string => `${randomBytes(4).toString("hex")}-1`;

function wantedFor(user: { uid: number; name: string }, script: string): WantedAttempt {
  const attempt = newId();
  payloads.set(attempt, { setup: null, run: script, envs: {} });
  return {
    attempt,
    uid: user.uid,
    user: user.name,
    jobId: 1,
    jobName: null,
    cluster: "t",
    rank: 0,
    grant: { node: "n1", devices: [], share: 1, cpus: 1, memoryGb: 1 },
    acceleratorKind: null,
    setup: false,
    hasRun: true,
    mayRun: true,
    started: false,
    addresses: ["127.0.0.1"],
    nodeLabel: "head",
    singleNodeCluster: true,
    graceSeconds: 5,
    submittedAt: Date.now(),
  };
}

function want(wanted: WantedAttempt[], ended: string[] = []): void {
  seq += 1;
  fleet.tell("n1", { type: "desired", stateId, epoch: 1, seq, wanted, ended });
}

describe.runIf(canSwitchUser)("as root, with real users", { timeout: 60_000 }, () => {
  it("runs an attempt as its user, reports its end, and forgets it when told", async () => {
    await start();
    const one = wantedFor(alice, "id -un; exit 3");
    want([one]);
    const end = await until(
      () => (reported(one.attempt)?.state === "exited" ? reported(one.attempt) : null),
      "the end",
    );
    expect(end).toMatchObject({ runExit: 3, fault: null, uid: alice.uid });
    expect(await readFile(join(alice.home, end.logDir ?? "", "tasks/run.log"), "utf8")).toContain(alice.name);
    const folder = await stat(join(dir, "run", String(alice.uid)));
    expect([folder.uid, folder.gid, folder.mode & 0o777]).toEqual([alice.uid, alice.gid, 0o700]);
    want([], [one.attempt]);
    await until(() => lastReport()?.attempts.length === 0, "the attempt to be forgotten");
    expect((await new Ledger(join(dir, "state")).read()).entries).toEqual([]);
  });

  it("begins nothing without its limits, nor what a payload says that no order or schema knows", async () => {
    await start();
    const mark = join(alice.home, "began");
    const memoryBytes = 64 * 2 ** 20;
    const ordered: WantedAttempt = { ...wantedFor(alice, `touch ${mark}`), limits: { memoryBytes } };
    const silent = wantedFor(alice, `touch ${mark}`);
    const hostile = wantedFor(alice, `touch ${mark}`);
    const payload = payloads.get(silent.attempt) as Payload;
    payloads.set(ordered.attempt, { ...payload, launchSpec: { memoryLimitBytes: memoryBytes } });
    payloads.set(silent.attempt, { ...payload, launchSpec: { memoryLimitBytes: memoryBytes } });
    payloads.set(hostile.attempt, { ...payload, launchSpec: { user: 0 } as never });
    want([silent, hostile]);
    for (const { attempt } of [silent, hostile]) {
      await until(() => reported(attempt)?.state === "exited", "the refusal");
    }
    expect(reported(silent.attempt)?.fault).toContain("limits are not those that the agent was told of");
    expect(reported(hostile.attempt)?.fault).not.toBeNull();
    expect(existsSync(mark)).toBe(false);
    want([silent, hostile, ordered]);
    const end = await until(
      () => (reported(ordered.attempt)?.state === "exited" ? reported(ordered.attempt) : null),
      "the end",
    );
    if (lastReport()?.inventory.mechanisms?.includes("cgroup-memory") === true) {
      expect(end).toMatchObject({ runExit: 0, limits: { memoryBytes } });
    } else {
      expect(end.fault).toMatch(
        /^The job was not started: its process could not be put into its cgroup with its limits/,
      );
      expect([existsSync(mark), end.limits]).toEqual([false, undefined]);
    }
  });

  it("keeps jobs running over a restart of the agent and takes them over again, whole and stoppable", async () => {
    await start();
    const one = wantedFor(alice, "sleep 1000 & setsid sleep 1000 & sleep 1000");
    want([one]);
    await until(() => reported(one.attempt)?.state === "running", "it to run");
    const { pid } = reported(one.attempt) ?? {};
    await agent?.stop();
    expect((await new Ledger(join(dir, "state")).read()).entries).toMatchObject([{ phase: "go", pid }]);
    events.length = 0;
    await start();
    await until(() => reported(one.attempt)?.state === "running", "it to be taken over");
    expect(reported(one.attempt)?.pid).toBe(pid);
    want([], [one.attempt]);
    await until(() => lastReport()?.attempts.length === 0, "it to be gone");
    const left = await Promise.all(
      processesOf(alice.uid).map((one) => readFile(`/proc/${one}/cmdline`, "utf8").catch(() => "")),
    );
    expect(left.filter((line) => line.startsWith("sleep"))).toEqual([]);
  });

  it("exchanges skylets of another version, older or newer, and takes over what they have started", async () => {
    await start();
    const gate = join(alice.home, "gate");
    const one = wantedFor(alice, `echo before; while [ ! -e ${gate} ]; do sleep 0.1; done; echo after; exit 3`);
    want([one]);
    await until(() => reported(one.attempt)?.state === "running", "it to run");
    const { pid } = reported(one.attempt) ?? {};
    const skylets = async (): Promise<string[]> => {
      const lines = processesOf(alice.uid).map((each) => readFile(`/proc/${each}/cmdline`, "utf8").catch(() => ""));
      return (await Promise.all(lines)).flatMap((line) => /--version\0([^\0]+)/.exec(line)?.[1] ?? []);
    };
    for (const version of ["0.0.1-next", "0.0.0-test"]) {
      await agent?.stop();
      events.length = 0;
      await start(version);
      await until(async () => String(await skylets()) === version, `the skylet of version ${version}`);
      await until(() => reported(one.attempt)?.state === "running", "it to be taken over");
      expect(reported(one.attempt)?.pid).toBe(pid);
    }
    // A skylet of another version that comes while the right one is there changes nothing, whoever says so.
    const path = join(dir, "run/agent.sock");
    const frames = [
      { type: "hello", role: "control", version: "9", pid: 1 },
      { type: "ready", attempts: [] },
    ];
    const code = `const s=require('net').connect(process.argv[1]);s.on('data',d=>process.stdout.write(d));s.on('error',()=>{});
      s.write(process.argv[2])`;
    const text = frames.map((frame) => `${JSON.stringify(frame)}\n`).join("");
    const uid = ["--reuid", String(alice.uid), "--regid", String(alice.gid), "--clear-groups"];
    expect(await must(["setpriv", ...uid, process.execPath, "-e", code, path, text])).toBe('{"type":"retire"}\n');
    await writeFile(gate, "");
    await until(() => reported(one.attempt)?.state === "exited", "its end");
    expect(reported(one.attempt)).toMatchObject({ runExit: 3, fault: null });
    expect(await readFile(join(alice.home, reported(one.attempt)?.logDir ?? "", "tasks/run.log"), "utf8")).toMatch(
      /before[\s\S]*after/,
    );
    expect(await skylets()).toEqual(["0.0.0-test"]);
    want([], [one.attempt]);
    await until(() => lastReport()?.attempts.length === 0, "it to be forgotten");
  });

  it("brings a log stream from the user's skylet, also when it must be started for it", async () => {
    await start();
    const one = wantedFor(alice, "echo hello from the job");
    want([one]);
    await until(() => reported(one.attempt)?.state === "exited", "the end");
    const logDir = reported(one.attempt)?.logDir ?? null;
    want([], [one.attempt]);
    await until(() => lastReport()?.attempts.length === 0, "it to be forgotten");
    fleet.tell("n1", { type: "retireSkylet", uid: alice.uid });
    await until(() => processesOf(alice.uid).length === 0, "the skylet's end");
    const request = { attempt: one.attempt, logDir, rank: 0, follow: false, setupOffset: 0, runOffset: 0 };
    const stream = await fleet.openLogStream("n1", alice.uid, alice.name, {
      kind: "logs",
      ...request,
      tailLines: null,
    });
    const parts: Buffer[] = [];
    for await (const part of stream) {
      parts.push(part as Buffer);
    }
    expect(Buffer.concat(parts).toString("latin1")).toMatch(/hello from the job[\s\S]*E\0\0\0\0$/);
  });

  it("refuses users that this node must not run, whatever the coordinator says, with a text for them", async () => {
    await start();
    const cases: [{ uid: number; name: string }, string][] = [
      [{ uid: 0, name: "root" }, "system account"],
      [{ uid: 1, name: "daemon" }, "system account"],
      [{ uid: alice.uid, name: "nobodyhere" }, "has no account on node n1"],
      [{ uid: bob.uid, name: alice.name }, `but uid ${alice.uid} on node n1`],
      [{ uid: 65534, name: "nobody" }, "account of nobody"],
    ];
    for (const [user, text] of cases) {
      const one = wantedFor(user, `touch ${join(dir, "ran")}`);
      want([one]);
      await until(() => reported(one.attempt)?.state === "exited", user.name);
      expect(reported(one.attempt)?.fault).toContain(text);
    }
    expect(existsSync(join(dir, "ran"))).toBe(false);
    expect(processesOf(bob.uid)).toEqual([]);
  });

  it("says why a login does not come up", async () => {
    await must(["usermod", "--shell", "/usr/sbin/nologin", bob.name]);
    await start();
    const one = wantedFor(bob, "true");
    want([one]);
    await until(() => reported(one.attempt)?.state === "exited");
    expect(reported(one.attempt)?.fault).toContain("may not log in on node n1: the shell is /usr/sbin/nologin");
    await writeFile(join(dir, "closed"), "#!/bin/sh\nexit 7\n", { mode: 0o755 });
    await must(["usermod", "--shell", join(dir, "closed"), bob.name]);
    const two = wantedFor(bob, "true");
    want([two]);
    await until(() => reported(two.attempt)?.state === "exited");
    expect(reported(two.attempt)?.fault).toMatch(
      /session of user '\w+' could not be started on node n1: .*exit code 7/,
    );
    await must(["usermod", "--shell", "/bin/bash", bob.name]);
  });

  it("starts with the payload that came ahead of the order, and keeps it in no ledger", async () => {
    await start();
    const one = wantedFor(alice, "");
    payloads.clear();
    atHand.set(one.attempt, { setup: null, run: 'echo "$WORD" | rev; sleep 30', envs: { WORD: "yrevocsid" } });
    want([one]);
    const running = await until(
      () => (reported(one.attempt)?.state === "running" ? reported(one.attempt) : null),
      "the job",
    );
    const log = join(alice.home, running.logDir ?? "", "tasks/run.log");
    await until(() => readFile(log, "utf8").then((text) => text.includes("discovery")), "its output");
    for (const place of [config.state_dir, join(dir, "run", String(alice.uid), one.attempt, "spec.json")]) {
      const found = await run(["grep", "-r", "yrevocsid", place]);
      expect(found.code).toBe(1);
    }
    want([], [one.attempt]);
    await until(() => reported(one.attempt) === undefined, "nothing of it");
  });

  it("believes no skylet about attempts of others, processes of others, or other users' streams and payloads", async () => {
    await start();
    const victim = wantedFor(alice, "sleep 1000");
    const own = wantedFor(bob, "sleep 1000");
    want([victim, own]);
    await until(() => [victim, own].every((one) => reported(one.attempt)?.state === "running"), "both to run");
    const path = join(dir, "run/agent.sock");
    const speak = async (frames: unknown[]): Promise<string> => {
      const code = `const s=require('net').connect(process.argv[1]);let t='';s.on('data',d=>t+=d);s.on('close',()=>console.log(t));
        s.on('error',()=>{});s.write(process.argv[2]);setTimeout(()=>s.destroy(),500)`;
      const text = frames.map((frame) => `${JSON.stringify(frame)}\n`).join("");
      const uid = ["--reuid", String(bob.uid), "--regid", String(bob.gid), "--clear-groups"];
      return await must(["setpriv", ...uid, process.execPath, "-e", code, path, text]);
    };
    const hello = { type: "hello", role: "control", version: "0.0.0-test", pid: 1 };
    const exited = {
      attempt: victim.attempt,
      state: "exited",
      pid: null,
      startTime: null,
      setupExit: null,
      runExit: 0,
      logDir: null,
      fault: null,
    };
    await speak([
      hello,
      { type: "ready", attempts: [exited] },
      { type: "changed", attempt: exited },
      { type: "gone", attempt: victim.attempt },
    ]);
    expect(await speak([{ type: "hello", role: "payload", attempt: victim.attempt }])).not.toContain("sleep");
    await speak([{ ...hello, uid: 0 }]);
    await speak([
      hello,
      { type: "prepared", attempt: own.attempt, pid: process.pid, startTime: "1", logDir: "x", gid: 0 },
    ]);
    want([victim, own]);
    await until(() => lastReport()?.seq === seq);
    expect(reported(victim.attempt)).toMatchObject({ state: "running", runExit: null });
    expect(agent?.state.attempts.size).toBe(2);
  });

  it("does not listen to users that it expects nothing of", async () => {
    await start();
    const socket = connect(join(dir, "run/agent.sock"));
    await new Promise((resolve) =>
      socket
        .on("error", () => undefined)
        .on("close", resolve)
        .resume(),
    );
  });

  it("opens a new session when the user's groups have changed", async () => {
    const group = `skytestg${randomBytes(3).toString("hex")}`;
    await start();
    const one = wantedFor(alice, "id -Gn");
    want([one]);
    await until(() => reported(one.attempt)?.state === "exited", "the first end");
    await must(["groupadd", group]);
    try {
      await must(["usermod", "-aG", group, alice.name]);
      await until(async () => {
        const two = wantedFor(alice, "id -Gn");
        want([two]);
        await until(() => reported(two.attempt)?.state === "exited", "another end");
        const text = await readFile(join(alice.home, reported(two.attempt)?.logDir ?? "", "tasks/run.log"), "utf8");
        return text.split(/\s+/).includes(group);
      }, "a job with the new group");
    } finally {
      await must(["gpasswd", "-d", alice.name, group]);
      await must(["groupdel", group]);
    }
  });

  it("obeys another state only after an admin has confirmed it, and loses nothing meanwhile", async () => {
    await start();
    const one = wantedFor(alice, "sleep 1000");
    want([one]);
    await until(() => reported(one.attempt)?.state === "running");
    stateId = "z".repeat(16);
    agent?.reconnect();
    await until(() => events.some((event) => event.type === "nodeRefused"), "the refusal");
    const log: LogRequest = {
      ...{ kind: "logs", attempt: one.attempt, logDir: null, rank: 0, follow: false },
      ...{ setupOffset: 0, runOffset: 0, tailLines: null },
    };
    await expect(fleet.openLogStream("n1", alice.uid, alice.name, log)).rejects.toThrow("until an admin confirms it");
    want([], [one.attempt]);
    await new Ledger(join(dir, "state")).saveIdentity({ stateId, epoch: 0 });
    events.length = 0;
    agent?.reconnect();
    await until(() => lastReport()?.stateId === stateId, "a report for the new state");
    expect(reported(one.attempt)?.state).toBe("running");
  });
});

describe.runIf(canSwitchUser)("single_user, as an ordinary user", { timeout: 60_000 }, () => {
  it("runs that user's own jobs and refuses everybody else's", async () => {
    await buildAgent();
    const own = join(dir, "own");
    await mkdir(own);
    await writeFile(join(own, "key"), keys.node.private, { mode: 0o600 });
    const text = {
      ...config,
      key: join(own, "key"),
      runtime_dir: join(own, "run"),
      state_dir: join(own, "state"),
      users: { allow: [alice.name] },
      single_user: true,
    };
    await writeFile(join(own, "agent.yaml"), JSON.stringify(text));
    await must(["chown", "-R", `${alice.uid}:${alice.gid}`, own]);
    const ids = ["--reuid", String(alice.uid), "--regid", String(alice.gid), "--clear-groups"];
    const program = [process.execPath, join(installed, "agent.mjs"), "--config", join(own, "agent.yaml")];
    const running = launch(["setpriv", ...ids, ...program], { limitMs: 50_000 });
    try {
      await until(() => lastReport() !== undefined, `a report (${running.stderr()})`);
      const mine = wantedFor(alice, "id -u");
      const other = wantedFor(bob, "id -u");
      want([mine, other]);
      await until(() => [mine, other].every((one) => reported(one.attempt)?.state === "exited"), "both ends");
      expect(reported(mine.attempt)).toMatchObject({ runExit: 0, fault: null });
      expect(reported(other.attempt)?.fault).toContain(`runs jobs of uid ${alice.uid} only`);
      expect(await readFile(join(alice.home, reported(mine.attempt)?.logDir ?? "", "tasks/run.log"), "utf8")).toContain(
        String(alice.uid),
      );
    } finally {
      running.child.kill("SIGTERM");
      await running.ended;
    }
  });
});

/** The agent as it is installed: a bundle with koffi beside it. */
async function buildAgent(): Promise<void> {
  const modules = join(here, "../node_modules");
  await build({
    entryPoints: [join(here, "main.ts")],
    outfile: join(installed, "agent.mjs"),
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    logLevel: "error",
    external: ["koffi", "cpu-features"],
    loader: { ".node": "empty" },
    banner: {
      js: [
        'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);',
        "const __dirname = import.meta.dirname; const __filename = import.meta.filename;",
      ].join("\n"),
    },
  });
  for (const name of ["koffi", "@koromix"]) {
    await cp(join(modules, name), join(installed, "node_modules", name), { recursive: true });
  }
}

describe.runIf(process.getuid?.() === 0)("folders", () => {
  it("refuses folders that others could write, own or redirect, and sockets with too long a path", async () => {
    const folder = join(dir, "run");
    await mkdir(folder, { mode: 0o755 });
    await chmod(folder, 0o777);
    await expect(prepareFolders(config)).rejects.toThrow("can be written by others");
    await chmod(folder, 0o755);
    await must(["chown", "1", folder]);
    await expect(prepareFolders(config)).rejects.toThrow("belongs to uid 1");
    await must(["chown", "0", folder]);
    await prepareFolders(config);
    await expect(prepareFolders({ ...config, single_user: true })).rejects.toThrow("not root");
    await chmod(dir, 0o777);
    await expect(prepareFolders(config)).rejects.toThrow(`${dir} can be written by others`);
    await chmod(dir, 0o1777);
    await prepareFolders(config);
    await chmod(dir, 0o755);
    await symlink(folder, join(dir, "link"));
    expect((await prepareFolders({ ...config, runtime_dir: join(dir, "link") })).runtime_dir).toBe(folder);
    await expect(prepareFolders({ ...config, runtime_dir: join(dir, "x".repeat(100)) })).rejects.toThrow("too long");
  });
});
