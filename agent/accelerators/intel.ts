/**
 * Intel's graphics accelerators as xpu-smi describes them. Pure and total: it is given what the tool printed. Graphics
 * inside a CPU and virtual functions are left out. Called by detect.ts.
 */
import {
  at,
  devicesMax,
  type FoundDevice,
  kindOfName,
  memoryMbOf,
  parsedJson,
  pciAddress,
  textAt,
  wholeNumber,
} from "./found.ts";

export const intelArguments = ["discovery", "-j"];
export function intelDetailArguments(deviceId: number): string[] {
  return ["discovery", "-d", String(deviceId), "-j"];
}

/** Where graphics inside a CPU always are. */
const integratedAddress = "0000:00:02.0";

/** `Max1550` for `Intel(R) Data Center GPU Max 1550`, `ArcProB60` for `Intel(R) Arc(TM) Pro B60 Graphics`. */
export function canonicalIntelName(raw: string): string {
  const name = raw.replace(/\((R|TM|C)\)/gi, "").replace(/\s+/g, " ");
  const center = /\b(Max|Flex)\s?(?:Series\s?)?(\d{3,4})/i.exec(name);
  if (center?.[1] !== undefined) {
    return kindOfName(`${center[1]}${center[2] ?? ""}`);
  }
  const arc = /\bArc\s?(Pro)?\s?([AB]\d{2,3}M?)\b/i.exec(name);
  if (arc !== null) {
    return kindOfName(`Arc${arc[1] === undefined ? "" : "Pro"}${(arc[2] ?? "").toUpperCase()}`);
  }
  return kindOfName(name.replace(/^\s*Intel\s+/i, "").replace(/\s*Graphics\s*$/i, "") || "Intel");
}

/** Answer to `intelArguments`; null: it is not what xpu-smi prints. */
export function parseIntel(output: string): FoundDevice[] | null {
  const list = at(parsedJson(output), "device_list");
  if (!Array.isArray(list)) {
    return null;
  }
  const devices = new Map<string, FoundDevice>();
  for (const entry of (list as unknown[]).slice(0, devicesMax)) {
    const position = wholeNumber(textAt(entry, "device_id") ?? "", 1023);
    const pci = pciAddress(textAt(entry, "pci_bdf_address") ?? "");
    const uuid = textAt(entry, "uuid")?.slice(0, 100) ?? null;
    const id = pci ?? uuid;
    const isCard = textAt(entry, "device_type") === "GPU" && textAt(entry, "device_function_type") !== "virtual";
    if (position !== null && id !== null && isCard && pci !== integratedAddress && !devices.has(id)) {
      const name = textAt(entry, "device_name") ?? "";
      const kind = canonicalIntelName(name);
      const own = { id, kind, name, vendor: "Intel", memoryMb: null, uuid, pci, parent: null, fault: null };
      devices.set(id, { ...own, position, otherwise: String(position) });
    }
  }
  return [...devices.values()];
}

/** Answer to `intelDetailArguments`. */
export function parseIntelDetail(output: string): { memoryMb: number | null; driver: string | null } {
  const parsed = parsedJson(output);
  const bytes = memoryMbOf(at(parsed, "memory_physical_size_byte"), "B");
  const driver = textAt(parsed, "driver_version")?.slice(0, 100) ?? null;
  return { memoryMb: bytes ?? memoryMbOf(at(parsed, "memory_physical_size")), driver };
}
