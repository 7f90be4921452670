/**
 * Accelerators as people ask for them, in all of SkyPilot's forms and with its error texts: names, counts, shares, device
 * memory, maps, lists and sets. Pure. Called by shared/task-resources.ts for files and by client/commands for flags; it
 * must never decide whether a node has what is asked for, nor correct a name.
 */
import { canonicalVendor } from "./accelerators.ts";
import { SkyError } from "./errors.ts";
import type { AcceleratorRequest } from "./task.ts";
import { readMemory, shown } from "./units.ts";

const kindPattern = /^[A-Za-z0-9][A-Za-z0-9._ -]{0,62}$/;
const vendorPattern = /^[A-Za-z][A-Za-z0-9 ._-]{0,38}$/;
/** `80GB+`. SkyPilot takes GB, MB and TB, whole numbers only. */
const memoryPattern = /^(\d{1,9}[mgt]b)(\+)?$/i;
const countPattern = /^(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?$/i;
/** As in the wire's schema. */
const countMax = 1024;

/** The accelerators of one `accelerators` field. More than one: `anyOrder` says whether they are equally good. */
export interface AcceleratorChoice {
  requests: AcceleratorRequest[];
  anyOrder: boolean;
}

/**
 * Reads `V100`, `V100:4`, `V100:0.5`, `80GB+`, `NVIDIA:80GB+:2`; a map or set (`{V100: 4}`, `{A100:1, H100:1}`: any of
 * them) or a list of such texts (in order of preference). Nothing gives an empty list. Throws SkyError("ValueError").
 */
export function readAccelerators(value: unknown): AcceleratorChoice {
  if (value === null || value === undefined) {
    return { requests: [], anyOrder: false };
  }
  if (typeof value === "string") {
    return { requests: [readAccelerator(value)], anyOrder: false };
  }
  if (typeof value !== "object") {
    throw acceleratorFault(value);
  }
  const isList = Array.isArray(value);
  const texts = isList ? value.map(listItem) : Object.entries(value).map(mapEntry);
  const requests = new Map(texts.map(readAccelerator).map((request) => [formatAccelerator(request), request]));
  return { requests: [...requests.values()], anyOrder: !isList && requests.size > 1 };
}

function listItem(item: unknown): string {
  if (typeof item !== "string") {
    throw acceleratorFault(item);
  }
  return item;
}

function mapEntry([kind, count]: [string, unknown]): string {
  if (count !== null && typeof count !== "number" && typeof count !== "string") {
    throw acceleratorFault({ [kind]: count });
  }
  return count === null ? kind : `${kind}:${count}`;
}

/** One accelerator as a text. Throws SkyError("ValueError"). */
function readAccelerator(text: string): AcceleratorRequest {
  const parts = text.split(":").map((part) => part.trim());
  return readByMemory(text, parts) ?? readByName(text, parts);
}

/** `80GB`, `80GB:2`, `NVIDIA:80GB`, `NVIDIA:80GB:2`, each with or without `+`; null when it is none of these. */
function readByMemory(text: string, parts: string[]): AcceleratorRequest | null {
  const at = parts.findIndex((part) => memoryPattern.test(part));
  const [, size = "", plus] = memoryPattern.exec(parts[at] ?? "") ?? [];
  const [vendor, countText = "1", ...rest] = [at === 1 ? parts[0] : undefined, ...parts.slice(at + 1)];
  if (at < 0 || at > 1 || rest.length > 0) {
    return null;
  }
  if (vendor !== undefined && !vendorPattern.test(vendor)) {
    throw acceleratorFault(text);
  }
  const gb = readMemory(size).value;
  if (gb > 1e6) {
    throw acceleratorFault(text);
  }
  return {
    kind: size.toUpperCase(),
    count: readCount(countText, text),
    memory: { gb, orMore: plus !== undefined },
    ...(vendor === undefined ? {} : { vendor: canonicalVendor(vendor) }),
  };
}

function readByName(text: string, parts: string[]): AcceleratorRequest {
  const [kind = "", countText = "1", ...rest] = parts;
  if (rest.length > 0 || !kindPattern.test(kind)) {
    throw acceleratorFault(text);
  }
  return { kind, count: readCount(countText, text) };
}

function readCount(text: string, whole: string): number {
  const count = Number(text);
  if (!countPattern.test(text) || !(count > 0)) {
    throw acceleratorFault(whole);
  }
  if (count > 1 && !Number.isInteger(count)) {
    throw new SkyError(
      "ValueError",
      `The count of accelerators must be whole, or below 1 for a share of one device. Found: ${shown(whole)}`,
    );
  }
  if (count > countMax) {
    throw new SkyError("ValueError", `No node has more than ${countMax} accelerators. Found: ${shown(whole)}`);
  }
  return count;
}

function acceleratorFault(found: unknown): SkyError {
  return new SkyError(
    "ValueError",
    'The "accelerators" field as a str should be <name> or <name>:<cnt>, ' +
      `or by memory <size>, <size>:<cnt> or <maker>:<size>:<cnt> with a size like 80GB or 80GB+. Found: ${shown(found)}`,
  );
}

/** A request or a job's demand. */
interface Written {
  kind: string;
  count: number;
  memory?: { orMore: boolean } | undefined;
  vendor?: string | undefined;
}

/** What `readAccelerators` reads back to the same, e.g. `V100:4` or `NVIDIA:80GB+:2`. */
export function formatAccelerator({ kind, count, memory, vendor }: Readonly<Written>): string {
  const maker = vendor === undefined ? "" : `${vendor}:`;
  return `${maker}${kind}${memory?.orMore === true ? "+" : ""}:${count}`;
}
