import { describe, expect, it } from "vitest";
import { canonicalAmdName } from "./accelerators/amd.ts";
import { canonicalGaudiName } from "./accelerators/habana.ts";
import { canonicalIntelName } from "./accelerators/intel.ts";
import { canonicalNvidiaName } from "./accelerators/nvidia.ts";
import { agentConfigSchema } from "./config.ts";
import { declaredAccelerators, mixedWarning, readInventory } from "./inventory.ts";

describe("names", () => {
  it.each([
    ["NVIDIA A100-SXM4-80GB", "A100-80GB"],
    ["NVIDIA A100 80GB PCIe", "A100-80GB"],
    ["A100-SXM4-40GB", "A100"],
    ["NVIDIA A100-PCIE-40GB", "A100"],
    ["NVIDIA A800-SXM4-80GB", "A800-80GB"],
    ["NVIDIA H100 80GB HBM3", "H100"],
    ["NVIDIA H100 PCIe", "H100"],
    ["NVIDIA H100 NVL", "H100-NVL"],
    ["NVIDIA H200", "H200"],
    ["NVIDIA GH200 480GB", "GH200"],
    ["NVIDIA B200", "B200"],
    ["NVIDIA H20", "H20"],
    ["NVIDIA GB10", "GB10"],
    ["Tesla V100-SXM2-16GB", "V100"],
    ["Tesla V100-SXM2-32GB", "V100-32GB"],
    ["Tesla P100-PCIE-16GB", "P100"],
    ["Tesla T4", "T4"],
    ["Tesla K80", "K80"],
    ["Tesla P4", "P4"],
    ["NVIDIA L4", "L4"],
    ["NVIDIA L40", "L40"],
    ["NVIDIA L40S", "L40S"],
    ["NVIDIA A10", "A10"],
    ["NVIDIA A10G", "A10G"],
    ["NVIDIA A30", "A30"],
    ["NVIDIA A40", "A40"],
    ["NVIDIA GeForce RTX 4090", "RTX4090"],
    ["NVIDIA GeForce RTX 4090 D", "RTX4090D"],
    ["GeForce RTX 2080 Ti", "RTX2080Ti"],
    ["NVIDIA GeForce RTX 3070 Ti", "RTX3070Ti"],
    ["NVIDIA GeForce RTX 4070 SUPER", "RTX4070SUPER"],
    ["NVIDIA GeForce RTX 4070 Ti SUPER", "RTX4070TiSUPER"],
    ["NVIDIA GeForce GTX 1080 Ti", "GTX1080Ti"],
    ["NVIDIA RTX A6000", "RTXA6000"],
    ["NVIDIA RTX 6000 Ada Generation", "RTX6000-Ada"],
    ["NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTXPRO6000"],
    ["Quadro RTX 6000", "RTX6000"],
    ["NVIDIA TITAN RTX", "TITAN-RTX"],
    ["NVIDIA Frob <b>9; rm -rf /", "FROB-B-9-RM-RF"],
    ["NVIDIA", "NVIDIA"],
    [`NVIDIA ${"X".repeat(300)}`, "X".repeat(64)],
  ])("%s is %s", (raw, canonical) => {
    expect(canonicalNvidiaName(raw)).toBe(canonical);
  });

  it.each([
    ["AMD Instinct MI300X", null, "MI300X"],
    ["AMD Instinct MI300X OAM", "0x74a1", "MI300X"],
    ["Arcturus GL-XL [AMD Instinct MI100]", "0x738c", "MI100"],
    ["AMD INSTINCT MI200 (MCM) OAM LC MBA HPE C2", "0x7408", "MI250X"],
    ["AMD Radeon RX 7900 XTX", "0x744c", "RX7900XTX"],
    ["Radeon RX 7900 XT", null, "RX7900XT"],
    ["AMD Radeon AI PRO R9700", null, "R9700"],
    ["AMD Radeon PRO W7900", null, "W7900"],
    ["AMD Something New", "0x9999", "Something-New"],
    ["", null, "AMD"],
  ])("AMD's %s (%s) is %s", (raw, id, canonical) => {
    expect(canonicalAmdName(raw, id)).toBe(canonical);
  });

  it("of Intel", () => {
    expect(["HL-205", "HL-225", "HL-225H", "HL-325L", "HL-x", ""].map(canonicalGaudiName)).toEqual([
      "Gaudi",
      "Gaudi2",
      "Gaudi2",
      "Gaudi3",
      "HL-x",
      "Gaudi",
    ]);
    const names = [
      "Intel(R) Data Center GPU Max 1550",
      "Intel(R) Data Center GPU Flex Series 170",
      "Intel(R) Arc(TM) A770 Graphics",
      "Intel(R) Arc(TM) Pro B60 Graphics",
      "Intel(R) Graphics [0x020a]",
    ];
    expect(names.map(canonicalIntelName)).toEqual(["Max1550", "Flex170", "ArcA770", "ArcProB60", "Graphics-0x020a"]);
  });
});

describe("declared accelerators", () => {
  it("reads kinds and counts, in canonical spelling", () => {
    expect(declaredAccelerators("-")).toEqual([]);
    expect(declaredAccelerators("V100:2,rtx4090").map((device) => `${device.index} ${device.kind}`)).toEqual([
      "0 V100",
      "1 V100",
      "2 RTX4090",
    ]);
  });

  it.each(["V100:", "V100:0", "V100:9999", "V 100:1", ":3", "a,,b"])("refuses %s", (text) => {
    expect(() => declaredAccelerators(text)).toThrow("is not a kind and a count");
  });
});

const base = { node: "n1", coordinator: { address: "127.0.0.1", host_key: "x" }, key: "/k" };

it("warns about mixed kinds, and lets the config declare everything", async () => {
  const declared = { accelerators: "V100:1,T4:1", cpus: 3, memory_gb: 5, address: "10.0.0.1" };
  const config = agentConfigSchema.parse({ ...base, ...declared });
  const { inventory, warnings } = await readInventory(config, null);
  expect(inventory).toMatchObject({ address: "10.0.0.1", cpus: 3, memoryGb: 5, source: "config", mixedAllowed: false });
  expect(warnings).toEqual([
    "Node n1 mixes accelerators (V100, T4): it takes no accelerator jobs unless its config says mixed_accelerators: true.",
  ]);
  const allowed = agentConfigSchema.parse({ ...base, mixed_accelerators: true });
  expect(mixedWarning(allowed, inventory.accelerators)).toMatch(/allows accelerator jobs/);
  expect(mixedWarning(allowed, inventory.accelerators.slice(0, 1))).toBeNull();
});

it("says what system this is, also when the program that knows the hardware is broken", async () => {
  const { inventory } = await readInventory(agentConfigSchema.parse(base), "/nonexistent/hardware.mjs");
  expect(inventory.os).toMatch(/Linux \d/);
  expect(inventory.disks).toBeUndefined();
  expect(inventory.cpus).toBeGreaterThanOrEqual(1);
});
