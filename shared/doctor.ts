/**
 * What sky-doctor says, one JSON line each: who it is and what its clock shows, findings, journal lines, and the end. The
 * lines come from a root program on a machine that may be broken or taken over, so every one is parsed by a strict schema
 * and every text is bounded. Written by doctor/, read by coordinator/inspection.ts, shown by client/commands/admin.
 */
import * as z from "zod";
import { timeSchema } from "./ids.ts";

/** Bytes of one line. */
export const doctorLineBytesMax = 16 * 1024;

/** `unknown`: it could not be found out; `seen` says why. */
const findingLevelSchema = z.enum(["ok", "warn", "error", "unknown"]);
export type FindingLevel = z.infer<typeof findingLevelSchema>;

/** What one check has to say. A check that finds nothing wrong says so with one finding of level `ok`. */
export const findingSchema = z.strictObject({
  /** The check, e.g. `own-name`; docs/admin/operations.md lists them all. */
  check: z.string().regex(/^[a-z][a-z0-9-]{0,39}$/),
  level: findingLevelSchema,
  /** The facts, in one sentence. */
  seen: z.string().min(1).max(600),
  /** Why it matters, in one sentence; null for what is well. */
  why: z.string().max(400).nullable(),
  /** The command that mends it, to be run as root on that machine; null where no single command does. */
  mend: z.string().max(600).nullable(),
});
export type Finding = z.infer<typeof findingSchema>;

/** First line: what the machine's own clock shows at that moment, and which version speaks. */
const beginSchema = z.strictObject({
  type: z.literal("begin"),
  version: z.string().max(100),
  host: z.string().max(255),
  clockMs: timeSchema,
});
const findingLineSchema = z.strictObject({ type: z.literal("finding"), finding: findingSchema });
/** One line of a daemon's journal: when it was written (microseconds since 1970) and the JSON object that it holds. */
const journalLineSchema = z.strictObject({
  type: z.literal("journal"),
  timeUs: z.int().min(0),
  entry: z.record(z.string().max(64), z.json()),
});
/** Something that is missing from the answer, for people: no journal, too many lines. */
const noteLineSchema = z.strictObject({ type: z.literal("note"), text: z.string().max(600) });
/** Last line: everything was said. */
const endSchema = z.strictObject({ type: z.literal("end") });

export const doctorLineSchema = z.discriminatedUnion("type", [
  beginSchema,
  findingLineSchema,
  journalLineSchema,
  noteLineSchema,
  endSchema,
]);
export type DoctorLine = z.infer<typeof doctorLineSchema>;

/** How bad it is: the worst level among these, `unknown` counting as a warning. */
export function worstOf(findings: readonly Finding[]): "ok" | "warn" | "error" {
  if (findings.some((finding) => finding.level === "error")) {
    return "error";
  }
  return findings.some((finding) => finding.level !== "ok") ? "warn" : "ok";
}

/** Control characters, line breaks and marks that turn the writing direction become spaces; cut at `limit` UTF-16 units. */
export function oneLine(text: string, limit: number): string {
  const flat = text
    .slice(0, limit * 4)
    .replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]+/g, " ")
    .replace(/ {2,}/g, " ")
    .trim();
  // Half of a surrogate pair at the cut would be no valid text.
  return flat.length <= limit ? flat : `${flat.slice(0, limit - 1).replace(/[\ud800-\udbff]$/, "")}…`;
}
