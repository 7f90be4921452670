/** The way back: what policies set reaches the job, and what nothing can carry is refused by name. */
import { describe, expect, test } from "vitest";
import { who, read, fields, under, made, policyOf } from "../../../test/help/policed-task.ts";
import { readTask, writeTask } from "../../task-file.ts";
import { taskWith, workloadsOf } from "./adapter.ts";
import type { PlainValue } from "../words.ts";

describe("what policies set reaches the job", () => {
  test("limits, folders and rights: the launch spec, and `workload:` of the written task", () => {
    const task = made(
      {
        defaults: {
          compute: { cpuCoreLimit: 8, cpuMemoryLimit: "1.5Gi" },
          createHomeDir: true,
          terminationGracePeriodSeconds: 60,
          security: { allowPrivilegeEscalation: false },
          storage: { emptyDirVolume: { instances: [{ path: "/s", medium: "Memory", sizeLimit: "1G" }] } },
        },
      },
      "run: a",
    );
    expect(task.launchSpec).toEqual({
      cpuCoreLimit: 8,
      memoryLimitBytes: 1.5 * 2 ** 30,
      noNewPrivileges: true,
      graceSeconds: 60,
      scratchHome: true,
      scratch: [{ path: "/s", memory: true, sizeBytes: 1e9 }],
    });
    const { launchSpec: _, ...rest } = task;
    expect(readTask(writeTask(task), { file: "t" })).toEqual(rest);
  });

  test("options of the container, checked again on the node where the task has none of its own", () => {
    const security = {
      readOnlyRootFilesystem: true,
      capabilities: ["CAP_NET_RAW"],
      seccompProfileType: "Unconfined",
      hostNetwork: false,
    };
    const policy = {
      defaults: {
        image: "base:1",
        imagePullPolicy: "always",
        security,
        compute: { largeShmRequest: true, cpuMemoryRequest: "2Gi" },
      },
    };
    expect(made(policy, "run: a")).toMatchObject({
      image: "base:1",
      launchSpec: {
        container: {
          pull: "always",
          readOnlyRoot: true,
          capabilities: ["NET_RAW"],
          seccomp: "unconfined",
          hostNetwork: false,
          shmBytes: 2 ** 31,
          optionsChecked: true,
        },
      },
    });
  });

  test("numbers of devices without a kind: any; memory: any with as much", () => {
    expect(made({ defaults: { compute: { gpuDevicesRequest: 2 } } }, "run: a").resources.accelerators).toEqual({
      kind: "1GB",
      count: 2,
      memory: { gb: 1, orMore: true },
    });
    const memory = {
      defaults: { compute: { gpuDevicesRequest: 1, gpuRequestType: "memory", gpuMemoryRequest: "20Gi" } },
    };
    expect(made(memory, "run: a").resources.accelerators).toEqual({
      kind: "20GB",
      count: 1,
      memory: { gb: 20, orMore: true },
    });
    const part = { defaults: { compute: { gpuRequestType: "portion", gpuPortionRequest: 0.5 } } };
    expect(made(part, "resources: {accelerators: H100}\nrun: a").resources.accelerators).toEqual({
      kind: "H100",
      count: 0.5,
    });
  });

  test("a slice goes to the kind that the task names", () => {
    const policy = { defaults: { compute: { gpuRequestType: "migProfile", migProfile: "1g.10gb+me" } } };
    expect(made(policy, "resources: {accelerators: A100}\nrun: a").resources.accelerators).toEqual({
      kind: "A100-MIG-1g.10gb.me",
      count: 1,
    });
  });

  test("pools in their order, before the order of the ways", () => {
    const { resources } = made(
      { defaults: { nodePools: ["x", "y"] } },
      "resources: {any_of: [{cpus: 1}, {cpus: 2}]}\nrun: a",
    );
    expect(
      [resources, ...(resources.others ?? [])].map(({ cpus, labels }) => `${labels?.["node-pool"]}${cpus?.value}`),
    ).toEqual(["x1", "x2", "y1", "y2"]);
    expect(resources.anyOrder).toBeUndefined();
  });

  test("labels, node type, affinity", () => {
    const terms = [{ matchExpressions: [{ key: "rack", operator: "In", values: ["a", "b"] }] }];
    const policy = {
      defaults: {
        nodeType: "dgx",
        nodeAffinityRequired: { nodeSelectorTerms: terms },
        labels: { instances: [{ name: "disk", value: "ssd" }] },
      },
    };
    const { resources } = made(policy, "run: a");
    expect([resources.labels, ...(resources.others ?? []).map(({ labels }) => labels)]).toEqual([
      { disk: "ssd", "node-type": "dgx", rack: "a" },
      { disk: "ssd", "node-type": "dgx", rack: "b" },
    ]);
    expect(resources.anyOrder).toBe(true);
  });

  test("the task's own fields: run, variables, ports, priority, preemption, files", () => {
    const task = made(
      {
        defaults: {
          command: "train.sh",
          priorityClass: "low",
          preemptibility: "preemptible",
          environmentVariables: { instances: [{ name: "A", value: "1" }] },
          ports: { instances: [{ container: 8888, toolType: "jupyter" }] },
          storage: {
            git: { instances: [{ name: "code", repository: "https://h/x.git", branch: "dev" }] },
            s3: { instances: [{ bucket: "b", path: "/b", url: "http://minio:9000" }] },
            pvc: { instances: [{ claimName: "data", existingPvc: true, path: "/data" }] },
          },
        },
      },
      "workload: {kind: training}\nenvs: {B: 2}",
    );
    expect(task).toMatchObject({
      run: "train.sh",
      envs: { A: "1", B: "2", AWS_ENDPOINT_URL: "http://minio:9000" },
      ports: ["8888"],
      workdir: { kind: "git", url: "https://h/x.git", ref: "dev" },
      fileMounts: [{ destination: "/b", source: { kind: "uri", uri: "s3://b" }, mode: "MOUNT" }],
      volumes: [{ destination: "/data", name: "data" }],
      resources: { priority: -500, preemptible: true, recovers: true },
    });
  });

  test("folders of the node are mounts of the container", () => {
    const policy = {
      defaults: { storage: { hostPath: { instances: [{ path: "/etc/ssl", mountPath: "/ssl", readOnly: true }] } } },
    };
    expect(made(policy, "resources: {image_id: docker:a}\nrun: a").imageOptions).toEqual([
      "--volume",
      "/etc/ssl:/ssl:ro",
    ]);
  });

  test("what a policy asks for and nothing here does is left out", () => {
    const task = made({ defaults: { restartPolicy: "Never", tty: false } }, "run: a");
    expect(task).toEqual(read("run: a"));
  });
});

describe("what nothing can carry is refused by name", () => {
  test.each<[object, string, string]>([
    [
      { security: { runAsUid: 500 } },
      "run: a",
      "security.runAsUid: 500 is not you (uid 1000). A job runs as the user who sends it; as anybody else it could read and write that user's files.",
    ],
    [{ security: { runAsGid: 7 } }, "run: a", "security.runAsGid: 7 is not you (gid 1000)."],
    [
      { security: { supplementalGroups: "2000,7" } },
      "run: a",
      "security.supplementalGroups: 7 is no group that you are known to be in.",
    ],
    [
      { security: { uidGidSource: "fromTheImage" } },
      "run: a",
      "security.uidGidSource: a job runs as the user who sends it, whatever user its image names.",
    ],
    [
      { security: { readOnlyRootFilesystem: true } },
      "run: a",
      "security.readOnlyRootFilesystem: it is an option of a container, and the task has none.",
    ],
    [{ security: { hostNetwork: false } }, "run: a", "security.hostNetwork: it is an option of a container"],
    [{ security: { capabilities: ["NET_RAW"] } }, "run: a", "security.capabilities: it is an option of a container"],
    [{ compute: { cpuCoreLimit: 0 } }, "run: a", "compute.cpuCoreLimit: it must be above 0"],
    [
      { compute: { gpuDevicesRequest: 1, migProfile: "1g.5gb" } },
      "run: a",
      "compute.migProfile: '1g.5gb' is a slice of some kind of GPU, and the task names none.",
    ],
    [
      { compute: { gpuDevicesRequest: 1, gpuRequestType: "memory", gpuMemoryRequest: "90Gi" } },
      "resources: {accelerators: H100}\nrun: a",
      "compute.gpuMemoryRequest: a H100 has 80 GB, less than what is to be asked for.",
    ],
    [{ workingDir: "data" }, "run: a", "workingDir: it must be an absolute path."],
    [
      { cleanPodPolicy: "None" },
      "num_nodes: 2\nrun: a",
      "cleanPodPolicy: when a job ends, all of its ranks are ended, and their nodes are free.",
    ],
    [{ nodeAffinityRequired: { a: ["b"] } }, "run: a", "nodeAffinityRequired: nodes are chosen by equal labels"],
    [
      { nodeAffinityRequired: { disk: "hdd" } },
      "resources: {labels: {disk: ssd}}\nrun: a",
      "nodeAffinityRequired: no node could ever meet it: it asks for two values of one label.",
    ],
    [
      { storage: { git: { instances: [{ name: "code", repository: "https://u:p@h/a" }] } } },
      "run: a",
      "storage.git[].repository: an address of a repository without a password is needed.",
    ],
    [
      { storage: { git: { instances: [{ name: "code", repository: "https://h/a", secretName: "s" }] } } },
      "run: a",
      "storage.git[].secretName: no credentials are kept here",
    ],
    [
      { storage: { s3: { instances: [{ bucket: "b", path: "/b", accessKeySecret: "s" }] } } },
      "run: a",
      "storage.s3[].accessKeySecret: no credentials are kept here",
    ],
    [
      { storage: { pvc: { instances: [{ claimName: "d", path: "/d", existingPvc: true, readOnly: true }] } } },
      "run: a",
      "storage.pvc[].readOnly: whether a volume can be written is said where an admin publishes it",
    ],
    [
      {
        storage: {
          pvc: { instances: [{ claimName: "d", path: "/d", existingPvc: false, claimInfo: { size: "1Gi" } }] },
        },
      },
      "run: a",
      "storage.pvc[].existingPvc: no volumes are made here",
    ],
    [
      { storage: { hostPath: { instances: [{ path: "/a", mountPath: "/b" }] } } },
      "run: a",
      "storage.hostPath: a job without an image sees the node's folders where they are",
    ],
  ])("%j for %j", (defaults, text, message) => {
    const task = read(text);
    const [first] = policyOf(task, { defaults }).parts;
    const there = workloadsOf(task, who).map(({ workload }) => {
      const items = [...(first?.items ?? [])].map(([path, { instances }]): [string, PlainValue] => [
        path,
        [...instances],
      ]);
      return new Map([...(first?.defaults ?? []), ...items, ...workload]);
    });
    expect(() => taskWith(task, there, who)).toThrow(message);
  });

  test("one's own uid, gid and groups are fine", () => {
    const policy = {
      defaults: { security: { runAsUid: 1000, runAsGid: 1000, supplementalGroups: "2000", runAsNonRoot: true } },
    };
    expect(made(policy, "run: a").launchSpec).toBeUndefined();
  });

  test("root is root", () => {
    const task = read("run: a\nworkload: {security: {runAsNonRoot: true}}");
    expect(() => workloadsOf(task, { ...who, uid: 0 })).toThrow("security.runAsNonRoot: you are root.");
    const policy = { defaults: { security: { runAsNonRoot: true } } };
    const text = "resources: {image_id: docker:a}\nconfig: {docker: {run_options: '--user 0'}}";
    expect(() => under(policy, text)).toThrow("'--user' among the container's options asks for root");
  });

  test("a user's own word for somebody else, or for the machine's own folders", () => {
    expect(() => fields("run: a\nworkload: {security: {runAsUid: 5}}")).toThrow("security.runAsUid: 5 is not you");
    const text =
      "resources: {image_id: docker:a}\nrun: a\nworkload: {storage: {hostPath: [{path: /etc, mountPath: /e}]}}";
    expect(() => under({}, text)).toThrow("storage.hostPath[].path: '/etc' is the machine's own");
  });

  test("one value for the whole job", () => {
    const policy = { rules: { compute: { cpuCoreLimit: { defaultFrom: { field: "cpuCoreRequest", factor: 2 } } } } };
    expect(() => under(policy, "resources: {any_of: [{cpus: 1}, {cpus: 2}]}\nrun: a")).toThrow(
      "compute.cpuCoreLimit: it would be another for any_of[0] than for any_of[1], and one value holds for the whole job.",
    );
    expect(made(policy, "resources: {any_of: [{cpus: 2, memory: 1}, {cpus: 2}]}\nrun: a").launchSpec).toEqual({
      cpuCoreLimit: 4,
    });
  });
});
