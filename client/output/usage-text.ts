/**
 * What `sky usage` prints: tables for people, and CSV (RFC 4180) for spreadsheets, in which no cell can become a formula.
 * Pure. Used by commands/usage.ts.
 */
import type { IdleResult, IdleRow, UsageAmount, UsageKey, UsageResult, UsageRow } from "../../shared/usage-api.ts";
import type { Colors } from "./screen.ts";
import { type Column, formatTable, wrap } from "./table.ts";
import { duration, localTime } from "./times.ts";

/** The columns of one key; a job is named by its user and its number. */
const titles: Record<UsageKey, string[]> = {
  user: ["USER"],
  group: ["GROUP"],
  kind: ["ACCELERATOR"],
  node: ["NODE"],
  job: ["USER", "JOB"],
};

function keysOf(by: readonly string[]): UsageKey[] {
  const known = (Object.keys(titles) as UsageKey[]).filter((key) => by.includes(key));
  // The job brings its user.
  return known.includes("job") ? known.filter((key) => key !== "user") : known;
}

function cellsOf(keys: UsageRow["keys"], by: readonly UsageKey[]): string[] {
  return by.flatMap((key) =>
    key === "job" ? [keys.user ?? "", String(keys.job ?? "")] : [keys[key] === null ? "-" : (keys[key] ?? "")],
  );
}

function hours(value: number): string {
  return value > 0 && value < 0.005 ? "<0.01" : value.toFixed(2);
}

function amountCells(amount: UsageAmount): string[] {
  return [hours(amount.accelerator_hours), hours(amount.cpu_hours)];
}

/** The text for one cluster. `now` in seconds since 1970. */
export function usageText(result: UsageResult, screen: { limit: number; now: number }, colors: Colors): string {
  const whose = result.scope === "own" ? "your usage" : "usage";
  const isUpToNow = Math.abs(result.to - screen.now) < 120;
  const period = `${localTime(result.from)} to ${isUpToNow ? "now" : localTime(result.to)}`;
  const heading = colors.bold(colors.cyan(`Cluster ${result.cluster}: ${whose}, ${period}`));
  if (result.rows.length === 0) {
    return `${heading}\nNothing was used.`;
  }
  const by = keysOf(result.by);
  const named: Column[] = by
    .flatMap((key) => titles[key])
    .map((title) => (title === "JOB" ? { title } : { title, min: 8, cutOrder: 1 }));
  const columns = [...named, { title: "ACCELERATOR_HOURS" }, { title: "CPU_HOURS" }];
  const rows = result.rows.map((row) => [...cellsOf(row.keys, by), ...amountCells(row)]);
  const total = ["total", ...named.slice(1).map(() => ""), ...amountCells(result.total)];
  const notes: string[] = [];
  if (result.more > 0) {
    notes.push(`${result.more} more rows of smaller use are left out.`);
  }
  if (by.includes("group")) {
    notes.push("A user's use counts in each of their groups, and once in the total.");
  }
  const shown = notes.map((text) => wrap(text, "", screen.limit));
  return [heading, formatTable(columns, [...rows, total], screen.limit, colors), ...shown].join("\n");
}

const idleColumns: Column[] = [
  { title: "NODE", min: 8, cutOrder: 2 },
  { title: "DEVICE", min: 8, cutOrder: 3 },
  { title: "USER", min: 8, cutOrder: 1 },
  { title: "JOB" },
  { title: "IDLE_FOR" },
  { title: "HELD_FOR" },
];

function idleCells(row: IdleRow, now: number): string[] {
  return [
    ...[row.node, `${row.kind} ${row.index}`, row.user ?? "(another user)", row.job === null ? "-" : String(row.job)],
    ...[duration(row.idle_since, now, now), duration(row.held_since, now, now)],
  ];
}

export function idleText(result: IdleResult, limit: number, colors: Colors): string {
  const heading = colors.bold(colors.cyan(`Cluster ${result.cluster}: accelerators that are held and idle`));
  if (result.idle.length === 0) {
    return `${heading}\nNone, as far as the nodes can tell.`;
  }
  const rows = result.idle.map((row) => idleCells(row, result.now));
  return [heading, formatTable(idleColumns, rows, limit, colors)].join("\n");
}

/** A text cell: quoted where it must be, and with `'` in front where a spreadsheet would calculate. */
function cell(text: string): string {
  const harmless = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}

function lines(header: string[], rows: (string | number)[][]): string {
  const written = rows.map((row) => row.map((one) => (typeof one === "number" ? String(one) : cell(one))).join(","));
  return [header.join(","), ...written].join("\r\n");
}

/** One table for all clusters; hours with all their digits. */
export function usageCsv(results: readonly UsageResult[], asked: readonly UsageKey[]): string {
  const by = keysOf(asked);
  const named = by.flatMap((key) => titles[key]).map((title) => title.toLowerCase());
  const header = ["cluster", "from", "to", ...named, "accelerator_hours", "cpu_hours", "memory_gb_hours"];
  const iso = (time: number): string => new Date(time * 1000).toISOString();
  const rows = results.flatMap((result) =>
    result.rows.map((row) => [
      ...[result.cluster, iso(result.from), iso(result.to), ...cellsOf(row.keys, by)],
      ...[row.accelerator_hours, row.cpu_hours, row.memory_gb_hours],
    ]),
  );
  return lines(header, rows);
}

export function idleCsv(results: readonly IdleResult[]): string {
  const header = ["cluster", "node", "device", "accelerator", "user", "job", "idle_seconds", "held_seconds"];
  const rows = results.flatMap((result) =>
    result.idle.map((row) => [
      ...[result.cluster, row.node, row.index, row.kind, row.user ?? "", row.job ?? ""],
      ...[result.now - row.idle_since, row.held_since === null ? "" : result.now - row.held_since],
    ]),
  );
  return lines(header, rows);
}
