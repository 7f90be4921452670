/**
 * Bodies and results of the routes by which a job's log files are fetched as they are, each rank's own (`sky logs
 * --sync-down`). Used by coordinator/api/routes-log-files.ts and client/sdk/log-files.ts.
 */
import * as z from "zod";
import { attemptIdSchema, jobIdSchema, jobNameSchema, nodeNameSchema } from "./ids.ts";

/** `GET /onprem/logs/files?job=N`: what can be fetched of a job's last attempt. */
export const logFilesResultSchema = z.object({
  job_id: jobIdSchema,
  job_name: jobNameSchema.nullable(),
  /** Nothing more will be written. */
  ended: z.boolean(),
  /** Null: it has not started anywhere yet. */
  attempt: attemptIdSchema.nullable(),
  files: z.array(
    z.object({
      rank: z.int().min(0),
      node: nodeNameSchema,
      part: z.enum(["setup", "run"]),
      /** Where it lies in the job's folder of logs, by SkyPilot's names: `setup.log`, `tasks/0-head.log`. */
      path: z.string().regex(/^(setup(-[A-Za-z0-9_.:%-]+)?\.log|tasks\/[A-Za-z0-9_.-]+\.log)$/),
    }),
  ),
});
export type LogFilesResult = z.infer<typeof logFilesResultSchema>;
export type LogFile = LogFilesResult["files"][number];

/** `GET /onprem/logs/raw?…`: the file's bytes from `offset` to its present end. */
export const rawLogQuerySchema = z.strictObject({
  job: z.coerce.number().pipe(jobIdSchema),
  attempt: attemptIdSchema,
  // Not coerced: an empty text would be the first rank.
  rank: z
    .string()
    .regex(/^[0-9]{1,6}$/)
    .transform(Number),
  part: z.enum(["setup", "run"]),
  offset: z.coerce.number().int().min(0).default(0),
});

/** Trailer of that reply: why the node could not give all of it, URI-encoded; absent or empty: this is all. */
export const logFaultTrailer = "X-Sky-Log-Fault";
