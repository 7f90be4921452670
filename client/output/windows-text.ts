/**
 * Windows of nodes in words: the table of `sky admin windows`, and what is said of one beside a node. Times are those of
 * this machine's time zone. Pure. Used by commands/admin/windows.ts and the tables of nodes.
 */
import type { WindowRow, WindowsResult } from "../../shared/scheduling-api.ts";
import type { Colors } from "./screen.ts";
import { type Column, formatTable, wrap } from "./table.ts";
import { localTime, roundSpan } from "./times.ts";

/** Names that one text lists; the rest is counted. */
const namesListed = 8;

function listed(names: readonly string[]): string {
  const rest = names.length - namesListed;
  return rest > 0 ? `${names.slice(0, namesListed).join(", ")} and ${rest} more` : names.join(", ");
}

/** `alice, members of prof`, `others` where the reader may not know them; `-` for maintenance. */
function whomText(window: Pick<WindowRow, "kind" | "users" | "groups">): string {
  const { users, groups } = window;
  const names = [...users, ...groups.map((group) => `members of ${group}`)];
  return window.kind === "maintenance" ? "-" : names.length === 0 ? "others" : listed(names);
}

/** `in maintenance until 2026-12-01 12:00 (3h): new disks [w1]`, `reserved for alice from … (in 20m) to …`. */
export function windowNote(window: WindowRow, now: number): string {
  const what = window.kind === "maintenance" ? "maintenance" : `reserved for ${whomText(window)}`;
  const why = window.reason === null ? "" : `: ${window.reason}`;
  const end = localTime(window.to);
  const times = window.on
    ? `until ${end} (${roundSpan(window.to - now)})`
    : `from ${localTime(window.from)} (in ${roundSpan(window.from - now)}) to ${end}`;
  return `${what} ${times}${why} [${window.id}]`;
}

const columns: Column[] = [
  { title: "ID" },
  { title: "KIND" },
  { title: "NODES", min: 8, cutOrder: 1 },
  { title: "FROM" },
  { title: "TO" },
  { title: "FOR", min: 8, cutOrder: 2 },
];

function detailsOf(window: WindowRow, now: number): string {
  const parts = [
    window.on ? "is on" : `begins in ${roundSpan(window.from - now)}`,
    ...(window.end_jobs ? ["what still runs there at its begin is ended"] : []),
    ...(window.by === null ? [] : [`set by ${window.by}`]),
    ...(window.reason === null ? [] : [window.reason]),
  ];
  return `${window.id}: ${parts.join("; ")}`;
}

/** The table and a line of details for each. `now` in seconds since 1970; `limit` the width to fit. */
export function windowsText(result: WindowsResult, now: number, limit: number, colors: Colors): string {
  const heading = colors.bold(colors.cyan(`Cluster ${result.cluster}`));
  if (result.windows.length === 0) {
    return `${heading}\nNo node is set aside.`;
  }
  const rows = result.windows.map((window) => [
    window.id,
    window.kind,
    listed(window.nodes),
    localTime(window.from),
    localTime(window.to),
    whomText(window),
  ]);
  const details = result.windows.map((window) => wrap(detailsOf(window, now), "  ", limit));
  return [heading, formatTable(columns, rows, limit, colors), "", ...details].join("\n");
}
