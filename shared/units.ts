/**
 * Amounts as people write them: CPUs, memory and accelerators, in SkyPilot's forms and with its error texts. Pure. Called
 * by shared/task-file.ts for what a file demands and by client/commands for flags; it must never decide whether an amount
 * fits anywhere.
 */
import { SkyError } from "./errors.ts";
import type { Amount, TaskResources } from "./task.ts";

const numberPattern = String.raw`(\d+(?:\.\d*)?|\.\d+)(e[-+]?\d+)?`;
const cpusPattern = new RegExp(`^${numberPattern}(\\+)?$`, "i");
const memoryPattern = new RegExp(`^${numberPattern}\\s*(?:([kmgtp])i?b)?(\\+)?$`, "i");
const gibPerUnit: Record<string, number> = { k: 2 ** -20, m: 2 ** -10, g: 1, t: 2 ** 10, p: 2 ** 20 };
const kindPattern = /^[A-Za-z0-9][A-Za-z0-9._ -]{0,62}$/;
/** `80GB+`, `NVIDIA:80GB:2`: SkyPilot's way to ask for device memory. */
const deviceMemoryPattern = /(^|:)\d+(\.\d+)?[kmgtp]i?b\+?(:|$)/i;
const amountMax = 1e9;

/** `4`, `"4"`, `"4+"`. Throws SkyError("ValueError") with SkyPilot's text. */
export function readCpus(value: unknown): Amount {
  const match = cpusPattern.exec(amountText(value));
  return checkedAmount(match === null ? Number.NaN : Number(`${match[1]}${match[2] ?? ""}`), match?.[3], "cpus", value);
}

/** GiB: `16`, `"16+"`, `"16GB"`, `"512MB"`, `"1TB+"`. A unit is binary whether or not it says so, as in SkyPilot. */
export function readMemory(value: unknown): Amount {
  const match = memoryPattern.exec(amountText(value));
  const unit = gibPerUnit[(match?.[3] ?? "g").toLowerCase()] ?? 1;
  const gib = match === null ? Number.NaN : Number(`${match[1]}${match[2] ?? ""}`) * unit;
  return checkedAmount(gib, match?.[4], "memory", value);
}

function amountText(value: unknown): string {
  return typeof value === "number" || typeof value === "string" ? String(value).trim() : "";
}

function checkedAmount(value: number, plus: string | undefined, field: string, found: unknown): Amount {
  if (!(value > 0 && value <= amountMax)) {
    const unit = field === "memory" ? ", with a unit of KB, MB, GB, TB or PB if you like" : "";
    throw new SkyError(
      "ValueError",
      `The "${field}" field should be either a number or a string "<number>+"${unit}. Found: ${shown(found)}`,
    );
  }
  return { value, exact: plus === undefined };
}

/**
 * `V100`, `V100:4`, `{V100: 4}`, `{V100:4}`, `V100:0.5` (a share of one device). Null for null. Throws
 * SkyError("ValueError") for what is none of these, and says so when SkyPilot would understand it.
 */
export function readAccelerators(value: unknown): TaskResources["accelerators"] {
  if (value === null || value === undefined) {
    return null;
  }
  if (typeof value === "string") {
    return readAcceleratorText(value);
  }
  if (Array.isArray(value) || typeof value === "object") {
    const entries = Array.isArray(value) ? value.map((item) => [item, null] as const) : Object.entries(value);
    const [first, ...others] = entries;
    if (first === undefined) {
      return null;
    }
    if (others.length > 0) {
      throw new SkyError("ValueError", "A choice between several accelerators is not supported yet; name one.");
    }
    const [kind, count] = first;
    return readAcceleratorText(count === null ? String(kind) : `${String(kind)}:${String(count)}`);
  }
  throw acceleratorFault(value);
}

function readAcceleratorText(text: string): { kind: string; count: number } {
  const trimmed = text.trim();
  if (deviceMemoryPattern.test(trimmed)) {
    throw new SkyError(
      "ValueError",
      `Accelerators by device memory are not supported yet; name a kind. Found: '${trimmed}'`,
    );
  }
  const [kind = "", countText = "1", ...rest] = trimmed.split(":").map((part) => part.trim());
  const count = Number(countText);
  if (
    rest.length > 0 ||
    !kindPattern.test(kind) ||
    !cpusPattern.test(countText) ||
    !(count > 0 && count <= amountMax)
  ) {
    throw acceleratorFault(text);
  }
  if (count > 1 && !Number.isInteger(count)) {
    throw new SkyError(
      "ValueError",
      `The count of accelerators must be whole, or below 1 for a share of one device. Found: '${trimmed}'`,
    );
  }
  return { kind, count };
}

function acceleratorFault(found: unknown): SkyError {
  return new SkyError(
    "ValueError",
    `The "accelerators" field as a str should be <name> or <name>:<cnt>. Found: ${shown(found)}`,
  );
}

/** As Python would quote it, cut when long. */
function shown(value: unknown): string {
  const text =
    typeof value === "string" ? `'${value}'` : ((JSON.stringify(value) as string | undefined) ?? String(value));
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** `4` or `4+`. */
export function formatAmount(amount: Amount): string {
  return `${amount.value}${amount.exact ? "" : "+"}`;
}
