/**
 * `sky admin logs`: what coordinator and agents wrote about one job, in the order of time. Lines hold texts that users
 * and machines chose, so nothing of them reaches the terminal as it came.
 */
import { oneLine } from "../../../shared/doctor.ts";
import type { JobLine } from "../../../shared/inspect-api.ts";
import { jobIdSchema, userNameSchema } from "../../../shared/ids.ts";
import type { Colors } from "../../output/screen.ts";
import { type Context, UsageError } from "../context.ts";
import { adminCallsTo, type ClusterFlags } from "./cluster.ts";

export interface AdminLogsFlags extends ClusterFlags {
  attempt?: number;
  /** Seconds before now, or a time that the system's clock has. */
  since?: string;
  lines?: number;
  output: "table" | "json";
}

const spanSeconds: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 };
/** Already told by the columns, or the same on every line. */
const columnFields = new Set(["level", "time", "msg", "pid", "hostname", "node", "uid", "user", "job", "id", "v"]);
const levels: Record<string, string> = { "20": "debug", "30": "info", "40": "warn", "50": "error", "60": "fatal" };
const valueCharactersMax = 200;

/** Seconds since 1970 of `90m`, `2d` or a date; throws UsageError for anything else. */
export function parseSince(text: string, now: number): number {
  const span = /^(\d{1,6})([smhd])$/.exec(text);
  if (span !== null) {
    return Math.max(0, now - Number(span[1]) * (spanSeconds[span[2] ?? ""] ?? 1));
  }
  const time = Date.parse(text);
  if (Number.isNaN(time) || time < 0) {
    throw new UsageError(
      `--since ${oneLine(text, 40)}: it must be a span such as 90m or 2d, or a date such as 2026-01-31T12:00.`,
    );
  }
  return time / 1000;
}

/** `alice/3` or `1001/3`. */
function parseJob(text: string): { user: string; id: number } {
  const at = text.lastIndexOf("/");
  const user = userNameSchema.safeParse(text.slice(0, Math.max(0, at)));
  const number = text.slice(at + 1);
  const id = jobIdSchema.safeParse(/^[0-9]{1,10}$/.test(number) ? Number(number) : null);
  if (at < 1 || !user.success || !id.success) {
    throw new UsageError(`'${oneLine(text, 60)}' is no job.`, "Write USER/ID, e.g. alice/3.");
  }
  return { user: user.data, id: id.data };
}

function shown(value: unknown): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  const safe = oneLine(text, valueCharactersMax);
  return typeof value === "string" && /[\s"=]/.test(safe) ? JSON.stringify(safe) : safe;
}

/** `2026-01-31 12:00:00.123 gpu-1 agent info text key=value`. */
export function lineText({ time, machine, program, entry }: JobLine, machineWidth: number, colors: Colors): string {
  const written = shown(entry["level"] ?? "-");
  const level = levels[written] ?? oneLine(written, 8);
  const paint =
    level === "error" || level === "fatal" ? colors.red : level === "warn" ? colors.yellow : (text: string) => text;
  const at = new Date(time * 1000).toISOString().replace("T", " ").replace("Z", "");
  const fields = Object.entries(entry)
    .filter(([key, value]) => !columnFields.has(key) && value !== null)
    .slice(0, 20)
    .map(([key, value]) => `${oneLine(key, 40)}=${shown(value)}`);
  const text = oneLine(typeof entry["msg"] === "string" ? entry["msg"] : "", 500);
  const where = `${oneLine(machine, 63).padEnd(machineWidth)} ${program.padEnd("coordinator".length)}`;
  return `${at} ${where} ${paint(level.padEnd(5))} ${[text, ...fields].join(" ")}`;
}

/** Runs the command; resolves with the exit code. */
export async function adminLogs(context: Context, job: string, flags: AdminLogsFlags): Promise<number> {
  const { screen } = context;
  const { user, id } = parseJob(job);
  const since = flags.since === undefined ? null : parseSince(flags.since, context.now());
  const calls = await adminCallsTo(context, flags);
  try {
    const asked = { user, job_id: id, attempt: flags.attempt ?? null, since };
    const result = await calls.jobLogs(flags.lines === undefined ? asked : { ...asked, lines: flags.lines });
    if (flags.output === "json") {
      screen.print(JSON.stringify(result, null, 2));
      return 0;
    }
    const width = result.lines.reduce((most, line) => Math.max(most, Math.min(63, line.machine.length)), 1);
    for (const line of result.lines) {
      screen.print(lineText(line, width, screen.colors));
    }
    for (const note of result.notes) {
      screen.note(screen.noteColors.yellow(oneLine(note, 600)));
    }
    if (result.lines.length === 0) {
      screen.note(`Nothing was written about job ${id} of ${oneLine(result.user, 64)} that can be read now.`);
    }
    return 0;
  } finally {
    calls.close();
  }
}
