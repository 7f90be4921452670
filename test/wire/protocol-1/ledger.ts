/**
 * An attempt in an agent's ledger, as version 0.1 read and wrote it: a copy of what agent/ledger.ts was then.
 */
import * as z from "zod";
import { wantedAttemptSchema } from "./agent-wire.ts";

const exitSchema = z.int().min(0).max(255).nullable();

export const entrySchema = z.strictObject({
  wanted: wantedAttemptSchema,
  phase: z.enum(["accepted", "go", "exited"]),
  bootId: z.string().max(64),
  pid: z.int().positive().nullable(),
  startTime: z.string().max(32).nullable(),
  setupExit: exitSchema,
  runExit: exitSchema,
  logDir: z.string().max(300).nullable(),
  fault: z.string().max(1000).nullable(),
});
