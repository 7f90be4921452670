/**
 * What `sky queue` prints for one cluster: the table of jobs, then, below it, why each waiting job waits and why a job
 * ended without its own doing. The reasons come from the coordinator, which computes them; none is invented here.
 */
import type { QueueRow } from "../../shared/api.ts";
import type { JobStatus } from "../../shared/job.ts";
import type { Colors } from "./screen.ts";
import { type Column, formatTable, plain, wrap } from "./table.ts";
import { ago, duration } from "./times.ts";

/** Most reasons printed below one table; the rest is counted. */
const reasonsMax = 20;

/** A status in SkyPilot's colour for it. */
export function colorStatus(status: string, colors: Colors): string {
  switch (status as JobStatus) {
    case "INIT":
    case "PENDING":
    case "SETTING_UP":
      return colors.blue(status);
    case "RUNNING":
    case "SUCCEEDED":
      return colors.green(status);
    case "FAILED":
    case "FAILED_SETUP":
    case "FAILED_DRIVER":
      return colors.red(status);
    case "CANCELLED":
      return colors.yellow(status);
    default:
      return status;
  }
}

function columnsFor(withUser: boolean): Column[] {
  return [
    { title: "ID" },
    { title: "NAME", min: 7, cutOrder: 2 },
    ...(withUser ? [{ title: "USER", min: 6, cutOrder: 4 }] : []),
    { title: "SUBMITTED", min: 9, cutOrder: 6 },
    { title: "STARTED", min: 8, cutOrder: 5 },
    { title: "DURATION" },
    { title: "RESOURCES", min: 10, cutOrder: 3 },
    { title: "STATUS", color: colorStatus },
    { title: "LOG", min: 5, cutOrder: 1, keepEnd: true },
  ];
}

/** A job that failed by its own doing says why in its log; one that waits or was lost does not. */
function needsReason(status: JobStatus): boolean {
  return !["SUCCEEDED", "FAILED", "FAILED_SETUP", "CANCELLED"].includes(status);
}

/** `3rd`. */
function ordinal(place: number): string {
  const last = place % 10;
  const isTeen = Math.floor(place / 10) % 10 === 1;
  const ending = isTeen ? "th" : last === 1 ? "st" : last === 2 ? "nd" : last === 3 ? "rd" : "th";
  return `${place}${ending}`;
}

/** When it started; of a job that waits, where it stands among those of all users. */
function startedText(row: QueueRow, now: number): string {
  const place = row.position_over_all ?? row.position;
  return row.start_at === null && place !== null ? ordinal(place) : ago(row.start_at, now);
}

function lineText({ position, position_over_all }: QueueRow): string {
  if (position === null) {
    return "";
  }
  return position_over_all === null ? `, ${position} in line` : `, ${position} of yours, ${position_over_all} in line`;
}

function reasonsText(cluster: string, rows: QueueRow[], limit: number): string[] {
  const told = rows.filter((row) => row.reason !== null && row.reason !== "" && needsReason(row.status));
  if (told.length === 0) {
    return [];
  }
  const lines = told.slice(0, reasonsMax).map((row) => {
    const head = `Job ${row.job_id} (${row.status}${lineText(row)}): `;
    return wrap(head + plain(row.reason ?? ""), "    ", limit).replace(/^ {2}/, "");
  });
  const more = told.length - lines.length;
  const rest = more > 0 ? [`  ... and ${more} more (--output json shows all).`] : [];
  const first = told.find((row) => row.position !== null);
  const next =
    first === undefined ? [] : [`When it starts, and what would make it start: sky explain ${cluster} ${first.job_id}`];
  return ["Reasons:", ...lines, ...rest, ...next];
}

/** The text for one cluster. `now` in seconds since 1970; `limit` the width to fit. */
export function queueText(
  cluster: string,
  rows: QueueRow[],
  options: { allUsers: boolean; now: number; limit: number },
  colors: Colors,
): string {
  const { allUsers, now, limit } = options;
  const heading = `Job queue of ${allUsers ? "all users" : "current user"} on cluster ${cluster}`;
  if (rows.length === 0) {
    return `${heading}\nNo jobs.`;
  }
  const cells = rows.map((row) => [
    String(row.job_id),
    row.job_name ?? "-",
    ...(allUsers ? [row.username] : []),
    ago(row.submitted_at, now),
    startedText(row, now),
    duration(row.start_at, row.end_at, now),
    row.resources,
    row.status,
    row.log_path === "" ? "-" : row.log_path,
  ]);
  const table = formatTable(columnsFor(allUsers), cells, limit, colors);
  const reasons = reasonsText(cluster, rows, limit);
  return [heading, table, ...(reasons.length === 0 ? [] : ["", ...reasons])].join("\n");
}
