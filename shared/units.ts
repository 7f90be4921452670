/**
 * Amounts as people write them: CPUs, memory, times and priorities, in SkyPilot's forms and with its error texts where it
 * has them, and amounts of bytes as they are shown. Pure. Called by shared/task-resources.ts for what a file demands, by
 * client/commands for flags, and by client and skylet for texts; it must never decide whether an amount fits anywhere.
 */
import { SkyError } from "./errors.ts";
import type { Amount } from "./task.ts";

const numberPattern = String.raw`(\d+(?:\.\d*)?|\.\d+)(e[-+]?\d+)?`;
const cpusPattern = new RegExp(`^${numberPattern}(\\+)?$`, "i");
const memoryPattern = new RegExp(`^${numberPattern}\\s*(?:([kmgtp])i?b)?(\\+)?$`, "i");
const gibPerUnit: Record<string, number> = { k: 2 ** -20, m: 2 ** -10, g: 1, t: 2 ** 10, p: 2 ** 20 };
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

const timeUnits: Readonly<Record<string, number>> = { w: 604_800, d: 86_400, h: 3_600, m: 60, s: 1 };
/** A year. */
const timeMax = 31_536_000;
/** SkyPilot's. */
export const priorityMax = 1000;

/** Whole seconds from `2h`, `90m`, `1d`, `1h30m`, `1:30:00`, `2-12:00:00` (days), or a number of minutes; rounded up. */
export function readTime(value: unknown): number {
  const text = amountText(value).replace(/\s+/g, "");
  const seconds = Math.ceil(clockSeconds(text) ?? unitSeconds(text) ?? Number.NaN);
  if (!(seconds >= 1 && seconds <= timeMax)) {
    throw new SkyError(
      "ValueError",
      `The "time" field should be like 2h, 90m, 1d12h or 1:30:00, or a number of minutes, a year at most. Found: ${shown(value)}`,
    );
  }
  return seconds;
}

function clockSeconds(text: string): number | null {
  const clock = /^(?:(\d{1,3})-)?(\d{1,5}):([0-5]?\d):([0-5]?\d)$/.exec(text);
  if (clock === null) {
    return null;
  }
  const [days = 0, hours = 0, minutes = 0, seconds = 0] = clock.slice(1).map((part) => Number(part ?? 0));
  return days * 86_400 + hours * 3_600 + minutes * 60 + seconds;
}

function unitSeconds(text: string): number | null {
  if (/^\d{1,9}(\.\d{1,9})?$/.test(text)) {
    return Number(text) * 60;
  }
  const parts = text.toLowerCase().match(/\d{1,9}(?:\.\d{1,9})?[wdhms]/g) ?? [];
  if (parts.length === 0 || parts.join("") !== text.toLowerCase()) {
    return null;
  }
  return parts.reduce((sum, part) => sum + Number(part.slice(0, -1)) * (timeUnits[part.slice(-1)] ?? 0), 0);
}

/** `2h`, `1d12h`, `90s`: what `readTime` reads back to the same number of seconds. */
export function formatTime(seconds: number): string {
  let rest = seconds;
  const parts: string[] = [];
  for (const unit of ["d", "h", "m", "s"] as const) {
    const size = timeUnits[unit] ?? 1;
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) {
      parts.push(`${count}${unit}`);
    }
  }
  return parts.length === 0 ? "0s" : parts.join("");
}

/** A whole number from −1000 to 1000. */
export function readPriority(value: unknown): number {
  const number = typeof value === "string" && /^[-+]?\d{1,9}$/.test(value.trim()) ? Number(value) : value;
  if (typeof number !== "number" || !Number.isInteger(number) || Math.abs(number) > priorityMax) {
    throw new SkyError(
      "ValueError",
      `Priority must be a whole number between -${priorityMax} and ${priorityMax}. Found: ${shown(value)}`,
    );
  }
  return number;
}

/** As Python would quote it, cut when long. */
export function shown(value: unknown): string {
  const text = typeof value === "string" ? `'${value}'` : (jsonOf(value) ?? String(value));
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** JSON knows no large whole numbers, which YAML does. */
function jsonOf(value: unknown): string | undefined {
  return JSON.stringify(value, (_, part: unknown) => (typeof part === "bigint" ? String(part) : part));
}

/** `4` or `4+`. */
export function formatAmount(amount: Amount): string {
  return `${amount.value}${amount.exact ? "" : "+"}`;
}

/** `0 B`, `1.5 KB`, `12 MB`, `3.2 GB`; powers of 1000, as disks and networks are sold. */
export function bytesText(bytes: number): string {
  let value = Math.max(0, bytes);
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit > 0 && value < 9.95 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}
