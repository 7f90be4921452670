/**
 * How busy the accelerators are: one cheap question a vendor, and for AMD the kernel's own files, because its tool is
 * slow. A device that its tool says nothing about is left out. Called by agent/watch.ts every half minute.
 */
import type { Accelerator, Vitals } from "../../shared/agent-wire.ts";
import { pciRoot } from "../../system/pci.ts";
import { askTool, type Machine } from "../tools.ts";
import { type DeviceUse, wholeNumber } from "./found.ts";
import { habanaArguments, habanaUseFields, parseHabanaUse } from "./habana.ts";
import { nvidiaUseFields, parseNvidiaUse, queryArguments } from "./nvidia.ts";

type Use = NonNullable<Vitals["devices"]>;

/** The devices that are asked about, and which of them a tool means. */
export interface KnownDevices {
  readonly accelerators: readonly Accelerator[];
  indexOf(ids: readonly string[]): number | null;
}

async function output(machine: Machine, tool: string, argv: readonly string[]): Promise<string> {
  const answer = await askTool(machine, tool, argv);
  return typeof answer === "object" && answer !== null ? answer.stdout : "";
}

async function amdUse(machine: Machine, pci: string): Promise<DeviceUse> {
  const busy = await machine.file(`${pciRoot}/${pci}/gpu_busy_percent`);
  const used = wholeNumber((await machine.file(`${pciRoot}/${pci}/mem_info_vram_used`)) ?? "", 1e15);
  const memoryUsedMb = used === null ? null : Math.round(used / 2 ** 20);
  return { ids: [pci], utilization: wholeNumber(busy ?? "", 100), memoryUsedMb };
}

/** By index; only devices of which something is known. */
export async function readUse(machine: Machine, devices: KnownDevices): Promise<Use> {
  const all = devices.accelerators;
  const found: DeviceUse[] = [];
  if (all.some((one) => one.vendor === "NVIDIA")) {
    found.push(...parseNvidiaUse(await output(machine, "nvidia-smi", queryArguments(nvidiaUseFields))));
  }
  if (all.some((one) => /^gaudi/i.test(one.kind))) {
    found.push(...parseHabanaUse(await output(machine, "hl-smi", habanaArguments(habanaUseFields))));
  }
  for (const { vendor, pci } of all) {
    if (vendor === "AMD" && pci !== undefined) {
      found.push(await amdUse(machine, pci));
    }
  }
  const use = new Map<number, Use[number]>();
  for (const { ids, utilization, memoryUsedMb } of found) {
    const index = devices.indexOf(ids);
    if (index !== null && (utilization !== null || memoryUsedMb !== null)) {
      use.set(index, { index, utilization, memoryUsedMb });
    }
  }
  return [...use.values()].sort((a, b) => a.index - b.index);
}
