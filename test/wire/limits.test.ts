/**
 * What jobs are held to crosses the wire as strict values only: an order or a payload that says anything else is refused
 * whole, before a root process or a shell has seen a word of it.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Desired, type Report, fromAgentSchema, toAgentSchema } from "../../shared/agent-wire.ts";
import { payloadSchema } from "../../shared/job.ts";
import { limitsOf, mechanismsOf } from "../../shared/launch-spec.ts";
import { toSkyletSchema } from "../../shared/skylet-wire.ts";

function example(file: string, name: string): unknown {
  const text = readFileSync(join(import.meta.dirname, `${file}.json`), "utf8");
  return (JSON.parse(text) as Record<string, unknown>)[name];
}

const hostileLimits: unknown[] = [
  null,
  "max",
  [],
  { memoryBytes: "max" },
  { memoryBytes: 0 },
  { memoryBytes: -4096 },
  { memoryBytes: 1.5 },
  { memoryBytes: 2 ** 51 },
  { memoryBytes: "1\n0 > ../cgroup.procs" },
  { cpuCores: 0 },
  { cpuCores: -1 },
  { cpuCores: 1e-9 },
  { cpuCores: 1e12 },
  { cpuCores: "max 100000" },
  { cpuCores: null },
  { cpuCores: 1, swapBytes: 1 },
  { "cpu.max": "max" },
];

describe("limits", () => {
  it("of an order are numbers in their range, or the order is refused", () => {
    const desired = toAgentSchema.parse(example("to-agent", "desired")) as Desired;
    const start = example("to-skylet", "start") as { wanted: object };
    const withLimits = (limits: unknown): unknown => ({
      ...desired,
      wanted: desired.wanted.map((one) => ({ ...one, limits })),
    });
    expect(toAgentSchema.safeParse(withLimits({ cpuCores: 0.001, memoryBytes: 1 })).success).toBe(true);
    for (const limits of hostileLimits) {
      const text = JSON.stringify(limits);
      expect(toAgentSchema.safeParse(withLimits(limits)).success, text).toBe(false);
      expect(toSkyletSchema.safeParse({ ...start, wanted: { ...start.wanted, limits } }).success, text).toBe(false);
    }
  });

  it("and mechanisms of a report are known ones, or the report is refused", () => {
    const report = fromAgentSchema.parse(example("from-agent", "report")) as Report;
    const withMechanisms = (mechanisms: unknown): unknown => ({
      ...report,
      inventory: { ...report.inventory, mechanisms },
    });
    expect(fromAgentSchema.safeParse(withMechanisms(["cgroup-cpu"])).success).toBe(true);
    for (const mechanisms of [null, "cgroup-cpu", ["root"], [1], Array.from({ length: 17 }, () => "cgroup-cpu")]) {
      expect(fromAgentSchema.safeParse(withMechanisms(mechanisms)).success).toBe(false);
    }
    for (const limits of hostileLimits) {
      const attempts = report.attempts.map((one) => ({ ...one, limits }));
      expect(fromAgentSchema.safeParse({ ...report, attempts }).success).toBe(false);
    }
  });
});

describe("a launch spec", () => {
  const payload = { setup: null, run: "true", envs: {} };
  const accepts = (launchSpec: unknown): boolean => payloadSchema.safeParse({ ...payload, launchSpec }).success;

  it("is refused whole for one word that is none", () => {
    expect(accepts({})).toBe(true);
    expect(accepts({ container: { capabilities: ["NET_BIND_SERVICE"] }, workingDir: "/srv" })).toBe(true);
    const hostile: unknown[] = [
      { noNewPrivileges: false },
      { workingDir: "relative" },
      { workingDir: "/a\u0000b" },
      { graceSeconds: 3601 },
      { graceSeconds: "0; reboot" },
      { scratchHome: false },
      { scratch: [{ path: "tmp" }] },
      { scratch: [{ path: "/x", sizeBytes: "1g,mode=4777" }] },
      { scratch: [{ path: "/x", memory: false }] },
      { scratch: Array.from({ length: 101 }, () => ({ path: "/x" })) },
      { container: { capabilities: ["ALL,--privileged"] } },
      { container: { capabilities: ["net_admin"] } },
      { container: { seccomp: "/etc/shadow" } },
      { container: { pull: "always --privileged" } },
      { container: { shmBytes: -1 } },
      { container: { privileged: true } },
      { user: 0 },
    ];
    for (const spec of hostile) {
      expect(accepts(spec), JSON.stringify(spec)).toBe(false);
    }
  });

  it("names what a node needs for it, and what the kernel is told", () => {
    const spec = { cpuCoreLimit: 2, memoryLimitBytes: 1024, noNewPrivileges: true as const };
    expect(mechanismsOf(spec)).toEqual(["cgroup-cpu", "cgroup-memory", "no-new-privileges"]);
    expect(limitsOf(spec)).toEqual({ cpuCores: 2, memoryBytes: 1024 });
    expect(limitsOf({ noNewPrivileges: true })).toBeNull();
    expect(mechanismsOf({ scratch: [{ path: "/scratch" }] })).toEqual(["mount-namespace"]);
    expect(mechanismsOf({ scratch: [] })).toEqual([]);
  });
});
