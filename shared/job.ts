/**
 * What a job is on the wire and in the store: its demand (shape), what it was given (grant), and its record. The record
 * is the truth about a job (BullMQ's lists are only an index of it), so it stays under 4 KB and every field is checked
 * again when it is read back. It must never hold scripts, environment values or secrets: those lie in the store under
 * `taskRef`. Used by the coordinator's core and queue, and by the agent for grants.
 */
import * as z from "zod";
import { filePlanSchema } from "./files.ts";
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
import { launchSpecSchema, limitsSchema, mechanismSchema } from "./launch-spec.ts";

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

/**
 * A canonical accelerator name such as `H100`, `A100-80GB`, `RTX4090`, `MI300X`; compared without regard to case. Counts
 * are kept by kind in plain objects, so it is no word that every object knows.
 */
export const acceleratorKindSchema = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/)
  .refine((kind) => !(kind in {}), "is no name of an accelerator");

/** Names a payload in the store. */
const taskRefSchema = z.string().regex(/^[a-z0-9]{16,64}$/);

/** A node's or a demand's labels: lower-case names as in Kubernetes, short values. */
export const labelsSchema = z.record(
  z.string().regex(/^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/),
  z.string().regex(/^[A-Za-z0-9]([A-Za-z0-9._:/ -]{0,61}[A-Za-z0-9])?$|^$/),
);

/**
 * Accelerators for each rank, all of one kind on a node. `count`: a whole number, or a fraction below 1 (a share of one
 * device). With `memory` every kind counts whose nominal memory is that, or at least that (`orMore`); then `kind` is
 * the form as the user wrote it without the count and `+`, for people only.
 */
const acceleratorDemandSchema = z.strictObject({
  kind: acceleratorKindSchema,
  count: z.number().positive().max(1024),
  memory: z.strictObject({ gb: z.number().positive().max(1e6), orMore: z.boolean() }).optional(),
  /** Only this maker's devices (`NVIDIA`, `AMD` …), as in `NVIDIA:80GB+`. */
  vendor: z.string().max(40).optional(),
});
export type AcceleratorDemand = z.infer<typeof acceleratorDemandSchema>;

const demandFields = {
  accelerators: acceleratorDemandSchema.nullable(),
  cpus: z.number().min(0).max(100_000),
  memoryGb: z.number().min(0).max(10_000_000),
  /** Only nodes that have all of these. */
  labels: labelsSchema.optional(),
};
/** One way in which each rank of a job could be served. */
const demandSchema = z.strictObject(demandFields);
export type Demand = z.infer<typeof demandSchema>;

/**
 * What a job asks for. The first way stands in the shape itself, so that a job with one way is stored as before; every
 * rank of a job is served in the same way.
 */
const shapeSchema = z.strictObject({
  nodes: z.int().min(1).max(10_000),
  ...demandFields,
  /** Further ways (`any_of`, `ordered`, sets and lists of accelerators). */
  others: z.array(demandSchema).min(1).max(63).optional(),
  /** The ways are equally good: the plan takes the one that leaves the cluster best. Absent: earlier ones are preferred. */
  anyOrder: z.literal(true).optional(),
  /** Nobody else's rank on its nodes. */
  exclusive: z.literal(true).optional(),
  /** SkyPilot's range, −1000 to 1000; absent: 0. Higher starts first. */
  priority: z.int().min(-1000).max(1000).optional(),
  /** May be stopped for a job of higher priority and is started again later; only together with `recovers`. */
  preemptible: z.literal(true).optional(),
  /** Longest time from its grant to its end; absent: none. */
  timeLimitSeconds: z.int().min(1).max(31_536_000).optional(),
  /** Started again elsewhere when its machine is lost (`job_recovery`), so it needs nodes that know leases; absent: no. */
  recovers: z.literal(true).optional(),
  /** It brings files, secrets or other parts of a payload that only agents of protocol 2 know; absent: no. */
  brings: z.literal(true).optional(),
  /** It runs in a container, so it needs nodes with a program for that; absent: no. */
  container: z.literal(true).optional(),
  /** Its launch spec needs nodes that can do these; absent: none. */
  mechanisms: z.array(mechanismSchema).min(1).max(16).optional(),
  /** What the kernel holds each rank to; its mechanisms name what that needs. Absent: nothing. */
  limits: limitsSchema.optional(),
  /** From TERM to KILL when it is stopped; absent: the cluster's. */
  graceSeconds: z.int().min(0).max(3600).optional(),
  /** Preempted, it ends as CANCELLED and is not started again. */
  terminateAfterPreemption: z.literal(true).optional(),
  /** Its record is dropped so long after its end; absent: when the cluster drops it. */
  keepSeconds: z.int().min(0).max(31_536_000).optional(),
});
export type Shape = z.infer<typeof shapeSchema>;

/** The ways in which the job could be served, in order of preference. */
export function demandsOf(shape: Shape): Demand[] {
  const { accelerators, cpus, memoryGb, labels } = shape;
  const first: Demand = { accelerators, cpus, memoryGb, ...(labels === undefined ? {} : { labels }) };
  return [first, ...(shape.others ?? [])];
}

/** What one rank was given on one node. `devices` are indices on that node; `share` is 1, or the fraction of the one device. */
export const rankGrantSchema = z.strictObject({
  node: nodeNameSchema,
  devices: z.array(z.int().min(0).max(1023)).max(1024),
  share: z.number().positive().max(1),
  cpus: z.number().min(0).max(1e6),
  memoryGb: z.number().min(0).max(1e9),
  /** Nobody else is granted anything on this node beside it. */
  exclusive: z.literal(true).optional(),
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

/** What ends an attempt without its coordinator: how long it may run after a renewal, and from TERM to KILL after that. */
const leaseSchema = z.strictObject({
  seconds: z.int().min(1).max(86_400),
  graceSeconds: z.int().min(0).max(3600),
});
export type Lease = z.infer<typeof leaseSchema>;

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
  /** Of jobs that recover, as their nodes were told it; a later config does not change it. */
  lease: leaseSchema.optional(),
});
export type AttemptRecord = z.infer<typeof attemptRecordSchema>;

/**
 * Where a job stands. `waiting`: in the queue. `starting`: the grant is durable, ranks are being started. `setup`:
 * at least one rank runs setup. `running`: every rank has begun its run script. `ended`: see `end`.
 */
const phaseSchema = z.enum(["waiting", "starting", "setup", "running", "ended"]);
export type Phase = z.infer<typeof phaseSchema>;

/** Of a container's image, as a task has it after `docker:`. */
export const imageNameSchema = z.string().max(1000);

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
  /**
   * Put back, unfinished, from a backup that was taken at this time (UTC): what has become of it since is not known. While
   * it stands here the job is never started; an admin's release takes it away.
   */
  restoredFrom: z.iso.datetime().max(40).optional(),
  /** Whose policies bound it, a project of the config; absent: none. */
  project: z.string().max(64).optional(),
  /** The image of its container; absent: it runs on the machine itself. A setup belongs to the image that it ran in. */
  image: imageNameSchema.optional(),
  /** How many of its attempts were stopped for jobs of higher priority. */
  preemptions: z.int().min(1).max(1e9).optional(),
  /**
   * Attempts that were given up because a machine was lost, oldest first: they are named as ended to whoever comes back with
   * one, and the next attempt waits until nothing of them can run any more.
   */
  givenUp: z
    .array(z.strictObject({ attempt: attemptIdSchema, lease: leaseSchema, nodes: z.array(nodeNameSchema).min(1) }))
    .max(50)
    .optional(),
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
  /** As envs, but shown nowhere. */
  secrets: z.record(z.string().regex(/^[a-zA-Z_][a-zA-Z0-9_]*$/), z.string()).optional(),
  /** Brought to the node before setup, in this order. */
  files: z.array(filePlanSchema).max(1000).optional(),
  /** In place of `run`: source of `(rank, ips) => command or null`. */
  runGenerator: z.string().optional(),
  /** Setup and run in a container of this image. */
  image: z.strictObject({ name: imageNameSchema, options: z.array(z.string().max(1000)).max(100) }).optional(),
  eventCallback: z.string().optional(),
  launchSpec: launchSpecSchema.optional(),
});
export type Payload = z.infer<typeof payloadSchema>;

/** Largest payload in bytes of JSON. Source: design, section 4. */
export const payloadBytesMax = 8 * 1024 * 1024;
