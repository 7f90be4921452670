/**
 * The coordinator's config file: schema, defaults and loading. Unknown keys refuse to start and name the near match.
 * It must never read anything but the file it is given. Called by coordinator/main.ts; the schema is what
 * scripts/dev-cluster writes and what the admin's documentation describes.
 */
import * as z from "zod";
import { clusterNameSchema, nodeNameSchema } from "../shared/ids.ts";
import { usersPolicySchema } from "../shared/users-policy.ts";

const absolutePathSchema = z.string().regex(/^\/[^\0]*$/, "must be an absolute path");

export const coordinatorConfigSchema = z.strictObject({
  cluster: clusterNameSchema,
  /** Where the API listens: a unix socket that every user may open. At most 100 bytes. */
  socket: absolutePathSchema.default("/run/sky-coordinator/api.sock"),
  /** Where agents dial in. */
  listen: z
    .strictObject({ address: z.string().default("127.0.0.1"), port: z.int().min(0).max(65535).default(7422) })
    .prefault({}),
  /** The coordinator's private host key (OpenSSH format); its public part is pinned on every node. */
  host_key: absolutePathSchema,
  redis: z.strictObject({ socket: absolutePathSchema }),
  /** The coordinator's own folder: key file for secrets, lock. */
  state_dir: absolutePathSchema,
  nodes: z
    .array(
      z.strictObject({
        name: nodeNameSchema,
        /** The node's public key, one OpenSSH line. */
        key: z.string().max(2000),
        /** Address that ranks use to reach each other; default: as the node reports it. */
        address: z.string().max(255).optional(),
      }),
    )
    .min(1),
  users: usersPolicySchema.prefault({}),
  /** Members of this Unix group may use admin routes. */
  admin_group: z.string().default("sky-admin"),
  limits: z
    .strictObject({
      waiting_jobs_per_user: z.int().min(1).default(10_000),
      /** Seconds for which a finished job stays in the queue's history. */
      finished_jobs_kept_seconds: z
        .int()
        .min(0)
        .default(7 * 86_400),
      finished_jobs_kept_per_user: z.int().min(1).default(1_000),
      /** Refuse submissions when the state folder's disk has less free than this. */
      free_disk_mb: z.int().min(0).default(200),
    })
    .prefault({}),
  /** Seconds between TERM and KILL of a stopped job. */
  grace_seconds: z.int().min(0).max(3600).default(30),
  /**
   * Seconds without a report after which a node is lost: its jobs end as FAILED_DRIVER. 0: never. Jobs with `job_recovery`
   * are started elsewhere sooner, once their lease must have run out.
   */
  lost_node_seconds: z.int().min(0).max(31_536_000).default(3_600),
  /** Seconds for which a job with `job_recovery` runs on while its node cannot reach the coordinator. */
  lease_seconds: z.int().min(10).max(86_400).default(120),
  log_level: z.enum(["debug", "info", "warn", "error"]).default("info"),
});
export type CoordinatorConfig = z.infer<typeof coordinatorConfigSchema>;
