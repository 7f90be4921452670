/**
 * The catalog of fields: complete, without two meanings of one spelling, and found under every spelling that Run:ai's
 * documents use.
 */
import { describe, expect, test } from "vitest";
import {
  attributeName,
  existsFor,
  type FieldSpec,
  fieldAt,
  kindNamed,
  knownName,
  namesBelow,
  policyFields,
} from "./fields.ts";
import { fieldsMore } from "./fields-more.ts";

const everything = policyFields.flatMap((spec) => [spec, ...(spec.attributes ?? [])]);

describe("the catalog", () => {
  test("has every path once, and says what each is", () => {
    const paths = everything.map(({ path }) => path);
    expect(new Set(paths).size).toBe(paths.length);
    for (const spec of everything) {
      expect(spec.kinds.length, spec.path).toBeGreaterThan(0);
      expect(spec.description, spec.path).toMatch(/^[A-Z/].*\.$/);
      expect(fieldAt(spec.path)).toBe(spec);
    }
    for (const spec of policyFields) {
      expect(spec.taskField, spec.path).not.toBe("");
      expect(spec.type === "itemized", spec.path).toBe(spec.key !== undefined && spec.attributes !== undefined);
    }
  });

  test("every further word belongs to a field, and every word of a key to an attribute", () => {
    expect(Object.keys(fieldsMore).filter((path) => fieldAt(path) === null)).toEqual([]);
    for (const spec of policyFields) {
      for (const name of (spec.key ?? []).flat()) {
        expect(fieldAt(`${spec.path}[].${name}`), `${spec.path} ${name}`).not.toBeNull();
      }
      expect(spec.attributes?.some(({ path }) => path.endsWith("[].name")) ?? true, spec.path).toBe(true);
    }
  });

  test("no spelling means two fields", () => {
    for (const dialect of ["v1", "v2"] as const) {
      const spellings = (spec: FieldSpec): readonly string[] =>
        dialect === "v1" ? (spec.v1 ?? []) : spec.dialect === "v1" ? [] : [spec.path, ...spec.aliases];
      for (const spec of everything) {
        for (const name of spellings(spec)) {
          expect(knownName(name, dialect)?.spec?.path, `${name} ${dialect}`).toBe(spec.path);
          expect(knownName(name.toUpperCase(), dialect)?.spec?.path, name).toBe(spec.path);
        }
      }
      expect(everything.flatMap(spellings).length).toBeGreaterThan(60);
    }
  });

  test.each([
    ["terminateAfterPreemtpion", "terminateAfterPreemption"],
    ["exposeUrls", "exposedUrls"],
    ["largeShmRequest", "compute.largeShmRequest"],
    ["PodAffinitySchedulingRule", "podAffinity.type"],
    ["podAffinityTopology", "podAffinity.key"],
    ["probes.readiness.failureThreshod", "probes.readiness.failureThreshold"],
    ["secuirty.runAsUid", "security.runAsUid"],
    ["security.runasGid", "security.runAsGid"],
    ["compute.computeCoreRequest", "compute.cpuCoreRequest"],
    ["compute.gpuDeviceRequest", "compute.gpuDevicesRequest"],
    ["compute.gpuDeviceRequests", "compute.gpuDevicesRequest"],
    ["compute.gpuDevices", "compute.gpuDevicesRequest"],
    ["storage.git[].Repository", "storage.git[].repository"],
    ["storage.s3[].Bucket", "storage.s3[].bucket"],
    ["storage.nfs[].nfsServer", "storage.nfs[].server"],
    ["storage.nfs[].mountpath", "storage.nfs[].mountPath"],
    ["storage.pvc[].readonly", "storage.pvc[].readOnly"],
    ["storage.pvc[].ReadwriteOnce", "storage.pvc[].claimInfo.accessModes.readWriteOnce"],
    ["storage.pvc[].readOnlyMany", "storage.pvc[].claimInfo.accessModes.readOnlyMany"],
    ["storage.pvc[].readWriteMany", "storage.pvc[].claimInfo.accessModes.readWriteMany"],
    ["storage.pvc[].size", "storage.pvc[].claimInfo.size"],
    ["storage.pvc[].storageClass", "storage.pvc[].claimInfo.storageClass"],
    ["storage.configMapVolumes", "storage.configMapVolume"],
  ])("the documents' %s is %s", (name, path) => {
    expect(knownName(name, "v2")?.spec?.path).toBe(path);
  });

  test.each([
    ["arguments", "args"],
    ["environment", "environmentVariables"],
    ["nodePool", "nodePools"],
    ["ttlAfterFinish", "autoDeletionTimeAfterCompletionSeconds"],
    ["cpu", "compute.cpuCoreRequest"],
    ["cpuLimit", "compute.cpuCoreLimit"],
    ["memory", "compute.cpuMemoryRequest"],
    ["memoryLimit", "compute.cpuMemoryLimit"],
    ["gpu", "gpu"],
    ["gpuLimit", "compute.gpuPortionLimit"],
    ["gpuMemory", "compute.gpuMemoryRequest"],
    ["largeShm", "compute.largeShmRequest"],
    ["pvcs", "storage.pvc"],
    ["gitSync", "storage.git"],
    ["volumes", "volumes"],
    ["mountPropagation", "volumes[].mountPropagation"],
    ["serviceType", "ports[].serviceType"],
    ["preemptible", "preemptibility"],
    ["nonPreemptible", "preemptibility"],
    ["workers", "numWorkers"],
    ["minScale", "autoscaling.minReplicas"],
    ["isPrivateServiceUrl", "servingPort.clusterLocalAccessOnly"],
    ["jupyter", "jupyter"],
  ])("V1's %s is %s", (name, path) => {
    expect(knownName(name, "v1")?.spec?.path).toBe(path);
  });

  test("kinds differ", () => {
    const has = (path: string, kind: "workspace" | "training" | "distributed" | "inference", dialect: "v1" | "v2") => {
      const spec = fieldAt(path);
      return spec !== null && existsFor(spec, kind, dialect);
    };
    expect(has("jupyter", "workspace", "v1")).toBe(true);
    expect(has("jupyter", "training", "v1")).toBe(false);
    expect(has("backoffLimit", "inference", "v2")).toBe(false);
    expect(has("storage.s3", "inference", "v2")).toBe(false);
    expect(has("storage.s3", "inference", "v1")).toBe(true);
    expect(has("security.hostIpc", "inference", "v2")).toBe(false);
    expect(has("security.hostIpc", "inference", "v1")).toBe(true);
    expect(has("autoscaling.minReplicas", "training", "v2")).toBe(false);
    expect(has("numWorkers", "distributed", "v2")).toBe(true);
  });

  test("attributes know their field", () => {
    const size = fieldAt("storage.pvc[].claimInfo.size");
    expect(size === null ? null : attributeName(size)).toBe("claimInfo.size");
    const image = fieldAt("image");
    expect(image === null ? null : attributeName(image)).toBe("image");
    expect(fieldAt("storage.pvc[].size")).toBeNull();
  });

  test("the next names of a place", () => {
    expect(namesBelow("", "v2")).toEqual(expect.arrayContaining(["image", "compute", "storage", "ports"]));
    expect(namesBelow("", "v2")).not.toContain("gpu");
    expect(namesBelow("probes", "v2")).toEqual(["readiness"]);
    expect(namesBelow("storage.nfs[]", "v2")).toEqual(expect.arrayContaining(["name", "server", "mountPath"]));
    expect(knownName("compute", "v2")?.spec).toBeNull();
    expect(knownName("__proto__", "v2")).toBeNull();
  });

  test.each([
    ["training", "training"],
    ["Train", "training"],
    ["job", "training"],
    ["standard", "training"],
    ["interactive", "workspace"],
    ["notebook", "workspace"],
    ["InteractivePolicy", "workspace"],
    ["multi-node", "distributed"],
    ["serve", "inference"],
    ["service", "inference"],
    ["trainin", null],
    ["constructor", null],
  ])("kind %s is %s", (name, kind) => {
    expect(kindNamed(name)).toBe(kind);
  });
});
