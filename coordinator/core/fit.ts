/**
 * Whether one rank fits on one node, and what exactly it would be granted there: devices by index, a share of one
 * device for fractions, CPUs and memory. It knows nothing of jobs, users or order, and never looks at a node's state,
 * only at what the node has and what is in use. Pure; called by the plan, the reservations and the explanations.
 */
import { nominalMemoryGb, vendorOf } from "../../shared/accelerators.ts";
import type { Accelerator, Inventory } from "../../shared/agent-wire.ts";
import type { NodeName } from "../../shared/ids.ts";
import type { AcceleratorDemand, Demand, RankGrant } from "../../shared/job.ts";

/** What is in use on one node: the used part of each device by index (0 to 1), CPUs, GiB of memory. */
export interface NodeUse {
  devices: Map<number, number>;
  cpus: number;
  memoryGb: number;
  /** Ranks that are there, and how many of them want the node for themselves. */
  ranks: number;
  exclusive: number;
}

/** Devices of one kind that may be granted, by index. `kind` is in lower case. */
export interface DeviceGroup {
  kind: string;
  devices: Accelerator[];
}

/** Sums of fractions are compared with this slack, so that ten jobs of 0.1 fill a device exactly. */
export const slack = 1e-6;

export function emptyUse(): NodeUse {
  return { devices: new Map(), cpus: 0, memoryGb: 0, ranks: 0, exclusive: 0 };
}

export function addGrant(use: NodeUse, grant: RankGrant): void {
  for (const device of grant.devices) {
    use.devices.set(device, (use.devices.get(device) ?? 0) + grant.share);
  }
  use.cpus += grant.cpus;
  use.memoryGb += grant.memoryGb;
  use.ranks += 1;
  use.exclusive += grant.exclusive === true ? 1 : 0;
}

/** The node has accelerators of several kinds and the admin has not allowed that. */
export function isRefusedMix(inventory: Inventory): boolean {
  return !inventory.mixedAllowed && new Set(inventory.accelerators.map((one) => one.kind.toLowerCase())).size > 1;
}

/** Whether a device is what a demand names: by kind, or by memory and maker. What is in quarantine is never. */
export function isWanted(device: Accelerator, wanted: AcceleratorDemand): boolean {
  if (device.fault !== undefined) {
    return false;
  }
  if (wanted.vendor !== undefined) {
    const vendor = device.vendor ?? vendorOf(device.kind);
    if (vendor?.toLowerCase() !== wanted.vendor.toLowerCase()) {
      return false;
    }
  }
  if (wanted.memory === undefined) {
    return device.kind.toLowerCase() === wanted.kind.toLowerCase();
  }
  const { gb, orMore } = wanted.memory;
  const has = nominalMemoryGb(device.kind, device.memoryMb);
  return has !== null && (orMore ? has >= gb - slack : Math.abs(has - gb) <= slack);
}

/** All devices that accelerator jobs may use on this node, by kind: none where kinds are mixed and that is not allowed. */
export function groupsOf(inventory: Inventory): DeviceGroup[] {
  if (isRefusedMix(inventory)) {
    return [];
  }
  const groups = new Map<string, Accelerator[]>();
  for (const device of inventory.accelerators) {
    if (device.fault === undefined) {
      const kind = device.kind.toLowerCase();
      const group = groups.get(kind);
      if (group === undefined) {
        groups.set(kind, [device]);
      } else {
        group.push(device);
      }
    }
  }
  return [...groups]
    .map(([kind, devices]) => ({ kind, devices: devices.sort((a, b) => a.index - b.index) }))
    .sort((a, b) => memoryOf(a) - memoryOf(b) || (a.kind < b.kind ? -1 : 1));
}

function memoryOf({ devices }: DeviceGroup): number {
  const first = devices[0];
  return first === undefined ? 0 : (nominalMemoryGb(first.kind, first.memoryMb) ?? 0);
}

/** Devices of this node that a demand means, all kinds together, in order of their indices. */
export function devicesFor(inventory: Inventory, wanted: AcceleratorDemand): Accelerator[] {
  const devices = groupsOf(inventory).flatMap((group) => group.devices);
  return devices.filter((one) => isWanted(one, wanted)).sort((a, b) => a.index - b.index);
}

/** Devices of the list that are well and that nobody holds any part of. */
export function freeOf(devices: Accelerator[], use: NodeUse): Accelerator[] {
  return devices.filter((one) => one.fault === undefined && (use.devices.get(one.index) ?? 0) <= slack);
}

/** Indices for this count and the share of each; null when they are not free. `devices`: of one kind, ascending. */
function pickDevices(
  devices: readonly Accelerator[],
  use: NodeUse,
  count: number,
): { devices: number[]; share: number } | null {
  if (count >= 1) {
    const needed = Math.ceil(count);
    const free: number[] = [];
    for (const { index } of devices) {
      if ((use.devices.get(index) ?? 0) <= slack && free.push(index) === needed) {
        return { devices: free, share: 1 };
      }
    }
    return null;
  }
  // The fullest device that still has room, so that whole devices stay free for jobs that need them.
  let best: number | null = null;
  let bestUsed = -1;
  for (const { index } of devices) {
    const used = use.devices.get(index) ?? 0;
    if (used + count <= 1 + slack && used > bestUsed + slack) {
      [best, bestUsed] = [index, used];
    }
  }
  return best === null ? null : { devices: [best], share: count };
}

/** What one rank would get of these groups; `use` says what is taken. Null when it does not fit. */
export function fitGroups(
  node: NodeName,
  size: { cpus: number; memoryGb: number },
  groups: readonly DeviceGroup[],
  use: NodeUse,
  demand: Demand,
  exclusive: boolean,
): RankGrant | null {
  const { cpus, memoryGb, accelerators } = demand;
  const isTaken = use.exclusive > 0 || (exclusive && use.ranks > 0);
  if (isTaken || use.cpus + cpus > size.cpus + slack || use.memoryGb + memoryGb > size.memoryGb + slack) {
    return null;
  }
  const rest = { cpus, memoryGb, ...(exclusive ? { exclusive: true as const } : {}) };
  if (accelerators === null) {
    return { node, devices: [], share: 1, ...rest };
  }
  for (const { devices } of groups) {
    const first = devices[0];
    const picked =
      first !== undefined && isWanted(first, accelerators) ? pickDevices(devices, use, accelerators.count) : null;
    if (picked !== null) {
      return { node, ...picked, ...rest };
    }
  }
  return null;
}

/** What one rank with this demand would get on this node now; null when it does not fit. Labels are not looked at. */
export function fitNode(
  node: NodeName,
  inventory: Inventory,
  use: NodeUse,
  demand: Demand,
  exclusive = false,
): RankGrant | null {
  return fitGroups(node, inventory, groupsOf(inventory), use, demand, exclusive);
}

/** The node has every label that the demand names. */
export function hasLabels(labels: Readonly<Record<string, string>>, wanted: Demand["labels"]): boolean {
  return wanted === undefined || Object.entries(wanted).every(([name, value]) => labels[name] === value);
}
