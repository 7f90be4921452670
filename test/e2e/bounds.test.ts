/**
 * What a task's `workload:` holds a job to, with real programs and a real user: rights, folders, the time from TERM to
 * KILL, and limits, which a machine that cannot set them refuses with that reason.
 */
import { chmodSync, copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sky, skyOk } from "../help/sky.ts";
import { clusterName, jobLines, plain, type Site, startSite, submit, untilStatus } from "../help/site.ts";
import { until } from "../help/until.ts";
import { type TestUser, writeHomeFile } from "../help/users.ts";

let site: Site;
let alice: TestUser;
/** Holds a program that root has lent its rights to. */
let folder = "";

beforeAll(async () => {
  site = await startSite({ accelerators: "-" });
  [alice] = site.users as [TestUser];
  folder = mkdtempSync("/tmp/sky-lent-");
  chmodSync(folder, 0o755);
  copyFileSync("/usr/bin/id", join(folder, "id"));
  chmodSync(join(folder, "id"), 0o4755);
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await site?.stop();
});

const readHome = (name: string): string => readFileSync(join(alice.home, name), "utf8");

/** A task of these lines, launched; its number and the lines of its log. */
async function launched(name: string, lines: string[]): Promise<{ id: number; log: string[] }> {
  const file = writeHomeFile(alice, `${name}.yaml`, `${lines.join("\n")}\n`);
  const id = await submit(alice, [file], "launch");
  const log = await sky(alice, ["logs", clusterName, String(id)]);
  return { id, log: jobLines(log.stdout) };
}

test("a job that may gain no privileges gets none from a setuid program or from sudo, in setup and in run", async () => {
  const ask = `${folder}/id -u; sudo -n true 2>&1 | head -1`;
  const free = await launched("free", [`setup: ${folder}/id -u`, `run: ${folder}/id -u`]);
  expect(free.log).toEqual(["0", "0"]);
  const held = await launched("held", [
    "workload: {security: {allowPrivilegeEscalation: false}}",
    `setup: ${ask}`,
    `run: ${ask}`,
  ]);
  expect(held.log).toHaveLength(4);
  expect([held.log[0], held.log[2]]).toEqual([String(alice.uid), String(alice.uid)]);
  expect([held.log[1], held.log[3]].every((line) => line?.includes("no new privileges") === true)).toBe(true);
});

test("setup and run begin in the working folder; one that is not there is a failed setup that names it", async () => {
  const { log } = await launched("placed", ["workload: {workingDir: /var/tmp}", "setup: pwd", "run: pwd"]);
  expect(log).toEqual(["/var/tmp", "/var/tmp"]);
  const lost = await launched("lost", ["workload: {workingDir: /nowhere/at/all}", "run: touch ~/began"]);
  await untilStatus(alice, lost.id, "FAILED_SETUP");
  expect(lost.log.join("\n")).toContain("The working folder /nowhere/at/all is not there on this machine");
  expect(existsSync(join(alice.home, "began"))).toBe(false);
});

test("a scratch home and a scratch folder are empty, the job's alone, and gone with it", async () => {
  const place = join(alice.home, "fast");
  const { log } = await launched("scratch", [
    "workload:",
    "  createHomeDir: true",
    `  storage: {emptyDirVolume: [{path: ${place}, medium: Memory, sizeLimit: 1Mi}]}`,
    `setup: ls -A ~ ${place} | wc -w; echo one >~/one; echo two >${place}/two; echo $HOME >${alice.home}/scratch-home`,
    `run: cat ~/one ${place}/two; head -c 2M /dev/zero >${place}/big || echo full`,
  ]);
  expect(log[0]).toBe("2");
  expect(log.slice(1, 3)).toEqual(["one", "two"]);
  expect(log.at(-1)).toBe("full");
  const home = readHome("scratch-home").trim();
  expect(home.startsWith("/var/tmp/")).toBe(true);
  await until(() => !existsSync(home), "the scratch home to be gone");
  expect(existsSync(join(place, "two"))).toBe(false);
});

test("a job's own time from TERM to KILL is what it gets; another job has the cluster's", async () => {
  const run = (name: string, seconds: number): string[] => [
    "run: |",
    // What it starts is told to end, too, and ignores that as it does.
    `  trap "trap '' TERM; sleep ${seconds}; touch ~/${name}.saved; exit 0" TERM`,
    `  echo $$ >~/${name}.pid`,
    `  touch ~/${name}.up`,
    "  while :; do sleep 0.2; done",
  ];
  const ids: number[] = [];
  for (const [name, first, seconds] of [
    ["patient", "workload: {terminationGracePeriodSeconds: 120}", 6],
    ["hasty", "envs: {A: b}", 600],
  ] as const) {
    const file = writeHomeFile(alice, `${name}.yaml`, `${[first, ...run(name, seconds)].join("\n")}\n`);
    ids.push(await submit(alice, [file], "launch"));
    await until(() => existsSync(join(alice.home, `${name}.up`)), `${name} to run`);
  }
  await skyOk(alice, ["cancel", clusterName, ...ids.map(String), "-y"]);
  await until(() => existsSync(join(alice.home, "patient.saved")), "what it saves after TERM", 60_000);
  // The cluster's two seconds.
  await until(() => !existsSync(`/proc/${readHome("hasty.pid").trim()}`), "the end of what ignores TERM for long");
  expect(existsSync(join(alice.home, "hasty.saved"))).toBe(false);
});

test("a limit that no machine can set is refused with that reason; one that it can set holds", async () => {
  const able = /"mechanisms":\[([^\]]*)\]/.exec(site.cluster.log("agent:n1"))?.[1] ?? "";
  expect(able).toContain("no-new-privileges");
  const file = writeHomeFile(
    alice,
    "limited.yaml",
    "workload: {compute: {cpuMemoryLimit: 256Mi}}\nrun: cat /sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/memory.max\n",
  );
  const result = await sky(alice, ["launch", "-c", clusterName, "-y", file]);
  const text = plain(result.stdout + result.stderr);
  if (able.includes("cgroup-memory")) {
    expect(text).toContain(String(256 * 2 ** 20));
  } else {
    expect(result.code).toBe(1);
    expect(text).toContain("no node of this cluster can limit memory (cgroup v2)");
    expect(text).toContain("n1: 4 CPUs, 16 GiB, cannot limit memory (cgroup v2)");
  }
});
