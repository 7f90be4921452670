/**
 * What the files program is told: one JSON file in the attempt's folder, written by the skylet before the runner exists.
 * It may hold a token for git, so only the user can read it. Used by attempt-folder.ts and main.ts.
 */
import * as z from "zod";
import { filePlanSchema } from "../../../shared/files.ts";
import { attemptIdSchema } from "../../../shared/ids.ts";

export const filesOrderSchema = z.strictObject({
  format: z.literal(1),
  /** The agent's socket, and who must own it. */
  socket: z.string().startsWith("/"),
  agentUid: z.int().min(0),
  attempt: attemptIdSchema,
  job: z.int(),
  home: z.string().startsWith("/"),
  plans: z.array(filePlanSchema).max(1000),
  /** Of the task's envs and secrets: those by which git and the tools of buckets prove who asks. */
  credentials: z.record(z.string(), z.string()),
});
export type FilesOrder = z.infer<typeof filesOrderSchema>;
