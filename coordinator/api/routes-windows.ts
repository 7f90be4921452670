/**
 * Windows of nodes: admins set nodes aside for maintenance or for some people, look at what is set aside, and take it
 * back. A window is checked against the nodes, the head's accounts and the other windows, is on disk before it is
 * answered, and is a line in the log that says who made it. Unknown keys are errors.
 */
import type { z } from "zod";
import { SkyError } from "../../shared/errors.ts";
import { didYouMean } from "../../shared/near-match.ts";
import type { NodeWindow } from "../../shared/scheduling.ts";
import {
  type WindowAddResult,
  windowAheadSecondsMax,
  windowBodySchema,
  windowRemoveBodySchema,
  type WindowRow,
  type WindowsResult,
  windowsResultSchema,
} from "../../shared/scheduling-api.ts";
import { jobsOn } from "../core/node-admin.ts";
import type { State } from "../core/state.ts";
import { windowRowOf, windowRows } from "../core/window-views.ts";
import { mayRunIn } from "../core/windows.ts";
import { startCall } from "./call.ts";
import { liveParts } from "./job-watch.ts";
import { groupNote, requireUser } from "./named-people.ts";
import { json, plainRoute, type Route, route, type RouteCall } from "./route.ts";
import { record, requireNodes } from "./routes-admin.ts";

const windowsMax = 1_000;
/** A begin that is no longer ago than this means now: clocks differ, and calls take time. */
const pastSlackMs = 60_000;
/** Jobs that a note names; the rest is counted. */
const jobsNamed = 5;

type Wish = z.infer<typeof windowBodySchema>;

function timesOf(wish: Wish, now: number): { from: number; to: number } {
  const wished = wish.from === null ? now : Math.round(wish.from * 1000);
  if (wished < now - pastSlackMs) {
    throw new SkyError("ValueError", "The window would begin in the past.", "Use --from now to begin at once.");
  }
  const from = Math.max(wished, now);
  if ((wish.to === null) === (wish.for_seconds === null)) {
    throw new SkyError("ValueError", "A window needs an end.", "Give either --to or --for.");
  }
  const to = Math.round(wish.to === null ? from + (wish.for_seconds ?? 0) * 1000 : wish.to * 1000);
  if (to <= from) {
    throw new SkyError("ValueError", "The window would end before it begins.", "Look at --from and --to.");
  }
  if (to > now + windowAheadSecondsMax * 1000) {
    throw new SkyError("ValueError", "The window would end in more than two years.", "Look at --to.");
  }
  return { from, to };
}

/** Checks whom a window is for; returns what the admin should know. */
async function checkPeople(state: State, wish: Wish): Promise<string[]> {
  const { kind, users, groups } = wish;
  if (kind === "maintenance" && users.length + groups.length > 0) {
    throw new SkyError("ValueError", "Maintenance is for nobody.", "To set nodes aside for people: sky admin reserve");
  }
  if (kind === "reservation" && users.length + groups.length === 0) {
    throw new SkyError("ValueError", "A reservation needs somebody.", "Name them with --user and --group.");
  }
  const notes: string[] = [];
  for (const user of users) {
    await requireUser(state, user);
  }
  for (const group of groups) {
    const note = await groupNote(state, group, "nobody can run there as its member");
    notes.push(...(note === null ? [] : [note]));
  }
  return notes;
}

function sharedNodes(one: NodeWindow, other: NodeWindow): string[] {
  return one.nodes.filter((node) => other.nodes.includes(node));
}

/** The same window again, sent by somebody whose first call was cut. */
function isTwin(one: NodeWindow, other: NodeWindow): boolean {
  const near = (a: number, b: number): boolean => Math.abs(a - b) <= pastSlackMs;
  const parts = ({ kind, nodes, users, groups, endJobs, reason, by }: NodeWindow): string =>
    JSON.stringify([kind, nodes, users, groups, endJobs, reason, by]);
  return parts(one) === parts(other) && near(one.from, other.from) && near(one.to, other.to);
}

/** Throws where two reservations would keep each other's people out; returns notes about other overlaps. */
function checkOverlaps(state: State, window: NodeWindow): string[] {
  const notes: string[] = [];
  for (const other of state.windows.values()) {
    const nodes = sharedNodes(window, other);
    if (nodes.length === 0 || other.to <= window.from || window.to <= other.from) {
      continue;
    }
    const where = nodes.slice(0, 8).join(", ");
    if (window.kind === "reservation" && other.kind === "reservation") {
      const text = `${where}: reserved already in part of that time, by window ${other.id}. Nobody could run in both.`;
      throw new SkyError("ValueError", text, `Look: sky admin windows. Drop it: sky admin windows remove ${other.id}`);
    }
    notes.push(`${where}: overlaps ${other.kind} ${other.id}.`);
  }
  return notes;
}

/** Jobs that hold something there now and may not run in the window. */
function jobNotes(state: State, window: NodeWindow): string[] {
  const found = new Set<string>();
  for (const node of window.nodes) {
    for (const { id, record: job } of jobsOn(state, node)) {
      if (!mayRunIn(state, window, job)) {
        found.add(`${job.user}'s job ${id}`);
      }
    }
  }
  if (found.size === 0) {
    return [];
  }
  const named = [...found].slice(0, jobsNamed).join(", ");
  const rest = found.size > jobsNamed ? ` and ${found.size - jobsNamed} more` : "";
  const then = window.endJobs
    ? "will be ended at its begin, if still there"
    : "may go on into it (--end-jobs ends them)";
  return [`Running there now: ${named}${rest}; ${then}.`];
}

/** The first number that no window has had since the oldest that is left. */
function nextId(state: State): string {
  const used = [...state.windows.keys()].map((id) => Number(id.slice(1)));
  return `w${Math.max(0, ...used) + 1}`;
}

async function addWindow(call: RouteCall<Wish>): Promise<WindowAddResult> {
  const { loop } = liveParts(call.context.parts);
  const { state } = loop;
  const { body } = call;
  requireNodes(state, body.nodes);
  const notes = await checkPeople(state, body);
  // From here on without a pause, so that no other call can take the same id or overlap.
  const now = Date.now();
  const { kind, end_jobs: endJobs, reason } = body;
  const [nodes, users, groups] = [body.nodes, body.users, body.groups].map((names) => [...new Set(names)]);
  const people = { nodes: nodes ?? [], users: users ?? [], groups: groups ?? [] };
  const rest = { endJobs, reason, by: call.account.name.slice(0, 64) };
  const window: NodeWindow = { id: nextId(state), kind, ...timesOf(body, now), ...people, ...rest };
  const twin = [...state.windows.values()].find((other) => isTwin(window, other));
  if (twin !== undefined) {
    return { window: windowRowOf(twin, now), notes: [`It was there already, as ${twin.id}.`] };
  }
  if (state.windows.size >= windowsMax) {
    throw new SkyError("ValueError", `There are ${windowsMax} windows, which is the limit.`, "Remove some.");
  }
  notes.push(...checkOverlaps(state, window), ...jobNotes(state, window));
  record(call, "window-add", { ...window });
  await loop.dispatch({ type: "windowChanged", id: window.id, window });
  return { window: windowRowOf(window, Date.now()), notes };
}

async function removeWindows(call: RouteCall<{ ids: string[] }>): Promise<WindowRow[]> {
  const { loop } = liveParts(call.context.parts);
  const ids = [...new Set(call.body.ids)];
  const missing = ids.find((id) => !loop.state.windows.has(id));
  if (missing !== undefined) {
    const hint = didYouMean(missing, loop.state.windows.keys()) ?? "`sky admin windows` lists those that there are.";
    throw new SkyError("ValueError", `There is no window '${missing}'. Nothing was removed.`, hint);
  }
  const rows = windowRows(loop.state, Date.now()).filter((row) => ids.includes(row.id));
  record(call, "window-remove", { ids });
  await Promise.all(ids.map((id) => loop.dispatch({ type: "windowChanged", id, window: null })));
  return rows;
}

export const windowRoutes: Route[] = [
  plainRoute({
    method: "GET",
    path: "/onprem/admin/windows",
    identity: "admin",
    summary: "Times for which nodes are set aside: those that are on and those to come.",
    reply: windowsResultSchema,
    handle: async ({ context }) => {
      const { loop } = liveParts(context.parts);
      const result: WindowsResult = { cluster: context.config.cluster, windows: windowRows(loop.state, Date.now()) };
      return json(result);
    },
  }),
  route({
    method: "POST",
    path: "/onprem/admin/window",
    identity: "admin",
    summary: "Sets nodes aside for maintenance, or for the jobs of some people.",
    body: windowBodySchema,
    handle: async (call) =>
      startCall(call, { name: "admin.window", cluster: null, readOnly: false }, () => addWindow(call)),
  }),
  route({
    method: "POST",
    path: "/onprem/admin/window/remove",
    identity: "admin",
    summary: "Takes windows back, also while they are on.",
    body: windowRemoveBodySchema,
    handle: async (call) =>
      startCall(call, { name: "admin.window-remove", cluster: null, readOnly: false }, () => removeWindows(call)),
  }),
];
