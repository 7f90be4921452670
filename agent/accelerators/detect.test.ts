/**
 * Whole looks at a machine whose tools print what real ones do, and what the node says of its devices from one look to
 * the next: indices that stay, quarantine, tools that fail.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import { acceleratorSchema } from "../../shared/agent-wire.ts";
import { Devices } from "../devices.ts";
import { type ToolResult, ToolFault } from "../spawn.ts";
import type { Machine } from "../tools.ts";
import { detect } from "./detect.ts";
import { readUse } from "./use.ts";

function fixture(name: string): string {
  return readFileSync(join(import.meta.dirname, "fixtures", `${name}.txt`), "utf8");
}

/** What it prints (the word `slow`: it does not answer in time), or with an exit code. */
type Answer = string | { code: number; stdout: string };

/** A machine: its tools by their names, each answering by the first word of its arguments that is listed; and its bus. */
class RecordedMachine implements Machine {
  tools = new Map<string, Record<string, Answer>>();
  bus: { address: string; kind: string; vendor: string; device?: string; driver: string | null }[] = [];
  files = new Map<string, string>();
  asked: string[] = [];

  tool(name: string, argv: readonly string[]): Promise<ToolResult | null> {
    const answers = this.tools.get(name);
    this.asked.push(`${name} ${argv.join(" ")}`);
    if (answers === undefined) {
      return Promise.resolve(null);
    }
    const line = argv.join(" ");
    const key = Object.keys(answers).find((one) => line.includes(one));
    const answer = key === undefined ? { code: 2, stdout: "" } : (answers[key] ?? "");
    if (answer === "slow") {
      return Promise.reject(new ToolFault(`${name} did not answer within 15 seconds`, false));
    }
    const { code, stdout } = typeof answer === "string" ? { code: 0, stdout: answer } : answer;
    return Promise.resolve({ code, stdout, stderr: "" });
  }

  list(path: string): Promise<string[] | null> {
    return Promise.resolve(path === "/sys/bus/pci/devices" ? this.bus.map((one) => one.address) : null);
  }

  file(path: string): Promise<string | null> {
    const [, address, name] = /devices\/([^/]+)\/([^/]+)$/.exec(path) ?? [];
    const device = this.bus.find((one) => one.address === address);
    const known =
      device === undefined ? undefined : { class: device.kind, ...device }[name as "vendor" | "device" | "class"];
    return Promise.resolve(this.files.get(path) ?? known ?? null);
  }

  link(path: string): Promise<string | null> {
    const device = this.bus.find((one) => path === `/sys/bus/pci/devices/${one.address}/driver`);
    return Promise.resolve(
      device === undefined || device.driver === null ? null : `../../../../bus/pci/drivers/${device.driver}`,
    );
  }

  nvidia(...addresses: string[]): void {
    this.bus.push(...addresses.map((address) => ({ address, kind: "0x030200", vendor: "0x10de", driver: "nvidia" })));
  }
}

const eight = fixture("nvidia-8xh100");
const addresses = ["18", "2a", "3a", "5d", "9a", "ab", "ba", "db"].map((bus) => `0000:${bus}:00.0`);
/** Of a driver that does not know the newest field. */
const answering = (stdout: string, code = 0): Record<string, Answer> => ({
  gpu_recovery_action: { code: 2, stdout: fixture("nvidia-unknown-field") },
  "-L": fixture("nvidia-mig-list"),
  "--query-gpu": { code, stdout },
});

let machine: RecordedMachine;
let devices: Devices;
let held: number[];

beforeEach(() => {
  machine = new RecordedMachine();
  devices = new Devices([]);
  held = [];
});

/** One more look; what an admin is warned of. */
async function look(): Promise<string[]> {
  const detection = await detect(machine);
  return [...devices.take(detection, (index) => held.includes(index)), ...detection.warnings];
}

/** `2 H100 (GPU-…) fault`: what the coordinator is told. */
function told(): string[] {
  return devices.accelerators.map(({ index, kind, visible, fault }) => {
    acceleratorSchema.parse(devices.accelerators[0]);
    return [index, kind, ...(visible === undefined ? [] : [`as ${visible}`]), fault ?? "well"].join(" ");
  });
}

const allWell = Array.from({ length: 8 }, (_, at) => `${at} H100 well`);
const withFault = (index: number, fault: string): string[] => allWell.with(index, `${index} H100 ${fault}`);

describe("NVIDIA", () => {
  it("an older driver is asked again without what it does not know", async () => {
    machine.nvidia(...addresses);
    machine.tools.set("nvidia-smi", answering(eight));
    expect(await look()).toEqual([]);
    expect(told()).toEqual(allWell);
    expect(machine.asked.filter((line) => line.startsWith("nvidia-smi"))).toHaveLength(2);
  });

  it("a card that falls off the bus keeps its index, and comes back after several good looks", async () => {
    machine.nvidia(...addresses);
    machine.tools.set("nvidia-smi", answering(eight));
    await look();
    machine.tools.set("nvidia-smi", answering(fixture("nvidia-lost-among-others"), 255));
    expect(await look()).toEqual([]);
    const lost = withFault(2, "fallen off the bus (nvidia-smi: Unknown Error)");
    expect(told()).toEqual(lost);
    machine.tools.set("nvidia-smi", answering(eight));
    await look();
    await look();
    expect(told()).toEqual(lost);
    await look();
    expect(told()).toEqual(allWell);
  });

  it("a tool that says nothing of the others is asked for each of them", async () => {
    machine.nvidia(...addresses);
    const rows = eight.split("\n");
    machine.tools.set("nvidia-smi", {
      gpu_recovery_action: { code: 2, stdout: fixture("nvidia-unknown-field") },
      ...Object.fromEntries(addresses.map((address, at) => [`-i ${address}`, rows[at] ?? ""])),
      "--query-gpu": { code: 15, stdout: fixture("nvidia-lost-and-nothing-else") },
    });
    await look();
    expect(told()).toEqual(allWell.toSpliced(2, 1));
  });

  it("a card that is no longer listed stays, and the others keep their indices and get other names", async () => {
    machine.nvidia(...addresses);
    machine.tools.set("nvidia-smi", answering(eight));
    await look();
    const rows = eight.trim().split("\n").toSpliced(2, 1);
    const renumbered = rows.map((row, at) => row.replace(/^\d/, String(at))).join("\n");
    machine.tools.set("nvidia-smi", answering(renumbered));
    const warnings = await look();
    expect(told().slice(0, 4)).toEqual([
      "0 H100 well",
      "1 H100 well",
      "2 H100 no longer listed by its tool",
      "3 H100 as GPU-000000a3-5c1e-4b7a-9d20-0000000000a3 well",
    ]);
    expect(warnings).toEqual([
      "An accelerator of NVIDIA on the PCI bus (0000:3a:00.0) and nvidia-smi does not list it: no job gets it. sky-doctor says more.",
    ]);
  });

  it("a tool that hangs or breaks once or twice takes nothing away; for longer, its devices are faulty", async () => {
    machine.nvidia(...addresses);
    machine.tools.set("nvidia-smi", answering(eight));
    await look();
    machine.tools.set("nvidia-smi", { "": "slow" });
    const slow = "nvidia-smi did not answer within 15 seconds";
    expect(await look()).toEqual([`${slow}: its devices stay as they were last seen.`]);
    machine.tools.set("nvidia-smi", { "": { code: 9, stdout: fixture("nvidia-driver-missing") } });
    expect(await look()).toEqual([expect.stringMatching(/^nvidia-smi fails \(exit code 9\): NVIDIA-SMI has failed/)]);
    expect(told()).toEqual(allWell);
    machine.tools.delete("nvidia-smi");
    expect(await look()).toEqual([
      "nvidia-smi is no longer installed, 3 times in a row or more: nothing new is granted on its devices.",
      expect.stringContaining("and nvidia-smi is not installed here"),
    ]);
    expect(told()).toEqual(allWell.map((_, at) => `${at} H100 nvidia-smi is no longer installed`));
  });

  it("MIG instances keep their indices; dividing anew takes away what nobody holds", async () => {
    machine.tools.set("nvidia-smi", answering(fixture("nvidia-mig")));
    await look();
    const first = told();
    expect(first.map((one) => one.replace(/ as (MIG|GPU)-\S+/, " as $1"))).toEqual([
      "0 A100-MIG-3g.40gb as MIG well",
      "1 A100-MIG-1g.10gb as MIG well",
      "2 A100-MIG-1g.10gb.me as MIG well",
      "3 A100-80GB as GPU well",
      "4 A100-MIG-1c.3g.40gb as MIG well",
      "5 A100-MIG-1g.5gb as MIG well",
    ]);
    const list = fixture("nvidia-mig-list").split("\n");
    machine.tools.set("nvidia-smi", { ...answering(fixture("nvidia-mig")), "-L": list.toSpliced(1, 2).join("\n") });
    held = [1];
    await look();
    expect(told()).toEqual(
      first.toSpliced(0, 1).with(0, (first[1] ?? "").replace(/well$/, "its card was divided in another way (MIG)")),
    );
    held = [];
    await look();
    expect(told()).toEqual(first.slice(2));
  });

  it("a divided card without instances is worth a word", async () => {
    machine.tools.set("nvidia-smi", {
      ...answering(fixture("nvidia-mig")),
      "-L": "GPU 0: x (UUID: GPU-00000021-5c1e)\n",
    });
    expect(await look()).toEqual([
      expect.stringMatching(/^MIG is on and has no instances on GPU-00000021-.*: no job gets them/),
    ]);
    expect(told()).toHaveLength(1);
  });

  it("no tool or a broken one: said where the bus shows a card, and only there", async () => {
    machine.bus.push({ address: "0000:01:00.0", kind: "0x020000", vendor: "0x8086", driver: "igb" });
    machine.tools.set("nvidia-smi", { "": { code: 9, stdout: fixture("nvidia-driver-missing") } });
    expect(await look()).toEqual([]);
    machine.nvidia("0000:41:00.0");
    expect(await look()).toEqual([expect.stringMatching(/^nvidia-smi fails .*: no job gets what it would list\.$/)]);
    machine.tools.clear();
    expect(await look()).toEqual([
      "An accelerator of NVIDIA on the PCI bus (0000:41:00.0) and nvidia-smi is not installed here: no job gets it. sky-doctor says more.",
    ]);
    expect(told()).toEqual([]);
  });
});

describe("several makers in one machine", () => {
  it("have indices of their own, and names where those do not do", async () => {
    machine.tools.set("nvidia-smi", answering(fixture("nvidia-mixed")));
    machine.tools.set("rocm-smi", { "--json": fixture("rocm-smi-6") });
    machine.tools.set("xpu-smi", { "discovery -j": fixture("xpu-smi"), "discovery -d": fixture("xpu-smi-detail") });
    machine.bus.push({
      address: "0000:04:00.0",
      kind: "0x088000",
      vendor: "0x1ae0",
      device: "0x006f",
      driver: "vfio-pci",
    });
    await look();
    expect(told()).toEqual([
      "0 RTX3090 well",
      "1 V100-32GB well",
      "2 L40S well",
      "3 MI210 as 0 well",
      "4 Max1550 as 0 well",
      "5 Max1550 as 1 well",
      "6 tpu-v6e as 0 well",
    ]);
    expect(devices.accelerators[5]).toMatchObject({ memoryMb: 131_072, vendor: "Intel" });
  });

  it("Gaudi is named by its modules", async () => {
    machine.tools.set("hl-smi", { "-Q": fixture("hl-smi-8xgaudi2") });
    await look();
    expect(told()).toEqual(Array.from({ length: 8 }, (_, at) => `${at} Gaudi2 well`));
    expect(devices.accelerators[3]?.pci).toBe("0000:33:00.0");
  });

  it("amd-smi counts more than rocm-smi, and its errors are seen", async () => {
    machine.tools.set("amd-smi", { static: fixture("amd-smi-7"), metric: fixture("amd-smi-ecc") });
    machine.tools.set("rocm-smi", { "--json": fixture("rocm-smi-6") });
    await look();
    expect(told()).toEqual(["0 MI300X well", "1 MI300X 2 uncorrectable ECC errors since its driver was loaded"]);
  });

  it("say how busy their devices are", async () => {
    machine.tools.set("nvidia-smi", { "utilization.gpu": fixture("nvidia-use"), ...answering(eight) });
    machine.tools.set("amd-smi", { static: fixture("amd-smi-7"), metric: "[]" });
    machine.files.set("/sys/bus/pci/devices/0000:26:00.0/gpu_busy_percent", "42\n");
    machine.files.set("/sys/bus/pci/devices/0000:26:00.0/mem_info_vram_used", "1073741824\n");
    await look();
    expect(await readUse(machine, devices)).toEqual([
      { index: 0, utilization: 97, memoryUsedMb: 71_234 },
      { index: 1, utilization: 0, memoryUsedMb: 3 },
      { index: 9, utilization: 42, memoryUsedMb: 1024 },
    ]);
  });
});

it("a restart of the agent gives no index another meaning", async () => {
  machine.tools.set("nvidia-smi", answering(eight));
  await look();
  const before = devices.saved.map((one) => [one.index, one.id]);
  devices = new Devices(devices.saved);
  machine.tools.set(
    "nvidia-smi",
    answering(
      eight
        .split("\n")
        .reverse()
        .join("\n")
        .replace(/^\d/gm, (at) => String(7 - Number(at))),
    ),
  );
  await look();
  expect(devices.saved.map((one) => [one.index, one.id])).toEqual(before);
});

it("whatever cards come and go: an index never changes its device, and nothing well is without a look", async () => {
  const rows = eight.trim().split("\n");
  const step = fc.record({
    listed: fc.subarray([0, 1, 2, 3, 4, 5, 6, 7]),
    broken: fc.subarray([0, 1, 2, 3]),
    fails: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
      devices = new Devices([]);
      const meaning = new Map<number, string>();
      for (const { listed, broken, fails } of steps) {
        const text = listed
          .map((card, at) =>
            (rows[card] ?? "").replace(/^\d/, String(at)).replace(/0, No/, broken.includes(card) ? "4, No" : "0, No"),
          )
          .join("\n");
        machine.tools.set("nvidia-smi", fails ? { "": { code: 9, stdout: "no" } } : answering(text));
        await look();
        const accelerators = devices.accelerators;
        expect(new Set(accelerators.map((one) => one.index)).size).toBe(accelerators.length);
        for (const { index, uuid = "", fault } of accelerators) {
          expect(meaning.get(index) ?? uuid).toBe(uuid);
          meaning.set(index, uuid);
          const card = rows.findIndex((row) => row.includes(uuid));
          if (!fails && (!listed.includes(card) || broken.includes(card))) {
            expect(fault).toBeDefined();
          }
        }
      }
    }),
    { numRuns: 200 },
  );
});
