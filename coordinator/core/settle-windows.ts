/**
 * What follows from windows of nodes as time passes: one that is over is forgotten, what may not run in one that is on
 * and ends jobs is ended, and whenever one begins or ends everything is planned again. Jobs are gone through only then,
 * since nothing starts in a window that may not run in it. Called by reduce.ts after each event.
 */
import type { NodeName } from "../../shared/ids.ts";
import type { NodeWindow } from "../../shared/scheduling.ts";
import { type Context, giveUp, planAgain } from "./jobs.ts";
import type { State } from "./state.ts";
import { isOn, mayRunIn } from "./windows.ts";

export function settleWindows(context: Context): void {
  const { state, now } = context;
  if (state.windows.size === 0 || !hasPassedEdge(state, now)) {
    return;
  }
  state.windowsSettledAt = now;
  planAgain(state);
  const ending = new Map<NodeName, NodeWindow[]>();
  for (const window of [...state.windows.values()]) {
    if (window.to <= now) {
      state.windows.delete(window.id);
      context.effects.push({ type: "saveWindow", id: window.id, window: null });
    } else if (window.endJobs && isOn(window, now)) {
      for (const node of window.nodes) {
        ending.set(node, [...(ending.get(node) ?? []), window]);
      }
    }
  }
  if (ending.size > 0) {
    endJobsIn(context, ending);
  }
}

/** Since the last look a window has begun or ended; a clock that was set back passes edges in the other direction. */
function hasPassedEdge(state: State, now: number): boolean {
  const before = state.windowsSettledAt;
  if (before === null) {
    return true;
  }
  const passed = (edge: number): boolean => before < edge !== now < edge;
  return [...state.windows.values()].some((window) => passed(window.from) || passed(window.to));
}

/** Ends what runs in these windows and may not. A job whose start is being written is looked at again when it is. */
function endJobsIn(context: Context, ending: ReadonlyMap<NodeName, readonly NodeWindow[]>): void {
  const { state } = context;
  for (const key of [...state.attempts.values()]) {
    const job = state.jobs.get(key);
    const { phase, attempt } = job?.record ?? {};
    if (job === undefined || phase === "waiting" || phase === "ended") {
      continue;
    }
    for (const { grant } of attempt?.ranks ?? []) {
      const window = ending.get(grant.node)?.find((one) => !mayRunIn(state, one, job.record));
      if (window === undefined) {
        continue;
      }
      if (job.commit === "clean") {
        giveUp(context, job, endText(window, grant.node));
      } else {
        state.windowsSettledAt = null;
      }
      break;
    }
  }
}

/** Why a job is ended, as its user reads it. */
function endText(window: NodeWindow, node: string): string {
  const why = window.reason === null ? "" : `: ${window.reason}`;
  const what = window.kind === "maintenance" ? "maintenance" : "a reservation of others";
  return `${node} was set aside for ${what} (window ${window.id})${why}`;
}
