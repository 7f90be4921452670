/**
 * Who sends jobs and what admins allow them: people with their groups, quotas, and windows of nodes. Each change is
 * written and looked at by the next plan. It must never decide what starts. Called by reduce.ts only.
 */
import { groupNameSchema, type NodeWindow, type Quota, type QuotaSubject } from "../../shared/scheduling.ts";
import { recountPerson } from "./holdings.ts";
import { type Context, planAgain } from "./jobs.ts";
import type { CoreEvent } from "./state.ts";

/** So many groups are remembered of somebody. Source: personSchema. */
const groupsMax = 1_000;

export function onPersonSeen(context: Context, seen: Extract<CoreEvent, { type: "personSeen" }>): void {
  const { people } = context.state;
  const known = people.get(seen.uid);
  // A group whose name no quota, weight or window could have is of no use here, and could not be stored.
  const valid = seen.groups.filter((name) => groupNameSchema.safeParse(name).success);
  const groups = valid.slice(0, groupsMax).toSorted();
  if (known?.user === seen.user && known.groups.join(",") === groups.join(",")) {
    return;
  }
  const { use, useAt } = known ?? { use: 0, useAt: context.now };
  const person = { uid: seen.uid, user: seen.user, groups, use, useAt };
  people.set(seen.uid, person);
  recountPerson(context.state, seen.uid);
  context.effects.push({ type: "savePerson", person });
  planAgain(context.state);
}

export function onQuotaChanged(context: Context, subject: QuotaSubject, quota: Quota | null): void {
  const { quotas } = context.state;
  if (quota === null) {
    quotas.delete(subject);
  } else {
    quotas.set(subject, quota);
  }
  context.effects.push({ type: "saveQuota", subject, quota });
  planAgain(context.state);
}

export function onWindowChanged(context: Context, id: string, window: NodeWindow | null): void {
  const { windows } = context.state;
  if (window === null) {
    windows.delete(id);
  } else {
    windows.set(id, window);
  }
  context.state.windowsSettledAt = null;
  context.effects.push({ type: "saveWindow", id, window });
  planAgain(context.state);
}
