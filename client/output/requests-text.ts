/**
 * What `sky api` prints: the table of requests, and what follows `--async`. Times are told from the caller's present
 * moment. Pure. Used by client/commands/api.ts and client/program.ts.
 */
import type { RequestPayload } from "../../shared/api.ts";
import type { Colors } from "./screen.ts";
import { type Column, formatTable } from "./table.ts";
import { ago } from "./times.ts";

/** Characters of an id that are shown where it is to be typed again. */
const shortId = 8;

function colorOf(status: string, colors: Colors): string {
  switch (status) {
    case "SUCCEEDED":
    case "RUNNING":
      return colors.green(status);
    case "FAILED":
      return colors.red(status);
    case "CANCELLED":
      return colors.yellow(status);
    default:
      return colors.blue(status);
  }
}

/** The table; `limit` is the width to fit. Empty: a row of dashes, as SkyPilot prints it. */
export function requestsText(rows: readonly RequestPayload[], now: number, limit: number, colors: Colors): string {
  const withCluster = rows.some((row) => row.cluster_name !== null);
  const columns: Column[] = [
    { title: "ID" },
    { title: "User", min: 6, cutOrder: 2 },
    { title: "Name", min: 8, cutOrder: 1 },
    ...(withCluster ? [{ title: "Cluster", min: 7, cutOrder: 3 }] : []),
    { title: "Created" },
    { title: "Status", color: colorOf },
  ];
  const cells = rows.map((row) => [
    row.request_id,
    row.user_name ?? "-",
    row.name,
    ...(withCluster ? [row.cluster_name ?? "-"] : []),
    ago(row.created_at, now),
    row.status,
  ]);
  return formatTable(columns, cells.length === 0 ? [columns.map(() => "-")] : cells, limit, colors);
}

/** Below a table that shows only the newest. */
export function moreRequests(shown: number): string {
  return `Showing ${shown} requests. Use "-l none" or "-l all" to show all requests.`;
}

/** What `--async` prints once the cluster has taken the request. */
export function takenText(
  taken: { clusterName: string; requestId: string; requestName: string },
  colors: Colors,
): string {
  const id = taken.requestId.slice(0, shortId);
  const command = (verb: string): string => colors.bold(`sky api ${verb} -c ${taken.clusterName} ${id}`);
  return [
    `Submitted sky.${taken.requestName} request: ${taken.requestId}`,
    `├── To follow it:   ${command("logs")}`,
    `└── To cancel it:   ${command("cancel")}`,
  ].join("\n");
}
