/**
 * A quota that a job would break, in words: whom it binds, what it allows, what is held under it and by whom. Names of
 * others only as the reader may see them. Pure; called by explain.ts.
 */
import type { ExplainHolder } from "../../shared/explain-api.ts";
import type { Hindrance } from "./quota.ts";
import type { ActiveJob, State } from "./state.ts";
import { holdersOf } from "./usage.ts";
import { maySee, nameFor, type Viewer } from "./viewer.ts";

/** Jobs of members that one answer names. */
const holdersMax = 12;

function tidy(value: number): number {
  return Math.round(value * 100) / 100;
}

/** `of you`, `of group prof-ada`, `of every user`; to others than its user by name. */
function subjectText(state: State, viewer: Viewer, job: ActiveJob, subject: string): string {
  if (subject.startsWith("group:")) {
    return `of the group ${subject.slice("group:".length)}`;
  }
  const who = subject === "each" ? "for each user" : viewer.uid === job.uid ? "of yours" : `of ${job.record.user}`;
  return maySee(state, viewer, job.uid) ? who : "of its user";
}

/** `8 V100`, `32 CPUs`, `2 running jobs`. */
function amountText({ what, kind }: Hindrance, amount: number): string {
  const value = tidy(amount);
  switch (what) {
    case "running":
      return `${value} running job${value === 1 ? "" : "s"}`;
    case "cpus":
      return `${value} CPUs`;
    case "memoryGb":
      return `${value} GiB`;
    case "accelerators":
      return kind === null || kind === "*" ? `${value} accelerator${value === 1 ? "" : "s"}` : `${value} ${kind}`;
  }
}

/** `the quota of the group prof-ada allows 8 V100 at a time; 6 are held and the job wants 4`. */
export function quotaText(state: State, viewer: Viewer, job: ActiveJob, hindrance: Hindrance): string {
  const { limit, held, wanted } = hindrance;
  const whose = subjectText(state, viewer, job, hindrance.subject);
  const allows = `the quota ${whose} allows ${amountText(hindrance, limit)} at a time`;
  if (wanted > limit) {
    return `${allows}, and the job wants ${tidy(wanted)}`;
  }
  return `${allows}; ${tidy(held)} ${tidy(held) === 1 ? "is" : "are"} held and the job wants ${tidy(wanted)}`;
}

/** Who holds what counts under the quota. */
export function quotaHolders(state: State, viewer: Viewer, job: ActiveJob, hindrance: Hindrance): ExplainHolder[] {
  const { subject } = hindrance;
  const group = subject.startsWith("group:") ? subject.slice("group:".length) : null;
  const isBound = (uid: number): boolean =>
    group === null ? uid === job.uid : state.people.get(uid)?.groups.includes(group) === true;
  const found = new Map<string, ExplainHolder>();
  for (const { uid, jobId, known } of holdersOf(state)) {
    const id = `${uid}/${jobId}`;
    if (!known || !isBound(uid) || found.has(id) || found.size >= holdersMax) {
      continue;
    }
    const user = nameFor(state, viewer, uid, jobId);
    const endsAt = state.jobs.get(`${uid}/${jobId}`)?.endsAt ?? null;
    found.set(id, { user, job_id: user === null ? null : jobId, own: uid === viewer.uid, what: "", until: endsAt });
  }
  return [...found.values()];
}
