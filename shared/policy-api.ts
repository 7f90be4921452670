/**
 * Bodies and results of the API's routes for policies, `/onprem/policies…`: admins save, delete and roll back, everybody
 * sees what binds them and asks what would happen. Unknown keys of bodies are errors. A violation has the shape of Run:ai's
 * compliance reason (`field`, `rule`, `details`) with its source beside it. Times are seconds since 1970. Used by
 * coordinator/api (server) and client/sdk.
 */
import * as z from "zod";
import { policyModes, scopeLevels, violationRules, workloadKinds } from "./policy/words.ts";

/** Bytes of a policy's document. */
export const policyBytesMax = 256 * 1024;
/** Letters, digits, `.`, `_` and `-`, as in file names. */
export const policyNameSchema = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, "is not a policy's name");
export const projectNameSchema = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}$/, "is not a project's name");
const kindSchema = z.enum(workloadKinds);
const modeSchema = z.enum(policyModes);
const documentSchema = z.string().min(1).max(policyBytesMax);

const sourceSchema = z.object({
  policy: z.string(),
  scope: z.object({ level: z.enum(scopeLevels), id: z.string() }),
  revision: z.int(),
  mode: modeSchema,
  dialect: z.enum(["v1", "v2"]),
});

const violationSchema = z.object({
  field: z.string(),
  rule: z.enum(violationRules),
  /** `must be no greater than 4` */
  details: z.string(),
  /** Null: a rule of the product itself. */
  sourceOfRule: sourceSchema.nullable(),
  value: z.unknown(),
  limit: z.unknown(),
  /** The exception that lets it pass. */
  exception: z.string().optional(),
});
export type PolicyViolation = z.infer<typeof violationSchema>;

/** How well this cluster can hold a job to a field. Source: design of the policies, D. */
const gradeSchema = z.enum(["enforced", "scheduled", "checked", "translated", "no effect", "always satisfied"]);
export type Grade = z.infer<typeof gradeSchema>;

const gradeLineSchema = z.object({
  field: z.string(),
  grade: gradeSchema,
  /** `on 12 of 16 nodes`, `how it is translated`; empty: nothing to add. */
  note: z.string(),
});
export type GradeLine = z.infer<typeof gradeLineSchema>;

/** A bare document has no envelope, so its place is given beside it. Kinds are ours or Run:ai's names. */
const headFields = {
  name: policyNameSchema.optional(),
  scope: z.enum(["tenant", "cluster", "department", "project"]).optional(),
  scope_id: z.string().max(64).optional(),
  workloads: z.array(z.string().max(40)).max(10).optional(),
  mode: modeSchema.optional(),
};

/** `POST /onprem/policies/apply`, for admins. */
export const policyApplyBodySchema = z.strictObject({
  text: documentSchema,
  ...headFields,
  /** Checked, and nothing is saved. */
  validateOnly: z.boolean().default(false),
});
export const policyApplyResultSchema = z.object({
  name: z.string(),
  revision: z.int(),
  /** False: the same bytes were saved already. */
  changed: z.boolean(),
  saved: z.boolean(),
  warnings: z.array(z.string()),
  grades: z.array(gradeLineSchema),
  /** Waiting and running jobs that it would refuse now; they are left alone. */
  refuses: z.array(z.object({ user: z.string(), job_id: z.int(), violations: z.array(violationSchema) })),
});
export type PolicyApplyResult = z.infer<typeof policyApplyResultSchema>;

const rowSchema = z.object({
  name: z.string(),
  scope: z.enum(scopeLevels),
  scope_id: z.string(),
  workloads: z.array(z.string()),
  mode: modeSchema,
  dialect: z.enum(["v1", "v2"]),
  owner: z.string().nullable(),
  description: z.string().nullable(),
  revision: z.int(),
  created_by: z.string().nullable(),
  created_at: z.number().nullable(),
  updated_by: z.string().nullable(),
  updated_at: z.number().nullable(),
});
/** `GET /onprem/policies`: those that bind the caller; an admin gets all. */
export const policiesResultSchema = z.object({ cluster: z.string(), policies: z.array(rowSchema) });
export type PoliciesResult = z.infer<typeof policiesResultSchema>;
export type PolicyRow = z.infer<typeof rowSchema>;

/** `GET /onprem/policies/get?name=N&revision=R`; the text is the bytes that were applied. */
export const policyGetResultSchema = rowSchema.extend({
  text: z.string(),
  warnings: z.array(z.string()),
  grades: z.array(gradeLineSchema),
});
export type PolicyGetResult = z.infer<typeof policyGetResultSchema>;

/** `POST /onprem/policies/delete`, `POST /onprem/policies/rollback` (makes a new revision of the old text), for admins. */
export const policyDeleteBodySchema = z.strictObject({ name: policyNameSchema });
export const policyRollbackBodySchema = z.strictObject({ name: policyNameSchema, revision: z.int().min(1) });

/** `GET /onprem/policies/history?name=N`, newest first; a deletion is an entry too. */
export const policyHistoryResultSchema = z.object({
  name: z.string(),
  revisions: z.array(
    z.object({
      revision: z.int(),
      at: z.number(),
      by: z.string(),
      what: z.enum(["created", "changed", "deleted", "rolled back"]),
      text: z.string().nullable(),
    }),
  ),
});
export type PolicyHistoryResult = z.infer<typeof policyHistoryResultSchema>;

const evaluationFields = {
  kind: kindSchema,
  project: z.string().nullable(),
  accepted: z.boolean(),
  violations: z.array(violationSchema),
  warned: z.array(violationSchema),
  audited: z.array(violationSchema),
  excepted: z.array(violationSchema),
  notices: z.array(z.string()),
};
/** `POST /onprem/policies/check`: what would happen to this task of the caller (or, for an admin, of another user). */
export const policyCheckBodySchema = z.strictObject({
  task: z.string().max(8 * 1024 * 1024),
  user: z.string().max(64).optional(),
  project: projectNameSchema.optional(),
});
export const policyCheckResultSchema = z.object({
  ...evaluationFields,
  /** By canonical path; never a secret's value. */
  effective: z.record(z.string(), z.unknown()),
  /** By path: who set the value, and how well it is held. */
  origins: z.record(z.string(), z.string()),
  grades: z.array(gradeLineSchema),
  /** The task as it would run, without secrets. */
  task: z.string().nullable(),
});
export type PolicyCheckResult = z.infer<typeof policyCheckResultSchema>;

/** `POST /onprem/policies/diff`: what this document would have done to the last jobs, for admins. */
export const policyDiffBodySchema = z.strictObject({
  text: documentSchema,
  ...headFields,
  jobs: z.int().min(1).max(10_000).default(1000),
});
export const policyDiffResultSchema = z.object({
  name: z.string(),
  /** Lines of a unified diff against what is saved; empty: nothing changed. */
  text: z.string(),
  looked: z.int(),
  same: z.int(),
  changed: z.array(
    z.object({
      at: z.number(),
      user: z.string(),
      project: z.string().nullable(),
      job_id: z.int().nullable(),
      job_name: z.string().nullable(),
      before: z.enum(["accepted", "rejected"]),
      after: z.enum(["accepted", "rejected"]),
      violations: z.array(violationSchema),
      /** Paths whose effective value would be another. */
      fields: z.array(z.string()),
    }),
  ),
});
export type PolicyDiffResult = z.infer<typeof policyDiffResultSchema>;

/** `GET /onprem/policies/effective?kind=K&project=P&user=U`: for forms; U other than oneself only for admins. */
export const policyEffectiveResultSchema = z.object({
  kind: kindSchema,
  user: z.string(),
  project: z.string().nullable(),
  projects: z.array(z.string()),
  /** By canonical path; attributes as `storage.git[].branch`. Fields without a default and a rule are not named. */
  fields: z.record(
    z.string(),
    z.object({
      type: z.string(),
      default: z.unknown(),
      canEdit: z.boolean(),
      canAdd: z.boolean().optional(),
      locked: z.array(z.string()).optional(),
      required: z.boolean(),
      blocked: z.boolean(),
      min: z.unknown().optional(),
      max: z.unknown().optional(),
      step: z.unknown().optional(),
      options: z.array(z.object({ value: z.unknown(), displayed: z.string().optional() })).optional(),
      /** Of each rule, and of the default. */
      sources: z.record(z.string(), sourceSchema),
    }),
  ),
});
export type PolicyEffectiveResult = z.infer<typeof policyEffectiveResultSchema>;

/** One line of the decision log, `GET /onprem/policies/log?limit=N&user=U&outcome=O`, newest first. Others' lines only for admins. */
export const decisionSchema = z.object({
  at: z.number(),
  user: z.string(),
  project: z.string().nullable(),
  kind: kindSchema.nullable(),
  request_id: z.string(),
  /** `launch`, `exec`, `validate` … */
  request: z.string(),
  job_id: z.int().nullable(),
  job_name: z.string().nullable(),
  outcome: z.enum(["accepted", "warned", "would have been rejected", "excepted", "rejected"]),
  /** `admin policy` or `workload policy`, of a rejection. */
  by: z.string().nullable(),
  /** Names with revisions: `nlp-training@7`. */
  policies: z.array(z.string()),
  violations: z.array(violationSchema),
  /** Paths that policies have set or changed. */
  changed: z.array(z.string()),
  /** Text of an admin policy's rejection. */
  text: z.string().nullable(),
});
export type Decision = z.infer<typeof decisionSchema>;
export const decisionsResultSchema = z.object({ decisions: z.array(decisionSchema) });
export type DecisionsResult = z.infer<typeof decisionsResultSchema>;

/** Assets: `GET /onprem/policies/assets`, `POST …/assets/set`, `POST …/assets/delete` (refused while imposed), for admins. */
export const assetSchema = z.strictObject({
  id: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/),
  field: z.string().max(100),
  /** An item, by attribute; not `z.json()`, which refers to itself, and no document of the API can say that. */
  spec: z.record(z.string(), z.unknown()),
  credentials: z.boolean().default(false),
});
export const assetsResultSchema = z.object({
  assets: z.array(assetSchema.extend({ imposed_by: z.array(z.string()) })),
});
export type AssetsResult = z.infer<typeof assetsResultSchema>;
export const assetDeleteBodySchema = z.strictObject({ id: z.string().max(64) });

/** Exceptions: `GET /onprem/policies/exceptions`, `POST …/exceptions/add`, `POST …/exceptions/remove`, for admins. */
export const exceptionBodySchema = z.strictObject({
  policy: policyNameSchema,
  field: z.string().max(200).nullable().default(null),
  rule: z.enum(violationRules).nullable().default(null),
  subjects: z
    .array(z.string().regex(/^(user|group|project):[A-Za-z0-9_][A-Za-z0-9_.@ -]{0,62}$/))
    .min(1)
    .max(100),
  owner: z.string().min(1).max(200),
  reason: z.string().min(1).max(500),
  /** Seconds since 1970; at most a year away. */
  expires_at: z.number(),
});
export const exceptionRemoveBodySchema = z.strictObject({ id: z.string().max(64) });
export const exceptionsResultSchema = z.object({
  exceptions: z.array(
    z.object({
      ...exceptionBodySchema.shape,
      id: z.string(),
      created_by: z.string(),
      created_at: z.number(),
      expired: z.boolean(),
    }),
  ),
});
export type ExceptionsResult = z.infer<typeof exceptionsResultSchema>;

/** Secrets of projects for `SECRET:name,key`: names and keys are listed, values never. `POST …/secrets/set`, `…/secrets/delete`. */
export const policySecretSetBodySchema = z.strictObject({
  /** Null: for every project. */
  project: projectNameSchema.nullable(),
  name: policyNameSchema,
  /** Null takes one away. */
  values: z.record(
    z.string().regex(/^[A-Za-z0-9._-]{1,253}$/),
    z
      .string()
      .max(64 * 1024)
      .nullable(),
  ),
});
export const policySecretDeleteBodySchema = z.strictObject({
  project: projectNameSchema.nullable(),
  name: policyNameSchema,
});
export const policySecretsResultSchema = z.object({
  secrets: z.array(z.object({ project: z.string().nullable(), name: z.string(), keys: z.array(z.string()) })),
});
export type PolicySecretsResult = z.infer<typeof policySecretsResultSchema>;
