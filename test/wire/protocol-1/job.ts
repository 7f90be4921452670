/**
 * What a job is on the wire and in the store: its demand (shape), what it was given (grant), and its record. The record
 * is the truth about a job (BullMQ's lists are only an index of it), so it stays under 4 KB and every field is checked
 * again when it is read back. It must never hold scripts, environment values or secrets: those lie in the store under
 * `taskRef`. Used by the coordinator's core and queue, and by the agent for grants.
 */
import * as z from "zod";
import {
  attemptIdSchema,
  clusterNameSchema,
  jobIdSchema,
  jobNameSchema,
  nodeNameSchema,
  requestIdSchema,
  timeSchema,
  uidSchema,
  userNameSchema,
} from "./ids.ts";

/** SkyPilot's job statuses, in the order in which a job can pass through them. */
export const jobStatusSchema = z.enum([
  "INIT",
  "PENDING",
  "SETTING_UP",
  "RUNNING",
  "SUCCEEDED",
  "FAILED",
  "FAILED_SETUP",
  "FAILED_DRIVER",
  "CANCELLED",
]);
export type JobStatus = z.infer<typeof jobStatusSchema>;

const endStatusSchema = z.enum(["SUCCEEDED", "FAILED", "FAILED_SETUP", "FAILED_DRIVER", "CANCELLED"]);
export type EndStatus = z.infer<typeof endStatusSchema>;

/** A canonical accelerator name such as `H100`, `A100-80GB`, `RTX4090`, `MI300X`; compared without regard to case. */
export const acceleratorKindSchema = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/);

/** Names a payload in the store. */
const taskRefSchema = z.string().regex(/^[a-z0-9]{16,64}$/);

/** What each rank of a job needs. `count` of accelerators: a whole number, or a fraction below 1 (a share of one device). */
const shapeSchema = z.strictObject({
  nodes: z.int().min(1).max(10_000),
  accelerators: z.strictObject({ kind: acceleratorKindSchema, count: z.number().positive().max(1024) }).nullable(),
  cpus: z.number().min(0).max(100_000),
  memoryGb: z.number().min(0).max(10_000_000),
});
export type Shape = z.infer<typeof shapeSchema>;

/** What one rank was given on one node. `devices` are indices on that node; `share` is 1, or the fraction of the one device. */
export const rankGrantSchema = z.strictObject({
  node: nodeNameSchema,
  devices: z.array(z.int().min(0).max(1023)).max(1024),
  share: z.number().positive().max(1),
  cpus: z.number().min(0),
  memoryGb: z.number().min(0),
});
export type RankGrant = z.infer<typeof rankGrantSchema>;

/** What is known of one rank of the current attempt. Times are the coordinator's. */
const rankRecordSchema = z.strictObject({
  grant: rankGrantSchema,
  /** This rank runs the user's setup before the run script. */
  setup: z.boolean(),
  pid: z.int().positive().nullable(),
  setupExit: z.int().min(0).max(255).nullable(),
  runExit: z.int().min(0).max(255).nullable(),
  /** Folder of this rank's logs relative to the user's home on that node, e.g. `sky_logs/1-train`. */
  logDir: z.string().max(300).nullable(),
});
export type RankRecord = z.infer<typeof rankRecordSchema>;

/** One start of a job. */
const attemptRecordSchema = z.strictObject({
  id: attemptIdSchema,
  number: z.int().min(1),
  /**
   * `taskRef` of the setup script that ranks with `setup` run: the task's own (launch) or the user's last (exec); null
   * when no rank runs one. A payload served for this attempt has that task's `setup` and this task's `run` and `envs`.
   */
  setupRef: taskRefSchema.nullable(),
  ranks: z.array(rankRecordSchema).min(1),
});
export type AttemptRecord = z.infer<typeof attemptRecordSchema>;

/**
 * Where a job stands. `waiting`: in the queue. `starting`: the grant is durable, ranks are being started. `setup`:
 * at least one rank runs setup. `running`: every rank has begun its run script. `ended`: see `end`.
 */
const phaseSchema = z.enum(["waiting", "starting", "setup", "running", "ended"]);
export type Phase = z.infer<typeof phaseSchema>;

export const jobRecordSchema = z.strictObject({
  format: z.literal(1),
  uid: uidSchema,
  user: userNameSchema,
  requestId: requestIdSchema,
  kind: z.enum(["launch", "exec"]),
  name: jobNameSchema.nullable(),
  cluster: clusterNameSchema,
  taskRef: taskRefSchema,
  shape: shapeSchema,
  /** As the user wrote it, for the RESOURCES column, e.g. `1x[V100:4]`. */
  resourcesText: z.string().max(200),
  /** The task itself has a setup script / a run script. */
  hasSetup: z.boolean(),
  hasRun: z.boolean(),
  submittedAt: timeSchema,
  phase: phaseSchema,
  attempt: attemptRecordSchema.nullable(),
  startedAt: timeSchema.nullable(),
  cancelRequestedAt: timeSchema.nullable(),
  endedAt: timeSchema.nullable(),
  end: endStatusSchema.nullable(),
  /** Why it ended as it did, for people; null when the status says it all. */
  reason: z.string().max(1000).nullable(),
});
export type JobRecord = z.infer<typeof jobRecordSchema>;

/** A job is its record plus the number that its user's queue gave it. */
const jobSchema = z.strictObject({ id: jobIdSchema, record: jobRecordSchema });
export type Job = z.infer<typeof jobSchema>;

/** The SkyPilot status that a record shows to users. */
export function statusOf(record: JobRecord): JobStatus {
  switch (record.phase) {
    case "waiting":
      return "PENDING";
    case "starting":
      return record.attempt?.ranks.some((rank) => rank.setup) === true ? "SETTING_UP" : "INIT";
    case "setup":
      return "SETTING_UP";
    case "running":
      return "RUNNING";
    case "ended":
      return record.end ?? "FAILED_DRIVER";
  }
}

/** What lies in the store under `taskRef`: everything a rank needs to run, secrets included; at most 8 MB as JSON. */
export const payloadSchema = z.strictObject({
  setup: z.string().nullable(),
  run: z.string().nullable(),
  envs: z.record(z.string().regex(/^[a-zA-Z_][a-zA-Z0-9_]*$/), z.string()),
});
export type Payload = z.infer<typeof payloadSchema>;

/** Largest payload in bytes of JSON. Source: design, section 4. */
export const payloadBytesMax = 8 * 1024 * 1024;
