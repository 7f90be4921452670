/**
 * Quotas: admins set and drop them, everybody sees what binds them. A change is checked against the head's accounts and
 * the cluster's accelerators, is on disk before it is answered, and is a line in the log that says who made it. Nothing
 * that runs is ended by one. Unknown keys are errors.
 */
import type { z } from "zod";
import { SkyError } from "../../shared/errors.ts";
import { didYouMean } from "../../shared/near-match.ts";
import type { Quota, QuotaSubject } from "../../shared/scheduling.ts";
import {
  type OwnQuotaResult,
  ownQuotaResultSchema,
  type QuotaChangeResult,
  type QuotaRow,
  quotaSetBodySchema,
  type QuotasResult,
  quotasResultSchema,
  quotaUnsetBodySchema,
  type QuotaUse,
} from "../../shared/scheduling-api.ts";
import { schedulingOf } from "../config.ts";
import { ownQuotas, quotaRow, quotaRows } from "../core/quota-views.ts";
import type { State } from "../core/state.ts";
import { startCall } from "./call.ts";
import { liveParts } from "./job-watch.ts";
import { groupNote, requireUser } from "./named-people.ts";
import { json, plainRoute, type Route, route, type RouteCall } from "./route.ts";
import { record } from "./routes-admin.ts";

const quotasMax = 10_000;

type Change = z.infer<typeof quotaSetBodySchema>;

/** The kinds that nodes have reported, as they spell them, and whether every node has spoken. */
function kindsOf(state: State): { kinds: string[]; complete: boolean } {
  const nodes = [...state.nodes.values()];
  const kinds = new Set(nodes.flatMap((node) => node.inventory?.accelerators.map((one) => one.kind) ?? []));
  return { kinds: [...kinds].sort(), complete: nodes.every((node) => node.inventory !== null) };
}

/** The kind as the nodes spell it. Throws for one that no node has, unless some node has not spoken yet. */
function knownKind(state: State, kind: string, notes: string[]): string {
  if (kind === "*") {
    return kind;
  }
  const { kinds, complete } = kindsOf(state);
  const known = kinds.find((one) => one.toLowerCase() === kind.toLowerCase());
  if (known !== undefined) {
    return known;
  }
  const text = `No node of this cluster has an accelerator '${kind}'.`;
  const hint = didYouMean(kind, kinds) ?? `Its kinds: ${kinds.length === 0 ? "none" : kinds.join(", ")}.`;
  if (complete) {
    throw new SkyError("ValueError", text, hint);
  }
  notes.push(`${text} ${hint} Not every node has reported yet, so it is taken as it is written.`);
  return kind;
}

/** The accelerators' limits after the change. A kind that is dropped need not exist any more. */
function changedKinds(state: State, before: Quota, change: Change, notes: string[]): Record<string, number> {
  const result = new Map(Object.entries(before.accelerators ?? {}));
  for (const [written, limit] of Object.entries(change.accelerators)) {
    for (const kind of [...result.keys()].filter((one) => one.toLowerCase() === written.toLowerCase())) {
      result.delete(kind);
    }
    if (limit !== null) {
      result.set(knownKind(state, written, notes), limit);
    }
  }
  return Object.fromEntries(result);
}

/** The quota after the change; null: nothing limits any more. */
function changedQuota(state: State, before: Quota, change: Change, notes: string[]): Quota | null {
  const named = [change.cpus, change.memory_gb, change.running, change.waiting].some((value) => value !== undefined);
  if (!named && Object.keys(change.accelerators).length === 0) {
    throw new SkyError("ValueError", "No limit was named.", "For example: sky admin quota set user:alice H100=8");
  }
  const pick = (value: number | null | undefined, present: number | undefined): number | undefined =>
    value === undefined ? present : (value ?? undefined);
  const accelerators = changedKinds(state, before, change, notes);
  const limits = {
    accelerators: Object.keys(accelerators).length === 0 ? undefined : accelerators,
    cpus: pick(change.cpus, before.cpus),
    memoryGb: pick(change.memory_gb, before.memoryGb),
    running: pick(change.running, before.running),
    waiting: pick(change.waiting, before.waiting),
  };
  const kept = Object.entries(limits).filter(([, value]) => value !== undefined);
  return kept.length === 0 ? null : (Object.fromEntries(kept) as Quota);
}

/** What of this use is above the limits: `6 H100, 40 CPUs`; null: nothing. */
function excessText(use: QuotaUse, limits: QuotaRow["limits"]): string | null {
  const parts: string[] = [];
  const all = Object.values(use.accelerators).reduce((sum, count) => sum + count, 0);
  for (const [kind, limit] of Object.entries(limits.accelerators)) {
    const held = kind === "*" ? all : (use.accelerators[kind] ?? 0);
    if (held > limit) {
      parts.push(`${held} ${kind === "*" ? "accelerators" : kind}`);
    }
  }
  const over = (held: number, limit: number | undefined): boolean => limit !== undefined && held > limit;
  if (over(use.cpus, limits.cpus)) {
    parts.push(`${use.cpus} CPUs`);
  }
  if (over(use.memory_gb, limits.memory_gb)) {
    parts.push(`${use.memory_gb} GiB`);
  }
  if (over(use.running, limits.running)) {
    parts.push(`${use.running} running jobs`);
  }
  return parts.length === 0 ? null : parts.join(", ");
}

/** Who holds more than the quota lets them from now on. */
function excessNotes(row: QuotaRow): string[] {
  const who = row.use === null ? row.users : [{ user: row.subject.replace(/^user:/, ""), use: row.use }];
  return who.slice(0, 5).flatMap(({ user, use }) => {
    const excess = excessText(use, row.limits);
    return excess === null ? [] : [`${user} holds ${excess} now. Nothing is ended; what starts next waits for less.`];
  });
}

async function setQuota(call: RouteCall<Change>): Promise<QuotaChangeResult> {
  const { loop } = liveParts(call.context.parts);
  const { subject } = call.body;
  const notes: string[] = [];
  if (subject.startsWith("user:")) {
    await requireUser(loop.state, subject.slice("user:".length));
  } else if (subject.startsWith("group:")) {
    const note = await groupNote(loop.state, subject.slice("group:".length), "the quota binds nobody");
    notes.push(...(note === null ? [] : [note]));
  }
  const before = loop.state.quotas.get(subject) ?? {};
  if (!loop.state.quotas.has(subject) && loop.state.quotas.size >= quotasMax) {
    throw new SkyError("ValueError", `There are ${quotasMax} quotas, which is the limit.`, "Use groups, or `each`.");
  }
  const quota = changedQuota(loop.state, before, call.body, notes);
  const row = await dispatched(call, subject, quota, "quota-set");
  return { quota: row, notes: [...notes, ...(row === null ? [] : excessNotes(row))] };
}

async function unsetQuota(call: RouteCall<{ subject: QuotaSubject }>): Promise<QuotaChangeResult> {
  const { loop } = liveParts(call.context.parts);
  const { subject } = call.body;
  if (!loop.state.quotas.has(subject)) {
    const known = [...loop.state.quotas.keys()];
    const hint = didYouMean(subject, known) ?? "`sky admin quota` lists those that there are.";
    throw new SkyError("ValueError", `There is no quota for '${subject}'.`, hint);
  }
  return { quota: await dispatched(call, subject, null, "quota-unset"), notes: [] };
}

/** Writes the quota; resolves with its row once it is on disk. */
async function dispatched(
  call: RouteCall<unknown>,
  subject: QuotaSubject,
  quota: Quota | null,
  action: string,
): Promise<QuotaRow | null> {
  const { loop } = liveParts(call.context.parts);
  const before = loop.state.quotas.get(subject) ?? null;
  record(call, action, { subject, quota, before });
  await loop.dispatch({ type: "quotaChanged", subject, quota });
  return quotaRow(loop.state, subject);
}

export const quotaRoutes: Route[] = [
  plainRoute({
    method: "GET",
    path: "/onprem/quota",
    identity: "account",
    summary: "What limits the caller, and what the caller holds now.",
    reply: ownQuotaResultSchema,
    handle: async ({ context, account }) => {
      const { loop } = liveParts(context.parts);
      const who = { uid: account.uid, user: account.name, groups: account.groups };
      const { defaultTimeSeconds, maxTimeSeconds } = schedulingOf(context.config);
      const result: OwnQuotaResult = {
        ...{ cluster: context.config.cluster, user: account.name, ...ownQuotas(loop.state, who) },
        waiting_max: context.config.limits.waiting_jobs_per_user,
        ...{ default_time_seconds: defaultTimeSeconds, max_time_seconds: maxTimeSeconds },
      };
      return json(result);
    },
  }),
  plainRoute({
    method: "GET",
    path: "/onprem/admin/quotas",
    identity: "admin",
    summary: "Every quota, with what those whom it binds hold now.",
    reply: quotasResultSchema,
    handle: async ({ context }) => {
      const { loop } = liveParts(context.parts);
      const result: QuotasResult = { cluster: context.config.cluster, quotas: quotaRows(loop.state) };
      return json(result);
    },
  }),
  route({
    method: "POST",
    path: "/onprem/admin/quota/set",
    identity: "admin",
    summary: "Changes the named limits of a user, a group or each user.",
    body: quotaSetBodySchema,
    handle: async (call) =>
      startCall(call, { name: "admin.quota-set", cluster: null, readOnly: false }, () => setQuota(call)),
  }),
  route({
    method: "POST",
    path: "/onprem/admin/quota/unset",
    identity: "admin",
    summary: "Drops all limits of a user, a group or each user.",
    body: quotaUnsetBodySchema,
    handle: async (call) =>
      startCall(call, { name: "admin.quota-unset", cluster: null, readOnly: false }, () => unsetQuota(call)),
  }),
];
