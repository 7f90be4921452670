/**
 * What admins do with policies: save, delete and roll back, try a change on past jobs, and keep assets, exceptions and
 * projects' secrets. Every change is on disk before it is answered and is a line in the log that says who made it; the
 * same request makes it once. Jobs that are queued or run are never touched. Unknown keys are errors.
 */
import type * as z from "zod";
import { messageOf } from "../../shared/errors.ts";
import {
  assetDeleteBodySchema,
  assetSchema,
  exceptionBodySchema,
  exceptionRemoveBodySchema,
  policyApplyBodySchema,
  type PolicyApplyResult,
  policyDeleteBodySchema,
  policyDiffBodySchema,
  type PolicyDiffResult,
  policyRollbackBodySchema,
  policySecretDeleteBodySchema,
  policySecretSetBodySchema,
} from "../../shared/policy-api.ts";
import { factsOf } from "../policy/cluster-facts.ts";
import type { Change, Prepared } from "../policy/policy-changes.ts";
import type { GivenHead } from "../policy/policy-store.ts";
import { refusedNow, replay } from "../policy/replay.ts";
import { unifiedDiff } from "../policy/text-diff.ts";
import { startCall } from "./call.ts";
import { liveParts } from "./job-watch.ts";
import type { Call } from "./request-entry.ts";
import { type Route, route, type RouteCall } from "./route.ts";
import { record } from "./routes-admin.ts";

function changeOf({ context, account }: RouteCall<unknown>, { id, isAgain, signal }: Call): Change {
  return { by: account.name, requestId: id, isAgain, signal, store: liveParts(context.parts).store };
}

/** What stands beside the document, of a body that has it. */
function givenOf(body: z.infer<typeof policyApplyBodySchema> | z.infer<typeof policyDiffBodySchema>): GivenHead {
  const { name, scope, scope_id: id, workloads, mode } = body;
  return {
    ...(name === undefined ? {} : { name }),
    ...(scope === undefined ? {} : { scope }),
    ...(id === undefined ? {} : { scope_id: id }),
    ...(workloads === undefined ? {} : { workloads }),
    ...(mode === undefined ? {} : { mode }),
  };
}

/** What the admin is told of a document that is good. It is saved by then: a log that cannot be read now fails nothing. */
async function toldOf(call: RouteCall<unknown>, prepared: Prepared, saved: boolean): Promise<PolicyApplyResult> {
  const { policies, parts, log } = call.context;
  const { revision } = prepared.policy;
  const { loop } = liveParts(parts);
  const warnings = [...prepared.warnings];
  const refuses = await refusedNow(policies.decisions, loop.state, prepared.after).catch((error: unknown) => {
    log.warn({ policy: revision.name, cause: messageOf(error) }, "jobs that a policy would refuse were not found");
    warnings.push("Jobs that it would refuse now could not be found: the decision log cannot be read.");
    return [];
  });
  return {
    ...{ name: revision.name, revision: revision.revision, changed: prepared.changed, saved },
    ...{ warnings, grades: prepared.grades, refuses },
  };
}

async function apply(
  call: RouteCall<z.infer<typeof policyApplyBodySchema>>,
  running: Call,
): Promise<PolicyApplyResult> {
  const { context, body } = call;
  const facts = factsOf(liveParts(context.parts).loop.state, context.config);
  const change = changeOf(call, running);
  if (body.validateOnly) {
    return toldOf(call, await context.policyChanges.prepare(body.text, givenOf(body), change, facts), false);
  }
  const prepared = await context.policyChanges.apply(body.text, givenOf(body), change, facts);
  const { name, revision } = prepared.policy.revision;
  record(call, "policy-apply", { policy: name, revision, changed: prepared.changed });
  return toldOf(call, prepared, true);
}

async function rollback(
  call: RouteCall<z.infer<typeof policyRollbackBodySchema>>,
  running: Call,
): Promise<PolicyApplyResult> {
  const { context, body } = call;
  const facts = factsOf(liveParts(context.parts).loop.state, context.config);
  const prepared = await context.policyChanges.rollback(body.name, body.revision, changeOf(call, running), facts);
  const { revision } = prepared.policy.revision;
  record(call, "policy-rollback", { policy: body.name, to: body.revision, revision });
  return toldOf(call, prepared, true);
}

async function diff(call: RouteCall<z.infer<typeof policyDiffBodySchema>>, running: Call): Promise<PolicyDiffResult> {
  const { context, body } = call;
  const { policies, policyChanges, config } = context;
  const { state } = liveParts(context.parts).loop;
  const facts = factsOf(state, config);
  const { policy, before, after } = await policyChanges.prepare(
    body.text,
    givenOf(body),
    changeOf(call, running),
    facts,
  );
  const { name } = policy.revision;
  const present = before.policies.get(name)?.revision;
  const names = { before: `${name}@${present?.revision ?? 0}`, after: `${name}@${policy.revision.revision}` };
  const text = unifiedDiff(present?.text ?? "", body.text, names);
  return { name, text, ...(await replay(policies.decisions, state, { before, after, jobs: body.jobs })) };
}

const documents: Route[] = [
  route({
    method: "POST",
    path: "/onprem/policies/apply",
    identity: "admin",
    summary: "Saves a policy as a new revision, or with validateOnly says what that would come to.",
    body: policyApplyBodySchema,
    handle: (call) =>
      startCall(call, { name: "policies.apply", cluster: null, readOnly: call.body.validateOnly }, (running) =>
        apply(call, running),
      ),
  }),
  route({
    method: "POST",
    path: "/onprem/policies/delete",
    identity: "admin",
    summary: "Deletes a policy; its history stays, and rollback brings it back.",
    body: policyDeleteBodySchema,
    handle: (call) =>
      startCall(call, { name: "policies.delete", cluster: null, readOnly: false }, async (running) => {
        const { name, revision } = await call.context.policyChanges.remove(call.body.name, changeOf(call, running));
        record(call, "policy-delete", { policy: name, revision });
        return { name, revision };
      }),
  }),
  route({
    method: "POST",
    path: "/onprem/policies/rollback",
    identity: "admin",
    summary: "Saves the text of an older revision as a new one.",
    body: policyRollbackBodySchema,
    handle: (call) =>
      startCall(call, { name: "policies.rollback", cluster: null, readOnly: false }, (running) =>
        rollback(call, running),
      ),
  }),
  route({
    method: "POST",
    path: "/onprem/policies/diff",
    identity: "admin",
    summary: "What a document would change, and what it would have done to the last jobs; nothing is saved.",
    body: policyDiffBodySchema,
    handle: (call) =>
      startCall(call, { name: "policies.diff", cluster: null, readOnly: true }, (running) => diff(call, running)),
  }),
];

const assets: Route[] = [
  route({
    method: "POST",
    path: "/onprem/policies/assets/set",
    identity: "admin",
    summary: "Stores an item that policies may impose.",
    body: assetSchema,
    handle: (call) =>
      startCall(call, { name: "policies.asset-set", cluster: null, readOnly: false }, async (running) => {
        record(call, "policy-asset-set", { asset: call.body.id, field: call.body.field });
        await call.context.policyChanges.setAsset(call.body, changeOf(call, running));
        return null;
      }),
  }),
  route({
    method: "POST",
    path: "/onprem/policies/assets/delete",
    identity: "admin",
    summary: "Drops an asset; refused while a policy imposes it.",
    body: assetDeleteBodySchema,
    handle: (call) =>
      startCall(call, { name: "policies.asset-delete", cluster: null, readOnly: false }, async (running) => {
        record(call, "policy-asset-delete", { asset: call.body.id });
        await call.context.policyChanges.deleteAsset(call.body.id, changeOf(call, running));
        return null;
      }),
  }),
];

const exceptions: Route[] = [
  route({
    method: "POST",
    path: "/onprem/policies/exceptions/add",
    identity: "admin",
    summary: "Lets somebody do what a policy refuses, until a time.",
    body: exceptionBodySchema,
    handle: (call) =>
      startCall(call, { name: "policies.exception-add", cluster: null, readOnly: false }, async (running) => {
        const id = await call.context.policyChanges.addException(call.body, changeOf(call, running));
        record(call, "policy-exception-add", { exception: id, ...call.body });
        return { id };
      }),
  }),
  route({
    method: "POST",
    path: "/onprem/policies/exceptions/remove",
    identity: "admin",
    summary: "Ends an exception.",
    body: exceptionRemoveBodySchema,
    handle: (call) =>
      startCall(call, { name: "policies.exception-remove", cluster: null, readOnly: false }, async (running) => {
        record(call, "policy-exception-remove", { exception: call.body.id });
        await call.context.policyChanges.removeException(call.body.id, changeOf(call, running));
        return null;
      }),
  }),
];

const secrets: Route[] = [
  route({
    method: "POST",
    path: "/onprem/policies/secrets/set",
    identity: "admin",
    summary: "Sets keys of a project's secret; null takes one away.",
    body: policySecretSetBodySchema,
    handle: (call) =>
      startCall(call, { name: "policies.secret-set", cluster: null, readOnly: false }, async (running) => {
        const { project, name, values } = call.body;
        record(call, "policy-secret-set", { project, secret: name, keys: Object.keys(values) });
        await call.context.policyChanges.setSecret({ project, name }, values, changeOf(call, running));
        return null;
      }),
  }),
  route({
    method: "POST",
    path: "/onprem/policies/secrets/delete",
    identity: "admin",
    summary: "Drops a project's secret; jobs that name it fail when they start.",
    body: policySecretDeleteBodySchema,
    handle: (call) =>
      startCall(call, { name: "policies.secret-delete", cluster: null, readOnly: false }, async (running) => {
        const { project, name } = call.body;
        record(call, "policy-secret-delete", { project, secret: name });
        await call.context.policyChanges.deleteSecret({ project, name }, changeOf(call, running));
        return null;
      }),
  }),
];

export const policyChangeRoutes: Route[] = [...documents, ...assets, ...exceptions, ...secrets];
