/**
 * The coordinator's config file: schema, defaults and loading. Unknown keys refuse to start and name the near match.
 * It must never read anything but the file it is given. Called by coordinator/main.ts; the schema is what
 * scripts/dev-cluster writes and what the admin's documentation describes.
 */
import * as z from "zod";
import { readConfig } from "../shared/config-layers.ts";
import { messageOf } from "../shared/errors.ts";
import { clusterNameSchema, jobNameSchema, nodeNameSchema, userNameSchema } from "../shared/ids.ts";
import { labelsSchema } from "../shared/job.ts";
import { projectNameSchema } from "../shared/policy-api.ts";
import { combineModes } from "../shared/policy/words.ts";
import { groupNameSchema, type SchedulingConfig } from "../shared/scheduling.ts";
import { usersPolicySchema } from "../shared/users-policy.ts";

const absolutePathSchema = z.string().regex(/^\/[^\0]*$/, "must be an absolute path");

const spanUnits: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 };
const spanSecondsMax = 366 * 86_400;

/** Seconds of `90m`, `2h`, `1d`, `1d12h` or 0; null for anything else. */
function spanSeconds(text: unknown): number | null {
  if (text === 0 || text === "0") {
    return 0;
  }
  if (typeof text !== "string" || !/^(\d{1,9}[smhd]){1,4}$/.test(text)) {
    return null;
  }
  const parts = [...text.matchAll(/(\d+)([smhd])/g)];
  const seconds = parts.reduce((sum, [, count, unit]) => sum + Number(count) * (spanUnits[unit ?? ""] ?? 0), 0);
  return seconds <= spanSecondsMax ? seconds : null;
}

/** A bare number is refused: a task's `time` counts minutes, the keys beside this one seconds. */
const spanSchema = z
  .custom<string | number>(
    (value) => spanSeconds(value) !== null,
    "must be a time with its unit, such as 90m, 2h or 1d12h (at most 366d), or 0 for none",
  )
  .default(0);

const weightSchema = z.number().gt(0, "must be above 0").max(1_000_000);

const schedulingSchema = z
  .strictObject({
    fair_share: z
      .strictObject({
        /** Hours after which half of a use is forgotten; 0: use is not remembered. */
        half_life_hours: z.number().min(0).max(87_600).default(168),
        user_weights: z.record(userNameSchema, weightSchema).default({}),
        /** A user without a weight of their own has the largest of their groups'; else 1. */
        group_weights: z.record(groupNameSchema, weightSchema).default({}),
        /** So many CPUs are charged like one accelerator. */
        cpus_per_accelerator: z.number().gt(0, "must be above 0").max(100_000).default(16),
      })
      .prefault({}),
    /** Of jobs that ask for none; 0: they have none. */
    default_time: spanSchema,
    /** The longest that a job may ask for, and the limit of jobs without one; 0: any. */
    max_time: spanSchema,
    /** How long before its end a job is warned. */
    warning_seconds: z.int().min(0).max(86_400).default(120),
    /** A job whose start cannot be foreseen holds back others after having waited this long. */
    reserve_after_seconds: z.int().min(0).max(31_536_000).default(1_800),
    /** The highest priority that a job may ask for; admins may ask for any. */
    max_priority: z.int().min(0).max(1_000).default(1_000),
    /** Preemptible jobs are ended for jobs of higher priority. */
    preemption: z.boolean().default(false),
    /** From the warning until a preempted job is ended. */
    preemption_warning_seconds: z.int().min(0).max(86_400).default(60),
    /** Whose names reasons show to ordinary users. */
    show_holders: z.enum(["own", "group", "all"]).default("own"),
  })
  .refine(({ default_time, max_time }) => isWithin(default_time, max_time), {
    path: ["default_time"],
    message: "must not be longer than scheduling.max_time",
  });

function isWithin(span: string | number, longest: string | number): boolean {
  const seconds = spanSeconds(longest) ?? 0;
  return seconds === 0 || (spanSeconds(span) ?? 0) <= seconds;
}

const nodeLabelsSchema = labelsSchema
  .refine((labels) => !("node" in labels), "'node' is given by the coordinator: every node has its name as that label")
  .default({});

const skyConfigSchema = z
  .record(z.string(), z.unknown())
  .superRefine((tree, issues) => {
    try {
      // As text, so that the same checks hold as for a user's file.
      readConfig(JSON.stringify(tree), "sky_config");
    } catch (error) {
      issues.addIssue({ code: "custom", message: messageOf(error) });
    }
  })
  .default({});

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
        /** By which tasks choose nodes (`resources.labels`). */
        labels: nodeLabelsSchema,
      }),
    )
    .min(1),
  users: usersPolicySchema.prefault({}),
  /** Members of this Unix group may use admin routes. */
  admin_group: z.string().default("sky-admin"),
  limits: z
    .strictObject({
      waiting_jobs_per_user: z.int().min(1).default(10_000),
      /** Each way of each different demand among a user's waiting jobs counts: every one is looked at by itself. */
      waiting_demands_per_user: z.int().min(1).default(1_000),
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
  /** Order of waiting jobs, time limits, preemption. */
  scheduling: schedulingSchema.prefault({}),
  /** Files that users upload for their jobs; they lie in the state folder. */
  files: z
    .strictObject({
      /** Of each user, in GB (10^9 bytes); 0: nobody may upload. */
      quota_gb_per_user: z.number().min(0).max(1_000_000).default(50),
      /** Days after their last use for which uploads are kept. */
      keep_days: z.int().min(1).max(3_650).default(14),
    })
    .prefault({}),
  /** Paths on the nodes that tasks may name under `volumes`. */
  volumes: z
    .array(
      z.strictObject({
        name: jobNameSchema,
        /** The same on every node that has it; its own permissions hold as well. */
        path: absolutePathSchema,
        /** Who may use it; with neither key: everybody. */
        users: z.array(userNameSchema).max(10_000).optional(),
        groups: z.array(groupNameSchema).max(1_000).optional(),
        read_only: z.boolean().default(false),
      }),
    )
    .max(1_000)
    .default([]),
  /**
   * Code that looks at every request: `my-package/policies.MyPolicy` out of `policies.packages`, or the URL of a policy
   * server. Absent: none.
   */
  admin_policy: z.string().min(1).max(1_000).optional(),
  /** What admins declare about workloads, and where admin policies live. */
  policies: z
    .strictObject({
      /** How the rules of several scopes meet. */
      combine: z.enum(combineModes).default("tighten"),
      /** Id of the tenant scope. */
      tenant: projectNameSchema.default("tenant"),
      /** A user is in those whose Unix group they are in; the first of them counts for a task that names none. */
      projects: z
        .array(
          z.strictObject({
            name: projectNameSchema,
            /** Default: the group of that name. */
            group: groupNameSchema.optional(),
            department: projectNameSchema.optional(),
          }),
        )
        .max(1_000)
        .default([]),
      /** Folder with node_modules of the admin; nobody else may write there. */
      packages: absolutePathSchema.default("/etc/sky-onprem/policies"),
      /** An admin policy's answer must come within. */
      admin_policy_seconds: z.int().min(1).max(30).default(30),
      /** Memory of the process that admin policies run in. */
      admin_policy_memory_mb: z.int().min(64).max(16_384).default(256),
      /** Days for which decisions are kept. */
      log_days: z.int().min(1).max(3_650).default(90),
    })
    .prefault({}),
  /** The lowest layer of SkyPilot's config, for everybody; its keys are those of ~/.sky/config.yaml. */
  sky_config: skyConfigSchema,
  log_level: z.enum(["debug", "info", "warn", "error"]).default("info"),
});
export type CoordinatorConfig = z.infer<typeof coordinatorConfigSchema>;

/** The order and the limits as the core has them. */
export function schedulingOf({ scheduling }: CoordinatorConfig): SchedulingConfig {
  const { fair_share: fairShare } = scheduling;
  return {
    fairShare: {
      halfLifeHours: fairShare.half_life_hours,
      userWeights: fairShare.user_weights,
      groupWeights: fairShare.group_weights,
      cpusPerAccelerator: fairShare.cpus_per_accelerator,
    },
    defaultTimeSeconds: spanSeconds(scheduling.default_time) ?? 0,
    maxTimeSeconds: spanSeconds(scheduling.max_time) ?? 0,
    warningSeconds: scheduling.warning_seconds,
    reserveAfterSeconds: scheduling.reserve_after_seconds,
    maxPriority: scheduling.max_priority,
    preemption: scheduling.preemption,
    preemptionWarningSeconds: scheduling.preemption_warning_seconds,
    showHolders: scheduling.show_holders,
  };
}
