/**
 * Bodies and results of the two routes by which an admin looks into machines: the doctor and a job's journal. Unknown
 * keys of bodies are errors. Used by coordinator/api (server) and client/sdk.
 */
import * as z from "zod";
import { findingSchema } from "./doctor.ts";
import { jobIdSchema, nodeNameSchema, userNameSchema } from "./ids.ts";

export const doctorBodySchema = z.strictObject({
  /** Null: all nodes of the cluster. */
  nodes: z.array(nodeNameSchema).min(1).max(1_000).nullable().default(null),
});

const examinedSchema = z.object({
  name: z.string(),
  findings: z.array(findingSchema),
  /** What is missing from the answer. */
  notes: z.array(z.string()),
});

/** `coordinator`: what only the coordinator can see: clocks, versions, silent nodes, its own Redis and admins. */
export const doctorResultSchema = z.object({
  cluster: z.string(),
  coordinator: z.array(findingSchema),
  nodes: z.array(examinedSchema),
});
export type DoctorResult = z.infer<typeof doctorResultSchema>;

/** Lines of one job's journal in one answer. */
const jobLinesMax = 20_000;

export const jobLogsBodySchema = z.strictObject({
  /** A name, or a uid in digits for an account that is gone. */
  user: userNameSchema,
  job_id: jobIdSchema,
  /** The number of one attempt; null: all. */
  attempt: z.int().min(1).nullable().default(null),
  /** Seconds since 1970; null: since the job was submitted. */
  since: z.number().min(0).nullable().default(null),
  lines: z.int().min(1).max(jobLinesMax).default(5_000),
});

const jobLineSchema = z.object({
  /** Seconds since 1970 by the clock of that machine. */
  time: z.number(),
  machine: z.string(),
  program: z.enum(["coordinator", "agent"]),
  /** The line as the daemon wrote it. */
  entry: z.record(z.string(), z.unknown()),
});
export type JobLine = z.infer<typeof jobLineSchema>;

export const jobLogsResultSchema = z.object({
  user: z.string(),
  uid: z.int(),
  job_id: z.int(),
  attempts: z.array(z.string()),
  lines: z.array(jobLineSchema),
  notes: z.array(z.string()),
});
export type JobLogsResult = z.infer<typeof jobLogsResultSchema>;
