/**
 * Accelerators without a tool of their own: Google's TPUs, AWS' chips and whatever else the kernel offers as
 * `/dev/accel*`, known by their PCI ids. Pure: it is given what the bus shows and which device files there are. Devices
 * that a vendor's tool describes are none of these. Called by detect.ts.
 */
import type { PciDevice } from "../../system/pci.ts";
import { devicesMax, type FoundDevice, kindOfName } from "./found.ts";

/** Vendor and device ids, what they are and who makes them. Source of the TPUs': JAX; of AWS': the Neuron driver. */
const known: Readonly<Record<string, [string, string]>> = {
  "1ae0:0027": ["tpu-v3", "Google"],
  "1ae0:005e": ["tpu-v4", "Google"],
  "1ae0:0062": ["tpu-v5p", "Google"],
  "1ae0:0063": ["tpu-v5litepod", "Google"],
  "1ae0:006f": ["tpu-v6e", "Google"],
  "1ae0:0076": ["tpu-v7x", "Google"],
  "1d0f:7064": ["Inferentia", "AWS"],
  "1d0f:7164": ["Trainium", "AWS"],
  "1d0f:7264": ["Inferentia2", "AWS"],
  "1d0f:7364": ["Trainium2", "AWS"],
  "17cb:a080": ["AIC100", "Qualcomm"],
};
/** What others look after, and the helpers inside laptops' CPUs that are nobody's accelerator. */
const drivenElsewhere = new Set(["nvidia", "amdgpu", "habanalabs", "i915", "xe", "intel_vpu", "amdxdna", "nouveau"]);

/** `nodes`: PCI addresses of what the kernel's accel subsystem has, in the order of their `/dev/accel/accelN`. */
export function accelDevices(bus: readonly PciDevice[], nodes: readonly string[]): FoundDevice[] {
  const counters = new Map<string, number>();
  const found = bus.flatMap((device): FoundDevice[] => {
    const id = `${device.vendor.slice(2)}:${device.device.slice(2)}`.toLowerCase();
    const entry = known[id];
    const isAccel = nodes.includes(device.address);
    if (device.driver === null || drivenElsewhere.has(device.driver) || (entry === undefined && !isAccel)) {
      return [];
    }
    const [kind, vendor] = entry ?? [kindOfName(`accel-${id.replace(":", "-")}`), "PCI"];
    const number = isAccel ? nodes.indexOf(device.address) : (counters.get(vendor) ?? 0);
    counters.set(vendor, (counters.get(vendor) ?? 0) + 1);
    const name = `PCI ${id}`;
    const own = { id: device.address, kind, name, vendor, memoryMb: null, uuid: null, pci: device.address };
    return [{ ...own, position: number, otherwise: String(number), parent: null, fault: null }];
  });
  return found.slice(0, devicesMax);
}
