/** The words with which a job's container is started, as its policies have them; nothing of the task's own undoes them. */
import { expect, test } from "vitest";
import type { LaunchSpec, Limits } from "../../shared/launch-spec.ts";
import { type ContainerPlan, containerRunWords, containerScript } from "./container.ts";
import { scratchOf } from "./scratch.ts";

function planOf(launchSpec: LaunchSpec, change: { engine?: "docker"; options?: string[]; limits?: Limits } = {}) {
  const { engine = "podman", options = [], limits } = change;
  const grant = { node: "n1", devices: [], share: 1, cpus: 1, memoryGb: 1 };
  const wanted: ContainerPlan["wanted"] = {
    attempt: "abcdefgh-1",
    uid: 7,
    user: "alice",
    jobId: 1,
    jobName: null,
    cluster: "lab",
    rank: 0,
    grant,
    setup: false,
    hasRun: true,
    mayRun: true,
    started: false,
    addresses: ["10.0.0.1"],
    nodeLabel: "head",
    singleNodeCluster: true,
    graceSeconds: 5,
    submittedAt: 1,
    ...(limits === undefined ? {} : { limits }),
  };
  const payload = { setup: null, run: null, envs: {}, image: { name: "x", options }, launchSpec };
  const folder = "/run/sky/7/abcdefgh-1";
  const scratch = scratchOf(launchSpec, folder);
  const plan: ContainerPlan = { engine, folder, home: "/home/a", uid: 7, gid: 8, wanted, payload, scratch };
  return plan;
}

/** The words after the task's own options and before the image's. */
function boundWords(...given: Parameters<typeof planOf>): string[] {
  const [spec, change] = given;
  const words = containerRunWords(planOf(spec, { ...change, options: ["--own"] }));
  return words.slice(words.indexOf("--own") + 1, words.indexOf("--entrypoint"));
}

test("each part of a launch spec is an option behind the task's own", () => {
  expect(boundWords({})).toEqual([]);
  expect(
    boundWords({
      noNewPrivileges: true,
      container: { pull: "always", readOnlyRoot: true, capabilities: ["CHOWN", "KILL"], hostIpc: false, shmBytes: 9 },
    }),
  ).toEqual([
    "--pull=always",
    "--read-only",
    "--cap-drop=ALL",
    "--cap-add=CHOWN",
    "--cap-add=KILL",
    "--ipc=private",
    "--shm-size=9",
    "--security-opt=no-new-privileges",
  ]);
  expect(boundWords({ container: { capabilities: [] } })).toEqual(["--cap-drop=ALL"]);
  expect(boundWords({ container: { seccomp: "unconfined", hostIpc: true, shmBytes: 9 } })).toEqual([
    "--security-opt=seccomp=unconfined",
    "--ipc=host",
  ]);
  expect(boundWords({ container: { seccomp: "default" } })).toEqual([]);
});

test("the machine's network, unless its policies say otherwise", () => {
  const networkOf = (spec: LaunchSpec, engine?: "docker"): string | undefined => {
    const words = containerRunWords(planOf(spec, engine === undefined ? {} : { engine }));
    expect(words.filter((word) => word === "--network")).toHaveLength(1);
    return words[words.indexOf("--network") + 1];
  };
  expect([networkOf({}), networkOf({ container: { hostNetwork: true } })]).toEqual(["host", "host"]);
  const own: LaunchSpec = { container: { hostNetwork: false } };
  expect([networkOf(own), networkOf(own, "docker")]).toEqual(["private", "bridge"]);
});

test("a scratch home and scratch folders", () => {
  const spec: LaunchSpec = {
    scratchHome: true,
    scratch: [{ path: "/fast", memory: true, sizeBytes: 4096 }, { path: "/ram", memory: true }, { path: "/slow" }],
  };
  const { root = "" } = scratchOf(spec, "/run/sky/7/abcdefgh-1") ?? {};
  expect(root).toMatch(/^\/var\/tmp\/sky-onprem-\d+-[0-9a-f]{8}\/abcdefgh-1$/);
  expect(boundWords(spec)).toEqual([
    `--volume=${root}/home:${root}/home`,
    "--tmpfs=/fast:rw,exec,mode=1777,size=4096",
    "--tmpfs=/ram:rw,exec,mode=1777",
    `--volume=${root}/2:/slow`,
  ]);
  expect(containerRunWords(planOf(spec))).toContain(`HOME=${root}/home`);
  expect(() => boundWords({ scratch: [{ path: "/a,exec", memory: true }] })).toThrow("colon or a comma");
});

test("limits: podman's container stays in the job's own group, which is looked at; docker's daemon is told them", () => {
  const limits = { cpuCores: 0.5, memoryBytes: 2 ** 30 };
  expect(boundWords({}, { limits })).toEqual(["--cgroups=disabled"]);
  const script = containerScript(planOf({}, { limits }));
  expect(script).toContain("'podman' '--cgroup-manager=cgroupfs' 'run'");
  expect(script).toContain("outside of the job's control group");
  expect(containerScript(planOf({}))).not.toContain("control group");
  expect(boundWords({}, { limits, engine: "docker" })).toEqual([
    "--cpus=0.5",
    "--memory=1073741824",
    "--memory-swap=1073741824",
  ]);
});
