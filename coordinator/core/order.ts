/**
 * In which order waiting jobs are tried: the single place that a fair share or priorities would change. Within a user
 * strictly by number, between users by the time of submission. Also names the classes of equal demands, which are
 * tried once per plan. Pure; called by the job transitions, the plan and the views.
 */
import type { Shape } from "../../shared/job.ts";
import { type ActiveJob, type JobKey, jobKey, type State } from "./state.ts";

/** Equal for jobs that fit on exactly the same nodes. Kinds of accelerators are compared without regard to case. */
export function classOf(shape: Shape): string {
  const accelerators = shape.accelerators;
  const wanted = accelerators === null ? "-" : `${accelerators.kind.toLowerCase()}:${accelerators.count}`;
  return `${shape.nodes}|${wanted}|${shape.cpus}|${shape.memoryGb}${shape.recovers === true ? "|recovers" : ""}`;
}

/** Negative when `a` is to be tried before `b`. */
export function compareJobs(a: ActiveJob, b: ActiveJob): number {
  if (a.uid === b.uid) {
    return a.id - b.id;
  }
  return a.record.submittedAt - b.record.submittedAt || a.uid - b.uid;
}

/**
 * Puts a job into its class. Searched from the end, because new jobs nearly always are last; and since a user's newest
 * number stops the search, the order within a user holds even when the clock was set back between two submissions. A
 * job that is held after a restore is in no class until it is released.
 */
export function enqueue(state: State, job: ActiveJob): void {
  if (job.record.restoredFrom !== undefined) {
    return;
  }
  const name = classOf(job.record.shape);
  const line = state.waiting.get(name) ?? [];
  let at = line.length;
  while (at > 0) {
    const before = state.jobs.get(line[at - 1] as JobKey);
    if (before === undefined || compareJobs(before, job) < 0) {
      break;
    }
    at -= 1;
  }
  line.splice(at, 0, jobKey(job.uid, job.id));
  state.waiting.set(name, line);
}

/** Takes a job out of its class; nothing happens when it is not there. */
export function dequeue(state: State, job: ActiveJob): void {
  const name = classOf(job.record.shape);
  const line = state.waiting.get(name);
  const at = line?.indexOf(jobKey(job.uid, job.id)) ?? -1;
  if (line === undefined || at < 0) {
    return;
  }
  line.splice(at, 1);
  if (line.length === 0) {
    state.waiting.delete(name);
  }
}
