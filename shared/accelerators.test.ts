/** Names and memory of accelerators, as people write them and as tools report them. */
import { describe, expect, it } from "vitest";
import { canonicalKind, knownKinds, migKind, nominalMemoryGb, vendorOf } from "./accelerators.ts";
import { acceleratorKindSchema } from "./job.ts";

describe("canonicalKind", () => {
  it.each([
    ["h100", "H100"],
    ["a100-80gb", "A100-80GB"],
    ["H100-80GB", "H100"],
    ["A100-40GB", "A100"],
    ["A6000", "RTXA6000"],
    ["RTX3080-Ti", "RTX3080Ti"],
    ["rtx 4090", "RTX4090"],
    ["rtx6000-ada", "RTX6000-Ada"],
    ["gaudi2", "Gaudi2"],
    ["Gaudi HL-205", "Gaudi"],
    ["TPU-V5E", "tpu-v5litepod"],
    ["a100-80gb-mig-1G.10GB", "A100-MIG-1g.10gb"],
    ["H100-MIG-1g.20gb", "H100-MIG-1g.20gb"],
    ["Groq LPU", "Groq-LPU"],
    ["MyCard", "MyCard"],
  ])("%s is %s", (name, kind) => {
    expect(canonicalKind(name)).toBe(kind);
    expect(canonicalKind(kind)).toBe(kind);
  });

  it("leaves every known kind as it is, and each is a kind on the wire", () => {
    expect(knownKinds.length).toBeGreaterThan(150);
    for (const kind of knownKinds) {
      expect(canonicalKind(kind)).toBe(kind);
      expect(acceleratorKindSchema.safeParse(kind).success).toBe(true);
      expect(nominalMemoryGb(kind, null)).toBeGreaterThan(0);
      expect(vendorOf(kind)).not.toBeNull();
    }
  });
});

describe("nominalMemoryGb", () => {
  it.each([
    ["H100", 81_559, 80],
    ["A100", 40_960, 40],
    ["A100-80GB", 81_920, 80],
    ["T4", 15_360, 16],
    ["L40S", 46_068, 48],
    ["A10G", 23_028, 24],
    ["H200", 143_771, 141],
    ["B200", 183_359, 180],
    ["GH200", 97_871, 96],
    ["GH200", 147_456, 144],
    ["P100", 12_198, 12],
    ["MI300X", 196_592, 192],
    ["Gaudi2", 98_304, 96],
    ["RTX4090", 24_564, 24],
    ["A100-MIG-1g.10gb", 9_728, 10],
    ["H100", null, 80],
    ["MyCard", 48_900, 48],
    ["MyCard", 49_300, 64],
    ["MyCard", 3_000_000, 2930],
    ["MyCard", null, null],
  ])("%s that reports %s MiB has %s GB", (kind, memoryMb, gb) => {
    expect(nominalMemoryGb(kind, memoryMb)).toBe(gb);
  });
});

describe("vendorOf", () => {
  it.each([
    ["h100", "NVIDIA"],
    ["RTX9990", "NVIDIA"],
    ["A100-MIG-1g.10gb", "NVIDIA"],
    ["MI999X", "AMD"],
    ["Gaudi3", "Intel"],
    ["tpu-v9", "Google"],
    ["MyCard", null],
  ])("%s is made by %s", (kind, vendor) => {
    expect(vendorOf(kind)).toBe(vendor);
  });
});

describe("migKind", () => {
  it("names the device without its memory, and is a name", () => {
    expect(migKind("A100-80GB", "1g.10gb")).toBe("A100-MIG-1g.10gb");
    expect(migKind("H100", "1g.10gb+me")).toBe("H100-MIG-1g.10gb.me");
    expect(acceleratorKindSchema.safeParse(migKind("H100", "1g.10gb+me")).success).toBe(true);
    expect(nominalMemoryGb("H100-MIG-1g.10gb.me", null)).toBe(10);
    expect(canonicalKind("h100-mig-1g.10gb+me")).toBe("H100-MIG-1g.10gb.me");
  });
});

it.each(["constructor", "toString", "hasOwnProperty"])("a node cannot name a device %s", (kind) => {
  expect(acceleratorKindSchema.safeParse(kind).success).toBe(false);
});
