/**
 * Bodies and results of the API's routes for quotas and windows of nodes: `/onprem/admin/quota…`, `/onprem/admin/window…`
 * for admins and `/onprem/quota` for everybody. Unknown keys of bodies are errors. Times are seconds since 1970. Used by
 * coordinator/api (server) and client/sdk.
 */
import * as z from "zod";
import { nodeNameSchema, userNameSchema } from "./ids.ts";
import { acceleratorKindSchema } from "./job.ts";
import { groupNameSchema, nodeWindowSchema, quotaSchema, quotaSubjectSchema, windowIdSchema } from "./scheduling.ts";

/** Limits of `quotaSchema` as the API writes them; absent: does not limit. */
const limitsSchema = z.object({
  accelerators: z.record(z.string(), z.number()).default({}),
  cpus: z.number().optional(),
  memory_gb: z.number().optional(),
  running: z.int().optional(),
  waiting: z.int().optional(),
});
export type QuotaLimits = z.infer<typeof limitsSchema>;

/** What is held now, all ranks of all started jobs together; `accelerators` by kind, fractions as such. */
const useSchema = z.object({
  accelerators: z.record(z.string(), z.number()),
  cpus: z.number(),
  memory_gb: z.number(),
  running: z.int(),
  waiting: z.int(),
});
export type QuotaUse = z.infer<typeof useSchema>;

const quotaRowSchema = z.object({
  /** `user:NAME`, `group:NAME` or `each`. */
  subject: z.string(),
  limits: limitsSchema,
  /** Of all whom the limits bind together; null for `each`, which binds every user alone. */
  use: useSchema.nullable(),
  /** Who of them holds or waits for something; at most `quotaUsersMax`, those who hold the most first. */
  users: z.array(z.object({ user: z.string(), use: useSchema })),
});
export type QuotaRow = z.infer<typeof quotaRowSchema>;
export const quotaUsersMax = 100;

/** Result of `GET /onprem/admin/quotas`. */
export const quotasResultSchema = z.object({ cluster: z.string(), quotas: z.array(quotaRowSchema) });
export type QuotasResult = z.infer<typeof quotasResultSchema>;

const limitFields = quotaSchema.shape;
/** Changes the named limits and leaves the others; null drops one. */
export const quotaSetBodySchema = z.strictObject({
  subject: quotaSubjectSchema,
  /** By kind as the cluster's nodes name them; `*`: all kinds together. */
  accelerators: z
    .record(z.union([z.literal("*"), acceleratorKindSchema]), z.number().min(0).max(1e6).nullable())
    .default({}),
  cpus: limitFields.cpus.nullable(),
  memory_gb: limitFields.memoryGb.nullable(),
  running: limitFields.running.nullable(),
  waiting: limitFields.waiting.nullable(),
});
export const quotaUnsetBodySchema = z.strictObject({ subject: quotaSubjectSchema });

/** Result of both. `quota`: null when nothing limits the subject any more. `notes`: for the admin. */
export const quotaChangeResultSchema = z.object({ quota: quotaRowSchema.nullable(), notes: z.array(z.string()) });
export type QuotaChangeResult = z.infer<typeof quotaChangeResultSchema>;

/** Result of `GET /onprem/quota`: what binds the caller, and what they hold. Seconds of time limits; 0: none. */
export const ownQuotaResultSchema = z.object({
  cluster: z.string(),
  user: z.string(),
  use: useSchema,
  /** `users` is empty. Of a group, `use` is what all its members hold together. */
  quotas: z.array(quotaRowSchema),
  waiting_max: z.int(),
  default_time_seconds: z.number(),
  max_time_seconds: z.number(),
});
export type OwnQuotaResult = z.infer<typeof ownQuotaResultSchema>;

/** Longest span between now and the end of a window: two years. */
export const windowAheadSecondsMax = 2 * 366 * 86_400;
const windowReasonMax = 200;

const secondsSchema = z.number().min(0).max(1e11);
/** Exactly one of `to` and `for_seconds`. */
export const windowBodySchema = z.strictObject({
  kind: nodeWindowSchema.shape.kind,
  nodes: z.array(nodeNameSchema).min(1).max(1_000),
  /** Null: now. */
  from: secondsSchema.nullable().default(null),
  to: secondsSchema.nullable().default(null),
  for_seconds: z.number().positive().max(windowAheadSecondsMax).nullable().default(null),
  users: z.array(userNameSchema).max(1_000).default([]),
  groups: z.array(groupNameSchema).max(1_000).default([]),
  /** What still runs there at `from` and may not run in the window is ended. */
  end_jobs: z.boolean().default(false),
  /** Printed on terminals: no control characters. */
  reason: z
    .string()
    .regex(/^[^\p{Cc}]*$/u, "must be one line of text")
    .min(1)
    .max(windowReasonMax)
    .nullable()
    .default(null),
});
export const windowRemoveBodySchema = z.strictObject({ ids: z.array(windowIdSchema).min(1).max(1_000) });

export const windowRowSchema = z.object({
  id: z.string(),
  kind: z.enum(["maintenance", "reservation"]),
  nodes: z.array(z.string()),
  from: z.number(),
  to: z.number(),
  users: z.array(z.string()),
  groups: z.array(z.string()),
  end_jobs: z.boolean(),
  reason: z.string().nullable(),
  by: z.string().nullable(),
  on: z.boolean(),
});
export type WindowRow = z.infer<typeof windowRowSchema>;

/** Result of `GET /onprem/admin/windows`: what is on or to come, earliest first. */
export const windowsResultSchema = z.object({ cluster: z.string(), windows: z.array(windowRowSchema) });
export type WindowsResult = z.infer<typeof windowsResultSchema>;

/** Result of an added window. `notes`: what the admin should know of it. */
export const windowAddResultSchema = z.object({ window: windowRowSchema, notes: z.array(z.string()) });
export type WindowAddResult = z.infer<typeof windowAddResultSchema>;

/** Result of a removal: the windows that are gone. */
export const windowRemoveResultSchema = z.array(windowRowSchema);
