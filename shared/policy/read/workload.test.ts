/**
 * Workloads as people submit them, in both dialects: canonical paths and values, and what is no field.
 */
import { describe, expect, test } from "vitest";
import { SkyError } from "../../errors.ts";
import { readWorkload, type ReadWorkloadOptions } from "./workload.ts";

function read(tree: unknown, options: Partial<ReadWorkloadOptions> = {}) {
  const { workload, violations, warnings } = readWorkload(tree, { kind: "training", dialect: "v2", ...options });
  return { workload: Object.fromEntries(workload), violations, warnings };
}

describe("workloads", () => {
  test("groups become paths, null says nothing, spelling becomes canonical", () => {
    const tree = {
      image: null,
      imagePullPolicy: "always",
      compute: { cpuCoreRequest: 2.75, gpuDevices: "4", cpuMemoryRequest: " 64G " },
      security: { capabilities: ["CAP_KILL"], runAsNonRoot: "true" },
      probes: { readiness: null },
      storage: { nfs: [{ nfsServer: "s", path: "/x", mountpath: "/m", readOnly: null }] },
      environmentVariables: { A: 1.5, B: "x" },
      labels: [
        { name: "a", value: true },
        { name: "b", exclude: true },
        { name: "c", deleted: true, value: "" },
      ],
    };
    expect(read(tree)).toEqual({
      workload: {
        imagePullPolicy: "Always",
        "compute.cpuCoreRequest": 2.75,
        "compute.gpuDevicesRequest": 4,
        "compute.cpuMemoryRequest": "64G",
        "security.capabilities": ["KILL"],
        "security.runAsNonRoot": true,
        "storage.nfs": [{ server: "s", path: "/x", mountPath: "/m" }],
        environmentVariables: [
          { name: "A", value: "1.5" },
          { name: "B", value: "x" },
        ],
        labels: [
          { name: "a", value: "true" },
          { name: "b", exclude: true },
          { name: "c", exclude: true, value: "" },
        ],
      },
      violations: [],
      warnings: [
        '"compute.gpuDevices" is read as "compute.gpuDevicesRequest"',
        'security.runAsNonRoot: the text "true" is read as true',
        '"storage.nfs[].nfsServer" is read as "storage.nfs[].server"',
        '"storage.nfs[].mountpath" is read as "storage.nfs[].mountPath"',
      ],
    });
  });

  test("what does not fit stays for the check of its type", () => {
    const tree = { compute: { gpuDevicesRequest: 0.5, cpuMemoryRequest: "2GB" }, image: ["a"], nodePools: "a" };
    expect(read(tree)).toEqual({
      workload: { "compute.gpuDevicesRequest": 0.5, "compute.cpuMemoryRequest": "2GB", image: ["a"], nodePools: "a" },
      violations: [],
      warnings: [],
    });
  });

  test.each<[unknown, string, string, string]>([
    [
      { compute: { gpuDevicesRqust: 1 } },
      "compute.gpuDevicesRqust",
      "schema",
      'unknown field; did you mean "compute.gpuDevicesRequest"?',
    ],
    [
      { gpuDevicesRequest: 1 },
      "gpuDevicesRequest",
      "schema",
      'unknown field; did you mean "compute.gpuDevicesRequest"?',
    ],
    [{ zzz: 1 }, "zzz", "schema", "unknown field"],
    [{ gpu: 1 }, "gpu", "schema", "unknown field"],
    [{ constructor: 1 }, "constructor", "schema", "unknown field"],
    [
      { compute: 1 },
      "compute",
      "schema",
      "must hold fields such as cpuCoreRequest, computeCoreRequest, cpuCoreLimit, cpuMemoryRequest, cpuMemoryLimit",
    ],
    [{ numWorkers: 1 }, "numWorkers", "schema", "does not exist for training workloads"],
    [{ image: "a", Image: "b" }, "image", "schema", '"image" and "Image" are the same field'],
    [{ ports: { container: 80 } }, "ports", "type", "must be a list"],
    [{ ports: [80] }, "ports[#1]", "type", "must be a mapping of attributes"],
    [{ ports: [{ containr: 80 }] }, "ports[].containr", "schema", 'unknown field; did you mean "ports[].container"?'],
    [{ ports: [{ container: 80, exclude: "x" }] }, "ports[].exclude", "type", "must be true or false"],
    [{ ports: Array.from({ length: 1001 }, () => ({})) }, "ports", "type", "must not have more than 1000 items"],
    [["image"], "workload", "schema", "must be a mapping of fields"],
  ])("%j: %s", (tree, field, rule, message) => {
    const { violations } = read(tree);
    expect(violations).toEqual([{ field, rule, message, source: null, value: null, limit: null }]);
  });

  test("V1's names and forms", () => {
    const tree = {
      gpu: 4,
      memory: "3G",
      runAsUser: false,
      ttlAfterFinish: "90s",
      preemptible: true,
      nodePool: "a",
      serviceType: "NodePort",
      ports: [
        { name: "a", container: 80 },
        { container: 81, serviceType: "ClusterIP" },
      ],
      volumes: [{ path: "/x", mountPath: "/y", nfsServer: "n" }],
      pvcs: [{ claimName: "c", size: "1Gi" }],
    };
    expect(read(tree, { kind: "workspace", dialect: "v1" })).toEqual({
      workload: {
        gpu: 4,
        "compute.cpuMemoryRequest": "3G",
        runAsUser: false,
        autoDeletionTimeAfterCompletionSeconds: 90,
        preemptibility: "preemptible",
        nodePools: ["a"],
        ports: [
          { name: "a", container: 80, serviceType: "NodePort" },
          { container: 81, serviceType: "ClusterIP" },
        ],
        volumes: [{ path: "/x", mountPath: "/y", nfsServer: "n" }],
        "storage.pvc": [{ claimName: "c", "claimInfo.size": "1Gi" }],
      },
      violations: [],
      warnings: [],
    });
    expect(read({ autoscaling: {} }, { dialect: "v1" }).violations[0]?.message).toBe("unknown field");
  });

  test("workers and masters", () => {
    const tree = { image: "a", command: "b", worker: { image: "w", numWorkers: 3 }, Master: { image: "m" } };
    expect(read(tree, { kind: "distributed" }).workload).toEqual({ image: "w", command: "b", numWorkers: 3 });
    expect(read(tree, { kind: "distributed", role: "master" }).workload).toEqual({ image: "m", command: "b" });
    expect(read({ worker: 3 }, { kind: "distributed" }).violations[0]?.message).toBe("must hold fields");
    expect(read({ worker: {} }).violations[0]?.message).toBe("unknown field");
  });

  test("older classes say whether a job may be preempted, unless it says so itself", () => {
    expect(read({ priorityClass: "build" }).workload).toEqual({
      priorityClass: "high",
      preemptibility: "non-preemptible",
    });
    expect(read({ preemptibility: "preemptible", priorityClass: "build" }).workload).toEqual({
      priorityClass: "high",
      preemptibility: "preemptible",
    });
    expect(read({ priorityClass: "high" }).workload).toEqual({ priorityClass: "high" });
  });

  test("trees that are too deep or too large are refused", () => {
    let deep: unknown = 1;
    for (let depth = 0; depth < 10_000; depth += 1) {
      deep = [deep];
    }
    expect(() => read({ nodeAffinityRequired: deep })).toThrow(SkyError);
    expect(() => read({ image: Array.from({ length: 60_000 }, () => 1) })).toThrow(/more than 50000 values/);
    expect(
      read(Object.fromEntries(Array.from({ length: 3000 }, (_, index) => [`x${index}`, 1]))).violations,
    ).toHaveLength(100);
  });
});
