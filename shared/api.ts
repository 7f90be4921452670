/**
 * Bodies and results of the HTTP API. On SkyPilot's own routes bodies have SkyPilot's names and unknown keys are dropped
 * (newer clients add fields); on `/onprem/…` routes unknown keys are errors. Source of the shapes: SkyPilot API version
 * 56 as described in docs/architecture.md. Used by coordinator/api (server) and client/sdk (our CLI and SDK use nothing else).
 */
import * as z from "zod";
import { overrideConfigSchema } from "./config-api.ts";
import { explainResultSchema } from "./explain-api.ts";
import { uploadsSchema } from "./files.ts";
import { jobStatusSchema } from "./job.ts";
import { windowRowSchema } from "./scheduling-api.ts";

/** The SkyPilot API version that this server declares, and the headers that carry it. */
export const apiVersion = 56;
export const headers = {
  apiVersion: "X-SkyPilot-API-Version",
  version: "X-SkyPilot-Version",
  /** In replies: the id of the request. In requests of our own client: the id to use, so that a retry is the same request. */
  requestId: "X-Skypilot-Request-ID",
  streamRequestId: "X-SkyPilot-Stream-Request-ID",
  /** On `/logs` from our own client: bytes of text already received; the server leaves them out (resume after a cut). */
  skipBytes: "X-Sky-Skip-Bytes",
} as const;

/** `task` is YAML text (JSON is YAML). Largest body: 20 MB. */
export const apiBodyBytesMax = 20 * 1024 * 1024;

export const launchBodySchema = z.object({
  task: z.string(),
  cluster_name: z.string(),
  /** Ours: the manifests of the task's local files, uploaded before. */
  uploads: uploadsSchema.default({}),
  /** SkyPilot's: the blob that holds the task's local files (`/upload_v2`). */
  file_mounts_blob_id: z.string().max(200).nullable().default(null),
  /** What the caller's config files say; the server's own values hold where only it may say (shared/config-layers.ts). */
  override_skypilot_config: overrideConfigSchema.nullable().default(null),
  dryrun: z.boolean().default(false),
  no_setup: z.boolean().default(false),
  fast: z.boolean().default(false),
  /** SkyPilot's, here and in `exec`: refused where they ask for something. */
  down: z.boolean().default(false),
  idle_minutes_to_autostop: z.int().nullable().default(null),
  clone_disk_from: z.string().nullable().default(null),
});
export const execBodySchema = z.object({
  task: z.string(),
  cluster_name: z.string(),
  uploads: uploadsSchema.default({}),
  file_mounts_blob_id: z.string().max(200).nullable().default(null),
  /** What the caller's config files say; the server's own values hold where only it may say (shared/config-layers.ts). */
  override_skypilot_config: overrideConfigSchema.nullable().default(null),
  dryrun: z.boolean().default(false),
  down: z.boolean().default(false),
});
export const queueBodySchema = z.object({
  cluster_name: z.string(),
  skip_finished: z.boolean().default(false),
  all_users: z.boolean().default(false),
});
export const cancelBodySchema = z.object({
  cluster_name: z.string(),
  job_ids: z.array(z.int().min(1)).nullable().default(null),
  all: z.boolean().default(false),
  all_users: z.boolean().default(false),
});
export const logsBodySchema = z.object({
  cluster_name: z.string(),
  job_id: z.int().min(1).nullable().default(null),
  follow: z.boolean().default(true),
  tail: z.int().min(0).default(0),
  /** Ours: false leaves the prefixes without colour, for output that does not go to a terminal. */
  colors: z.boolean().default(true),
});
export const jobStatusBodySchema = z.object({
  cluster_name: z.string(),
  job_ids: z.array(z.int().min(1)).nullable().default(null),
});
export const downBodySchema = z.object({ cluster_name: z.string(), purge: z.boolean().default(false) });
export const statusBodySchema = z.object({
  cluster_names: z.array(z.string()).nullable().default(null),
  include_handle: z.boolean().default(true),
});

/** Result of `launch` and `exec`. `job_id` is null for a task with neither setup nor run. */
export const submitResultSchema = z.object({
  job_id: z.int().min(1).nullable(),
  handle: z.object({ cluster_name: z.string() }).loose(),
  /** Ours, of a dry run: whether it would start now and where, or why not and when. */
  explain: explainResultSchema.optional(),
  /** Ours: lines for the person: which policies were applied, what they have set, what of a config was left out. */
  notices: z.array(z.string()).optional(),
});
export type SubmitResult = z.infer<typeof submitResultSchema>;

/** One row of `queue`. Times are seconds since 1970 (floats) as in SkyPilot; `reason` and `position` are ours. */
const queueRowSchema = z.object({
  job_id: z.int(),
  job_name: z.string().nullable(),
  username: z.string(),
  user_hash: z.string(),
  submitted_at: z.number(),
  start_at: z.number().nullable(),
  end_at: z.number().nullable(),
  resources: z.string(),
  status: jobStatusSchema,
  log_path: z.string(),
  metadata: z.record(z.string(), z.unknown()),
  /** Why it waits (computed, never a default), or why it ended; null when there is nothing to say. */
  reason: z.string().nullable(),
  /** 1 = next of this user's waiting jobs; null when it does not wait. */
  position: z.int().nullable(),
  /** The same over all users; null when it does not wait (also from a coordinator that does not know the key). */
  position_over_all: z.int().nullable().default(null),
  nodes: z.array(z.string()),
});
export type QueueRow = z.infer<typeof queueRowSchema>;
export const queueResultSchema = z.array(queueRowSchema);

/** `{"3": "RUNNING", "9": null}`; null: no such job of this user. */
export const jobStatusResultSchema = z.record(z.string(), jobStatusSchema.nullable());

/** Result of a `/logs` request: the exit code that the CLI ends with (0, 100–103). */
export const logsResultSchema = z.int();

/** Result of `cancel`: ids that were not finished and are now being cancelled. */
export const cancelResultSchema = z.array(z.int());

/** One accelerator of a node, as users see it. */
export const deviceRowSchema = z.object({
  index: z.number(),
  kind: z.string(),
  /** As its maker's tool calls it; null: not known. */
  name: z.string().nullable(),
  memory_mb: z.number().nullable(),
  /** The part of it that is granted, 0 to 1. */
  granted: z.number(),
  /** Per cent, as its tool last said; null: not known. */
  utilization: z.number().nullable(),
  memory_used_mb: z.number().nullable(),
  /** Why it gets no jobs; null: it is well. */
  fault: z.string().nullable(),
});
export type DeviceRow = z.infer<typeof deviceRowSchema>;

/** One node in `GET /onprem/nodes` (any user may see it). `devices_free` counts devices that nobody holds any part of. */
export const nodeRowSchema = z.object({
  name: z.string(),
  label: z.string(),
  state: z.enum(["UP", "UNREACHABLE", "NEVER_SEEN", "REFUSED"]),
  address: z.string().nullable(),
  cpus: z.number(),
  cpus_free: z.number(),
  memory_gb: z.number(),
  memory_gb_free: z.number(),
  accelerators: z.record(z.string(), z.number()),
  accelerators_free: z.record(z.string(), z.number()),
  warnings: z.array(z.string()),
  last_report_seconds_ago: z.number().nullable(),
  /**
   * What an admin has decided: nothing new starts there; `drained`: and nothing is left there. Times in seconds since
   * 1970. Null: nothing (also from a coordinator that does not know the key).
   */
  admin: z
    .object({
      state: z.enum(["draining", "drained", "removed"]),
      reason: z.string().nullable(),
      by: z.string().nullable(),
      since: z.number().nullable(),
      deadline: z.number().nullable(),
    })
    .nullable()
    .default(null),
  /** Times for which admins have set it aside: those that are on or begin within a day, earliest first. */
  windows: z.array(windowRowSchema).default([]),
  /** Each accelerator, by index; empty also from a coordinator that does not know the key. */
  devices: z.array(deviceRowSchema).default([]),
});
export type NodeRow = z.infer<typeof nodeRowSchema>;
export const nodesResultSchema = z.object({
  cluster: z.string(),
  /** Attempts that run on nodes but are unknown to the coordinator's state (see docs); they keep their grants. */
  unknown_attempts: z.int(),
  nodes: z.array(nodeRowSchema),
});
export type NodesResult = z.infer<typeof nodesResultSchema>;

/** `GET /onprem/whoami`. */
export const whoamiResultSchema = z.object({
  uid: z.int(),
  user: z.string(),
  groups: z.array(z.string()),
  cluster: z.string(),
  version: z.string(),
  /** This user may run jobs; else why not. */
  refused: z.string().nullable(),
});

/** Reply of `/api/get` and row of `/api/status`. `return_value` and `error` are JSON inside strings. */
export const requestPayloadSchema = z.object({
  request_id: z.string(),
  name: z.string(),
  entrypoint: z.string(),
  request_body: z.string(),
  status: z.enum(["PENDING", "WAITING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]),
  created_at: z.number(),
  user_id: z.string(),
  user_name: z.string().nullable(),
  return_value: z.string(),
  error: z.string(),
  pid: z.int().nullable(),
  schedule_type: z.enum(["long", "short"]),
  cluster_name: z.string().nullable(),
  status_msg: z.string().nullable(),
  should_retry: z.boolean(),
  finished_at: z.number().nullable(),
});
export type RequestPayload = z.infer<typeof requestPayloadSchema>;

/**
 * What `error` of a payload holds as JSON text. `object` is SkyPilot's base64 pickle of a plain dict; ours reads `type`,
 * `message` and `hint` only.
 */
export const requestErrorSchema = z.object({
  object: z.string(),
  type: z.string(),
  message: z.string(),
  hint: z.string().nullable().default(null),
});

/** Exit codes of launch, exec and logs. Source: SkyPilot. */
export const exitCodes = { succeeded: 0, failed: 100, notFinished: 101, notFound: 102, cancelled: 103 } as const;
