/** What vendors' tools print, odd output included, and what becomes of it; see fixtures/README.md. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { acceleratorKindSchema } from "../../shared/job.ts";
import { accelDevices } from "./accel.ts";
import { parseAmdErrors, parseAmdStatic, parseRocm, withAmdErrors } from "./amd.ts";
import { type FoundDevice, kindOfName, memoryMbOf, pciAddress, wholeNumber } from "./found.ts";
import { habanaQueries, parseHabana, parseHabanaUse } from "./habana.ts";
import { parseIntel, parseIntelDetail } from "./intel.ts";
import { nvidiaDevices, nvidiaQueries, parseMigInstances, parseNvidiaCards, parseNvidiaUse } from "./nvidia.ts";

function fixture(name: string): string {
  return readFileSync(join(import.meta.dirname, "fixtures", `${name}.txt`), "utf8");
}

function nvidia(name: string, list = "") {
  const answer = parseNvidiaCards(fixture(name), nvidiaQueries[1] ?? []);
  return { ...answer, ...nvidiaDevices(answer.cards, list === "" ? [] : parseMigInstances(fixture(list))) };
}

/** `3 H100 81559 well`. */
function brief(devices: readonly FoundDevice[]): string[] {
  return devices.map((one) => `${one.position} ${one.kind} ${one.memoryMb} ${one.fault ?? "well"}`);
}

describe("nvidia-smi", () => {
  it("eight cards that are well, and their driver", () => {
    const { devices, driver, lost } = nvidia("nvidia-8xh100");
    expect(brief(devices)).toEqual(Array.from({ length: 8 }, (_, at) => `${at} H100 81559 well`));
    expect(devices[2]).toMatchObject({
      id: "GPU-000000a2-5c1e-4b7a-9d20-0000000000a2",
      pci: "0000:3a:00.0",
      name: "NVIDIA H100 80GB HBM3",
      vendor: "NVIDIA",
    });
    expect([driver, lost]).toEqual(["550.90.07", []]);
    expect(
      parseNvidiaCards(fixture("nvidia-8xh100-recovery"), nvidiaQueries[0] ?? []).cards.map((one) => one.fault),
    ).toEqual(Array.from({ length: 8 }, () => null));
  });

  it("is told apart from what it prints when it can say nothing", () => {
    expect(nvidia("nvidia-unknown-field")).toMatchObject({ cards: [], unknownField: true });
    for (const name of ["nvidia-driver-missing", "nvidia-version-mismatch", "nvidia-none"]) {
      expect(nvidia(name)).toMatchObject({ cards: [], lost: [], unknownField: false });
    }
  });

  it("a card fallen off the bus, among others and alone", () => {
    const among = nvidia("nvidia-lost-among-others");
    expect(among.cards.map((one) => one.index)).toEqual([0, 1, 3, 4, 5, 6, 7]);
    expect(among.lost).toEqual([{ pci: "0000:3a:00.0", fault: "fallen off the bus (nvidia-smi: Unknown Error)" }]);
    const alone = nvidia("nvidia-lost-and-nothing-else");
    expect(alone.lost).toEqual([
      {
        pci: "0000:3a:00.0",
        fault: "fallen off the bus (nvidia-smi: GPU is lost. Reboot the system to recover this GPU)",
      },
    ]);
    const numbered = "Unable to determine the device handle for GPU3: 0000:DB:00.0: Unknown Error";
    expect(parseNvidiaCards(numbered, nvidiaQueries[1] ?? []).lost[0]?.pci).toBe("0000:db:00.0");
  });

  it("fields in error, ECC errors and rows of memory, each on its own card", () => {
    expect(brief(nvidia("nvidia-err-fields").devices)).toEqual([
      "0 RTXA6000 49140 well",
      "1 RTXA6000 49140 nvidia-smi reports [Unknown Error] for ecc.errors.uncorrected.volatile.total",
      "2 RTXA6000 null nvidia-smi reports [GPU requires reset] for memory.total",
      "3 RTXA6000 null nvidia-smi reports ERR! for memory.total",
      "4 RTXA6000 49140 3 uncorrected ECC errors since its driver was loaded",
      "5 RTXA6000 49140 broken rows of its memory are remapped at its next reset",
      "6 null null nvidia-smi reports [Unknown Error] for name",
      "7 RTXA6000 null well",
    ]);
    expect(nvidia("nvidia-err-fields").devices[7]?.id).toBe("0000:d6:00.0");
  });

  it("what the newest drivers advise", () => {
    const row = fixture("nvidia-8xh100-recovery").split("\n")[0]?.replace(/None$/, "Reset") ?? "";
    expect(parseNvidiaCards(row, nvidiaQueries[0] ?? []).cards[0]?.fault).toBe("its driver asks for: Reset");
  });

  it("several kinds", () => {
    expect(brief(nvidia("nvidia-mixed").devices)).toEqual([
      "0 RTX3090 24576 well",
      "1 V100-32GB 32768 well",
      "2 L40S 46068 well",
    ]);
  });

  it("MIG instances are devices, by their uuids; a divided card is none", () => {
    const { devices, divided } = nvidia("nvidia-mig", "nvidia-mig-list");
    expect(devices.map(({ kind, memoryMb, position }) => [kind, memoryMb, position])).toEqual([
      ["A100-MIG-3g.40gb", 40_960, null],
      ["A100-MIG-1g.10gb", 10_240, null],
      ["A100-MIG-1g.10gb.me", 10_240, null],
      ["A100-80GB", 81_920, null],
      ["A100-MIG-1c.3g.40gb", 40_960, null],
      ["A100-MIG-1g.5gb", 5_120, null],
    ]);
    expect(divided).toHaveLength(2);
    expect(devices[1]).toMatchObject({
      id: "MIG-00000002-0321-5fef-9c87-000000000002",
      otherwise: "MIG-00000002-0321-5fef-9c87-000000000002",
      parent: divided[0],
      name: "NVIDIA A100-SXM4-80GB MIG 1g.10gb",
    });
    expect(devices[5]?.otherwise).toMatch(/^MIG-GPU-.*\/7\/0$/);
  });

  it("how busy they are", () => {
    expect(parseNvidiaUse(fixture("nvidia-use")).map((one) => [one.ids[1], one.utilization, one.memoryUsedMb])).toEqual(
      [
        ["0000:18:00.0", 97, 71_234],
        ["0000:2a:00.0", 0, 3],
        ["0000:3a:00.0", null, null],
      ],
    );
  });
});

describe("amd-smi and rocm-smi", () => {
  it.each([
    ["amd-smi-7", "6.12.12"],
    ["amd-smi-6", "6.7.0"],
  ])("%s", (name, driver) => {
    const found = parseAmdStatic(fixture(name));
    expect(found?.driver).toBe(driver);
    expect(brief(found?.devices ?? [])).toEqual(["0 MI300X 196592 well", "1 MI300X 196592 well"]);
    expect(found?.devices[1]).toMatchObject({ id: "GPU-82f2a0b1c2d3e4f6", pci: "0000:26:00.0", vendor: "AMD" });
  });

  it("errors of memory, on their card alone", () => {
    const { devices } = parseAmdStatic(fixture("amd-smi-7")) ?? { devices: [] };
    expect(withAmdErrors(devices, parseAmdErrors(fixture("amd-smi-ecc"))).map((one) => one.fault)).toEqual([
      null,
      "2 uncorrectable ECC errors since its driver was loaded",
    ]);
  });

  it("graphics inside a CPU are no accelerators", () => {
    expect(brief(parseAmdStatic(fixture("amd-smi-desktop"))?.devices ?? [])).toEqual(["1 RX7900XTX 24560 well"]);
  });

  it("rocm-smi of old and new", () => {
    expect(parseRocm(fixture("rocm-smi-6"))).toMatchObject({
      driver: "6.8.5",
      devices: [{ kind: "MI210", memoryMb: 65_520, uuid: "GPU-a1b2c3d4e5f60718", pci: "0000:63:00.0", position: 0 }],
    });
    const old = parseRocm(fixture("rocm-smi-4"));
    expect(old?.devices.map((one) => [one.kind, one.id])).toEqual([
      ["MI100", "GPU-1f2e3d4c5b6a7988"],
      ["MI100", "0000:c3:00.0"],
    ]);
  });
});

describe("hl-smi", () => {
  it("is counted by modules, as programs do", () => {
    const { devices, driver } = parseHabana(fixture("hl-smi-8xgaudi2"), habanaQueries[0] ?? []);
    expect(driver).toBe("1.20.0-bd4f3a1");
    expect(devices.map((one) => one.position)).toEqual([3, 1, 0, 2, 6, 4, 7, 5]);
    expect(devices[0]).toMatchObject({ kind: "Gaudi2", memoryMb: 98_304, pci: "0000:33:00.0", fault: null });
    const old = parseHabana(fixture("hl-smi-gaudi2-old"), habanaQueries[1] ?? []);
    expect(old.devices.map((one) => [one.memoryMb, one.id])).toEqual([
      [98_304, "01P0-HL2080A0-15-TNB042-01-02-03"],
      [98_304, "0000:1a:00.0"],
    ]);
  });

  it("ECC errors, and how busy they are", () => {
    const broken = fixture("hl-smi-8xgaudi2").replace("1.20.0-bd4f3a1, 0", "1.20.0-bd4f3a1, 1");
    const { devices } = parseHabana(broken, habanaQueries[0] ?? []);
    expect(devices.map((one) => one.fault).filter((fault) => fault !== null)).toEqual([
      "1 uncorrected ECC error since its driver was loaded",
    ]);
    expect(parseHabanaUse(fixture("hl-smi-use")).map((one) => [one.ids[1], one.utilization, one.memoryUsedMb])).toEqual(
      [
        ["0000:33:00.0", 54, 31_232],
        ["0000:34:00.0", 0, 768],
      ],
    );
  });
});

it("xpu-smi: cards, and neither parts of them nor of the CPU", () => {
  expect(parseIntel(fixture("xpu-smi"))?.map((one) => [one.kind, one.position, one.pci])).toEqual([
    ["Max1550", 0, "0000:4d:00.0"],
    ["Max1550", 1, "0000:9a:00.0"],
  ]);
  expect(parseIntelDetail(fixture("xpu-smi-detail"))).toEqual({
    memoryMb: 131_072,
    driver: "I915_23.10.32_PSB_231129.32",
  });
});

it("accelerators without a tool: known by their ids, others by a name made of them", () => {
  const on = (address: string, vendor: string, device: string, driver: string | null) => ({
    ...{ address: `0000:${address}:00.0`, vendor, device, driver },
  });
  const bus = [
    on("04", "0x1ae0", "0x0063", "vfio-pci"),
    on("05", "0x1ae0", "0x0063", "vfio-pci"),
    on("06", "0x1ae0", "0x0042", "gve"),
    on("07", "0x1d0f", "0x7164", "neuron"),
    on("08", "0x1234", "0xabcd", "strange"),
    on("09", "0x8086", "0x7d1d", "intel_vpu"),
    on("0a", "0x10de", "0x2330", "nvidia"),
  ];
  const nodes = ["0000:09:00.0", "0000:08:00.0"];
  expect(accelDevices(bus, nodes).map((one) => [one.kind, one.vendor, one.position])).toEqual([
    ["tpu-v5litepod", "Google", 0],
    ["tpu-v5litepod", "Google", 1],
    ["Trainium", "AWS", 0],
    ["accel-1234-abcd", "PCI", 1],
  ]);
});

describe("any text at all", () => {
  const names = ["nvidia-8xh100", "nvidia-mig-list", "amd-smi-7", "rocm-smi-4", "hl-smi-8xgaudi2", "xpu-smi"];
  const recorded = names.map(fixture);
  const cells = fc.constantFrom(
    "[N/A]",
    "ERR!",
    "[Unknown Error]",
    "0",
    "-1",
    "99999999999999999999",
    ",",
    "\n",
    "{",
    '"',
  );
  /** Recorded output with something cut out and something else put in. */
  const damaged = fc
    .tuple(fc.constantFrom(...recorded), fc.nat(3000), fc.nat(60), fc.oneof(fc.string(), cells))
    .map(([text, at, length, put]) => text.slice(0, at) + put + text.slice(at + length));

  it("is read without an error, and what comes of it can be granted and sent", () => {
    fc.assert(
      fc.property(fc.oneof(damaged, fc.string(), fc.json()), (text) => {
        const cards = parseNvidiaCards(text, nvidiaQueries[1] ?? []).cards;
        const devices = [
          ...nvidiaDevices(cards, parseMigInstances(text)).devices,
          ...(parseAmdStatic(text)?.devices ?? []),
          ...withAmdErrors(parseRocm(text)?.devices ?? [], parseAmdErrors(text)),
          ...parseHabana(text, habanaQueries[0] ?? []).devices,
          ...(parseIntel(text) ?? []),
        ];
        parseNvidiaUse(text);
        parseHabanaUse(text);
        parseIntelDetail(text);
        for (const device of devices) {
          expect(device.id).not.toBe("");
          expect(device.id.length).toBeLessThanOrEqual(200);
          expect(device.kind === null || acceleratorKindSchema.safeParse(device.kind).success).toBe(true);
          expect(device.name).toMatch(/^[^\p{Cc}]{0,260}$/u);
          expect(device.memoryMb === null || (Number.isInteger(device.memoryMb) && device.memoryMb >= 0)).toBe(true);
          expect(device.position === null || device.position >= 0).toBe(true);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("is a kind that a job can ask for", () => {
    expect([kindOfName("constructor"), kindOfName("toString")]).toEqual([
      "accelerator-constructor",
      "accelerator-toString",
    ]);
    fc.assert(
      fc.property(
        fc.string({ unit: "binary", maxLength: 300 }),
        (text) => acceleratorKindSchema.parse(kindOfName(text)) !== "",
      ),
    );
  });

  it("has bounds: numbers, addresses, amounts of memory", () => {
    expect(["1", " 42 ", "7.5", "-1", "1e3", "", "99"].map((text) => wholeNumber(text, 50))).toEqual([
      ...[1, 42, 7, null, null, null, null],
    ]);
    expect(["00000001:0A:00.0", "c1:00.0", "0000:c1:00.8", "x"].map(pciAddress)).toEqual([
      ...["0001:0a:00.0", "0000:c1:00.0", null, null],
    ]);
    expect(
      [{ value: 192, unit: "GB" }, "196592 MB", 512, "x", null, { value: "N/A" }].map((one) => memoryMbOf(one)),
    ).toEqual([196_608, 196_592, 512, null, null, null]);
  });
});
