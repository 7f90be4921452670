/**
 * What `sky explain` and a dry run print: where one job stands, what holds it back with who has it, when it starts, and
 * what would make it start sooner. All of it was computed by the coordinator; nothing is guessed here. Pure.
 */
import type { Constraint, ExplainPlace, ExplainResult } from "../../shared/explain-api.ts";
import { colorStatus } from "./queue-text.ts";
import type { Colors } from "./screen.ts";
import { plain, wrap } from "./table.ts";
import { duration } from "./times.ts";

/** Constraints printed one by one; the rest is counted. */
const constraintsMax = 12;
const labelWidth = 10;

export interface ExplainOptions {
  /** Seconds since 1970. */
  now: number;
  /** The width to fit. */
  limit: number;
}

/** `14:05`, with the day in front when it is another one; in the time zone of this machine. */
function clockText(time: number, now: number): string {
  const at = new Date(time * 1000);
  const two = (value: number): string => String(value).padStart(2, "0");
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}`;
  const isToday = at.toDateString() === new Date(now * 1000).toDateString();
  return isToday ? clock : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock}`;
}

/** `2h 5m`; what is less than a minute away in seconds. */
function spanText(from: number, to: number): string {
  return to - from < 1 ? "a moment" : duration(from, to, to);
}

/** `in 2h 5m, at 14:05`. */
function whenText(time: number, now: number): string {
  return time <= now ? "now" : `in ${spanText(now, time)}, at ${clockText(time, now)}`;
}

/** `0,1,2,3` as `0-3`. */
function devicesText(devices: number[]): string {
  const parts: string[] = [];
  for (let at = 0; at < devices.length; ) {
    let end = at;
    while (devices[end + 1] === (devices[end] as number) + 1) {
      end += 1;
    }
    parts.push(end - at >= 2 ? `${devices[at]}-${devices[end]}` : devices.slice(at, end + 1).join(","));
    at = end + 1;
  }
  return parts.join(",");
}

/** `n1: V100 0-3, 8 CPUs, 32 GiB`. */
function placeText(place: ExplainPlace): string {
  const share = place.share < 1 ? `${Math.round(place.share * 100) / 100} of ` : "";
  const devices = place.devices.length === 0 ? [] : [`${share}${place.kind ?? "device"} ${devicesText(place.devices)}`];
  const cpus = place.cpus > 0 ? [`${place.cpus} CPUs`] : [];
  const memory = place.memory_gb > 0 ? [`${place.memory_gb} GiB`] : [];
  const what = [...devices, ...cpus, ...memory].join(", ");
  return what === "" ? place.node : `${place.node}: ${what}`;
}

function headOf(result: ExplainResult, cluster: string): string {
  const name = result.name === null ? "" : ` (${plain(result.name)})`;
  if (result.job_id === null) {
    return `Dry run${name} on cluster ${cluster}; nothing was submitted.`;
  }
  return `Job ${result.job_id}${name} of ${result.user} on cluster ${cluster}`;
}

function statusLine(result: ExplainResult, now: number, colors: Colors): string | null {
  if (result.status === null) {
    return null;
  }
  const { submitted_at, started_at, ended_at } = result;
  const told =
    ended_at !== null
      ? `, ${spanText(ended_at, now)} ago${started_at === null ? "" : ` after ${spanText(started_at, ended_at)}`}`
      : started_at !== null
        ? `, for ${spanText(started_at, now)}`
        : submitted_at === null
          ? ""
          : `, submitted ${spanText(submitted_at, now)} ago`;
  return colorStatus(result.status, colors) + told;
}

function positionLine(result: ExplainResult): string | null {
  const { position, waiting, position_over_all, waiting_over_all } = result;
  if (position === null) {
    return null;
  }
  const own = `${position} of ${waiting} waiting job${waiting === 1 ? "" : "s"} of ${result.user}`;
  return position_over_all === null ? own : `${own}, ${position_over_all} of ${waiting_over_all} over all`;
}

/** When it starts; null: it has started, or has ended. */
function startLine(result: ExplainResult, now: number): string | null {
  if (result.starts_now) {
    return result.job_id === null ? "at once" : null;
  }
  if (result.ended_at !== null || result.started_at !== null) {
    return null;
  }
  if (result.earliest_start === null) {
    return "not known when: what it waits for has no known end";
  }
  const where = result.places.length === 0 ? "" : ` on ${result.places.map((place) => place.node).join(", ")}`;
  const when = whenText(result.earliest_start, now);
  return result.is_reserved
    ? `${when}, or sooner: room is kept for it${where}`
    : `perhaps ${when}${where}: then what runs there must be over`;
}

function factsOf(result: ExplainResult, options: ExplainOptions, colors: Colors): string[] {
  const { now, limit } = options;
  const started = result.started_at !== null || (result.starts_now && result.job_id !== null);
  const where = started ? "runs on" : "would get";
  const hasPlaces = result.places.length > 0 && (started || result.starts_now) && result.ended_at === null;
  const places = hasPlaces ? result.places.map(placeText).join("; ") : null;
  const ends =
    result.ends_at === null || result.ended_at !== null ? null : `${whenText(result.ends_at, now)}, at its time limit`;
  const lines: [string, string | null][] = [
    ["status", statusLine(result, now, colors)],
    ["needs", result.needs],
    ["position", positionLine(result)],
    ["starts", startLine(result, now)],
    [where, places],
    ["ends", ends],
  ];
  return lines.flatMap(([label, text]) => (text === null ? [] : [labelled(label, text, limit)]));
}

/** A label and its text, broken below itself. A status may be coloured, so it is never broken. */
function labelled(label: string, text: string, limit: number): string {
  const head = `  ${label.padEnd(labelWidth)} `;
  if (label === "status") {
    return head + text;
  }
  return head + wrap(text, " ".repeat(head.length), limit).slice(head.length);
}

function bullet(text: string, limit: number): string {
  return `  - ${wrap(text, "    ", limit).slice(4)}`;
}

function section(title: string, texts: string[], limit: number): string[] {
  return texts.length === 0 ? [] : ["", title, ...texts.map((text) => bullet(text, limit))];
}

const ofRoom: readonly Constraint["type"][] = ["accelerators", "cpus", "memory", "exclusive"];

function constraintText(one: Constraint, now: number): string {
  if (one.until === null || one.until <= now) {
    return one.text;
  }
  return `${one.text} (${ofRoom.includes(one.type) ? "room by" : "until"} ${clockText(one.until, now)})`;
}

/** The whole answer about one job or one dry run. */
export function explainText(cluster: string, result: ExplainResult, options: ExplainOptions, colors: Colors): string {
  const { now, limit } = options;
  const told = result.constraints.slice(0, constraintsMax).map((one) => constraintText(one, now));
  const more = result.constraints.length - told.length;
  const rest = more > 0 ? [`and ${more} more (-o json shows all)`] : [];
  const waits = result.ended_at === null && result.started_at === null;
  const why = waits || result.reason === null ? [] : [result.reason];
  return [
    wrap(headOf(result, cluster), "", limit),
    ...factsOf(result, options, colors),
    ...section("Why it ended so:", result.ended_at === null ? [] : why, limit),
    ...section("What to know:", result.ended_at === null ? [...new Set([...why, ...result.warnings])] : [], limit),
    ...section("What it waits for:", [...told, ...rest], limit),
    ...section(waits && !result.starts_now ? "What would make it start:" : "Next:", result.actions, limit),
  ].join("\n");
}
