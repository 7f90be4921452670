/**
 * One way of a task's resources as policy fields, and back: accelerators, CPUs, memory and the labels that choose nodes.
 * Pure. Amounts stay exact (`memory: 2` is 2Gi), and a way that policies did not change comes back as it was. Called by
 * task-adapter.ts only. It must never choose a kind of accelerator that nobody named: without one, any device serves.
 */
import { canonicalKind, migKind, nominalMemoryGb } from "../../accelerators.ts";
import { SkyError } from "../../errors.ts";
import type { AcceleratorRequest, TaskWay } from "../../task.ts";
import { numberOf, parseDecimal, parseQuantity, printQuantity } from "../fields/quantity.ts";
import type { PlainValue, Workload } from "../words.ts";

/** Labels of nodes by which `nodeType` and `nodePools` choose them; an admin gives them in the coordinator's config. */
export const nodeTypeLabel = "node-type";
export const nodePoolLabel = "node-pool";

const gibibyte = 2 ** 30;
const migPattern = /-MIG-(.+)$/i;
/** Any device at all, as a request by memory. */
const anyDevice: AcceleratorRequest = { kind: "1GB", count: 1, memory: { gb: 1, orMore: true } };
/** `gpu` is V1's: devices, or the part of one. */
const gpuPaths = [
  "gpu",
  "compute.gpuDevicesRequest",
  "compute.gpuRequestType",
  "compute.gpuPortionRequest",
  "compute.gpuMemoryRequest",
  "compute.migProfile",
] as const;
/** What a way says for itself; everything else holds for the whole job. */
export const wayPaths: ReadonlySet<string> = new Set([
  ...gpuPaths,
  "compute.cpuCoreRequest",
  "compute.cpuMemoryRequest",
  "nodeType",
  "nodePools",
  "nodeAffinityRequired",
  "labels",
]);

/** The text of a scalar; a list, a mapping and nothing have none. */
export function textOf(value: PlainValue | undefined): string {
  return value === undefined || value === null || typeof value === "object" ? "" : String(value);
}

/** GiB as an exact quantity in whole bytes, rounded up. */
function quantityOfGib(gib: number): string {
  return printQuantity({ digits: BigInt(Math.ceil(gib * gibibyte)), scale: 0 });
}

/** Throws SkyError("NotSupportedError") for what is no number above zero or equal to it. */
export function amountIn(path: string, value: PlainValue): number {
  const amount = parseDecimal(value);
  const number = amount === null ? Number.NaN : numberOf(amount);
  if (!(number >= 0)) {
    throw new SkyError("NotSupportedError", `${path}: '${textOf(value)}' is no amount that can be asked for here.`);
  }
  return number;
}

/** Bytes, exact below 2^53; throws as `amountIn`. */
export function bytesIn(path: string, value: PlainValue): number {
  const amount = parseQuantity(value);
  const number = amount === null ? Number.NaN : numberOf(amount);
  if (!(number >= 0)) {
    throw new SkyError("NotSupportedError", `${path}: '${textOf(value)}' is no amount that can be asked for here.`);
  }
  return number;
}

export function fieldsOfWay(way: TaskWay): Map<string, PlainValue> {
  const fields = new Map<string, PlainValue>(way.accelerators === null ? [] : acceleratorFields(way.accelerators));
  if (way.cpus !== null) {
    fields.set("compute.cpuCoreRequest", way.cpus.value);
  }
  if (way.memoryGb !== null) {
    fields.set("compute.cpuMemoryRequest", quantityOfGib(way.memoryGb.value));
  }
  const { [nodeTypeLabel]: nodeType, [nodePoolLabel]: pool, ...labels } = way.labels ?? {};
  if (nodeType !== undefined) {
    fields.set("nodeType", nodeType);
  }
  if (pool !== undefined) {
    fields.set("nodePools", [pool]);
  }
  const items = Object.entries(labels).map(([name, value]) => ({ name, value }));
  if (items.length > 0) {
    fields.set("labels", items);
  }
  return fields;
}

function acceleratorFields({ kind, count, memory }: AcceleratorRequest): [string, PlainValue][] {
  const devices: [string, PlainValue][] = [["compute.gpuDevicesRequest", Math.max(1, count)]];
  const profile = memory === undefined ? migPattern.exec(canonicalKind(kind))?.[1] : undefined;
  if (profile !== undefined) {
    return [
      ...devices,
      ["compute.migProfile", profile.toLowerCase().replace(/\.(me|gfx)$/, "+$1")],
      ...(count === 1 ? [typeField("migProfile")] : []),
    ];
  }
  if (count < 1) {
    return [...devices, typeField("portion"), ["compute.gpuPortionRequest", count]];
  }
  return memory === undefined || count !== 1
    ? devices
    : [...devices, typeField("memory"), ["compute.gpuMemoryRequest", quantityOfGib(memory.gb)]];
}

function typeField(type: string): [string, PlainValue] {
  return ["compute.gpuRequestType", type];
}

/** How a way is looked at when what policies have set goes back into it. */
export interface WayChange {
  effective: Workload;
  /** Whether a path is another now than the way says itself. */
  changed: (path: string) => boolean;
  /** Whether the task's `workload:` asks for it. */
  asked: (path: string) => boolean;
}

export function wayWith(way: TaskWay, { effective, changed, asked }: WayChange): TaskWay {
  const cpus = effective.get("compute.cpuCoreRequest") ?? null;
  const memory = effective.get("compute.cpuMemoryRequest") ?? null;
  return {
    ...way,
    accelerators: gpuPaths.some(changed)
      ? acceleratorsWith(way.accelerators, { effective, changed, asked })
      : way.accelerators,
    ...(changed("compute.cpuCoreRequest") && cpus !== null
      ? { cpus: amountOf(amountIn("compute.cpuCoreRequest", cpus)) }
      : {}),
    ...(changed("compute.cpuMemoryRequest") && memory !== null
      ? { memoryGb: amountOf(bytesIn("compute.cpuMemoryRequest", memory) / gibibyte) }
      : {}),
  };
}

/** Nothing is the same as not to ask. */
function amountOf(value: number): TaskWay["cpus"] {
  return value === 0 ? null : { value, exact: true };
}

/** A default of the part, the memory or the slice of a GPU gives nobody one who asks for none. */
function acceleratorsWith(
  own: AcceleratorRequest | null,
  { effective, changed, asked }: WayChange,
): AcceleratorRequest | null {
  const given = (path: string): PlainValue => effective.get(path) ?? null;
  const type = given("compute.gpuRequestType");
  const [profile, memory, portion] = [
    given("compute.migProfile"),
    given("compute.gpuMemoryRequest"),
    given("compute.gpuPortionRequest"),
  ];
  const counted = [given("compute.gpuDevicesRequest"), changed("gpu") ? given("gpu") : null];
  if (own === null && counted.every((count) => count === null) && !gpuPaths.some(asked)) {
    return null;
  }
  const devices = devicesOf(counted[0] ?? counted[1] ?? null, own);
  if (devices === 0) {
    return null;
  }
  if (profile !== null && (type === null || type === "migProfile")) {
    return { kind: migKindOf(own, textOf(profile)), count: devices };
  }
  if (memory !== null && (type === null || type === "memory")) {
    return byMemory(own, bytesIn("compute.gpuMemoryRequest", memory), Math.max(1, devices));
  }
  const part =
    portion === null || type === "memory" || type === "migProfile"
      ? null
      : amountIn("compute.gpuPortionRequest", portion);
  if (part !== null && part > 0 && part < 1) {
    if (devices > 1) {
      throw new SkyError(
        "NotSupportedError",
        "compute.gpuPortionRequest: a part of a GPU is given of one device only, and several were asked for.",
      );
    }
    return { ...(own ?? anyDevice), count: part };
  }
  return { ...(own ?? anyDevice), count: devices };
}

function devicesOf(count: PlainValue, own: AcceleratorRequest | null): number {
  const number = count === null ? (own?.count ?? 1) : amountIn("compute.gpuDevicesRequest", count);
  return number < 1 ? number : Math.floor(number);
}

function migKindOf(own: AcceleratorRequest | null, profile: string): string {
  const device = own === null || own.memory !== undefined ? null : canonicalKind(own.kind).replace(migPattern, "");
  if (device === null || !/^[0-9a-z.+]{1,30}$/i.test(profile)) {
    throw new SkyError(
      "NotSupportedError",
      `compute.migProfile: '${profile.slice(0, 40)}' is a slice of some kind of GPU, and the task names none.`,
      "Name it in the task, such as accelerators: A100:1.",
    );
  }
  return migKind(device, profile);
}

/** A named kind stays when its devices have as much; else any device that has. */
function byMemory(own: AcceleratorRequest | null, bytes: number, count: number): AcceleratorRequest {
  const named = own !== null && own.memory === undefined ? own : null;
  const nominal = named === null ? null : nominalMemoryGb(canonicalKind(named.kind), null);
  if (named !== null) {
    if (nominal !== null && nominal * gibibyte < bytes) {
      throw new SkyError(
        "NotSupportedError",
        `compute.gpuMemoryRequest: a ${named.kind} has ${nominal} GB, less than what is to be asked for.`,
      );
    }
    return { ...named, count };
  }
  const mib = Math.max(1, Math.ceil(bytes / 2 ** 20));
  const kind = mib % 1024 === 0 ? `${mib / 1024}GB` : `${mib}MB`;
  return {
    kind,
    count,
    memory: { gb: mib / 1024, orMore: true },
    ...(own?.vendor === undefined ? {} : { vendor: own.vendor }),
  };
}
