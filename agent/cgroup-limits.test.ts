/** Limits of an attempt's group, on folders that hold the files of a cgroup: what is written, and what is refused. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Cgroups } from "./cgroup.ts";
import { coresOf, cpuMaxOf, enableFor, setLimits, tryLimits } from "./cgroup-limits.ts";

const attempt = "abcdefgh-1";
let root = "";

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "sky-cgroup-"));
});
afterEach(() => rmSync(root, { recursive: true }));

const read = (...path: string[]): string => readFileSync(join(root, ...path), "utf8");
const put = (text: string, ...path: string[]): void => writeFileSync(join(root, ...path), text);

/** A group with the files that the kernel makes in one. */
function makeGroup(name: string, controllers = "cpu memory"): void {
  mkdirSync(join(root, name), { recursive: true });
  for (const file of ["cgroup.procs", "cpu.max", "memory.max", "memory.swap.max"]) {
    put("", name, file);
  }
  put(controllers, name, "cgroup.subtree_control");
}

/** The groups of node n1 as the agent finds them on a mount that is this folder. */
async function openGroups(): Promise<Cgroups> {
  put(`cgroup2 ${root} cgroup2 rw,relatime 0 0\n`, "mounts");
  put("cpu memory", "cgroup.subtree_control");
  makeGroup("sky-onprem-n1");
  return await Cgroups.open("n1", null, join(root, "mounts"));
}

describe("limits of a group", () => {
  it("are written in the kernel's form, without swap, and read back", async () => {
    makeGroup("g");
    expect(await setLimits(join(root, "g"), { cpuCores: 1.5, memoryBytes: 8 * 2 ** 30 })).toEqual({
      cpuCores: 1.5,
      memoryBytes: 8 * 2 ** 30,
    });
    expect([read("g", "cpu.max"), read("g", "memory.max"), read("g", "memory.swap.max")]).toEqual([
      "150000 100000",
      "8589934592",
      "0",
    ]);
  });

  it("are only those that were ordered", async () => {
    makeGroup("g");
    expect(await setLimits(join(root, "g"), { cpuCores: 0.001 })).toEqual({ cpuCores: 0.001 });
    expect([read("g", "cpu.max"), read("g", "memory.max"), read("g", "memory.swap.max")]).toEqual([
      "1000 1000000",
      "",
      "",
    ]);
  });

  it("are never looser than asked, in the numbers that the kernel knows", () => {
    for (const cores of [0.001, 0.0099, 0.01, 0.29, 1, 1.1, 2.675, 128, 1e6]) {
      const set = coresOf(cpuMaxOf(cores)) ?? Number.POSITIVE_INFINITY;
      expect(set).toBeLessThanOrEqual(cores + 1e-9);
      expect(set).toBeGreaterThan(cores * 0.99);
    }
    expect([coresOf("max 100000\n"), coresOf("50000 100000\n"), coresOf("")]).toEqual([null, 0.5, null]);
  });

  it("fail where the kernel offers no file for them, and make none", async () => {
    mkdirSync(join(root, "bare"));
    await expect(setLimits(join(root, "bare"), { cpuCores: 1 })).rejects.toThrow(/ENOENT/);
    await expect(setLimits(join(root, "bare"), { memoryBytes: 1 })).rejects.toThrow(/ENOENT/);
    expect(() => read("bare", "cpu.max")).toThrow(/ENOENT/);
  });

  it("need their controller in every group above, which is enabled where it is not", async () => {
    makeGroup("a", "pids");
    makeGroup("b", "cpu memory");
    expect(await enableFor([join(root, "a"), join(root, "b")], { memoryBytes: 1 })).toEqual([
      { path: join(root, "a", "cgroup.subtree_control"), controller: "memory" },
    ]);
    expect([read("a", "cgroup.subtree_control"), read("b", "cgroup.subtree_control")]).toEqual([
      "+memory",
      "cpu memory",
    ]);
    await expect(enableFor([join(root, "nothing")], { cpuCores: 1 })).rejects.toThrow(/ENOENT/);
  });
});

describe("an attempt's group", () => {
  it("has its limits before the process is put into it", async () => {
    const groups = await openGroups();
    makeGroup(`sky-onprem-n1/${attempt}`);
    expect(await groups.place(attempt, 4711, { memoryBytes: 4096 })).toEqual({ memoryBytes: 4096 });
    expect(read(`sky-onprem-n1/${attempt}`, "memory.max")).toBe("4096");
    expect(read(`sky-onprem-n1/${attempt}`, "cgroup.procs")).toBe("4711");
  });

  it("takes no process whose limits cannot be set", async () => {
    const groups = await openGroups();
    makeGroup(`sky-onprem-n1/${attempt}`);
    rmSync(join(root, `sky-onprem-n1/${attempt}/memory.swap.max`));
    await expect(groups.place(attempt, 4711, { memoryBytes: 4096 })).rejects.toThrow(/ENOENT/);
    expect(read(`sky-onprem-n1/${attempt}`, "cgroup.procs")).toBe("");
    expect(await groups.place(attempt, 4711)).toBeNull();
    await expect(Cgroups.none().place(attempt, 4711, { cpuCores: 1 })).rejects.toThrow(/cgroup v2/);
    expect(await Cgroups.none().place(attempt, 4711)).toBeNull();
  });

  it("leaves no controllers behind in its unit, where systemd could start nothing otherwise, and those of the system alone", async () => {
    put(`cgroup2 ${root} cgroup2 rw 0 0\n`, "mounts");
    put("cpu memory", "cgroup.subtree_control");
    const unit = "system.slice/sky-jobs.service";
    makeGroup(unit, "");
    makeGroup(`${unit}/sky-onprem-n1/${attempt}`);
    put("", `${unit}/sky-onprem-n1`, "cgroup.procs");
    put("", `${unit}/sky-onprem-n1`, "cgroup.subtree_control");
    const groups = await Cgroups.open("n1", `/${unit}`, join(root, "mounts"));
    await groups.place(attempt, 4711, { cpuCores: 1 });
    expect(read(unit, "cgroup.subtree_control")).toBe("+cpu");
    // The kernel takes a group's files with it.
    rmSync(join(root, unit, "sky-onprem-n1"), { recursive: true });
    mkdirSync(join(root, unit, "sky-onprem-n1"));
    await groups.sweep(() => true);
    expect(read(unit, "cgroup.subtree_control")).toMatch(/^-memory/);
    expect(read("cgroup.subtree_control")).toBe("cpu memory");
  });

  it("on a machine without controllers is reported as one that nothing can be limited in", async () => {
    const groups = await openGroups();
    expect(await groups.mechanisms()).toEqual([]);
    expect(await tryLimits([root])).toEqual([]);
    expect(await Cgroups.none().mechanisms()).toEqual([]);
  });
});
