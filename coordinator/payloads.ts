/**
 * Which scripts and environment a node may have: those of an attempt that the state wants on that very node, and nothing
 * else, so a node that was broken into learns only of the jobs that it runs. It must never write. Called by the fleet
 * through its owner when an agent asks for a payload.
 */
import { SkyError } from "../shared/errors.ts";
import type { AttemptId, NodeName } from "../shared/ids.ts";
import type { Payload } from "../shared/job.ts";
import type { State } from "./core/state.ts";
import type { Store } from "./parts.ts";

/**
 * The payload for this node's rank: the task's own run script and environment, and the setup script only where this rank
 * runs one. Null when the attempt is not wanted there. Throws when the store has lost it or is not available.
 */
export async function payloadFor(
  state: State,
  store: Store,
  node: NodeName,
  attemptId: AttemptId,
): Promise<Payload | null> {
  const key = state.attempts.get(attemptId);
  const job = key === undefined ? undefined : state.jobs.get(key);
  const attempt = job?.record.attempt ?? null;
  if (job === undefined || job.record.phase === "ended" || attempt?.id !== attemptId) {
    return null;
  }
  const { uid, record } = job;
  const rank = attempt.ranks.find((candidate) => candidate.grant.node === node);
  if (rank === undefined) {
    return null;
  }
  const read = async (ref: string): Promise<Payload> => {
    const payload = await store.getPayload(uid, ref);
    if (payload === null) {
      throw new SkyError(
        "InternalError",
        `The scripts of job ${job.id} of ${record.user} are not in the store any more.`,
      );
    }
    return payload;
  };
  const own = await read(record.taskRef);
  if (!rank.setup) {
    return { ...own, setup: null };
  }
  const setupRef = attempt.setupRef ?? record.taskRef;
  const { setup } = setupRef === record.taskRef ? own : await read(setupRef);
  return { ...own, setup };
}
