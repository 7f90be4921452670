/**
 * Values against their fields, whether two mean the same, and which items are one.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type FieldSpec, fieldAt, policyFields } from "./fields.ts";
import { itemKey, itemKeys, nestedItem, plainPath, sameItem, setsNothingNew } from "./items.ts";
import { samePlain, sameValue, typed } from "./values.ts";
import type { Item, PlainValue } from "../words.ts";

function spec(path: string): FieldSpec {
  const found = fieldAt(path);
  if (found === null) {
    throw new Error(`no field ${path}`);
  }
  return found;
}

describe("typed values", () => {
  test.each<[string, PlainValue, PlainValue]>([
    ["createHomeDir", true, true],
    ["createHomeDir", "false", false],
    ["image", "ubuntu", "ubuntu"],
    ["image", 1.5, "1.5"],
    ["image", "", ""],
    ["imagePullPolicy", "ifnotpresent", "IfNotPresent"],
    ["podAffinity.type", "hard", "Required"],
    ["priorityClass", "interactive-preemptible", "high"],
    ["security.uidGidSource", "idpToken", "fromIdpToken"],
    ["security.seccompProfileType", "Runtime", "RuntimeDefault"],
    ["security.supplementalGroups", "100; 200", "100,200"],
    ["security.supplementalGroups", "", ""],
    ["backoffLimit", "4", 4],
    ["backoffLimit", 4.0, 4],
    ["backoffLimit", "4.0", 4],
    ["compute.gpuDevicesRequest", "12345678901234567890", "12345678901234567890"],
    ["compute.cpuCoreRequest", "0.5", "0.5"],
    ["compute.cpuCoreRequest", 2.75, 2.75],
    ["compute.cpuMemoryRequest", "64G", "64G"],
    ["compute.cpuMemoryRequest", 5, 5],
    ["nodePools", ["a", "b"], ["a", "b"]],
    ["security.capabilities", ["CAP_SYS_ADMIN", "net bind service"], ["SYS_ADMIN", "NET_BIND_SERVICE"]],
    ["nodeAffinityRequired", { a: 1 }, { a: 1 }],
  ])("%s: %j is %j", (path, value, expected) => {
    expect(typed(value, spec(path))).toMatchObject({ ok: true, value: expected });
  });

  test.each<[string, PlainValue, string]>([
    ["createHomeDir", "yes", "must be true or false"],
    ["createHomeDir", 1, "must be true or false"],
    ["image", ["a"], "must be text"],
    ["imagePullPolicy", "sometimes", "must be one of: Always, IfNotPresent, Never"],
    ["storage.emptyDirVolume[].medium", "disk", 'must be one of: "", Memory'],
    ["security.supplementalGroups", "staff", "must be group ids with commas between"],
    ["compute.gpuDevicesRequest", 0.5, "must be a whole number"],
    ["compute.gpuDevicesRequest", "x", "must be a whole number"],
    ["compute.gpuDevicesRequest", true, "must be a whole number"],
    ["compute.cpuCoreRequest", "1e999999", "must be a number"],
    ["compute.cpuCoreRequest", "1G", "must be a number"],
    ["compute.cpuMemoryRequest", "2GB", "must be a quantity such as 500M or 2Gi"],
    ["nodePools", "a", "must be a list"],
    ["nodePools", [["a"]], "must be a list of texts"],
    ["nodeAffinityRequired", [], "must be a mapping"],
    ["storage.nfs", {}, "must be a list"],
  ])("%s: %j %s", (path, value, message) => {
    expect(typed(value, spec(path))).toMatchObject({ ok: false, message });
  });

  test("texts that are read as something else are told", () => {
    expect(typed("true", spec("tty"))).toMatchObject({ warning: 'the text "true" is read as true' });
    expect(typed("2GB", spec("compute.cpuMemoryLimit"))).toMatchObject({ hint: "write G instead of GB" });
  });

  test("a whole number that is longer than any amount may be is none", () => {
    const field = fieldAt("autoscaling.initialReplicas");
    expect(field).not.toBeNull();
    expect(field && typed(1e60, field)).toEqual({ ok: false, message: "must be a whole number" });
    expect(field && typed("1e59", field)).toEqual({ ok: true, value: `1${"0".repeat(59)}` });
  });

  test("what is canonical stays as it is, for any value", () => {
    const plain = fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<PlainValue>;
    fc.assert(
      fc.property(fc.constantFrom(...policyFields), plain, (field, value) => {
        const once = typed(value, field);
        if (once.ok) {
          expect(typed(once.value, field)).toEqual({ ok: true, value: once.value });
          expect(sameValue(value, once.value, field)).toBe(true);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("same values", () => {
  test.each<[string, PlainValue, PlainValue, boolean]>([
    ["compute.cpuMemoryRequest", "1Gi", "1024Mi", true],
    ["compute.cpuMemoryRequest", "1G", "1Gi", false],
    ["compute.cpuCoreRequest", "0.50", 0.5, true],
    ["compute.gpuDevicesRequest", "4", 4, true],
    ["imagePullPolicy", "always", "Always", true],
    ["podAffinity.type", "soft", "Preferred", true],
    ["tty", "true", true, true],
    ["nodePools", ["a", "b"], ["b", "a"], false],
    ["security.capabilities", ["CHOWN", "KILL"], ["cap_kill", "CAP_CHOWN", "KILL"], true],
    ["security.capabilities", ["CHOWN"], ["KILL"], false],
    ["security.supplementalGroups", "1,2", "2;1", true],
    ["image", "Ubuntu", "ubuntu", false],
    ["image", ["x"], ["x"], true],
    ["compute.gpuDevicesRequest", "x", "x", true],
    ["compute.gpuDevicesRequest", "x", 1, false],
    ["nodeAffinityRequired", { a: 1, b: [2] }, { b: [2], a: 1 }, true],
    ["nodeAffinityRequired", { a: 1 }, { a: 1, b: 2 }, false],
  ])("%s: %j and %j: %s", (path, one, other, expected) => {
    expect(sameValue(one, other, spec(path))).toBe(expected);
    expect(sameValue(other, one, spec(path))).toBe(expected);
  });

  test("mappings are compared by their own keys", () => {
    expect(samePlain({ a: 1 }, Object.fromEntries([["__proto__", 1]]))).toBe(false);
  });
});

describe("items", () => {
  test.each<[string, Item, string]>([
    ["environmentVariables", { name: "A", value: "1" }, "A"],
    ["compute.extendedResources", { resource: "a/b", quantity: 1 }, "a/b"],
    ["compute.extendedResources", { name: "n", resource: "a/b" }, "a/b"],
    ["compute.extendedResources", { name: "n" }, "n"],
    ["ports", { container: 8888 }, "8888"],
    ["ports", { name: "p", container: 8888 }, "p"],
    ["tolerations", { key: "k", effect: "NoSchedule" }, "k+NoSchedule+"],
    ["storage.hostPath", { path: "/a", mountPath: "/m//n/" }, "/m/n"],
    ["storage.git", { path: "/src/." }, "/src"],
    ["storage.pvc", { path: "/data" }, "/data"],
    ["storage.pvc", { claimName: "c", path: "/data" }, "c"],
    ["storage.dataVolume", { id: "7", name: "n" }, "7"],
    ["storage.nfs", { server: "s" }, ""],
  ])("%s %j goes by %s", (path, item, key) => {
    expect(itemKey(spec(path), item)).toBe(key);
  });

  test.each<[string, Item, Item, boolean]>([
    ["storage.hostPath", { name: "a", mountPath: "/x" }, { name: "a", mountPath: "/y" }, true],
    ["storage.hostPath", { name: "a", mountPath: "/x" }, { mountPath: "/x/" }, true],
    ["storage.hostPath", { name: "a", mountPath: "/x" }, { mountPath: "/y/../x" }, true],
    ["storage.hostPath", { name: "a", mountPath: "/x" }, { name: "b", mountPath: "/y" }, false],
    ["storage.hostPath", { path: "/x" }, { path: "/x" }, false],
    ["storage.pvc", { claimName: "c", path: "/a" }, { claimName: "c", path: "/b" }, true],
    ["storage.pvc", { claimName: "c", path: "/a" }, { path: "/a" }, true],
    ["storage.pvc", { claimName: "c", path: "/a" }, { claimName: "d", path: "/a" }, false],
    ["ports", { name: "a", container: 80 }, { container: "80" }, true],
    ["tolerations", { key: "k", value: "v" }, { key: "k", value: "w" }, false],
    ["environmentVariables", { name: "A" }, { name: "a" }, false],
  ])("%s %j and %j: %s", (path, one, other, expected) => {
    expect(sameItem(spec(path), one, other)).toBe(expected);
    expect(sameItem(spec(path), other, one)).toBe(expected);
  });

  test("every key of an item, for locks", () => {
    expect(itemKeys(spec("storage.pvc"), { name: "n", claimName: "c", path: "/p/" })).toEqual(["n", "c", "/p"]);
    expect(itemKeys(spec("compute.extendedResources"), { name: "n", resource: "r" })).toEqual(["n", "r"]);
  });

  test.each<[Item, boolean]>([
    [{ mountPath: "/m/", size: "1Gi" }, true],
    [{ mountPath: "/m", readOnly: "true" }, true],
    [{ mountPath: "/m", exclude: true }, true],
    [{ mountPath: "/m", readOnly: null }, true],
    [{ mountPath: "/m", readOnly: false }, false],
    [{ mountPath: "/m", mountPropagation: "None" }, false],
  ])("%j beside a read-only folder changes nothing: %s", (item, expected) => {
    const there: Item = { name: "n", mountPath: "/m", readOnly: true, size: "1Gi" };
    expect(setsNothingNew(spec("storage.hostPath"), item, there)).toBe(expected);
  });

  test("paths lose what makes no difference", () => {
    expect(["/", "//a/./b/..", "/../a", "a/../b", "", "a//b/"].map(plainPath)).toEqual([
      "/",
      "/a",
      "/a",
      "a/../b",
      "",
      "a/b",
    ]);
  });

  test("are shown as documents have them", () => {
    const item: Item = { claimName: "c", "claimInfo.size": "1Gi", "claimInfo.accessModes.readWriteMany": true };
    expect(nestedItem(item)).toEqual({
      claimName: "c",
      claimInfo: { size: "1Gi", accessModes: { readWriteMany: true } },
    });
  });
});
