/**
 * What `sky admin nodes` prints: the table of nodes, what is to be said about each, and all of one node. Pure. Used by
 * commands/admin/.
 */
import type { AdminNodeRow, AdminNodesResult, JobThere } from "../../shared/admin-api.ts";
import type { NodeRow } from "../../shared/api.ts";
import { colorStatus } from "./queue-text.ts";
import type { Colors } from "./screen.ts";
import { type Column, formatTable, plain, wrap } from "./table.ts";
import { ago, duration, roundSpan } from "./times.ts";
import { windowNote } from "./windows-text.ts";

/** Jobs that one line names; the rest is counted. */
const jobsNamed = 6;
/** Disks that are named; the rest is counted. */
const disksNamed = 6;

/**
 * `DRAINING`, `DRAINED`, `REMOVED`, `MAINTENANCE` and `RESERVED` are an admin's word; without one it is how the node is.
 * One that cannot be reached says that rather than what it is set aside for.
 */
export function shownState(row: Pick<NodeRow, "state" | "admin" | "windows">): string {
  if (row.admin !== null) {
    return row.admin.state.toUpperCase();
  }
  const on = row.windows.filter((window) => window.on);
  if (row.state !== "UP" || on.length === 0) {
    return row.state;
  }
  return on.some((window) => window.kind === "maintenance") ? "MAINTENANCE" : "RESERVED";
}

export function colorState(text: string, colors: Colors): string {
  switch (text) {
    case "UP":
      return colors.green(text);
    case "DRAINING":
    case "DRAINED":
    case "MAINTENANCE":
    case "RESERVED":
      return colors.yellow(text);
    default:
      return colors.red(text);
  }
}

function acceleratorsText(row: AdminNodeRow): string {
  const kinds = Object.entries(row.accelerators).map(([kind, count]) => `${kind}:${count}`);
  return kinds.length === 0 ? "-" : kinds.join(", ");
}

function reportText(row: AdminNodeRow): string {
  return row.last_report_seconds_ago === null ? "never" : ago(0, row.last_report_seconds_ago);
}

/** `alice's job 3 (RUNNING), bob's job 1 (PENDING)`. */
export function jobsText(jobs: readonly JobThere[]): string {
  const named = jobs
    .slice(0, jobsNamed)
    .map((job) => `${job.user}'s job ${job.job_id} (${job.status ?? "unknown to the coordinator"})`);
  const rest = jobs.length - named.length;
  return plain(`${named.join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`);
}

/** `drained by root 5 mins ago: new disks; what runs there ends in 1h 30m`. */
export function adminText(row: Pick<NodeRow, "admin">, now: number): string | null {
  const { admin } = row;
  if (admin === null) {
    return null;
  }
  const what = admin.state === "removed" ? "removed" : "drained";
  const who = admin.by === null ? "" : ` by ${admin.by}`;
  const when = admin.since === null ? "" : ` ${ago(admin.since, now)}`;
  const why = admin.reason === null ? "" : `: ${admin.reason}`;
  const left = admin.deadline === null || admin.state !== "draining" ? null : admin.deadline - now;
  const until = left === null ? "" : `; what runs there ends ${left <= 0 ? "now" : `in ${roundSpan(left)}`}`;
  return `${what}${who}${when}${why}${until}`;
}

/** What an admin should know of this node besides its row, one text each. */
function notesOf(row: AdminNodeRow, version: string, now: number): string[] {
  const notes: string[] = [];
  const decided = adminText(row, now);
  if (decided !== null) {
    notes.push(decided);
    if (row.state !== "UP" && row.admin?.state !== "removed") {
      notes.push(`it is ${row.state}`);
    }
  }
  notes.push(...row.windows.map((window) => windowNote(window, now)));
  if (row.version !== null && row.version !== version) {
    notes.push(`its agent is version ${row.version}, the coordinator ${version}`);
  }
  if (row.key === "changing") {
    notes.push("it has made a new key and has not connected with it yet; both keys are accepted");
  }
  if (row.unknown.length > 0) {
    const many = row.unknown.length === 1 ? "an attempt" : `${row.unknown.length} attempts`;
    notes.push(`runs ${many} that the coordinator does not know: \`sky admin unknown\``);
  }
  return [...notes, ...row.warnings];
}

const columns: Column[] = [
  { title: "NODE", min: 10, cutOrder: 1 },
  { title: "STATE", color: colorState },
  { title: "VERSION", min: 7, cutOrder: 3 },
  { title: "ACCELERATORS", min: 12, cutOrder: 2 },
  { title: "LOAD" },
  { title: "JOBS" },
  { title: "REPORT" },
];

/** The table and the notes below it. `now` in seconds since 1970; `limit` the width to fit. */
export function adminNodesText(result: AdminNodesResult, now: number, limit: number, colors: Colors): string {
  const rows = result.nodes.map((row) => [
    row.name,
    shownState(row),
    row.version ?? "-",
    acceleratorsText(row) === "-" ? "-" : `${acceleratorsText(row)} (${row.source ?? "?"})`,
    row.load1 === null ? "-" : row.load1.toFixed(2),
    String(row.jobs.length + row.unknown.length),
    reportText(row),
  ]);
  const heading = colors.bold(colors.cyan(`Cluster ${result.cluster}`));
  const parts = [heading, formatTable(columns, rows, limit, colors)];
  const notes = result.nodes.flatMap((row) => notesOf(row, result.version, now).map((text) => `${row.name}: ${text}`));
  if (notes.length > 0) {
    parts.push("", "Notes:", ...notes.map((text) => wrap(text, "  ", limit)));
  }
  return parts.join("\n");
}

function gigabytes(value: number | null): string {
  return value === null ? "?" : `${Math.round(value * 10) / 10} GiB`;
}

const keyTexts: Record<AdminNodeRow["key"], string> = {
  configured: "the one in the coordinator's config",
  changing: "being exchanged; the old and the new one are accepted",
  new: "made by the node since; the config still has the one before",
};

/** The largest first. */
function disksText(row: AdminNodeRow): string {
  const largest = row.disks.toSorted((a, b) => b.size_gb - a.size_gb);
  const more = largest.length > disksNamed ? ` and ${largest.length - disksNamed} more` : "";
  return (
    plain(
      largest
        .slice(0, disksNamed)
        .map((disk) => `${disk.mount} ${gigabytes(disk.size_gb)}`)
        .join(", "),
    ) + more
  );
}

function factsOf(row: AdminNodeRow, version: string, now: number): [string, string][] {
  const admin = adminText(row, now);
  const accelerators = Object.entries(row.accelerators).map(
    ([kind, count]) => `${kind}: ${row.accelerators_free[kind] ?? 0} of ${count} free`,
  );
  const memory = `${gigabytes(row.memory_gb_free)} of ${gigabytes(row.memory_gb)} not granted`;
  const skew = row.clock_skew_seconds;
  return [
    ["State", admin === null ? row.state : `${shownState(row)}, ${admin}`],
    ...row.windows.map((window): [string, string] => ["Set aside", windowNote(window, now)]),
    ["Connection", `${row.state}, last report ${reportText(row)}`],
    ["Version", `${row.version ?? "?"} (protocol ${row.protocol ?? "?"}); coordinator ${version}`],
    ["Address", row.address ?? "?"],
    ["Key", keyTexts[row.key]],
    [
      "Accelerators",
      accelerators.length === 0
        ? `none ${row.source === "config" ? "(declared by the config)" : "found"}`
        : `${accelerators.join(", ")} (found by: ${row.source ?? "?"}${row.driver === null ? "" : `; driver ${row.driver}`})`,
    ],
    ["CPUs", `${row.cpus_free} of ${row.cpus} not granted; load ${row.load1?.toFixed(2) ?? "?"}`],
    ...(row.cpu_model === null ? [] : [["CPU model", plain(row.cpu_model)] satisfies [string, string]]),
    ["Memory", `${memory}; ${gigabytes(row.memory_available_gb)} available`],
    ["Disk", `${gigabytes(row.disk_free_gb)} free where the agent keeps its ledger`],
    ...(row.disks.length === 0 ? [] : [["Disks", disksText(row)] satisfies [string, string]]),
    ...(row.os === null ? [] : [["System", plain(row.os)] satisfies [string, string]]),
    ["Clock", skew === null ? "?" : `${Math.abs(skew).toFixed(1)} s ${skew >= 0 ? "ahead of" : "behind"} the head's`],
    ["Up for", row.uptime_seconds === null ? "?" : duration(0, row.uptime_seconds, 0)],
    ["Skylets", String(row.skylets ?? "?")],
  ];
}

const deviceColumns: Column[] = [
  { title: "INDEX" },
  { title: "KIND", min: 8, cutOrder: 2 },
  { title: "NAME", min: 10, cutOrder: 1 },
  { title: "PCI" },
  { title: "GRANTED" },
  { title: "BUSY" },
  { title: "STATE", color: (text, colors) => (text === "ok" ? colors.green(text) : colors.red(text)) },
];

function deviceRows(row: AdminNodeRow): string[][] {
  return row.devices.map(({ index, kind, name, pci, granted, utilization, fault }) => [
    String(index),
    kind,
    name ?? "-",
    pci ?? "-",
    granted === 0 ? "-" : String(Math.round(granted * 100) / 100),
    utilization === null ? "-" : `${Math.round(utilization)}%`,
    fault === null ? "ok" : "FAULTY",
  ]);
}

const jobColumns: Column[] = [
  { title: "USER" },
  { title: "JOB" },
  { title: "NAME", min: 8, cutOrder: 1 },
  { title: "STATUS", color: colorStatus },
  { title: "ATTEMPT" },
];

/** Everything about one node. */
export function adminNodeText(
  row: AdminNodeRow,
  result: AdminNodesResult,
  screen: { now: number; limit: number },
  colors: Colors,
): string {
  const { now, limit } = screen;
  const facts = factsOf(row, result.version, now);
  const width = Math.max(...facts.map(([name]) => name.length)) + 2;
  const indent = " ".repeat(width + 2);
  const lines = facts.map(([name, text]) => `  ${name.padEnd(width)}${wrap(text, indent, limit).trimStart()}`);
  const jobs = [...row.jobs, ...row.unknown].map((job) => {
    return [job.user, String(job.job_id), job.name ?? "-", job.status ?? "UNKNOWN", job.attempt];
  });
  const warnings = row.warnings.map((text) => wrap(text, "  ", limit));
  return [
    colors.bold(colors.cyan(`Node ${row.name} (${row.label}) of cluster ${result.cluster}`)),
    ...lines,
    ...(row.devices.length === 0 ? [] : ["", formatTable(deviceColumns, deviceRows(row), limit, colors)]),
    "",
    jobs.length === 0 ? "No jobs." : formatTable(jobColumns, jobs, limit, colors),
    ...(warnings.length === 0 ? [] : ["", "Warnings:", ...warnings]),
  ].join("\n");
}
