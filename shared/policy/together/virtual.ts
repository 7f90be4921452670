/**
 * V1's two fields that later Run:ai has split: `gpu` (devices times the part of each) and `volumes` (NFS, or a folder of the
 * node). Workloads and policies that speak of them are made to speak of the later fields, and `gpu` is computed back where
 * a V1 rule asks for it; so both dialects bind one workload. Pure. Used by policy/together/merge.ts, evaluate.ts and cases.ts.
 */
import type { CompiledPolicy, ItemDefaults } from "../compiled.ts";
import { compareAmounts, isWhole, multiplyAmounts, parseDecimal, printAmount } from "../fields/quantity.ts";
import { isMapping } from "../fields/values.ts";
import type { Item, PlainValue, Workload } from "../words.ts";

export const devicesPath = "compute.gpuDevicesRequest";
export const portionPath = "compute.gpuPortionRequest";
const one = { digits: 1n, scale: 0 };

/** The later fields that a value of `gpu` stands for; null: it stands for none, such as 1.5 or a text. */
export function gpuParts(gpu: PlainValue): Map<string, PlainValue> | null {
  const amount = parseDecimal(gpu);
  if (amount === null || amount.digits < 0n) {
    return null;
  }
  if (isWhole(amount)) {
    return new Map([[devicesPath, gpu]]);
  }
  return compareAmounts(amount, one) > 0
    ? null
    : new Map([
        [devicesPath, 1],
        [portionPath, gpu],
      ]);
}

/** What V1 calls `gpu` of a workload in later fields, in the spelling of whoever wrote it; undefined: it asks for none. */
export function gpuOf(workload: Workload): PlainValue | undefined {
  const [devices, portion] = [workload.get(devicesPath), workload.get(portionPath)];
  if (workload.has("gpu")) {
    return workload.get("gpu");
  }
  if (portion === undefined || devices === undefined) {
    return portion ?? devices;
  }
  const [count, part] = [parseDecimal(devices), parseDecimal(portion)];
  if (count === null || part === null) {
    return count === null ? devices : portion;
  }
  return compareAmounts(count, one) === 0 ? portion : printAmount(multiplyAmounts(count, part));
}

/**
 * A submission in later fields. What cannot be said there stays as it is, and fails its own check. `isKnown`: whether an
 * item of `volumes` without a server means one of the policies' own that has one.
 */
export function withoutVirtual(submitted: Workload, isKnown: (item: Item) => boolean = () => false): Workload {
  const portion = parseDecimal(submitted.get(portionPath));
  const isDevices = portion !== null && isWhole(portion) && compareAmounts(portion, one) > 0;
  if (!submitted.has("gpu") && !submitted.has("volumes") && !isDevices) {
    return submitted;
  }
  const workload = new Map(submitted);
  if (isDevices && !submitted.has(devicesPath)) {
    workload.set(devicesPath, submitted.get(portionPath) ?? null);
    workload.delete(portionPath);
  }
  const parts = gpuParts(submitted.get("gpu") ?? null);
  if (parts !== null && !workload.has(devicesPath) && !workload.has(portionPath)) {
    workload.delete("gpu");
    for (const [path, value] of parts) {
      workload.set(path, value);
    }
  }
  const volumes = submitted.get("volumes");
  if (Array.isArray(volumes) && volumes.every(isMapping)) {
    workload.delete("volumes");
    for (const [path, items] of splitVolumes(volumes, isKnown)) {
      const others = submitted.get(path) ?? [];
      if (items.length > 0 && Array.isArray(others)) {
        workload.set(path, [...others, ...items]);
      }
    }
  }
  return workload;
}

function splitVolumes(volumes: readonly Item[], isKnown: (item: Item) => boolean = () => false): [string, Item[]][] {
  const isOfServer = (item: Item): boolean => isServed(item) || isKnown(item);
  return [
    ["storage.hostPath", volumes.filter((item) => !isOfServer(item))],
    ["storage.nfs", volumes.filter(isOfServer).map(servedItem)],
  ];
}

const isServed = ({ nfsServer }: Item): boolean => nfsServer !== undefined && nfsServer !== null;

/** NFS has no mount propagation. */
function servedItem({ nfsServer, mountPropagation: _propagation, ...item }: Item): Item {
  return nfsServer === undefined ? item : { ...item, server: nfsServer };
}

/**
 * A V1 policy whose `volumes` bind both later fields. A rule on `nfsServer` binds folders of the node too: they have none.
 * Defaults of `gpu` become defaults of the later fields; its rules stay, for they are about the product.
 */
export function withoutVolumes(part: CompiledPolicy): CompiledPolicy {
  const isOurs = (path: string): boolean => path === "volumes" || path.startsWith("volumes[].");
  if (![...part.rules.keys(), ...part.items.keys(), ...part.itemRules.keys()].some(isOurs)) {
    return part;
  }
  const spelled = new Map(part.spelled);
  const places = (path: string): [string, string] => {
    const name = path.slice("volumes".length).replace("nfsServer", "server");
    const both: [string, string] = [`storage.hostPath${name}`, `storage.nfs${name}`];
    for (const place of [...both, "storage.hostPath", "storage.nfs"]) {
      spelled.set(place, place.includes("[]") ? path : "volumes");
    }
    return both;
  };
  const doubled = <T>(all: ReadonlyMap<string, T>): Map<string, T> =>
    new Map(
      [...all].flatMap(([path, rules]) =>
        (isOurs(path) ? places(path) : [path]).map((place) => [place, rules] as const),
      ),
    );
  const items = new Map(part.items);
  const defaults = items.get("volumes");
  items.delete("volumes");
  for (const [path, own] of defaults === undefined ? [] : splitDefaults(defaults)) {
    items.set(path, own);
    places("volumes");
  }
  return { ...part, rules: doubled(part.rules), itemRules: doubled(part.itemRules), items, spelled };
}

function splitDefaults({ instances, attributes }: ItemDefaults): [string, ItemDefaults][] {
  const filled = instances.map((item) =>
    isServed(attributes) ? { nfsServer: attributes["nfsServer"] ?? null, ...item } : item,
  );
  const { nfsServer: _, ...rest } = attributes;
  const { mountPropagation: __, ...served } = rest;
  return splitVolumes(filled).map(([path, own]) => [
    path,
    { instances: own, attributes: path === "storage.nfs" ? served : rest },
  ]);
}
