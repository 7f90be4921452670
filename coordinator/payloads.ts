/**
 * Which scripts, environment and uploads a node may have: those of an attempt that the state wants on that very node, and nothing
 * else, so a node that was broken into learns only of the jobs that it runs. Here, and nowhere before, a project's secrets
 * take the place of the variables that name them. It must never write. Called by the fleet through its owner when an
 * agent asks for a payload.
 */
import { SkyError } from "../shared/errors.ts";
import type { AttemptId, NodeName } from "../shared/ids.ts";
import type { AttemptRecord, Payload, RankRecord } from "../shared/job.ts";
import type { ActiveJob, State } from "./core/state.ts";
import type { FileGrant, Store } from "./parts.ts";
import { hasReferences, withSecrets } from "./policy/secret-values.ts";

/**
 * The payload for this node's rank: the task's own run script and environment, and the setup script only where this rank
 * runs one. Null when the attempt is not wanted there. Throws when the store has lost it or is not available, and for a
 * variable that names a project's secret that there is not.
 */
export async function payloadFor(
  state: State,
  store: Store,
  node: NodeName,
  attemptId: AttemptId,
): Promise<Payload | null> {
  const wanted = rankOf(state, node, attemptId);
  const payload = wanted === null ? null : await storedPayload(store, wanted);
  return wanted === null || payload === null
    ? null
    : withSecrets(payload, wanted.job.record.project ?? null, store.policies);
}

/** The same without projects' secrets. */
async function storedPayload(store: Store, wanted: NonNullable<ReturnType<typeof rankOf>>): Promise<Payload> {
  const { job, attempt, rank } = wanted;
  const { uid, record } = job;
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
  const setupRef = setupRefOf(job, attempt, rank);
  const withSetup = setupRef === null || setupRef === record.taskRef ? own : await read(setupRef);
  return payloadOf(own, withSetup, setupRef);
}

/** The same from what the store has at hand; null: not wanted there, or it has to be read. */
export function payloadAtHand(
  state: State,
  store: Pick<Store, "payloadAtHand">,
  node: NodeName,
  attemptId: AttemptId,
): Payload | null {
  const wanted = rankOf(state, node, attemptId);
  if (wanted === null) {
    return null;
  }
  const { job, attempt, rank } = wanted;
  const own = store.payloadAtHand(job.uid, job.record.taskRef);
  const setupRef = setupRefOf(job, attempt, rank);
  const setup = setupRef === null ? own : store.payloadAtHand(job.uid, setupRef);
  return own === null || setup === null || hasReferences(own) ? null : payloadOf(own, setup, setupRef);
}

/** Which payload has the setup that this rank runs; null when it runs none. */
function setupRefOf(job: ActiveJob, attempt: AttemptRecord, rank: RankRecord): string | null {
  return rank.setup ? (attempt.setupRef ?? job.record.taskRef) : null;
}

function payloadOf(own: Payload, withSetup: Payload, setupRef: string | null): Payload {
  if (setupRef === null || own === withSetup) {
    return setupRef === null ? { ...own, setup: null } : own;
  }
  // Where two lay something in one place, the job's own counts.
  const ours = new Set((own.files ?? []).map((file) => file.destination));
  const before = (withSetup.files ?? []).filter((file) => !ours.has(file.destination));
  const files = [...before, ...(own.files ?? [])];
  // A setup belongs to its image, or to the bare machine.
  const setup = own.image?.name === withSetup.image?.name ? withSetup.setup : null;
  return { ...own, setup, ...(files.length === 0 ? {} : { files }) };
}

/** The uploads that this node's rank may have: those that its payload names. Null and errors as above. */
export async function filesFor(
  state: State,
  store: Store,
  node: NodeName,
  attemptId: AttemptId,
): Promise<FileGrant | null> {
  const wanted = rankOf(state, node, attemptId);
  if (wanted === null) {
    return null;
  }
  const { uid } = wanted.job;
  const payload = await storedPayload(store, wanted);
  const manifests = (payload.files ?? []).flatMap((plan) => (plan.kind === "upload" ? [plan.manifest] : []));
  return { uid, manifests: new Set(manifests), isWanted: () => rankOf(state, node, attemptId) !== null };
}

/** The rank that the state wants on this very node for this attempt, or null. */
function rankOf(
  state: State,
  node: NodeName,
  attemptId: AttemptId,
): { job: ActiveJob; attempt: AttemptRecord; rank: RankRecord } | null {
  const key = state.attempts.get(attemptId);
  const job = key === undefined ? undefined : state.jobs.get(key);
  const attempt = job?.record.attempt ?? null;
  if (job === undefined || job.record.phase === "ended" || attempt?.id !== attemptId) {
    return null;
  }
  const rank = attempt.ranks.find((candidate) => candidate.grant.node === node);
  return rank === undefined ? null : { job, attempt, rank };
}
