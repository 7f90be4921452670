/**
 * What this node says of its accelerators from one look to the next: each keeps its index for as long as it exists, is
 * known by its uuid or address and never by its position, stays listed with a fault when it is gone, and is well again
 * only after several good looks. A tool that fails once or twice takes nothing away. Pure; it must never ask a tool
 * itself. Called by agent/watch.ts.
 */
import * as z from "zod";
import type { Accelerator } from "../shared/agent-wire.ts";
import { acceleratorKindSchema } from "../shared/job.ts";
import type { Detection, ToolName } from "./accelerators/detect.ts";
import type { FoundDevice, Look } from "./accelerators/found.ts";

const devicesMax = 1024;
/** So many looks in a row must be good until a device is granted again. */
const goodLooks = 3;
/** So often in a row a tool may fail before its devices count as faulty. */
const failuresMax = 3;
const faultMax = 300;

const toolSchema = z.enum(["nvidia-smi", "amd-smi", "hl-smi", "xpu-smi", "pci"]);

/** A device as it is remembered in the state folder, so that a restart of the agent does not shift indices under jobs. */
export const savedDeviceSchema = z.strictObject({
  index: z
    .int()
    .min(0)
    .max(devicesMax - 1),
  id: z.string().max(200),
  tool: toolSchema,
  kind: acceleratorKindSchema,
  name: z.string().max(200),
  vendor: z.string().max(40),
  memoryMb: z.int().min(0).nullable(),
  uuid: z.string().max(100).nullable(),
  pci: z.string().max(40).nullable(),
  parent: z.string().max(200).nullable(),
  visible: z.string().max(100).nullable(),
  fault: z.string().max(faultMax).nullable(),
});
export type SavedDevice = z.infer<typeof savedDeviceSchema>;

const noLongerListed = "no longer listed by its tool";

/** The devices of one node. */
export class Devices {
  #entries: SavedDevice[];
  /** Good looks in a row since the fault, of those that have one. */
  readonly #good = new Map<SavedDevice, number>();
  readonly #failures = new Map<ToolName, number>();

  /** `saved`: as they were in this boot of the machine. */
  constructor(saved: readonly SavedDevice[]) {
    this.#entries = saved.map((one) => ({ ...one }));
  }

  get saved(): readonly SavedDevice[] {
    return this.#entries;
  }

  /** As the coordinator is told, by index. */
  get accelerators(): Accelerator[] {
    return this.#entries.map(({ index, kind, memoryMb, name, vendor, uuid, pci, visible, fault }) => ({
      index,
      kind,
      memoryMb,
      ...(name === "" ? {} : { name }),
      vendor,
      ...(uuid === null ? {} : { uuid }),
      ...(pci === null ? {} : { pci }),
      ...(visible === null ? {} : { visible }),
      ...(fault === null ? {} : { fault }),
    }));
  }

  /** The index of the device that a tool names by one of these; null: it is not known. */
  indexOf(ids: readonly string[]): number | null {
    return (
      this.#entries.find((one) => ids.includes(one.id) || (one.pci !== null && ids.includes(one.pci)))?.index ?? null
    );
  }

  /**
   * Takes one detection in. `isHeld`: some attempt on this node holds that index. Returns what an admin should know of
   * tools that fail.
   */
  take(detection: Detection, isHeld: (index: number) => boolean): string[] {
    const problems: string[] = [];
    for (const [tool, look] of detection.looks) {
      const known = this.#entries.filter((one) => one.tool === tool);
      if (look.state === "seen") {
        this.#failures.delete(tool);
        this.#takeSeen(tool, look, known, isHeld);
      } else if (look.state === "failed" || known.length > 0) {
        const problem = look.state === "failed" ? look.problem : `${tool} is no longer installed`;
        problems.push(this.#takeFailure(tool, problem, known));
      }
    }
    this.#entries.sort((a, b) => a.index - b.index);
    return problems;
  }

  #takeFailure(tool: ToolName, problem: string, known: readonly SavedDevice[]): string {
    const count = (this.#failures.get(tool) ?? 0) + 1;
    this.#failures.set(tool, count);
    if (known.length === 0) {
      return `${problem}: no job gets what it would list.`.slice(0, 500);
    }
    if (count < failuresMax) {
      return `${problem}: its devices stay as they were last seen.`.slice(0, 500);
    }
    for (const entry of known) {
      this.#setFault(entry, entry.fault ?? problem);
    }
    return `${problem}, ${failuresMax} times in a row or more: nothing new is granted on its devices.`.slice(0, 500);
  }

  #takeSeen(
    tool: ToolName,
    look: Look & { state: "seen" },
    known: readonly SavedDevice[],
    isHeld: (at: number) => boolean,
  ): void {
    const lostAt = new Map(look.lost.map((one) => [one.pci, one.fault]));
    for (const entry of known) {
      const device = look.devices.find((one) => isSame(entry, one));
      const lost = entry.pci === null ? undefined : lostAt.get(entry.pci);
      if (device !== undefined) {
        this.#refresh(entry, device, lost ?? device.fault);
      } else if (lost === undefined && isDividedAnew(entry, look)) {
        this.#drop(entry, isHeld);
      } else {
        this.#setFault(entry, lost ?? noLongerListed);
      }
    }
    for (const device of look.devices) {
      if (!known.some((entry) => isSame(entry, device)) && this.#entries.length < devicesMax) {
        this.#add(tool, device);
      }
    }
  }

  /** An admin has divided the card in another way: what is not in use is simply gone. */
  #drop(entry: SavedDevice, isHeld: (index: number) => boolean): void {
    if (isHeld(entry.index)) {
      this.#setFault(entry, "its card was divided in another way (MIG)");
    } else {
      this.#entries = this.#entries.filter((one) => one !== entry);
      this.#good.delete(entry);
    }
  }

  #setFault(entry: SavedDevice, fault: string): void {
    entry.fault = fault.slice(0, faultMax);
    this.#good.delete(entry);
  }

  /** What the tool says now; a device without a fault must have been so several times before it counts as well. */
  #refresh(entry: SavedDevice, device: FoundDevice, fault: string | null): void {
    entry.id = device.uuid === null ? entry.id : device.id;
    entry.kind = device.kind ?? entry.kind;
    entry.name = device.name === "" ? entry.name : device.name;
    entry.memoryMb = device.memoryMb ?? entry.memoryMb;
    entry.uuid = device.uuid ?? entry.uuid;
    entry.pci = device.pci ?? entry.pci;
    if (fault !== null) {
      this.#setFault(entry, fault);
      return;
    }
    entry.visible = visibleOf(device, entry.index);
    if (entry.fault !== null) {
      const good = (this.#good.get(entry) ?? 0) + 1;
      if (good < goodLooks) {
        this.#good.set(entry, good);
      } else {
        this.#good.delete(entry);
        entry.fault = null;
      }
    }
  }

  #add(tool: ToolName, device: FoundDevice): void {
    if (device.kind === null) {
      return;
    }
    const { id, kind, name, vendor, memoryMb, uuid, pci, parent, position } = device;
    const used = new Set(this.#entries.map((one) => one.index));
    let index = position ?? 0;
    if (position === null || position >= devicesMax || used.has(position)) {
      index = 0;
      while (used.has(index)) {
        index += 1;
      }
    }
    const own = { index, id, tool, kind, name, vendor, memoryMb, uuid, pci, parent };
    const fault = device.fault?.slice(0, faultMax) ?? null;
    this.#entries.push({ ...own, visible: visibleOf(device, index), fault });
  }
}

/** A program can name it by the node's index only where the maker's libraries count alike. */
function visibleOf(device: FoundDevice, index: number): string | null {
  return device.position === index || device.otherwise === "" ? null : device.otherwise.slice(0, 100);
}

/** The same device, also while its tool cannot read its uuid; another card in the same slot is another device. */
function isSame(entry: SavedDevice, device: FoundDevice): boolean {
  const isSlot = entry.pci !== null && entry.pci === device.pci && (entry.uuid === null || device.uuid === null);
  return entry.id === device.id || (isSlot && entry.parent === null && device.parent === null);
}

/** A MIG instance whose card is there without it, or a card that has become divided. */
function isDividedAnew(entry: SavedDevice, look: Look & { state: "seen" }): boolean {
  const { parent } = entry;
  if (parent === null) {
    return look.divided.includes(entry.id);
  }
  return look.divided.includes(parent) || look.devices.some((one) => one.id === parent && one.fault === null);
}
