import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readFile, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { until } from "../test/help/until.ts";
import { cgroup2Mount, Cgroups } from "./cgroup.ts";
import { faultOfRunner, readProcess, startTimeOf, uidsOf } from "./processes.ts";

const isRoot = process.getuid?.() === 0;
const children: ReturnType<typeof spawn>[] = [];
afterEach(() => {
  for (const child of children.splice(0)) {
    child.kill("SIGKILL");
  }
});

async function sleeper(...argv: string[]): Promise<{ pid: number; startTime: string }> {
  const child = spawn(argv[0] ?? "", argv.slice(1), { stdio: "ignore" });
  children.push(child);
  const pid = child.pid ?? 0;
  const facts = await until(() => readProcess(pid));
  return { pid, startTime: facts.startTime };
}

describe("runner checks", () => {
  it("finds the start time behind a hostile process name", () => {
    const rest = Array.from({ length: 30 }, (_, at) => String(at + 4)).join(" ");
    expect(startTimeOf(`7 (a) b ) (x) S ${rest}`)).toBe("22");
    expect(startTimeOf("7 (a")).toBeNull();
    expect(uidsOf("Name:\tUid:\nUid:\t1\t2\t3\t4\n")).toEqual([1, 2, 3, 4]);
  });

  it("accepts the announced process only", async () => {
    const uid = process.getuid?.() ?? 0;
    const { pid, startTime } = await sleeper("sleep", "60");
    expect(faultOfRunner(pid, startTime, uid)).toBeNull();
    expect(faultOfRunner(pid, "1", uid)).toContain("another one");
    expect(faultOfRunner(pid, startTime, uid + 1)).toContain("does not run as uid");
    expect(faultOfRunner(4_194_304, startTime, uid)).toContain("was gone");
  });

  it.runIf(isRoot)("refuses a process that could become somebody else again", async () => {
    const { pid, startTime } = await sleeper("setpriv", "--euid", "1001", "sleep", "60");
    await until(() => readProcess(pid)?.uids[1] === 1001);
    expect(faultOfRunner(pid, startTime, 1001)).toContain("does not run as uid");
  });
});

describe("cgroups", () => {
  it("finds the v2 hierarchy, pure or hybrid", () => {
    expect(cgroup2Mount("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n")).toBe("/sys/fs/cgroup");
    expect(cgroup2Mount("c /sys/fs/cgroup/cpu cgroup rw 0 0\nc /sys/fs/cgroup/unified cgroup2 rw 0 0")).toBe(
      "/sys/fs/cgroup/unified",
    );
    expect(cgroup2Mount("c /sys/fs/cgroup cgroup2 ro,nosuid 0 0\n")).toBeNull();
  });

  it("does nothing where there is none", async () => {
    const none = Cgroups.none();
    await none.place("aaaaaaaa-1", 1);
    expect(await none.clear("aaaaaaaa-1")).toBe(true);
  });

  it.runIf(isRoot)(
    "kills what is left of an attempt, also in sessions of its own, and removes the group",
    async (context) => {
      const groups = await Cgroups.open(`test-${process.pid}`, null);
      const { folder } = groups;
      if (folder === null) {
        context.skip("no writable cgroup v2 here");
        return;
      }
      const code = "setsid sleep 61 & setsid sleep 62 & read x";
      const child = spawn("/bin/sh", ["-c", `read go; ${code}`], { stdio: ["pipe", "ignore", "ignore"] });
      children.push(child);
      await groups.place("aaaaaaaa-1", child.pid ?? 0);
      child.stdin?.write("go\n");
      const procs = async (): Promise<string[]> =>
        (await readFile(join(folder, "aaaaaaaa-1", "cgroup.procs"), "utf8")).trim().split("\n");
      await until(async () => (await procs()).length === 3);
      expect(await groups.clear("aaaaaaaa-1")).toBe(true);
      expect(existsSync(join(folder, "aaaaaaaa-1"))).toBe(false);
      expect(existsSync(folder)).toBe(false);
      expect(await groups.clear("aaaaaaaa-1")).toBe(true);
      await mkdir(join(folder, "bbbbbbbb-1"), { recursive: true });
      await mkdir(join(folder, "bbbbbbbb-2"));
      await groups.sweep((attempt) => attempt === "bbbbbbbb-2");
      expect([existsSync(join(folder, "bbbbbbbb-1")), existsSync(join(folder, "bbbbbbbb-2"))]).toEqual([false, true]);
      await groups.sweep(() => false);
      expect(existsSync(folder)).toBe(false);
    },
  );

  it.runIf(isRoot)("clears a group that was made before there was a unit to hold it", async (context) => {
    const node = `test-${process.pid}-b`;
    const plain = await Cgroups.open(node, null);
    if (plain.folder === null) {
      context.skip("no writable cgroup v2 here");
      return;
    }
    const holder = `/sky-test-${process.pid}.service`;
    const held = join(dirname(plain.folder), holder);
    await mkdir(held);
    try {
      const groups = await Cgroups.open(node, holder);
      expect(groups.folder).toBe(join(held, `sky-onprem-${node}`));
      expect((await Cgroups.open(node, "/sky-none.service")).folder).toBe(plain.folder);
      const [older, newer] = [0, 1].map(() => spawn("sleep", ["61"], { stdio: "ignore" }));
      children.push(...[older, newer].flatMap((child) => child ?? []));
      await plain.place("aaaaaaaa-1", older?.pid ?? 0);
      await groups.place("aaaaaaaa-1", newer?.pid ?? 0);
      expect(await groups.clear("aaaaaaaa-1")).toBe(true);
      await until(() => older?.signalCode === "SIGKILL" && newer?.signalCode === "SIGKILL");
      expect(existsSync(plain.folder)).toBe(false);
    } finally {
      await rmdir(held);
    }
  });
});
