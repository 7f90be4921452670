/** `workload:` of task files: what it takes, each fault with its line, and nothing said twice in two ways. */
import { describe, expect, test } from "vitest";
import { readTask, writeTask } from "../../task-file.ts";

const read = (text: string): ReturnType<typeof readTask> => readTask(text, { file: "t.yaml" });

function faultsOf(text: string): string[] {
  try {
    read(text);
  } catch (error) {
    return String(error instanceof Error ? error.message : error)
      .replace("Invalid task YAML: ", "")
      .split("\n");
  }
  return [];
}

test("groups nested or with dots, aliases, names of kinds", () => {
  const task = read(`
run: a
workload:
  project: nlp
  kind: interactive
  compute: {cpuCoreLimit: "8", cpumemorylimit: 32Gi}
  storage.emptyDirVolume: [{path: /scratch, medium: memory}]
  terminateAfterPreemtpion: true
`);
  expect(task.workload).toEqual({
    project: "nlp",
    kind: "workspace",
    fields: {
      "compute.cpuCoreLimit": "8",
      "compute.cpuMemoryLimit": "32Gi",
      "storage.emptyDirVolume": [{ path: "/scratch", medium: "Memory" }],
      terminateAfterPreemption: true,
    },
  });
  expect(read(writeTask(task))).toEqual({ ...task, setup: null });
});

test("nothing said is nothing", () => {
  expect(read("run: a\nworkload:\n").workload).toBeUndefined();
  expect(read("run: a\nworkload: {category: null, interactive: false}\n").workload).toBeUndefined();
  expect(read("run: a\nworkload: {interactive: true}\n").workload).toEqual({ kind: "workspace", fields: {} });
});

describe("faults", () => {
  test.each<[string, string]>([
    ["workload: 5", "t.yaml:1: 'workload' must be a mapping of fields to values."],
    [
      "workload:\n  compute:\n    cpuCoreLimt: 1",
      `t.yaml:3: 'workload.compute.cpuCoreLimt' unknown field; did you mean "compute.cpuCoreLimit"?`,
    ],
    [
      "num_nodes: 2\nworkload: {master: {image: a}}",
      "t.yaml:2: 'workload.master' cannot be used here: the ranks of a task are all alike.",
    ],
    ["workload: {compute: {cpuCoreLimit: many}}", "t.yaml:1: 'workload.compute.cpuCoreLimit' must be a number."],
    [
      "workload:\n  compute: {cpuMemoryLimit: 2GB}",
      "t.yaml:2: 'workload.compute.cpuMemoryLimit' must be a quantity such as 500M or 2Gi (write G instead of GB).",
    ],
    [
      "workload: {tolerations: [{key: a}]}",
      "t.yaml:1: 'workload.tolerations' cannot be used here: this cluster has no taints.",
    ],
    [
      "workload: {storage: {pvc: [{claimName: a, path: /d, claimInfo: {storageClass: x}}]}}",
      "t.yaml:1: 'workload.storage.pvc[].claimInfo.storageClass' cannot be used here: this cluster has no storage classes.",
    ],
    [
      "workload: {privileged: true}",
      "t.yaml:1: 'workload.privileged' cannot be used here: a job never has more rights than its user.",
    ],
    ["workload: {numWorkers: 2}", "t.yaml:1: 'workload.numWorkers' does not exist for workspace workloads."],
    ["workload: {project: a b}", "t.yaml:1: 'workload.project: a b' is not a project's name."],
    [
      "workload: {kind: trainin}",
      "t.yaml:1: 'workload.kind: trainin' is no kind of workload. Known: workspace, training, distributed.",
    ],
    ["workload: {kind: serve}", "t.yaml:1: Services are not run here yet, so no task is of the kind 'inference'."],
    ["workload: {kind: distributed}", "t.yaml:1: A task with one node is not of the kind 'distributed'."],
    [
      "num_nodes: 2\nworkload: {kind: training}",
      "t.yaml:2: A task with several nodes is of the kind 'distributed', not 'training'.",
    ],
    [
      "workload: {kind: training, interactive: true}",
      "t.yaml:1: 'workload.interactive: true' is the kind workspace, and 'kind' says training.",
    ],
  ])("%s", (text, fault) => {
    expect(faultsOf(text)).toEqual([fault]);
  });
});

describe("what another part of the task says already", () => {
  test.each([
    ["image", "resources: {image_id: docker:a}\nworkload: {image: b}", "resources.image_id"],
    [
      "compute.gpuDevicesRequest",
      "resources: {accelerators: V100:2}\nworkload: {compute: {gpuDevicesRequest: 4}}",
      "resources.accelerators",
    ],
    ["compute.cpuCoreRequest", "resources: {cpus: 4+}\nworkload: {compute: {cpuCoreRequest: 8}}", "resources.cpus"],
    [
      "compute.cpuMemoryRequest",
      "resources: {memory: 2}\nworkload: {compute: {cpuMemoryRequest: 2G}}",
      "resources.memory",
    ],
    ["environmentVariables", "envs: {A: x}\nworkload: {environmentVariables: [{name: A, value: y}]}", "envs"],
    ["environmentVariables", "secrets: {A: x}\nworkload: {environmentVariables: [{name: A, value: x}]}", "secrets"],
    [
      "privileged",
      "resources: {image_id: docker:a}\nconfig: {docker: {run_options: --privileged}}\nworkload: {privileged: false}",
      "config.docker.run_options",
    ],
  ])("%s, said otherwise, is refused", (path, text, where) => {
    const [fault = "", ...others] = faultsOf(`${text}\n`);
    expect(others).toEqual([]);
    expect(fault).toContain(`'workload.${path}' says another thing than the task itself`);
    expect(fault).toContain(where);
  });

  test("the same, spelled otherwise, is fine", () => {
    const text = `
resources: {image_id: "docker:ubuntu", accelerators: V100:2, memory: 2}
workload: {image: "docker.io/library/ubuntu:latest", compute: {gpuDevicesRequest: 2, cpuMemoryRequest: 2048Mi}}
`;
    expect(faultsOf(text)).toEqual([]);
  });
});
