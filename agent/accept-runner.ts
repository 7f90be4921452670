/**
 * Whether a runner that a user's skylet names is one, and its way into its cgroup: pid, start time and owner from the
 * kernel, the attempt's limits before the process is in the group, and a second look after it. A runner that is not
 * accepted is never let go. Called by agent/skylets.ts.
 */
import { messageOf } from "../shared/errors.ts";
import type { AttemptId, Uid } from "../shared/ids.ts";
import type { Limits } from "../shared/launch-spec.ts";
import type { Cgroups } from "./cgroup.ts";
import { faultOfRunner } from "./processes.ts";

/** `fault`: why it is not accepted; null: it is, and `limits` stand on its group (null: none were ordered). */
export type Acceptance = { fault: string } | { fault: null; limits: Limits | null };

export async function acceptRunner(
  cgroups: Cgroups,
  uid: Uid,
  runner: { attempt: AttemptId; pid: number; startTime: string },
  wanted: Limits | null,
): Promise<Acceptance> {
  const { attempt, pid, startTime } = runner;
  const fault = faultOfRunner(pid, startTime, uid);
  if (fault !== null) {
    return { fault };
  }
  let limits: Limits | null;
  try {
    limits = await cgroups.place(attempt, pid, wanted);
  } catch (error) {
    const what = wanted === null ? "" : " with its limits";
    return { fault: `its process could not be put into its cgroup${what} (${messageOf(error)})` };
  }
  // Looked at again: the pid must not have become another process, perhaps another user's, before it was placed.
  const changed = faultOfRunner(pid, startTime, uid);
  if (changed !== null) {
    await cgroups.expel(pid);
    return { fault: changed };
  }
  return { fault: null, limits };
}
