/**
 * What anybody may ask about policies: which bind the caller, what they come to in a form, what would happen to a task,
 * and the caller's own decisions; an admin sees everything and everybody's. It changes nothing. Whom a policy binds is
 * found from the name service's groups, never from what was sent.
 */
import * as z from "zod";
import { SkyError } from "../../shared/errors.ts";
import { userNameSchema } from "../../shared/ids.ts";
import { didYouMean } from "../../shared/near-match.ts";
import {
  assetsResultSchema,
  decisionSchema,
  decisionsResultSchema,
  exceptionsResultSchema,
  policiesResultSchema,
  policyCheckBodySchema,
  type PolicyCheckResult,
  policyEffectiveResultSchema,
  policyGetResultSchema,
  policyHistoryResultSchema,
  policyNameSchema,
  policySecretsResultSchema,
  projectNameSchema,
} from "../../shared/policy-api.ts";
import { checkOf } from "../../shared/policy/check-result.ts";
import { kindNamed } from "../../shared/policy/fields/fields.ts";
import { formOf } from "../../shared/policy/form.ts";
import { type WorkloadKind, workloadKinds } from "../../shared/policy/words.ts";
import type { Account } from "../../shared/users-policy.ts";
import { factsOf } from "../policy/cluster-facts.ts";
import { decisionOf } from "../policy/decision-line.ts";
import { readDecisions } from "../policy/decision-reader.ts";
import { caseOf, judge } from "../policy/judge.ts";
import { imposersOf } from "../policy/policy-changes.ts";
import { documentOf, historyOf, type Onlooker, rowsOf } from "../policy/policy-views.ts";
import { projectFor, projectsOf } from "../policy/projects.ts";
import { passPolicy, sentBy } from "./admin-policy-step.ts";
import { startCall } from "./call.ts";
import { isAdmin } from "./identity.ts";
import { liveParts } from "./job-watch.ts";
import type { Call } from "./request-entry.ts";
import { type ApiContext, json, plainRoute, type Route, route, type RouteCall } from "./route.ts";
import { configOf } from "./routes-config.ts";
import { configured, taskOf } from "./submission.ts";

const limitMax = 10_000;
const countSchema = z.coerce.number().pipe(z.int().min(1));

function onlookerOf({ context, account }: Pick<RouteCall<unknown>, "context" | "account">): Onlooker {
  return isAdmin(account, context.config.admin_group) ? null : account;
}

/** The account that is asked about; throws for another's unless an admin asks. */
async function subjectOf(context: ApiContext, account: Account, user: string | undefined): Promise<Account> {
  if (user === undefined || user === account.name) {
    return account;
  }
  if (!isAdmin(account, context.config.admin_group)) {
    const text = `Only members of the group '${context.config.admin_group}' may ask for other users.`;
    throw new SkyError("PermissionDeniedError", text);
  }
  const people = [...liveParts(context.parts).loop.state.people.values()];
  const person = people.find((one) => one.user === user);
  const found = person === undefined ? null : await context.parts.accounts.byUid(person.uid);
  if (found === null || found.name !== user) {
    const hint =
      didYouMean(
        user,
        people.map((one) => one.user),
      ) ?? "Users are known from their first job on.";
    throw new SkyError("ValueError", `No user '${user}' is known here.`, hint);
  }
  return found;
}

function kindOf(word: string): WorkloadKind {
  const kind = kindNamed(word);
  if (kind === null) {
    const hint = didYouMean(word, workloadKinds) ?? `There are: ${workloadKinds.join(", ")}.`;
    throw new SkyError("ValueError", `'${word}' is no kind of workload.`, hint);
  }
  return kind;
}

/** As if it were launched, by way of the admin policy. */
async function check(
  call: RouteCall<z.infer<typeof policyCheckBodySchema>>,
  running: Call,
): Promise<PolicyCheckResult> {
  const { context, account, body } = call;
  const { policies, turns, config } = context;
  const subject = await subjectOf(context, account, body.user);
  const set = await policies.soundSet();
  const options = { clusterName: null, dryrun: true, down: false, idleMinutesToAutostop: null };
  const step = { name: "validate" as const, taskText: body.task, config: configOf(config, {}).tree, options };
  const passed = await passPolicy(context, subject, { ...step, ...sentBy(call) }, running);
  return turns.run(account.uid, () => {
    const read = configured(taskOf(passed.taskText, config.cluster), passed.config);
    const { project } = body;
    const task = project === undefined ? read : { ...read, workload: { fields: {}, ...read.workload, project } };
    const judgement = judge(set, caseOf(set, task, subject, policies.place), Date.now());
    return checkOf(task, judgement, subject);
  });
}

const shown: Route[] = [
  plainRoute({
    method: "GET",
    path: "/onprem/policies",
    identity: "account",
    summary: "The policies that bind the caller; an admin sees all.",
    reply: policiesResultSchema,
    handle: async (call) => {
      const { policies, config } = call.context;
      const rows = rowsOf(await policies.set(), onlookerOf(call), policies.place);
      return json({ cluster: config.cluster, policies: rows });
    },
  }),
  plainRoute({
    method: "GET",
    path: "/onprem/policies/get",
    identity: "account",
    summary: "One policy with the bytes that were applied; older revisions for admins.",
    query: z.strictObject({ name: policyNameSchema, revision: countSchema.optional() }),
    reply: policyGetResultSchema,
    handle: async (call) => {
      const { policies, config, parts } = call.context;
      const { loop, store } = liveParts(parts);
      const { name, revision = null } = call.query;
      const about = {
        ...{ onlooker: onlookerOf(call), place: policies.place, facts: factsOf(loop.state, config) },
        store: store.policies,
      };
      return json(await documentOf(await policies.set(), { name, number: revision }, about));
    },
  }),
  plainRoute({
    method: "GET",
    path: "/onprem/policies/history",
    identity: "admin",
    summary: "All revisions of a policy, newest first, deletions included.",
    query: z.strictObject({ name: policyNameSchema }),
    reply: policyHistoryResultSchema,
    handle: async ({ context, query }) => {
      const { store } = liveParts(context.parts);
      return json(await historyOf(await context.policies.set(), query.name, store.policies));
    },
  }),
  plainRoute({
    method: "GET",
    path: "/onprem/policies/effective",
    identity: "account",
    summary: "What binds each field of a kind of workload, for forms; another user's for admins.",
    query: z.strictObject({
      kind: z.string().max(40),
      project: projectNameSchema.optional(),
      user: userNameSchema.optional(),
    }),
    reply: policyEffectiveResultSchema,
    handle: async ({ context, account, query }) => {
      const { policies } = context;
      const subject = await subjectOf(context, account, query.user);
      const kind = kindOf(query.kind);
      const project = projectFor(subject, query.project ?? null, policies.place);
      const set = await policies.soundSet();
      const fields = formOf(set.effective(kind, project));
      return json({ kind, user: subject.name, project, projects: projectsOf(subject, policies.place), fields });
    },
  }),
  plainRoute({
    method: "GET",
    path: "/onprem/policies/log",
    identity: "account",
    summary: "Decisions, newest first: the caller's own; an admin sees everybody's.",
    query: z.strictObject({
      limit: countSchema.pipe(z.int().max(limitMax)).default(100),
      user: userNameSchema.optional(),
      outcome: decisionSchema.shape.outcome.optional(),
    }),
    reply: decisionsResultSchema,
    handle: async ({ context, account, query: { limit, user, outcome = null } }) => {
      const isForAll = user === undefined && isAdmin(account, context.config.admin_group);
      const uid = isForAll ? null : (await subjectOf(context, account, user)).uid;
      const lines = await readDecisions(context.policies.decisions, { uid, outcome, limit });
      return json({ decisions: lines.map(decisionOf) });
    },
  }),
  route({
    method: "POST",
    path: "/onprem/policies/check",
    identity: "account",
    summary: "What would happen to a task of the caller, and why; nothing is queued. Another user's for admins.",
    body: policyCheckBodySchema,
    handle: (call) =>
      startCall(call, { name: "policies.check", cluster: null, readOnly: true }, (running) => check(call, running)),
  }),
];

const forAdmins: Route[] = [
  plainRoute({
    method: "GET",
    path: "/onprem/policies/assets",
    identity: "admin",
    summary: "Stored items that policies may impose.",
    reply: assetsResultSchema,
    handle: async ({ context }) => {
      const set = await context.policies.set();
      const assets = [...set.assets.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
      return json({ assets: assets.map((asset) => ({ ...asset, imposed_by: imposersOf(set, asset.id) })) });
    },
  }),
  plainRoute({
    method: "GET",
    path: "/onprem/policies/exceptions",
    identity: "admin",
    summary: "Who may do what a policy refuses, and until when; for a while also those that have expired.",
    reply: exceptionsResultSchema,
    handle: async ({ context }) => {
      const { exceptions } = (await context.policies.set()).loaded;
      const now = Date.now() / 1000;
      const rows = exceptions.map(({ requestId: _requestId, ...one }) => ({ ...one, expired: one.expires_at <= now }));
      return json({ exceptions: rows.sort((a, b) => a.created_at - b.created_at) });
    },
  }),
  plainRoute({
    method: "GET",
    path: "/onprem/policies/secrets",
    identity: "admin",
    summary: "Names and keys of projects' secrets; values are shown nowhere.",
    reply: policySecretsResultSchema,
    handle: async ({ context }) => json({ secrets: await liveParts(context.parts).store.policies.secretNames() }),
  }),
];

export const policyRoutes: Route[] = [...shown, ...forAdmins];
