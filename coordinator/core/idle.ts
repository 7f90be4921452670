/**
 * Accelerators that somebody holds and nobody uses, with who holds them, as far as the caller may know it. Nodes say how
 * busy their devices are; a device counts as idle when no use of it has been seen since the time kept in the state. It
 * changes nothing. Pure; called by the API.
 */
import type { Uid } from "../../shared/ids.ts";
import type { IdleRow } from "../../shared/usage-api.ts";
import { schedulingOf } from "./fair-share.ts";
import type { State } from "./state.ts";
import { holdersOf } from "./usage.ts";

/** Who asks; admins see every name. */
export interface Asker {
  uid: Uid;
  groups: readonly string[];
  isAdmin: boolean;
}

/** Whether this asker may see what the user `uid` holds, by the config's `show_holders`. */
function maySee(state: State, asker: Asker, uid: Uid): boolean {
  const { showHolders } = schedulingOf(state);
  if (asker.isAdmin || uid === asker.uid || showHolders === "all") {
    return true;
  }
  const groups = state.people.get(uid)?.groups ?? [];
  return showHolders === "group" && groups.some((group) => asker.groups.includes(group));
}

/** Longest idle first. `now` in ms since 1970. */
export function idleRows(state: State, asker: Asker, now: number): IdleRow[] {
  const rows: IdleRow[] = [];
  for (const { node: name, grant, attempt, uid, jobId } of holdersOf(state)) {
    const node = state.nodes.get(name);
    for (const index of grant.devices) {
      const since = node?.idleSince.get(index);
      if (node === undefined || since === undefined) {
        continue;
      }
      const isShown = maySee(state, asker, uid);
      const account = state.accounts.get(attempt);
      const from = account?.ranks.get(name)?.from ?? null;
      rows.push({
        node: name,
        index,
        kind: node.inventory?.accelerators.find((one) => one.index === index)?.kind ?? "unknown",
        user: isShown ? (account?.user ?? String(uid)) : null,
        job: isShown ? jobId : null,
        idle_since: (now - Math.max(0, state.uptime - since)) / 1000,
        held_since: from === null ? null : from / 1000,
      });
    }
  }
  return rows.sort((a, b) => a.idle_since - b.idle_since || (a.node < b.node ? -1 : 1) || a.index - b.index);
}
