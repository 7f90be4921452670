/**
 * Questions and answers about usage: who has had how much in a period, and which accelerators are held and do nothing.
 * Used by coordinator/api (server) and client/sdk. Times in seconds since 1970.
 */
import * as z from "zod";

const usageKeySchema = z.enum(["user", "group", "kind", "node", "job"]);
export type UsageKey = z.infer<typeof usageKeySchema>;
export const usageKeys: readonly UsageKey[] = usageKeySchema.options;

/** Latest time that a question may name: the year 10000. */
const latestSeconds = 253_402_300_800;

/** The query of `GET /onprem/usage`, as text. Without `to`: up to now; without `from`: the 7 days before that. */
export const usageQuerySchema = z.strictObject({
  from: z.coerce.number().min(0).max(latestSeconds).optional(),
  to: z.coerce.number().min(0).max(latestSeconds).optional(),
  /** One key, or several with commas. */
  by: z
    .string()
    .max(100)
    .default("user")
    .transform((text) => [...new Set(text.split(","))])
    .pipe(z.array(usageKeySchema).min(1)),
});

const amountFields = { accelerator_hours: z.number(), cpu_hours: z.number(), memory_gb_hours: z.number() };
const usageAmountSchema = z.object(amountFields);
export type UsageAmount = z.infer<typeof usageAmountSchema>;

const usageRowSchema = z.object({
  /** What was asked for; `job` comes with its user. `kind` null: without accelerators; `group` null: in no group. */
  keys: z.object({
    user: z.string().optional(),
    group: z.string().nullable().optional(),
    kind: z.string().nullable().optional(),
    node: z.string().optional(),
    job: z.int().optional(),
  }),
  ...amountFields,
});
export type UsageRow = z.infer<typeof usageRowSchema>;

export const usageResultSchema = z.object({
  cluster: z.string(),
  from: z.number(),
  to: z.number(),
  by: z.array(z.string()),
  /** Whose use this is: the caller's own, or everybody's. */
  scope: z.enum(["own", "all"]),
  /** Most accelerator-hours first. By group a user's use counts in each of their groups, so rows may sum to more than the total. */
  rows: z.array(usageRowSchema),
  /** Rows that were left out at the end. */
  more: z.int(),
  total: usageAmountSchema,
  /** Lines of the history that could not be read, and where the first of them are. */
  damaged: z.object({ lines: z.int(), places: z.array(z.string()) }),
});
export type UsageResult = z.infer<typeof usageResultSchema>;

const idleRowSchema = z.object({
  node: z.string(),
  index: z.int(),
  kind: z.string(),
  /** Null: it is not shown to the caller. */
  user: z.string().nullable(),
  job: z.int().nullable(),
  /** Since when no use of it has been seen, and since when it has been held, as far as that is known. */
  idle_since: z.number(),
  held_since: z.number().nullable(),
});
export type IdleRow = z.infer<typeof idleRowSchema>;

export const idleResultSchema = z.object({
  cluster: z.string(),
  now: z.number(),
  /** Longest idle first. */
  idle: z.array(idleRowSchema),
});
export type IdleResult = z.infer<typeof idleResultSchema>;
