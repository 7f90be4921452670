/**
 * Bodies and results of the API's routes for admins, `/onprem/admin/…`. Unknown keys of bodies are errors. Times are
 * seconds since 1970. Used by coordinator/api (server) and client/sdk.
 */
import * as z from "zod";
import { deviceRowSchema, nodeRowSchema } from "./api.ts";
import { attemptIdSchema, nodeNameSchema } from "./ids.ts";
import { adminReasonMax } from "./node-admin.ts";

/** Longest deadline of a drain: a year. */
const deadlineSecondsMax = 366 * 86_400;

const namesSchema = z.array(nodeNameSchema).min(1).max(1_000);
/** Printed on terminals: no control characters. */
const reasonSchema = z
  .string()
  .regex(/^[^\p{Cc}]*$/u, "must be one line of text")
  .min(1)
  .max(adminReasonMax);

export const drainBodySchema = z.strictObject({
  nodes: namesSchema,
  reason: reasonSchema,
  /** Seconds after which what still runs there is ended; 0: at once; null: it may run to its end. */
  deadline_seconds: z.number().min(0).max(deadlineSecondsMax).nullable().default(null),
});
export const resumeBodySchema = z.strictObject({ nodes: namesSchema });
export const removeBodySchema = z.strictObject({
  nodes: namesSchema,
  reason: reasonSchema.nullable().default(null),
  /** End the jobs that run there; false: refuse while there are any. */
  force: z.boolean().default(false),
});
export const rotateKeyBodySchema = z.strictObject({ node: nodeNameSchema });
export const endUnknownBodySchema = z.strictObject({ attempt: attemptIdSchema });

/** A job that has something on a node. `status` is null for an attempt that only the node knows. */
const jobThereSchema = z.object({
  user: z.string(),
  job_id: z.int(),
  name: z.string().nullable(),
  status: z.string().nullable(),
  attempt: z.string(),
});
export type JobThere = z.infer<typeof jobThereSchema>;

/** One accelerator as admins see it: also what it is called and where it is. */
const adminDeviceRowSchema = deviceRowSchema.extend({
  uuid: z.string().nullable(),
  pci: z.string().nullable(),
  /** How jobs are told to name it where its index does not do. */
  visible: z.string().nullable(),
});

/** One node as admins see it. */
export const adminNodeRowSchema = nodeRowSchema.extend({
  /** Of the last connection; null before the first since the coordinator's start. */
  version: z.string().nullable(),
  protocol: z.int().nullable(),
  /** How the accelerators were found: `nvidia-smi`, `config`, `none` … */
  source: z.string().nullable(),
  load1: z.number().nullable(),
  memory_available_gb: z.number().nullable(),
  disk_free_gb: z.number().nullable(),
  uptime_seconds: z.number().nullable(),
  /** How far its clock is ahead of the coordinator's. */
  clock_skew_seconds: z.number().nullable(),
  skylets: z.int().nullable(),
  /** `changing`: it has made a new key and has not connected with it yet; `new`: the config still has the one before. */
  key: z.enum(["configured", "changing", "new"]),
  /** Of the accelerators, the system and the CPUs; null: not known, as of a version that does not say it. */
  driver: z.string().nullable().default(null),
  os: z.string().nullable().default(null),
  cpu_model: z.string().nullable().default(null),
  disks: z.array(z.object({ mount: z.string(), size_gb: z.number() })).default([]),
  devices: z.array(adminDeviceRowSchema).default([]),
  jobs: z.array(jobThereSchema),
  unknown: z.array(jobThereSchema),
});
export type AdminNodeRow = z.infer<typeof adminNodeRowSchema>;

/** Result of `GET /onprem/admin/nodes`. */
export const adminNodesResultSchema = z.object({
  cluster: z.string(),
  version: z.string(),
  nodes: z.array(adminNodeRowSchema),
});
export type AdminNodesResult = z.infer<typeof adminNodesResultSchema>;

/** Result of drain, resume and remove: the nodes that were named, as they are now. */
export const adminChangeResultSchema = z.array(adminNodeRowSchema);

/** Result of `rotate-key`. `used`: the node has connected with the new key; else both are accepted until it does. */
export const rotateKeyResultSchema = z.object({ node: z.string(), key: z.string(), used: z.boolean() });
export type RotateKeyResult = z.infer<typeof rotateKeyResultSchema>;

/** An attempt that nodes run and the coordinator's state does not know. */
const unknownRowSchema = z.object({
  attempt: z.string(),
  /** Where it is; `reachable`: all of them are connected. */
  nodes: z.array(z.string()),
  reachable: z.boolean(),
  user: z.string(),
  uid: z.int(),
  job_id: z.int(),
  name: z.string().nullable(),
  state: z.string(),
  submitted_at: z.number(),
});
export type UnknownRow = z.infer<typeof unknownRowSchema>;
export const unknownResultSchema = z.object({ cluster: z.string(), attempts: z.array(unknownRowSchema) });
export type UnknownResult = z.infer<typeof unknownResultSchema>;
