/**
 * Waiting jobs by class of equal demands and by user, so that what is tried next is found without looking at all of
 * them. Within a user strictly by number; the order between users and priorities is made anew at each plan by turns.ts.
 * It decides nothing. Called by the job transitions, the plan and the views.
 */
import type { JobId } from "../../shared/ids.ts";
import { type Demand, demandsOf, type Shape } from "../../shared/job.ts";
import type { Line, WaitingClass } from "./indexes.ts";
import { type ActiveJob, jobKey, type State } from "./state.ts";

function demandText({ accelerators, cpus, memoryGb, labels }: Demand): string {
  const wanted =
    accelerators === null
      ? "-"
      : [
          accelerators.kind.toLowerCase(),
          accelerators.count,
          accelerators.memory?.gb,
          accelerators.memory?.orMore,
        ].join(":") + (accelerators.vendor === undefined ? "" : `@${accelerators.vendor.toLowerCase()}`);
  const chosen =
    labels === undefined ? "" : JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${wanted}|${cpus}|${memoryGb}${chosen}`;
}

/** Equal for jobs that are served in the same way and are equally urgent. Kinds are compared without regard to case. */
export function classOf(shape: Shape): string {
  const parts: (string | number | undefined)[] = [
    shape.priority ?? 0,
    shape.nodes,
    demandsOf(shape)
      .map(demandText)
      .join(shape.anyOrder === true ? " | " : " > "),
    shape.timeLimitSeconds ?? "",
    [
      shape.exclusive === true && "x",
      shape.recovers === true && "r",
      shape.preemptible === true && "p",
      shape.brings === true && "b",
      shape.container === true && "c",
    ]
      .filter(Boolean)
      .join(""),
    (shape.mechanisms ?? []).toSorted().join(),
  ];
  return parts.join("#");
}

export function priorityOf(shape: Shape): number {
  return shape.priority ?? 0;
}

/** For people's lists: within a user by urgency and number, between users by the time of submission. */
export function compareJobs(a: ActiveJob, b: ActiveJob): number {
  if (a.uid === b.uid) {
    return priorityOf(b.record.shape) - priorityOf(a.record.shape) || a.id - b.id;
  }
  return a.record.submittedAt - b.record.submittedAt || a.uid - b.uid;
}

/** First place at which `id` or a later number stands. */
function placeOf(ids: readonly JobId[], id: JobId): number {
  let low = 0;
  let high = ids.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ids[middle] as JobId) < id) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

function slotOf(state: State, uid: number): number {
  const { slots, uids, lines } = state.indexes;
  const known = slots.get(uid);
  if (known !== undefined) {
    return known;
  }
  slots.set(uid, uids.length);
  lines.push([]);
  state.indexes.shares.stale.add(uid);
  return uids.push(uid) - 1;
}

function submittedAt(state: State, line: Line): number {
  return state.jobs.get(jobKey(line.uid, line.ids[0] ?? 0))?.record.submittedAt ?? 0;
}

/** A class without lines. */
export function newClass(name: string, shape: Shape): WaitingClass {
  const empty = { lines: [], slots: [], since: [], at: new Map(), options: [], optionsOf: -1 };
  return { name, shape, priority: priorityOf(shape), ...empty };
}

/** Many ways are much to remember: jobs that are alike have one copy of them. */
function shareShape(job: ActiveJob, shape: Shape): void {
  const own = job.record.shape;
  if (own.others !== undefined && own !== shape && JSON.stringify(own) === JSON.stringify(shape)) {
    job.record = { ...job.record, shape };
  }
}

/** Puts a job into its class. A job that is held after a restore is in no class until it is released. */
export function enqueue(state: State, job: ActiveJob): void {
  if (job.record.restoredFrom !== undefined) {
    return;
  }
  const name = classOf(job.record.shape);
  const own = state.waiting.get(name) ?? newClass(name, job.record.shape);
  state.waiting.set(name, own);
  shareShape(job, own.shape);
  let at = own.at.get(job.uid);
  if (at === undefined) {
    const slot = slotOf(state, job.uid);
    const others = state.indexes.lines[slot] ?? [];
    const fresh: Line = { uid: job.uid, slot, ids: [], own, spot: others.length };
    others.push(fresh);
    at = own.lines.push(fresh) - 1;
    own.slots.push(slot);
    own.since.push(0);
    own.at.set(job.uid, at);
  }
  const line = own.lines[at] as Line;
  const place = placeOf(line.ids, job.id);
  if (line.ids[place] !== job.id) {
    line.ids.splice(place, 0, job.id);
  }
  if (place === 0) {
    own.since[at] = job.record.submittedAt;
  }
}

/** Takes a job out of its class; nothing happens when it is not there. */
export function dequeue(state: State, job: ActiveJob): void {
  const own = state.waiting.get(classOf(job.record.shape));
  const at = own?.at.get(job.uid);
  const line = at === undefined ? undefined : own?.lines[at];
  if (own === undefined || at === undefined || line === undefined) {
    return;
  }
  const place = placeOf(line.ids, job.id);
  if (line.ids[place] !== job.id) {
    return;
  }
  line.ids.splice(place, 1);
  if (line.ids.length === 0) {
    dropLine(state, own, at);
  } else if (place === 0) {
    own.since[at] = submittedAt(state, line);
  }
}

/** The last line takes the place of the one that is empty. */
function dropLine(state: State, own: WaitingClass, at: number): void {
  const line = own.lines[at] as Line;
  const last = own.lines.length - 1;
  const moved = own.lines[last] as Line;
  own.at.delete(line.uid);
  if (last !== at) {
    own.lines[at] = moved;
    own.slots[at] = moved.slot;
    own.since[at] = own.since[last] as number;
    own.at.set(moved.uid, at);
  }
  own.lines.pop();
  own.slots.pop();
  own.since.pop();
  const others = state.indexes.lines[line.slot] ?? [];
  const lastOfUser = others.pop();
  if (lastOfUser !== undefined && lastOfUser !== line) {
    others[line.spot] = lastOfUser;
    lastOfUser.spot = line.spot;
  }
  if (own.lines.length === 0) {
    state.waiting.delete(own.name);
    state.blocked.delete(own.name);
  }
}
