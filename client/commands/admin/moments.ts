/**
 * Moments as admins type them: `now`, `+2h`, `2026-12-01`, `2026-12-01T08:00` in this machine's time zone, or with `Z` or
 * an offset. Days that do not exist are refused, not rolled over. Pure but for the time zone. Used by windows.ts.
 */
import { UsageError } from "../context.ts";

const spanUnits: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 };
const pattern = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?)?(Z|[+-]\d\d:?\d\d)?$/i;
const hint = "Write now, +2h, 2026-12-01T08:00 (this machine's time), or 2026-12-01T08:00Z.";

function refused(text: string): UsageError {
  return new UsageError(`'${text.slice(0, 60)}' is not a moment.`, hint);
}

/** Seconds since 1970; null for `now`. `now` in the same unit. Throws UsageError. */
export function momentOf(text: string, now: number): number | null {
  if (text.toLowerCase() === "now") {
    return null;
  }
  const span = /^\+(\d{1,6})([smhd])$/.exec(text);
  if (span !== null) {
    return now + Number(span[1]) * (spanUnits[span[2] ?? ""] ?? 0);
  }
  const match = pattern.exec(text);
  if (match === null) {
    throw refused(text);
  }
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match
    .slice(1, 7)
    .map((part: string | undefined) => Number(part ?? 0));
  const zone = match[7];
  // As UTC first: what does not exist is rolled over there too.
  const utc = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
  const exists = utc.getUTCMonth() === month - 1 && utc.getUTCDate() === day && hour < 24 && minute < 60 && second < 60;
  if (!exists) {
    throw refused(text);
  }
  if (zone === undefined) {
    return new Date(year, month - 1, day, hour, minute, second).getTime() / 1000;
  }
  const [hours = 0, minutes = 0] = zone.toUpperCase() === "Z" ? [] : [zone.slice(1, 3), zone.slice(-2)].map(Number);
  if (hours > 14 || minutes > 59) {
    throw refused(text);
  }
  const offset = (hours * 60 + minutes) * 60 * (zone.startsWith("-") ? -1 : 1);
  return utc.getTime() / 1000 - offset;
}
