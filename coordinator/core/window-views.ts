/**
 * Windows of nodes as the API shows them: rows with times in seconds since 1970, and per node those that are on or come
 * within a day. Computed when asked for; it changes nothing. Called by views.ts and the API's routes for windows.
 */
import type { NodeWindow } from "../../shared/scheduling.ts";
import type { WindowRow } from "../../shared/scheduling-api.ts";
import type { State } from "./state.ts";
import { maySee, type Viewer } from "./viewer.ts";
import { isOn, type NodeWindows } from "./windows.ts";

/** Milliseconds before its begin from which a node's row names a window. */
const shownBeforeMs = 86_400_000;

export function windowRowOf(window: NodeWindow, now: number): WindowRow {
  const { id, kind, nodes, from, to, users, groups, endJobs, reason, by } = window;
  const times = { from: from / 1000, to: to / 1000 };
  return { id, kind, nodes, ...times, users, groups, end_jobs: endJobs, reason, by, on: isOn(window, now) };
}

/** What is on or to come, earliest first. */
export function windowRows(state: State, now: number): WindowRow[] {
  const open = [...state.windows.values()].filter((window) => window.to > now);
  return open
    .sort((a, b) => a.from - b.from || a.to - b.to || (a.id < b.id ? -1 : 1))
    .map((window) => windowRowOf(window, now));
}

/** What a node's row tells: its windows that are on or begin within a day. Their other nodes are left out. */
export function windowsShownOf(windows: NodeWindows, node: string, now: number): WindowRow[] {
  const near = (windows.get(node) ?? []).filter((window) => window.from <= now + shownBeforeMs);
  return near.map((window) => ({ ...windowRowOf(window, now), nodes: [node] }));
}

/**
 * A row as this reader may see it: of those whom a reservation is for, only people whose jobs they may know of, and groups
 * that they are in themselves.
 */
export function windowSeenBy(state: State, viewer: Viewer, row: WindowRow): WindowRow {
  if (viewer.isAdmin) {
    return row;
  }
  const own = state.people.get(viewer.uid)?.groups ?? [];
  const known = new Set(
    [...state.people.values()].filter((one) => maySee(state, viewer, one.uid)).map((one) => one.user),
  );
  const users = row.users.filter((user) => known.has(user));
  return { ...row, by: null, users, groups: row.groups.filter((group) => own.includes(group)) };
}
