/**
 * The accelerators that the PCI bus shows, whatever their drivers say: vendor, device, and which driver holds each. From
 * sysfs alone; nothing is asked of a device. It must not decide what is well. Used by the agent's detection and by
 * doctor's checks, each with its own way of reading.
 */

/** Reads the kernel's files; null: there is none. */
export interface SysfsReader {
  list(path: string): Promise<string[] | null>;
  file(path: string): Promise<string | null>;
  link(path: string): Promise<string | null>;
}

export interface PciDevice {
  /** `0000:41:00.0` */
  address: string;
  /** `0x10de` */
  vendor: string;
  /** `0x2330`; empty when it cannot be read. */
  device: string;
  driver: string | null;
}

/** Vendors of accelerators whose devices have a tool, their kernel drivers, and that tool. */
export const acceleratorVendors: Readonly<Record<string, { name: string; drivers: string[]; tool: string }>> = {
  "0x10de": { name: "NVIDIA", drivers: ["nvidia"], tool: "nvidia-smi" },
  "0x1002": { name: "AMD", drivers: ["amdgpu"], tool: "amd-smi or rocm-smi" },
  "0x1da3": { name: "Habana", drivers: ["habanalabs"], tool: "hl-smi" },
};
/** Google, AWS and Qualcomm: without a tool, known by their ids. */
const otherVendors = new Set(["0x1ae0", "0x1d0f", "0x17cb"]);

export const pciRoot = "/sys/bus/pci/devices";
const devicesMax = 4_096;
/** VGA, 3D, other display controllers, processing accelerators. */
const classPattern = /^0x(0300|0302|0380|1200)/;

/** A device of a maker of accelerators that has a tool. AMD's graphics inside a CPU are VGA, its big ones are not. */
function hasTool(device: { vendor: string; kind: string }): boolean {
  const isListed = classPattern.test(device.kind) && acceleratorVendors[device.vendor] !== undefined;
  return isListed && !(device.vendor === "0x1002" && device.kind.startsWith("0x0300"));
}

/** In the order of their addresses. `others`: also those of makers without a tool, and all of the class of accelerators. */
export async function pciAccelerators(reader: SysfsReader, others = false): Promise<PciDevice[]> {
  const devices: PciDevice[] = [];
  for (const address of ((await reader.list(pciRoot)) ?? []).slice(0, devicesMax)) {
    const folder = `${pciRoot}/${address}`;
    const kind = ((await reader.file(`${folder}/class`)) ?? "").trim();
    const vendor = ((await reader.file(`${folder}/vendor`)) ?? "").trim();
    const isOther = others && (otherVendors.has(vendor) || kind.startsWith("0x1200"));
    if (isOther || hasTool({ vendor, kind })) {
      const device = ((await reader.file(`${folder}/device`)) ?? "").trim();
      const driver = (await reader.link(`${folder}/driver`))?.split("/").at(-1) ?? null;
      devices.push({ address, vendor, device, driver });
    }
  }
  return devices;
}
