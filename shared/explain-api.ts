/**
 * The answer to "why does my job wait": result of `GET /onprem/explain`, and of a dry run of launch and exec. Every
 * constraint in it was computed from the state that the plan sees; names are there only as far as the config shows them
 * to the caller. Times in seconds since 1970. Made by coordinator/core/explain.ts, printed by client/output/explain-text.ts.
 */
import * as z from "zod";
import { jobStatusSchema } from "./job.ts";

/** Constraints and actions in one answer. */
export const explainLimits = { constraints: 40, actions: 8 } as const;

/**
 * What can hold a job back. `held`: somebody or something must let it go first. `quota`, `window`: what admins have set.
 * `fit`: no machine could ever take it. `node`: a machine takes no jobs now. `accelerators` to `exclusive`: what is
 * missing on machines. `order`: a job ahead gets it. `reservation`: it would delay the reserved start of a job ahead.
 */
const constraintTypeSchema = z.enum([
  "held",
  "quota",
  "window",
  "fit",
  "node",
  "accelerators",
  "cpus",
  "memory",
  "labels",
  "exclusive",
  "version",
  "container",
  "mechanism",
  "order",
  "reservation",
]);
export type ConstraintType = z.infer<typeof constraintTypeSchema>;

/** One job that holds, or is to get, what is missing. */
const holderSchema = z.object({
  /** Null: not shown to the caller, or not known. */
  user: z.string().nullable(),
  job_id: z.int().nullable(),
  /** It is a job of the caller of this answer's job. */
  own: z.boolean(),
  /** `2 V100 on n1`; empty where the constraint says it. */
  what: z.string(),
  /** When its time limit ends it; null: not known. */
  until: z.number().nullable(),
});
export type ExplainHolder = z.infer<typeof holderSchema>;

const constraintSchema = z.object({
  type: constraintTypeSchema,
  /** A clause for people, complete by itself. */
  text: z.string(),
  nodes: z.array(z.string()),
  holders: z.array(holderSchema),
  /** When it ends by itself; null: not known, or not by itself. */
  until: z.number().nullable(),
});
export type Constraint = z.infer<typeof constraintSchema>;

/** Where a job runs, or where it would start. */
const placeSchema = z.object({
  node: z.string(),
  kind: z.string().nullable(),
  devices: z.array(z.int()),
  /** 1, or the fraction of the one device. */
  share: z.number(),
  cpus: z.number(),
  memory_gb: z.number(),
});
export type ExplainPlace = z.infer<typeof placeSchema>;

export const explainResultSchema = z.object({
  cluster: z.string(),
  user: z.string(),
  /** Null: a dry run. */
  job_id: z.int().nullable(),
  name: z.string().nullable(),
  /** As the RESOURCES column has it, and in words. */
  resources: z.string(),
  needs: z.string(),
  /** Null: a dry run. */
  status: jobStatusSchema.nullable(),
  submitted_at: z.number().nullable(),
  started_at: z.number().nullable(),
  ended_at: z.number().nullable(),
  /** One sentence, as `sky queue` shows it; null when there is nothing to say. */
  reason: z.string().nullable(),
  /** A dry run: it would start at once. A job: it has started. */
  starts_now: z.boolean(),
  /** Of the waiting jobs of this user, and over all; null when it does not wait. */
  position: z.int().nullable(),
  waiting: z.int(),
  position_over_all: z.int().nullable(),
  waiting_over_all: z.int(),
  constraints: z.array(constraintSchema),
  /** When it can start, by the time limits of what runs; null: not known. */
  earliest_start: z.number().nullable(),
  /** Room is kept for it from then on, so it starts then at the latest as things stand. */
  is_reserved: z.boolean(),
  /** Where it is, where it would start, or where room is reserved for it. */
  places: z.array(placeSchema),
  /** When its time limit ends it; null: it has none, or waits. */
  ends_at: z.number().nullable(),
  time_limit_seconds: z.int().nullable(),
  /** What a running job should know: faulty devices, lost machines, its end. */
  warnings: z.array(z.string()),
  /** What would make it start, or what to type next. */
  actions: z.array(z.string()),
});
export type ExplainResult = z.infer<typeof explainResultSchema>;
