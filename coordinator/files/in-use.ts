/**
 * Which uploads a user's unfinished jobs need: those that their payloads name, and while there is such a job those of
 * the setup that an `exec` would bring along. It must never write. Asked by the sweep and by a user's wish to forget.
 */
import type { Uid } from "../../shared/ids.ts";
import type { State } from "../core/state.ts";
import type { ManifestsInUse, Store } from "../parts.ts";

/** The question, for the state and store of one generation. Rejects with StoreUnavailable when Redis does not answer. */
export function manifestsInUse(state: State, store: Store): ManifestsInUse {
  return async (uid: Uid) => {
    const refs = new Set<string>();
    for (const { uid: owner, record } of state.jobs.values()) {
      if (owner === uid && record.phase !== "ended") {
        refs.add(record.taskRef);
        refs.add(record.attempt?.setupRef ?? state.setups.get(uid)?.taskRef ?? record.taskRef);
      }
    }
    const needed = new Set<string>();
    for (const ref of refs) {
      for (const plan of (await store.getPayload(uid, ref))?.files ?? []) {
        if (plan.kind === "upload") {
          needed.add(plan.manifest);
        }
      }
    }
    return needed;
  };
}
