/**
 * One user wishes another one ill by way of the coordinator: keys smuggled into bodies, other people's numbers and ids,
 * a socket that is held busy, secrets that lie about, an environment that is to reach root or the daemons. Nobody but
 * the caller is ever affected.
 */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { nodePathsOf, pathsOf } from "../../scripts/cluster/layout.ts";
import { launch as launchPart } from "../../scripts/cluster/processes.ts";
import { attack } from "../help/attack.ts";
import { must } from "../help/run.ts";
import { runAs, sky, skyOk } from "../help/sky.ts";
import { clusterName, jobLines, queueOf, type Site, startSite, statusOf, submit, untilStatus } from "../help/site.ts";
import { until } from "../help/until.ts";
import { processesOf, type TestUser, writeHomeFile } from "../help/users.ts";

let site: Site;
let alice: TestUser;
let bob: TestUser;
let api = "";
/** Drawn, because this file itself is among what is searched. */
const secret = `canary-${randomBytes(12).toString("hex")}`;
const canary = "SKY_CANARY_VARIABLE";

beforeAll(async () => {
  site = await startSite({ users: 2, accelerators: "-", agentConfig: { cpus: 40 } });
  [alice, bob] = site.users as [TestUser, TestUser];
  api = site.cluster.socket;
  // The agent again, with an environment and a standing of which nothing may reach a job.
  await site.cluster.kill("agent:n1");
  const { programsDir } = pathsOf(site.cluster.dir);
  const { config } = nodePathsOf(site.cluster.dir, "n1");
  const env = { PATH: process.env["PATH"] ?? "", [canary]: "1", NODE_OPTIONS: "--title=canary", SUDO_USER: "canary" };
  const pid = launchPart(
    site.cluster.dir,
    "agent:n1",
    [process.execPath, join(programsDir, "agent.mjs"), "--config", config],
    env,
  ).pid;
  writeFileSync(`/proc/${pid}/oom_score_adj`, "300");
  await must(["renice", "-n", "7", "-p", String(pid)]);
  await site.cluster.ready();
  writeHomeFile(
    alice,
    "secret.yaml",
    `envs: {TOKEN: ${secret}}\nrun: |\n  echo token has \${#TOKEN} characters\n  sleep 10000\n`,
  );
  await submit(alice, ["secret.yaml"], "launch");
  await untilStatus(alice, 1, "RUNNING");
});
afterAll(async () => await site?.stop());

test("keys and headers that name somebody else change nobody", async () => {
  const asRoot = { uid: 0, gid: 0, user: "root", username: alice.name, user_id: alice.uid, env: { LD_PRELOAD: "/x" } };
  const extra = { ...asRoot, record: { uid: 0 }, account: asRoot, all: false };
  const headers = {
    "x-user": "root",
    "x-skypilot-user": alice.name,
    authorization: "Basic cm9vdDo=",
    "x-forwarded-user": "root",
  };
  const done = await attack<{ status: number; body: string }[]>(
    bob,
    { api, extra, headers, cluster: clusterName },
    `const body = { cluster_name: arg.cluster, ...arg.extra };
     const task = "run: id -u > ~/who";
     const all = [];
     for (const [url, own] of [["/launch", { task }], ["/exec", { task }], ["/queue", {}], ["/job_status", { job_ids: [1] }], ["/cancel", { job_ids: [9] }], ["/status", {}]]) {
       all.push(await result(arg.api, "POST", url, { ...body, ...own }, arg.headers));
     }
     const raw = '{"cluster_name":"' + arg.cluster + '","task":"run: id -u > ~/who","__proto__":{"uid":0},"constructor":{"uid":0}}';
     all.push(await result(arg.api, "POST", "/exec", raw, arg.headers));
     all.push(await call(arg.api, "GET", "/onprem/whoami?uid=0&user=root", undefined, arg.headers));
     report(all);`,
  );
  expect(done.map((one) => one.status)).toEqual(done.map(() => 200));
  expect(JSON.parse(done.at(-1)?.body ?? "")).toMatchObject({ uid: bob.uid, user: bob.name });
  const rows = await queueOf(bob);
  expect([...rows.keys()].sort((a, b) => a - b)).toEqual([1, 2, 3]);
  for (const id of rows.keys()) {
    await untilStatus(bob, id, "SUCCEEDED");
  }
  expect(readFileSync(join(bob.home, "who"), "utf8")).toBe(`${bob.uid}\n`);
  expect([...(await queueOf(alice)).keys()]).toEqual([1]);
  expect(existsSync(join(alice.home, "who"))).toBe(false);
});

test("another user's requests and jobs are not there", async () => {
  const id = await attack<string>(
    alice,
    { api, cluster: clusterName },
    `const { headers } = await call(arg.api, "POST", "/queue", { cluster_name: arg.cluster });
     report(headers["x-skypilot-request-id"]);`,
  );
  const seen = await attack<{ status: number; body: string }[]>(
    bob,
    { api, id, cluster: clusterName },
    `const all = [];
     for (const url of ["/api/get?request_id=", "/api/stream?request_id=", "/api/status?request_ids="]) {
       all.push(await call(arg.api, "GET", url + arg.id), await call(arg.api, "GET", url + arg.id.slice(0, 8)));
     }
     all.push(await call(arg.api, "POST", "/api/cancel", { request_ids: [arg.id] }));
     all.push(await call(arg.api, "POST", "/queue", { cluster_name: arg.cluster }, { "x-skypilot-request-id": arg.id }));
     all.push(await result(arg.api, "POST", "/queue", { cluster_name: arg.cluster, all_users: true }));
     all.push(await result(arg.api, "POST", "/cancel", { cluster_name: arg.cluster, all_users: true }));
     report(all);`,
  );
  expect(seen.map((one) => one.status).filter((status) => status < 400)).toEqual([]);
  expect(seen.map((one) => one.body).join()).not.toContain("secret.yaml");
  // Bob's own numbers only: his first is not hers.
  await skyOk(bob, ["cancel", clusterName, "-a", "-y"]);
  await sky(bob, ["cancel", clusterName, "1", "-y"]);
  expect((await sky(bob, ["logs", clusterName, "1", "--no-follow"])).stdout).not.toContain("token has");
  expect((await sky(bob, ["queue", clusterName, "-u"])).code).toBe(1);
  expect(await statusOf(alice, 1)).toBe("RUNNING");
});

test("accounts that may not run jobs, and uids without one, are refused", async () => {
  const uids = { root: 0, daemon: 1, nobody: 65534, nameless: 48_211 };
  const source = `
    const all = [];
    for (const url of ["/launch", "/exec"]) all.push(await call(arg.api, "POST", url, { cluster_name: arg.cluster, task: "run: id" }));
    report(all.map((one) => one.status));`;
  for (const [name, uid] of Object.entries(uids)) {
    const user: TestUser = { name: name === "nameless" ? "" : name, uid, gid: uid, home: "/", key: "" };
    const statuses = await attack<number[]>(user, { api, cluster: clusterName }, source);
    expect(statuses, name).toEqual([403, 403]);
  }
});

test("a user's secret is nowhere where another one can read, and not in the store in clear", async () => {
  const { dir } = site.cluster;
  const found = await runAs(bob, [
    "bash",
    "-c",
    `cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -c ${secret}
     grep -rl ${secret} ${dir} /tmp /run /var/tmp /dev/shm ${alice.home} 2>/dev/null | grep -v '^${alice.home}/secret.yaml$'`,
  ]);
  // The search's own command line is what it finds, and nothing else.
  expect(found.stdout.trim().split("\n").slice(1)).toEqual([]);
  const asRoot = ["state", "log"].map((part) => join(dir, part));
  expect(execFileSync("bash", ["-c", `grep -rl ${secret} ${asRoot.join(" ")} || true`], { encoding: "utf8" })).toBe("");
  const paths = pathsOf(dir);
  const node = nodePathsOf(dir, "n1");
  const closed = [
    paths.stateDir,
    paths.redisDir,
    paths.redisSocket,
    paths.redisConfig,
    paths.hostKey,
    node.key,
    node.config,
    node.stateDir,
    join(node.runtimeDir, String(alice.uid)),
  ];
  for (const path of closed) {
    expect((await runAs(bob, ["test", "-r", path])).code, path).toBe(1);
    expect((await runAs(bob, ["test", "-w", path])).code, path).toBe(1);
  }
  expect((await runAs(bob, ["redis-cli", "-s", paths.redisSocket, "ping"])).stdout).not.toContain("PONG");
  const writable = await runAs(bob, ["find", dir, "-writable", "-not", "-type", "l", "-not", "-user", bob.name]);
  expect(writable.stdout.trim().split("\n").sort()).toEqual(
    [paths.apiSocket, join(node.runtimeDir, "agent.sock")].sort(),
  );
});

test("nothing of the daemons reaches a job: environment, files, priority, session", async () => {
  const look =
    "env | sort; ls /proc/self/fd; ps -o nice=,tty=,sid= -p $$; cat /proc/self/oom_score_adj; tty; (exec 9<>/dev/tty) 2>&1; echo sid-of-job $$";
  const text = jobLines((await sky(bob, ["exec", clusterName, "--", look])).stdout).join("\n");
  expect(text).not.toMatch(new RegExp(`${canary}|NODE_OPTIONS|SUDO_|canary`));
  expect(text).toContain("not a tty");
  expect(text).toMatch(/\/dev\/tty: No such device/);
  const login = await must(["su", "--login", bob.name, "-c", "nice; cat /proc/self/oom_score_adj"]);
  const job = jobLines(
    (await sky(bob, ["exec", clusterName, "--", "nice; cat /proc/self/oom_score_adj; readlink /proc/self/fd/*"]))
      .stdout,
  );
  expect(job.slice(0, 2).join("\n")).toBe(login.trim());
  expect(job.slice(2).filter((path) => !/^(\/dev\/null|\/proc\/\d+\/fd|.*\/sky_logs\/.*)$/.test(path))).toEqual([]);
});

test("a task's variables touch the user's own job only, and hostile names are refused", async () => {
  const hostile = {
    LD_PRELOAD: "/tmp/nothing.so",
    NODE_OPTIONS: "--bad",
    BASH_ENV: "/dev/zero",
    PATH: "/nowhere",
    ENV: "/dev/zero",
    IFS: "/",
    SHELLOPTS: "xtrace",
    PS4: "$(id >&2)",
  };
  writeHomeFile(bob, "hostile.yaml", `envs: ${JSON.stringify(hostile)}\nrun: |\n  builtin echo survived\n`);
  const result = await sky(bob, ["launch", "-c", clusterName, "-y", "hostile.yaml"]);
  expect(jobLines(result.stdout).join("\n")).toContain("survived");
  expect(jobLines((await sky(bob, ["exec", clusterName, "--", "echo next"])).stdout).join("\n")).toContain("next");
  for (const name of ["A B", "A;id", "A=B", "$(id)", "1A", "A\\nB", "é", "`id`", ""]) {
    writeHomeFile(bob, "name.yaml", `envs: {${JSON.stringify(name)}: x}\nrun: "true"\n`);
    const refused = await sky(bob, ["launch", "-c", clusterName, "-y", "name.yaml"]);
    expect(refused.code, name).not.toBe(0);
  }
  for (const name of ["../../x", "a/b", "a b", "$(id)", "-x", ".hidden", "a\\nb", "x".repeat(300)]) {
    writeHomeFile(bob, "name.yaml", `name: ${JSON.stringify(name)}\nrun: "true"\n`);
    expect((await sky(bob, ["launch", "-c", clusterName, "-y", "name.yaml"])).code, name).not.toBe(0);
  }
});

test("what a cancelled job left in sessions of its own, without its environment, is gone; other processes are not", async () => {
  const script = [
    "trap '' TERM INT HUP",
    "setsid sh -c 'trap \"\" TERM; while :; do sleep 30; done' &",
    "env -i setsid setsid sh -c 'trap \"\" TERM; exec env -i setsid sleep 3333' & disown",
    "(env -i setsid sh -c 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); (setsid sleep 3334 &); sleep 0.01; done' &)",
    "echo begun; while :; do sleep 30; done",
  ].join("\n");
  writeHomeFile(bob, "stubborn.yaml", `run: |\n${script.replace(/^/gm, "  ")}\n`);
  const other = await submit(bob, ["--", "sleep 4444"]);
  await untilStatus(bob, other, "RUNNING");
  const others = (): string => execFileSync("pgrep", ["-u", String(bob.uid), "-f", "sleep 4444"], { encoding: "utf8" });
  const before = others();
  const login = runAs(bob, ["sleep", "6"]);
  const aliceBefore = processesOf(alice.uid).length;
  const id = await submit(bob, ["stubborn.yaml"], "launch");
  await untilStatus(bob, id, "RUNNING");
  const count = (): number =>
    readdirSync("/proc").filter((name) => {
      try {
        return /^\d+$/.test(name) && /^sleep\x00333[34]/.test(readFileSync(`/proc/${name}/cmdline`, "latin1"));
      } catch {
        return false;
      }
    }).length;
  await until(() => count() > 20, "forks");
  await skyOk(bob, ["cancel", clusterName, String(id), "-y"]);
  await untilStatus(bob, id, "CANCELLED");
  await until(() => count() === 0, "the end of every process");
  expect(others()).toBe(before);
  expect(await statusOf(bob, other)).toBe("RUNNING");
  expect((await login).code).toBe(0);
  expect(processesOf(alice.uid).length).toBeGreaterThanOrEqual(aliceBefore);
  expect(await statusOf(alice, 1)).toBe("RUNNING");
});

test("held connections, half requests and heavy tasks of one user keep nobody else waiting for long", async () => {
  const heavy = `envs:\n${Array.from({ length: 60_000 }, (_, n) => `  A${n}: b\n`).join("")}`;
  const attacking = attack<number>(
    bob,
    { api, heavy, cluster: clusterName },
    `const all = [];
     for (let n = 0; n < 1500; n += 1) {
       const one = await open(arg.api).catch(() => null);
       if (one === null) continue;
       one.on("error", () => {});
       all.push(one);
       one.write(["", "POST /launch HTTP/1.1\\r\\nHost: x\\r\\nContent-Le", "POST /launch HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 20000000\\r\\n\\r\\n{", "GET /api/health HTTP/1.1\\r\\nHost: x\\r\\n" + "A: b\\r\\n".repeat(5000), "\\u0000\\u00ff\\r\\n\\r\\n"][n % 5]);
     }
     writeFileSync("holding", "");
     await delay(4000);
     for (const one of all) one.destroy();
     await delay(500);
     writeFileSync("heavy", "");
     const calls = Array.from({ length: 20 }, () => call(arg.api, "POST", "/launch", { cluster_name: arg.cluster, task: arg.heavy }).catch(() => null));
     await Promise.race([Promise.all(calls), delay(10_000)]);
     report(all.length);`,
  );
  for (const phase of ["holding", "heavy"]) {
    await until(() => existsSync(join(bob.home, phase)), phase, 60_000);
    for (let round = 0; round < 3; round += 1) {
      const result = await sky(alice, ["exec", clusterName, "--", `echo during-${phase}`], { limitMs: 12_000 });
      expect(result.stdout + result.stderr).toContain(`during-${phase}`);
    }
  }
  await attacking;
  expect(await statusOf(alice, 1)).toBe("RUNNING");
});

test("the end of the cluster ends no process that a user has only pretended to be part of it", async () => {
  const { runtimeDir } = nodePathsOf(site.cluster.dir, "n1");
  const elsewhere = "zzzzzzzz-99";
  await skyOk(bob, ["exec", clusterName, "--", "true"]);
  // As a job of hers on another cluster of this machine.
  const other = runAs(alice, ["sleep", "8"], { env: { SKY_ONPREM_ATTEMPT: elsewhere } });
  await runAs(bob, ["mkdir", join(runtimeDir, String(bob.uid), elsewhere)]);
  expect(existsSync(join(runtimeDir, String(bob.uid), elsewhere))).toBe(true);
  await site.cluster.stop();
  expect((await other).code).toBe(0);
  expect(existsSync(site.cluster.dir)).toBe(false);
});
