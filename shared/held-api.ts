/**
 * Bodies and results of the routes about jobs that a restore has put back: `/onprem/admin/held` and `…/release`. Unknown
 * keys of bodies are errors. Used by coordinator/api/routes-held.ts and client/sdk/held-calls.ts.
 */
import * as z from "zod";
import { jobIdSchema, userNameSchema } from "./ids.ts";

/** Rows in one answer; the number of all is beside them. */
export const heldRowsMax = 1_000;

/** One user's held jobs: all of them, or the named ones. */
const choiceSchema = z.strictObject({
  user: userNameSchema,
  jobs: z.array(jobIdSchema).min(1).max(10_000).nullable().default(null),
});
export type HeldChoice = z.infer<typeof choiceSchema>;

export const releaseBodySchema = z.strictObject({
  /** Null: every user's. */
  choices: z.array(choiceSchema).min(1).max(1_000).nullable().default(null),
  /** End them as CANCELLED instead of letting them start. */
  cancel: z.boolean().default(false),
  /** Also while a node has not said what it runs. */
  anyway: z.boolean().default(false),
});

export const releaseResultSchema = z.object({
  jobs: z.array(z.object({ user: z.string(), job_id: z.int() })),
});
export type ReleaseResult = z.infer<typeof releaseResultSchema>;

export const heldResultSchema = z.object({
  total: z.int(),
  /** Nodes that have not said yet what they run. */
  silent: z.array(z.string()),
  jobs: z.array(
    z.object({
      user: z.string(),
      job_id: z.int(),
      name: z.string().nullable(),
      resources: z.string(),
      submitted_at: z.number(),
      restored_from: z.string(),
    }),
  ),
});
export type HeldResult = z.infer<typeof heldResultSchema>;
