/**
 * What one look at the machine's accelerators says, and how the words of vendors' tools are made fit for it: lengths,
 * characters, PCI addresses, numbers. Pure and total: any text gives a value, never an error, because a daemon of root's
 * must survive whatever a tool prints. Used by the parsers beside it and by agent/devices.ts.
 */
import { canonicalKind } from "../../shared/accelerators.ts";

/** One device as its vendor's tool describes it. */
export interface FoundDevice {
  /** Names it for as long as it exists: its uuid, else its address on the bus. Never its position. */
  id: string;
  /** Canonical; null: the tool could not say, and it keeps what was known of it. */
  kind: string | null;
  /** As the tool calls it. */
  name: string;
  vendor: string;
  memoryMb: number | null;
  uuid: string | null;
  pci: string | null;
  /** The index by which programs may name it as well as by `otherwise`; null: only `otherwise` names it. */
  position: number | null;
  /** How programs name it where the node's index for it is not `position`. */
  otherwise: string;
  /** Of a MIG instance: the card that it is a part of. */
  parent: string | null;
  /** Why it must not be granted; null: it is well. */
  fault: string | null;
}

/** What one vendor's tool said. `absent`: it is not installed. `failed`: nothing is known, `problem` says why. */
export type Look =
  | { state: "absent" }
  | { state: "failed"; problem: string }
  | {
      state: "seen";
      devices: FoundDevice[];
      /** Ids of cards that are divided (MIG) and therefore no devices themselves. */
      divided: string[];
      /** Devices that are there and do not answer, by their address. */
      lost: { pci: string; fault: string }[];
      /** PCI addresses of all that the tool lists, divided cards and lost ones included. */
      addresses: string[];
      driver: string | null;
    };

/** How busy a device is; null: its tool does not say. */
export interface DeviceUse {
  /** uuid or address, whichever is known. */
  ids: string[];
  /** Per cent. */
  utilization: number | null;
  memoryUsedMb: number | null;
}

/** More devices of one vendor than any machine has. */
export const devicesMax = 256;
const linesMax = 2_000;
const textMax = 200;

/** One line of printable text, at most `max` characters. */
export function plainText(text: string, max = textMax): string {
  return text
    .slice(0, max * 4)
    .replace(/[\p{C}\s]+/gu, " ")
    .trim()
    .slice(0, max);
}

export function linesOf(output: string): string[] {
  return output.split("\n", linesMax);
}

/** `00000000:41:00.0`, `41:00.0` and `0000:41:00.0` as the kernel writes it: `0000:41:00.0`; null: it is none. */
export function pciAddress(text: string): string | null {
  const match = /^\s*(?:([0-9a-f]{1,8}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\s*$/i.exec(text);
  if (match?.[2] === undefined) {
    return null;
  }
  const domain = Number.parseInt(match[1] ?? "0", 16)
    .toString(16)
    .padStart(4, "0");
  return `${domain}:${match[2].toLowerCase()}`;
}

/** A whole number of 0 to `max`; null for anything else (`[N/A]`, `ERR!`). */
export function wholeNumber(text: string, max = 1e12): number | null {
  const match = /^\s*(\d{1,15})(?:\.\d{1,9})?\s*$/.exec(text);
  const value = match?.[1] === undefined ? Number.NaN : Number(match[1]);
  return value <= max ? value : null;
}

/** The kind as canonical name, or a safe form of the raw one so that it can still be asked for. */
export function kindOfName(name: string): string {
  const kind = canonicalKind(plainText(name, 100));
  const safe = kind
    .replace(/[^A-Za-z0-9._-]+/g, "-")
    .replace(/-{2,}/g, "-")
    .replace(/^[^A-Za-z0-9]+|-+$/g, "");
  // Words that every object knows are no kinds; see acceleratorKindSchema.
  return safe === "" || safe in {} ? `accelerator${safe === "" ? "" : `-${safe}`}` : safe.slice(0, 64);
}

/** What a tool printed as JSON, also after lines of warnings; undefined: it is none. */
export function parsedJson(output: string): unknown {
  const start = output.search(/[[{]/);
  const candidates = start < 0 ? [] : [output.slice(start), output.slice(output.search(/^[[{]/m))];
  for (const text of candidates) {
    try {
      return JSON.parse(text) as unknown;
    } catch {
      // The next one may be.
    }
  }
  return undefined;
}

/** What lies at this path of an object from JSON; undefined: nothing. */
export function at(value: unknown, ...path: string[]): unknown {
  let current = value;
  for (const key of path) {
    if (typeof current !== "object" || current === null || !Object.hasOwn(current, key)) {
      return undefined;
    }
    current = (current as Record<string, unknown>)[key];
  }
  return current;
}

/** A text that says something; tools write `N/A` and the like where they know nothing. */
export function textAt(value: unknown, ...path: string[]): string | null {
  const found = at(value, ...path);
  const text = typeof found === "number" ? String(found) : typeof found === "string" ? plainText(found) : "";
  return text === "" || /^(\[?n\/?a\]?|none|null|unknown)$/i.test(text) ? null : text;
}

const mebibytes: Readonly<Record<string, number>> = { b: 2 ** -20, kb: 2 ** -10, mb: 1, gb: 1024, tb: 2 ** 20 };

/** An amount of memory in MiB: `{ value: 192, unit: "GB" }`, `"196592 MB"`, or a number of `unit`. */
export function memoryMbOf(value: unknown, unit = "MB"): number | null {
  const amount = typeof value === "object" && value !== null ? at(value, "value") : value;
  const given = typeof value === "object" && value !== null ? at(value, "unit") : undefined;
  const match = /^\s*(\d{1,18}(?:\.\d{1,9})?)\s*([KMGT]?)i?(B?)\s*$/i.exec(String(amount));
  if (match?.[1] === undefined) {
    return null;
  }
  const written = `${match[2] ?? ""}${match[3] ?? ""}`;
  const name = typeof given === "string" ? given : written === "" ? unit : written;
  const factor =
    mebibytes[
      name
        .toLowerCase()
        .replace("i", "")
        .replace(/^([kmgt])$/, "$1b")
    ];
  const result = factor === undefined ? Number.NaN : Math.round(Number(match[1]) * factor);
  return result >= 0 && result <= 1e9 ? result : null;
}
