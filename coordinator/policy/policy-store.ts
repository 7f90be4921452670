/**
 * What is durable of policies: revisions with the bytes that were applied, assets, exceptions and the secrets of
 * projects. Types and schemas; coordinator/store-policies.ts keeps them in Redis. A stored entry that does not match is
 * damaged, and whoever reads it must say so: a policy that cannot be read must never be taken for one that allows.
 */
import * as z from "zod";
import { requestIdSchema, timeSchema, userNameSchema } from "../../shared/ids.ts";
import {
  assetSchema,
  exceptionBodySchema,
  policyBytesMax,
  policyNameSchema,
  projectNameSchema,
} from "../../shared/policy-api.ts";
import { policyModes } from "../../shared/policy/words.ts";

/** What was said beside a document when it was applied: a bare one has no envelope. As the body of `apply` has it. */
const givenHeadSchema = z.strictObject({
  name: policyNameSchema.optional(),
  scope: z.enum(["tenant", "cluster", "department", "project"]).optional(),
  scope_id: z.string().max(64).optional(),
  workloads: z.array(z.string().max(40)).max(10).optional(),
  mode: z.enum(policyModes).optional(),
});
export type GivenHead = z.infer<typeof givenHeadSchema>;

/** One change of one policy. `text` null: it was deleted. Times in ms since 1970. */
export const revisionSchema = z.strictObject({
  format: z.literal(1),
  name: policyNameSchema,
  revision: z.int().min(1),
  at: timeSchema,
  by: userNameSchema,
  what: z.enum(["created", "changed", "deleted", "rolled back"]),
  /** Of the request that made it, so that the same request makes no second one. */
  requestId: requestIdSchema,
  text: z.string().min(1).max(policyBytesMax).nullable(),
  given: givenHeadSchema,
  /** Who made the first of these revisions since the policy was last absent, and when. */
  createdBy: userNameSchema,
  createdAt: timeSchema,
});
export type PolicyRevision = z.infer<typeof revisionSchema>;

export const storedAssetSchema = assetSchema;
export type StoredAsset = z.infer<typeof storedAssetSchema>;

export const storedExceptionSchema = exceptionBodySchema.extend({
  id: z.string().regex(/^e[1-9][0-9]{0,8}$/),
  created_by: userNameSchema,
  /** Seconds since 1970. */
  created_at: z.number(),
  requestId: requestIdSchema,
});
export type StoredException = z.infer<typeof storedExceptionSchema>;

export const secretValuesSchema = z.record(z.string(), z.string());
export type SecretValues = z.infer<typeof secretValuesSchema>;

/** Whose secret; `project` null: everybody's. */
export interface SecretName {
  project: string | null;
  name: string;
}
export const secretNameSchema = z.strictObject({ project: projectNameSchema.nullable(), name: policyNameSchema });

export interface LoadedPolicies {
  /** The newest revision of every policy that there ever was, deletions included. */
  newest: PolicyRevision[];
  /** Names whose newest revision cannot be read. */
  damaged: string[];
  assets: StoredAsset[];
  /** Those that cannot be read are left out: then nothing is excepted. */
  exceptions: StoredException[];
}

/** In coordinator/store-policies.ts. Everything that changes something is durable when it resolves. */
export interface PolicyStore {
  load(): Promise<LoadedPolicies>;
  /** Keeps every revision, the oldest of very many apart. */
  save(revision: PolicyRevision): Promise<void>;
  /** Newest first; `damaged` ones are named by their number. */
  revisions(name: string): Promise<{ revisions: PolicyRevision[]; damaged: number[] }>;
  /** Null drops it. */
  saveAsset(id: string, asset: StoredAsset | null): Promise<void>;
  saveException(id: string, exception: StoredException | null): Promise<void>;
  /** Null: there is none, or it cannot be read. */
  secret(name: SecretName): Promise<SecretValues | null>;
  saveSecret(name: SecretName, values: SecretValues | null): Promise<void>;
  /** Without values. */
  secretNames(): Promise<(SecretName & { keys: string[] })[]>;
}
