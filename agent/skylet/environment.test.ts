/**
 * Variables and their quoting, held against a real bash.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import type { WantedAttempt } from "../../shared/agent-wire.ts";
import { environmentFile, runnerEnvironment, runVariables, setupVariables, taskIdOf } from "./environment.ts";

const folder = mkdtempSync(join(tmpdir(), "skylet-env-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const wanted: WantedAttempt = {
  attempt: "abcd1234-1",
  uid: 1000,
  user: "alice",
  jobId: 12,
  jobName: "train",
  cluster: "lab",
  rank: 1,
  grant: { node: "n1", devices: [2, 5], share: 1, cpus: 4, memoryGb: 8 },
  setup: true,
  hasRun: true,
  mayRun: false,
  started: false,
  addresses: ["10.0.0.1", "10.0.0.2"],
  nodeLabel: "worker1",
  singleNodeCluster: false,
  graceSeconds: 30,
  submittedAt: Date.UTC(2026, 0, 2, 3, 4, 5, 6),
};

/** What a program that bash starts finds in its environment, byte for byte. */
function environmentUnderBash(file: string): Map<string, string> {
  const path = join(folder, "env");
  writeFileSync(path, file);
  const bytes = execFileSync("/bin/bash", ["--norc", "-c", `builtin . "$0"; exec env -0`, path], {
    env: { PATH: process.env["PATH"] },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const pairs = bytes
    .toString("utf8")
    .split("\0")
    .filter((each) => each !== "");
  return new Map(pairs.map((each) => [each.slice(0, each.indexOf("=")), each.slice(each.indexOf("=") + 1)]));
}

test("any value reaches a program exactly", () => {
  const name = fc.stringMatching(/^[a-zA-Z_][a-zA-Z0-9_]{0,20}$/).map((text) => `T_${text}`);
  const text = fc.string({ unit: "grapheme", maxLength: 60 }).map((each) => each.replaceAll("\0", ""));
  const nasty = fc
    .array(
      fc.constantFrom("'", '"', "\\", "\n", "$HOME", "`id`", " ", "\t", "!", "\r", "é", "🙂", "*", "''", "\\'", "#"),
    )
    .map((parts) => parts.join(""));
  fc.assert(
    fc.property(
      fc.array(fc.dictionary(name, fc.oneof(text, nasty), { maxKeys: 12 }), { minLength: 1, maxLength: 1 }),
      ([envs]) => {
        const found = environmentUnderBash(environmentFile(runVariables(wanted, envs ?? {})));
        for (const [key, value] of Object.entries(envs ?? {})) {
          expect(found.get(key)).toBe(value);
        }
        expect(found.get("SKYPILOT_NODE_IPS")).toBe("10.0.0.1\n10.0.0.2");
      },
    ),
    { numRuns: 60 },
  );
});

test("names that bash keeps to itself do not break the rest; NUL is refused by name", () => {
  const envs = { UID: "5", SHELLOPTS: "x", LAST: "here", SKYPILOT_NODE_RANK: "99" };
  const found = environmentUnderBash(environmentFile(runVariables(wanted, envs)));
  expect(found.get("LAST")).toBe("here");
  expect(found.get("SKYPILOT_NODE_RANK")).toBe("1");
  expect(() => environmentFile(runVariables(wanted, { A: "x\0y" }))).toThrow("'A'");
});

test("run's variables", () => {
  expect(runVariables(wanted, {}).set).toEqual({
    PYTHONUNBUFFERED: "1",
    SKYPILOT_TASK_ID: "sky-2026-01-02-03-04-05-006000_lab_12",
    SKYPILOT_JOB_ID: "sky-2026-01-02-03-04-05-006000_lab_12",
    SKY_JOB_ID: "sky-2026-01-02-03-04-05-006000_lab_12",
    SKYPILOT_NUM_NODES: "2",
    SKYPILOT_CLUSTER_INFO: '{"cluster_name":"lab","cloud":"Local","region":"Local","zone":null}',
    SKYPILOT_USER: "alice",
    SKY_ONPREM_ATTEMPT: "abcd1234-1",
    SKYPILOT_NODE_RANK: "1",
    SKYPILOT_NODE_IPS: "10.0.0.1\n10.0.0.2",
    SKYPILOT_NUM_GPUS_PER_NODE: "2",
    SKYPILOT_INTERNAL_JOB_ID: "12",
    SKY_NODE_RANK: "1",
    SKY_NODE_IPS: "10.0.0.1\n10.0.0.2",
    SKY_NUM_GPUS_PER_NODE: "2",
    SKY_INTERNAL_JOB_ID: "12",
    CUDA_VISIBLE_DEVICES: "2,5",
  });
  expect(taskIdOf(wanted)).toContain("_lab_12");
});

test("setup names no device; a share of a device counts as one; vendors have names of their own", () => {
  const setup = setupVariables(wanted, {});
  expect(setup.set).toMatchObject({ SKYPILOT_SETUP_NODE_RANK: "1", SKYPILOT_SETUP_NUM_GPUS_PER_NODE: "2" });
  expect(setup.set["CUDA_VISIBLE_DEVICES"]).toBe(undefined);
  expect(environmentFile(setup)).toContain("unset CUDA_VISIBLE_DEVICES");
  const share = runVariables({ ...wanted, grant: { ...wanted.grant, devices: [3], share: 0.2 } }, {}).set;
  expect(share).toMatchObject({ SKYPILOT_NUM_GPUS_PER_NODE: "1", CUDA_VISIBLE_DEVICES: "3" });
  const none = runVariables({ ...wanted, grant: { ...wanted.grant, devices: [] } }, {}).set;
  expect(none).toMatchObject({ SKYPILOT_NUM_GPUS_PER_NODE: "0", CUDA_VISIBLE_DEVICES: "" });
});

test.each([
  ["H100", []],
  ["H100-MIG-1g.10gb", []],
  ["MyCard", []],
  ["MI300X", ["HIP_VISIBLE_DEVICES"]],
  ["Gaudi2", ["HABANA_VISIBLE_DEVICES", "HABANA_VISIBLE_MODULES"]],
  ["Max1550", ["ZE_AFFINITY_MASK"]],
  ["tpu-v5p", ["TPU_VISIBLE_CHIPS", "TPU_VISIBLE_DEVICES"]],
])("the makers' own names of devices: %s", (acceleratorKind, names) => {
  const { set, unset } = runVariables({ ...wanted, acceleratorKind }, { HIP_VISIBLE_DEVICES: "0,1,2" });
  const told = Object.entries(set).filter(([name, value]) => name !== "CUDA_VISIBLE_DEVICES" && value === "2,5");
  expect(told.map(([name]) => name)).toEqual(names);
  expect(set["CUDA_VISIBLE_DEVICES"]).toBe("2,5");
  expect(unset).toEqual(expect.arrayContaining(names));
});

test("devices that have names of their own are named so", () => {
  const { set } = runVariables({ ...wanted, visibleDevices: ["MIG-1a", "MIG-2b"] }, {});
  expect(set).toMatchObject({ CUDA_VISIBLE_DEVICES: "MIG-1a,MIG-2b", SKYPILOT_NUM_GPUS_PER_NODE: "2" });
});

test("CUDA counts devices as nvidia-smi does, unless the login or the task says otherwise", () => {
  const seen = (variables: WantedAttempt, envs: Record<string, string>, login = ""): string | undefined =>
    environmentUnderBash(`${login}${environmentFile(runVariables(variables, envs))}`).get("CUDA_DEVICE_ORDER");
  expect(seen(wanted, {})).toBe("PCI_BUS_ID");
  expect(seen(wanted, { CUDA_DEVICE_ORDER: "FASTEST_FIRST" })).toBe("FASTEST_FIRST");
  expect(seen(wanted, {}, "export CUDA_DEVICE_ORDER=FASTEST_FIRST\n")).toBe("FASTEST_FIRST");
  expect(seen({ ...wanted, acceleratorKind: "MI300X" }, {})).toBe(undefined);
  expect(seen({ ...wanted, grant: { ...wanted.grant, devices: [] } }, {})).toBe(undefined);
});

test("the runner inherits the login, not the skylet", () => {
  const own = { PATH: "/bin", NODE_EXTRA_CA_CERTS: "/etc/site.pem", NODE_CHANNEL_FD: "3", SKY_ONPREM_X: "1" };
  expect(runnerEnvironment(own, "abcd1234-1", "/run/x/1001/abcd1234-1")).toEqual({
    PATH: "/bin",
    NODE_EXTRA_CA_CERTS: "/etc/site.pem",
    SKY_ONPREM_ATTEMPT: "abcd1234-1",
    SKY_ONPREM_FOLDER: "/run/x/1001/abcd1234-1",
  });
});
