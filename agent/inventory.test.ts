import { describe, expect, it } from "vitest";
import { canonicalNvidiaName, parseNvidiaSmi } from "./accelerators/nvidia.ts";
import { agentConfigSchema } from "./config.ts";
import { declaredAccelerators, readInventory } from "./inventory.ts";

describe("NVIDIA names", () => {
  it.each([
    ["NVIDIA A100-SXM4-80GB", "A100-80GB"],
    ["NVIDIA A100 80GB PCIe", "A100-80GB"],
    ["A100-SXM4-40GB", "A100"],
    ["NVIDIA A100-PCIE-40GB", "A100"],
    ["NVIDIA H100 80GB HBM3", "H100"],
    ["NVIDIA H100 PCIe", "H100"],
    ["NVIDIA H100 NVL", "H100"],
    ["NVIDIA H200", "H200"],
    ["NVIDIA GH200 480GB", "GH200"],
    ["NVIDIA B200", "B200"],
    ["NVIDIA H20", "H20"],
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
    ["GeForce RTX 2080 Ti", "RTX2080-Ti"],
    ["NVIDIA GeForce RTX 3070 Ti", "RTX3070-Ti"],
    ["NVIDIA GeForce RTX 4070 SUPER", "RTX4070-S"],
    ["NVIDIA GeForce GTX 1080 Ti", "GTX1080-Ti"],
    ["NVIDIA RTX A6000", "RTXA6000"],
    ["NVIDIA RTX 6000 Ada Generation", "RTX6000-Ada"],
    ["NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTXPRO6000"],
    ["Quadro RTX 6000", "RTX6000"],
    ["NVIDIA Frob <b>9; rm -rf /", "FROB-B-9-RM--RF"],
    ["NVIDIA", "NVIDIA"],
    [`NVIDIA ${"X".repeat(200)}`, "X".repeat(64)],
  ])("%s is %s", (raw, canonical) => {
    expect(canonicalNvidiaName(raw)).toBe(canonical);
  });

  it("reads the tool's output and leaves out what is not a device", () => {
    const output = "0, NVIDIA A100-SXM4-80GB, 81920\n1, Tesla T4, [N/A]\nNo devices were found\n\n7,Tesla T4,15360\n";
    expect(parseNvidiaSmi(output)).toEqual([
      { index: 0, kind: "A100-80GB", memoryMb: 81920 },
      { index: 1, kind: "T4", memoryMb: null },
      { index: 7, kind: "T4", memoryMb: 15360 },
    ]);
  });
});

describe("declared accelerators", () => {
  it("reads kinds and counts", () => {
    expect(declaredAccelerators("-")).toEqual([]);
    expect(declaredAccelerators("V100:2,T4").map((device) => `${device.index} ${device.kind}`)).toEqual([
      "0 V100",
      "1 V100",
      "2 T4",
    ]);
  });

  it.each(["V100:", "V100:0", "V100:9999", "V 100:1", ":3", "a,,b"])("refuses %s", (text) => {
    expect(() => declaredAccelerators(text)).toThrow("is not a kind and a count");
  });
});

it("warns about mixed kinds, and lets the config declare everything", async () => {
  const config = agentConfigSchema.parse({
    node: "n1",
    coordinator: { address: "127.0.0.1", host_key: "x" },
    key: "/k",
    accelerators: "V100:1,T4:1",
    cpus: 3,
    memory_gb: 5,
    address: "10.0.0.1",
  });
  const { inventory, warnings } = await readInventory(config);
  expect(inventory).toMatchObject({ address: "10.0.0.1", cpus: 3, memoryGb: 5, source: "config", mixedAllowed: false });
  expect(warnings).toEqual([
    "Node n1 mixes accelerators (V100, T4): it takes no accelerator jobs unless its config says mixed_accelerators: true.",
  ]);
});
