/**
 * Times for which admins have set nodes aside: which window keeps whose jobs off which node, and from when to when. It is
 * derived from the state and the time in ms since 1970, and changes nothing. Pure; called by the plan, the explanations,
 * the views and settle-windows.ts.
 */
import type { NodeName, Uid } from "../../shared/ids.ts";
import type { NodeWindow } from "../../shared/scheduling.ts";
import type { State } from "./state.ts";

/** Whose jobs are meant; a job's record is one. */
export interface JobOwner {
  uid: Uid;
  user: string;
}

/** Per node, what is on or still to come, earliest first. Nodes without any have no entry. */
export type NodeWindows = ReadonlyMap<NodeName, readonly NodeWindow[]>;

export function isOn(window: NodeWindow, now: number): boolean {
  return window.from <= now && now < window.to;
}

/** Gathered once for all questions at one time. */
export function windowsByNode(state: State, now: number): NodeWindows {
  const found = new Map<NodeName, NodeWindow[]>();
  const open = [...state.windows.values()].filter((window) => window.to > now);
  for (const window of open.sort((a, b) => a.from - b.from || a.to - b.to || (a.id < b.id ? -1 : 1))) {
    for (const name of window.nodes) {
      const list = found.get(name);
      if (list === undefined) {
        found.set(name, [window]);
      } else {
        list.push(window);
      }
    }
  }
  return found;
}

/** Nobody's jobs run in maintenance; in a reservation those of the named users and of members of the named groups. */
export function mayRunIn(state: State, window: NodeWindow, owner: JobOwner): boolean {
  if (window.kind === "maintenance") {
    return false;
  }
  const groups = state.people.get(owner.uid)?.groups ?? [];
  return window.users.includes(owner.user) || groups.some((group) => window.groups.includes(group));
}

/**
 * The first window that is on or to come on this node and in which this owner's jobs may not run; null: none. What could
 * still run at its `from` must not be started there now. `windows`: of `windowsByNode`, where many questions are asked.
 */
export function nextWindowFor(
  state: State,
  node: NodeName,
  owner: JobOwner,
  now: number,
  windows: NodeWindows = windowsByNode(state, now),
): NodeWindow | null {
  return windows.get(node)?.find((window) => !mayRunIn(state, window, owner)) ?? null;
}

/** The next moment at which a window begins or ends, ms since 1970; null: there is none to come. */
export function nextEdge(state: State, now: number): number | null {
  let next: number | null = null;
  for (const { from, to } of state.windows.values()) {
    for (const edge of [from, to]) {
      if (edge > now && (next === null || edge < next)) {
        next = edge;
      }
    }
  }
  return next;
}
