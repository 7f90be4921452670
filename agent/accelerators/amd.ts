/**
 * AMD's devices as amd-smi describes them, or rocm-smi where that is all there is. Pure and total: it is given what the
 * tools printed, in the shapes of old and new ROCm. Graphics inside a CPU are left out. Called by detect.ts.
 */
import { at, devicesMax, type FoundDevice, kindOfName, memoryMbOf, parsedJson, pciAddress, textAt } from "./found.ts";

export const amdStaticArguments = ["static", "--asic", "--bus", "--vram", "--driver", "--json"];
export const amdErrorArguments = ["metric", "--ecc", "--json"];
export const rocmArguments = [
  ...["--showproductname", "--showid", "--showuniqueid", "--showbus", "--showmeminfo", "vram"],
  ...["--showdriverversion", "--json"],
];

/** Less than this is a part of a CPU, in MiB. */
const memoryLeastMb = 4_000;

/** Cards that tools call by a family's or a chip's name only. */
const byDeviceId: Readonly<Record<string, string>> = {
  "0x66a0": "MI50",
  "0x66a1": "MI60",
  "0x738c": "MI100",
  "0x7408": "MI250X",
  "0x740c": "MI250X",
  "0x740f": "MI210",
  "0x74a0": "MI300A",
  "0x74a1": "MI300X",
  "0x74a2": "MI308X",
  "0x74a5": "MI325X",
  "0x75a0": "MI350X",
  "0x75a3": "MI355X",
};

/** `MI300X` for `AMD Instinct MI300X OAM`, `RX7900XTX` for `AMD Radeon RX 7900 XTX`. */
export function canonicalAmdName(raw: string, deviceId: string | null): string {
  const instinct = /\bMI(\d{2,3}[AX]?)\b(?! \(MCM\))/i.exec(raw);
  if (instinct?.[1] !== undefined) {
    return kindOfName(`MI${instinct[1].toUpperCase()}`);
  }
  const known = byDeviceId[deviceId?.toLowerCase() ?? ""];
  if (known !== undefined) {
    return known;
  }
  const radeon = /\b(RX|W|R)\s?(\d{4})\s?(XTX|XT|GRE|M)?\b/i.exec(raw);
  if (radeon !== null) {
    return kindOfName(radeon.slice(1).join("").toUpperCase());
  }
  const pro = /\bPro (V\d{3})\b/i.exec(raw);
  const bare = raw.replace(/^(AMD|ATI|Advanced Micro Devices|Radeon|Instinct|,|Inc\.?|\s)+/i, "");
  return kindOfName(pro?.[1] === undefined ? bare || "AMD" : `Pro-${pro[1].toUpperCase()}`);
}

interface Facts {
  name: string;
  deviceId: string | null;
  serial: string | null;
  pci: string | null;
  memoryMb: number | null;
  position: number;
}

function deviceOf(facts: Facts): FoundDevice | null {
  const { name, deviceId, serial, pci, memoryMb, position } = facts;
  const id = serial ?? pci;
  if (id === null || (memoryMb !== null && memoryMb < memoryLeastMb)) {
    return null;
  }
  const rest = { position, otherwise: String(position), parent: null, fault: null };
  return { id, kind: canonicalAmdName(name, deviceId), name, vendor: "AMD", memoryMb, uuid: serial, pci, ...rest };
}

/** A serial number that tells devices apart: `0x1234abcd…`, not all zeros. */
function serialOf(text: string | null): string | null {
  const match = /^(?:0x)?([0-9a-f]{6,32})$/i.exec(text ?? "");
  return match?.[1] === undefined || /^0+$/.test(match[1]) ? null : `GPU-${match[1].toLowerCase()}`;
}

function numberOf(value: unknown): number | null {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < 1024 ? value : null;
}

/** The list that amd-smi prints: bare in older versions, as `gpu_data` in newer. */
function entriesOf(output: string): unknown[] | null {
  const parsed = parsedJson(output);
  const list = Array.isArray(parsed) ? (parsed as unknown[]) : at(parsed, "gpu_data");
  return Array.isArray(list) ? (list as unknown[]).slice(0, devicesMax) : null;
}

/** Answer to `amdStaticArguments`; null: it is not what amd-smi prints. */
export function parseAmdStatic(output: string): { devices: FoundDevice[]; driver: string | null } | null {
  const entries = entriesOf(output);
  if (entries === null) {
    return null;
  }
  const devices = entries.flatMap((entry, order) => {
    const device = deviceOf({
      name: textAt(entry, "asic", "market_name") ?? textAt(entry, "board", "product_name") ?? "",
      deviceId: textAt(entry, "asic", "device_id"),
      serial: serialOf(textAt(entry, "asic", "asic_serial")),
      pci: pciAddress(textAt(entry, "bus", "bdf") ?? ""),
      memoryMb: memoryMbOf(at(entry, "vram", "size") ?? at(entry, "vram", "vram_size_mb")),
      position: numberOf(at(entry, "gpu")) ?? order,
    });
    return device === null ? [] : [device];
  });
  const [first] = entries;
  const driver = textAt(first, "driver", "version") ?? textAt(first, "driver", "driver_version");
  return { devices: unique(devices), driver: driver?.slice(0, 100) ?? null };
}

/** Uncorrectable errors by position, from the answer to `amdErrorArguments`. */
export function parseAmdErrors(output: string): Map<number, number> {
  const errors = new Map<number, number>();
  for (const [order, entry] of (entriesOf(output) ?? []).entries()) {
    const count = at(entry, "ecc", "total_uncorrectable_count") ?? at(entry, "ecc", "total_uncorrectable");
    const value = Number(typeof count === "object" && count !== null ? at(count, "value") : count);
    if (Number.isInteger(value) && value > 0) {
      errors.set(numberOf(at(entry, "gpu")) ?? order, value);
    }
  }
  return errors;
}

export function withAmdErrors(devices: readonly FoundDevice[], errors: ReadonlyMap<number, number>): FoundDevice[] {
  return devices.map((device) => {
    const count = errors.get(device.position ?? -1) ?? 0;
    const fault = `${count} uncorrectable ECC ${count === 1 ? "error" : "errors"} since its driver was loaded`;
    return count > 0 ? { ...device, fault } : device;
  });
}

/** The first of these keys, whose spelling has changed between versions. */
function cellOf(card: unknown, ...names: string[]): string | null {
  for (const name of names) {
    const text = textAt(card, name);
    if (text !== null) {
      return text;
    }
  }
  return null;
}

/** Answer to `rocmArguments`; null: it is not what rocm-smi prints. */
export function parseRocm(output: string): { devices: FoundDevice[]; driver: string | null } | null {
  const parsed = parsedJson(output);
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    return null;
  }
  const cards = Object.entries(parsed as Record<string, unknown>).slice(0, devicesMax);
  const devices = cards.flatMap(([key, card]) => {
    const position = /^card(\d{1,4})$/.exec(key)?.[1];
    if (position === undefined) {
      return [];
    }
    const model = cellOf(card, "Card Model", "Card model");
    const id = cellOf(card, "Device ID", "GPU ID") ?? (/^0x/i.test(model ?? "") ? model : null);
    const series = cellOf(card, "Card Series", "Card series", "Device Name");
    const device = deviceOf({
      name: series ?? model ?? "",
      deviceId: id,
      serial: serialOf(cellOf(card, "Unique ID", "Unique Id")),
      pci: pciAddress(cellOf(card, "PCI Bus") ?? ""),
      memoryMb: memoryMbOf(at(card, "VRAM Total Memory (B)"), "B"),
      position: Number(position),
    });
    return device === null ? [] : [device];
  });
  const driver = cellOf(at(parsed, "system"), "Driver version", "Driver Version");
  return { devices: unique(devices), driver: driver?.slice(0, 100) ?? null };
}

/** Two devices with one serial number (partitions of one card) are told apart by their addresses. */
function unique(devices: readonly FoundDevice[]): FoundDevice[] {
  const seen = new Set<string>();
  return devices.flatMap((device) => {
    const id = seen.has(device.id) ? `${device.id}@${device.pci ?? device.otherwise}` : device.id;
    const isNew = !seen.has(id);
    seen.add(id);
    return isNew ? [{ ...device, id }] : [];
  });
}
