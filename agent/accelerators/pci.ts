/**
 * Accelerators that the PCI bus shows and no tool describes: nobody can be given them, and an admin should know why. Pure;
 * what to do about each is what sky-doctor says. Called by detect.ts.
 */
import { acceleratorVendors, type PciDevice } from "../../system/pci.ts";
import type { Look } from "./found.ts";

const listed = 8;

function some(addresses: readonly string[]): string {
  const rest = addresses.length - listed;
  return addresses.slice(0, listed).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
}

/** One warning a vendor. `looks` by the PCI vendor's id; a tool that failed has its own warning already. */
export function unlistedWarnings(bus: readonly PciDevice[], looks: ReadonlyMap<string, Look>): string[] {
  return Object.entries(acceleratorVendors).flatMap(([vendor, { name, drivers, tool }]) => {
    const look = looks.get(vendor);
    // One that another driver holds is given away on purpose, e.g. to a virtual machine.
    const devices = bus.filter((one) => one.vendor === vendor && (one.driver === null || drivers.includes(one.driver)));
    const known = look?.state === "seen" ? look.addresses : [];
    const missing = devices.map((one) => one.address).filter((address) => !known.includes(address));
    if (missing.length === 0 || look === undefined || look.state === "failed") {
      return [];
    }
    const [many, them] = missing.length === 1 ? ["An accelerator", "it"] : [`${missing.length} accelerators`, "them"];
    const why = look.state === "absent" ? `${tool} is not installed here` : `${tool} does not list ${them}`;
    const text = `${many} of ${name} on the PCI bus (${some(missing)}) and ${why}: no job gets ${them}.`;
    return [`${text} sky-doctor says more.`];
  });
}
