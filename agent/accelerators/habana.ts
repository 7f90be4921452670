/**
 * Intel's Gaudi devices as hl-smi describes them. Pure and total: it is given what the tool printed. Programs name these
 * devices by their module's number, which need not be the tool's index. Called by detect.ts.
 */
import {
  type DeviceUse,
  devicesMax,
  type FoundDevice,
  kindOfName,
  linesOf,
  pciAddress,
  plainText,
  wholeNumber,
} from "./found.ts";

const fields = ["index", "module_id", "uuid", "bus_id", "name", "memory.total", "driver_version"];
/** What is asked for, best first. */
export const habanaQueries: readonly (readonly string[])[] = [
  [...fields, "ecc.errors.uncorrected.volatile.total"],
  fields,
];
export const habanaUseFields: readonly string[] = ["uuid", "bus_id", "utilization.aip", "memory.used"];

export function habanaArguments(asked: readonly string[]): string[] {
  return ["-Q", asked.join(","), "-f", "csv,noheader,nounits"];
}

/** `Gaudi2` for `HL-225`. */
export function canonicalGaudiName(raw: string): string {
  const model = /^HL-?(\d)(\d)\d/i.exec(raw.trim());
  if (model === null) {
    return kindOfName(raw.trim() === "" ? "Gaudi" : raw);
  }
  return model[1] === "3" ? "Gaudi3" : model[1] === "2" && model[2] !== "0" ? "Gaudi2" : "Gaudi";
}

/** MiB; some versions of the tool give bytes. */
function memoryOf(text: string): number | null {
  const value = wholeNumber(text.replace(/\s*MiB$/i, ""), 1e15);
  return value === null ? null : value > 1e8 ? Math.round(value / 2 ** 20) : value;
}

function rowsOf(output: string, asked: readonly string[]): Map<string, string>[] {
  return linesOf(output).flatMap((line) => {
    const cells = line.slice(0, 2_000).split(",");
    return cells.length === asked.length ? [new Map(asked.map((field, at) => [field, cells[at]?.trim() ?? ""]))] : [];
  });
}

function uuidOf(cell: string): string | null {
  return /^[0-9A-Za-z-]{6,90}$/.test(cell) && /\d/.test(cell) ? cell : null;
}

function deviceOf(row: Map<string, string>): FoundDevice | null {
  const cell = (name: string): string => row.get(name) ?? "";
  const index = wholeNumber(cell("index"), 1023);
  const pci = pciAddress(cell("bus_id"));
  const uuid = uuidOf(cell("uuid"));
  const id = uuid ?? pci;
  if (index === null || id === null) {
    return null;
  }
  const position = wholeNumber(cell("module_id"), 1023) ?? index;
  const errors = wholeNumber(cell("ecc.errors.uncorrected.volatile.total")) ?? 0;
  const name = plainText(cell("name"));
  const broken = [...row].find(([, text]) => /unknown error|\berr!|\berror\b/i.test(text));
  const fault =
    broken === undefined
      ? errors > 0
        ? `${errors} uncorrected ECC ${errors === 1 ? "error" : "errors"} since its driver was loaded`
        : null
      : `hl-smi reports ${plainText(broken[1], 60)} for ${broken[0]}`;
  const rest = { position, otherwise: String(position), parent: null, fault };
  const memoryMb = memoryOf(cell("memory.total"));
  return { id, kind: canonicalGaudiName(name), name, vendor: "Intel", memoryMb, uuid, pci, ...rest };
}

/** Answer to `habanaArguments(asked)`. */
export function parseHabana(
  output: string,
  asked: readonly string[],
): { devices: FoundDevice[]; driver: string | null } {
  const rows = rowsOf(output, asked);
  const devices = new Map<string, FoundDevice>();
  for (const device of rows.map(deviceOf)) {
    if (device !== null && devices.size < devicesMax && !devices.has(device.id)) {
      devices.set(device.id, device);
    }
  }
  const driver = devices.size === 0 ? null : plainText(rows[0]?.get("driver_version") ?? "", 100);
  return { devices: [...devices.values()], driver: driver === "" ? null : driver };
}

/** Answer to `habanaArguments(habanaUseFields)`. */
export function parseHabanaUse(output: string): DeviceUse[] {
  return rowsOf(output, habanaUseFields).flatMap((row) => {
    const ids = [uuidOf(row.get("uuid") ?? ""), pciAddress(row.get("bus_id") ?? "")].filter((id) => id !== null);
    const utilization = wholeNumber((row.get("utilization.aip") ?? "").replace(/\s*%$/, ""), 100);
    return ids.length === 0 ? [] : [{ ids, utilization, memoryUsedMb: memoryOf(row.get("memory.used") ?? "") }];
  });
}
