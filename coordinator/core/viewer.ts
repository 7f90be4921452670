/**
 * Whose names a reason may show to whom, as `scheduling.show_holders` has it, and how jobs are named in reasons. Admins
 * see all; everybody sees their own. It must be asked for every name that leaves the core in a sentence. Pure.
 */
import type { JobId, Uid } from "../../shared/ids.ts";
import { schedulingOf } from "./fair-share.ts";
import { jobKey, type State } from "./state.ts";

/** Who reads the sentence. */
export interface Viewer {
  uid: Uid;
  isAdmin: boolean;
}

/** The reader may know that this user has jobs here. */
export function maySee(state: State, viewer: Viewer, uid: Uid): boolean {
  if (viewer.isAdmin || viewer.uid === uid) {
    return true;
  }
  const { showHolders } = schedulingOf(state);
  if (showHolders !== "group") {
    return showHolders === "all";
  }
  const groups = new Set(state.people.get(viewer.uid)?.groups ?? []);
  return (state.people.get(uid)?.groups ?? []).some((group) => groups.has(group));
}

/** The user's name if the reader may know it; null: not, or nobody knows it. */
export function nameFor(state: State, viewer: Viewer, uid: Uid, jobId: JobId | null): string | null {
  if (!maySee(state, viewer, uid)) {
    return null;
  }
  const record = jobId === null ? undefined : state.jobs.get(jobKey(uid, jobId))?.record;
  return state.people.get(uid)?.user ?? record?.user ?? null;
}

/** `your job 3`, `alice's job 3`, `another user's job`. The number alone tells nothing, so it goes with the name. */
export function jobFor(state: State, viewer: Viewer, uid: Uid, jobId: JobId): string {
  if (viewer.uid === uid) {
    return `your job ${jobId}`;
  }
  const name = nameFor(state, viewer, uid, jobId);
  return name === null ? "another user's job" : `${name}'s job ${jobId}`;
}
