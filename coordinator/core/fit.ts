/**
 * Whether one rank fits on one node, and what exactly it would be granted there: devices by index, a share of one
 * device for fractions, CPUs and memory. It knows nothing of jobs, users or order, and never looks at a node's state,
 * only at what the node has and what is in use. Pure; called by schedule.ts and explain.ts.
 */
import type { Accelerator, Inventory } from "../../shared/agent-wire.ts";
import type { NodeName } from "../../shared/ids.ts";
import type { RankGrant, Shape } from "../../shared/job.ts";

/** What is in use on one node: the used part of each device by index (0 to 1), CPUs, GiB of memory. */
export interface NodeUse {
  devices: Map<number, number>;
  cpus: number;
  memoryGb: number;
}

/** Sums of fractions are compared with this slack, so that ten jobs of 0.1 fill a device exactly. */
export const slack = 1e-6;

export function emptyUse(): NodeUse {
  return { devices: new Map(), cpus: 0, memoryGb: 0 };
}

export function addGrant(use: NodeUse, grant: RankGrant): void {
  for (const device of grant.devices) {
    use.devices.set(device, (use.devices.get(device) ?? 0) + grant.share);
  }
  use.cpus += grant.cpus;
  use.memoryGb += grant.memoryGb;
}

/** The node has accelerators of several kinds and the admin has not allowed that. */
export function isRefusedMix(inventory: Inventory): boolean {
  return !inventory.mixedAllowed && new Set(inventory.accelerators.map((one) => one.kind.toLowerCase())).size > 1;
}

/** Devices of a kind that accelerator jobs may use on this node, in order of their indices. */
export function devicesOf(inventory: Inventory, kind: string): Accelerator[] {
  if (isRefusedMix(inventory)) {
    return [];
  }
  return inventory.accelerators
    .filter((one) => one.kind.toLowerCase() === kind.toLowerCase())
    .toSorted((a, b) => a.index - b.index);
}

/** Devices of the list that nobody holds any part of. */
export function freeOf(devices: Accelerator[], use: NodeUse): Accelerator[] {
  return devices.filter((one) => (use.devices.get(one.index) ?? 0) <= slack);
}

/** Indices for this demand and the share of each; null when they are not free. */
function pickDevices(devices: Accelerator[], use: NodeUse, count: number): { devices: number[]; share: number } | null {
  if (count >= 1) {
    const free = freeOf(devices, use);
    const needed = Math.ceil(count);
    return free.length < needed ? null : { devices: free.slice(0, needed).map((one) => one.index), share: 1 };
  }
  const used = (one: Accelerator): number => use.devices.get(one.index) ?? 0;
  const roomy = devices.filter((one) => used(one) + count <= 1 + slack);
  // The fullest device that still has room, so that whole devices stay free for jobs that need them.
  const best = roomy.toSorted((a, b) => used(b) - used(a) || a.index - b.index)[0];
  return best === undefined ? null : { devices: [best.index], share: count };
}

/** What one rank of this shape would get on this node now; null when it does not fit. */
export function fitNode(node: NodeName, inventory: Inventory, use: NodeUse, shape: Shape): RankGrant | null {
  const cpusFit = use.cpus + shape.cpus <= inventory.cpus + slack;
  const memoryFits = use.memoryGb + shape.memoryGb <= inventory.memoryGb + slack;
  if (!cpusFit || !memoryFits) {
    return null;
  }
  const rest = { cpus: shape.cpus, memoryGb: shape.memoryGb };
  if (shape.accelerators === null) {
    return { node, devices: [], share: 1, ...rest };
  }
  const { kind, count } = shape.accelerators;
  const picked = pickDevices(devicesOf(inventory, kind), use, count);
  return picked === null ? null : { node, ...picked, ...rest };
}
