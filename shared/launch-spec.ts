/**
 * What the processes of a job are held to on their node beside scripts and files: limits, privileges, folders, and
 * options of the container. Made from a task's `workload:` and from policies (policy/task/adapter.ts), kept in the
 * payload and in the order to the agent, carried out by agent and skylet. A strict schema, for it crosses the wire: what
 * a node does not know it must refuse, never leave out.
 */
import * as z from "zod";

/** What a node must be able to do so that a spec can be enforced there; a node reports those that it has. */
export const mechanismSchema = z.enum([
  /** cgroup v2 `cpu.max` on the attempt's own group. */
  "cgroup-cpu",
  /** cgroup v2 `memory.max`. */
  "cgroup-memory",
  /** PR_SET_NO_NEW_PRIVS by setpriv. */
  "no-new-privileges",
  /** User and mount namespaces of an ordinary user. */
  "mount-namespace",
]);
export type Mechanism = z.infer<typeof mechanismSchema>;

/**
 * What the kernel holds one rank to, on the attempt's own cgroup. Part of the shape and of the order, because the root
 * agent sets it and takes nothing from a payload.
 */
export const limitsSchema = z.strictObject({
  /** CPU cores, in all; the kernel knows nothing finer than a thousandth. */
  cpuCores: z.number().min(0.001).max(1e6).optional(),
  memoryBytes: z
    .int()
    .min(1)
    .max(2 ** 50)
    .optional(),
});
export type Limits = z.infer<typeof limitsSchema>;

const absolute = z
  .string()
  .regex(/^\/[^\0]*$/)
  .max(1000);

export const launchSpecSchema = z.strictObject({
  /** CPU cores, of the whole rank. */
  cpuCoreLimit: z.number().positive().max(1e6).optional(),
  memoryLimitBytes: z
    .int()
    .min(1)
    .max(2 ** 50)
    .optional(),
  noNewPrivileges: z.literal(true).optional(),
  /** From TERM to KILL; absent: the cluster's. */
  graceSeconds: z.int().min(0).max(3600).optional(),
  /** Where setup and run begin; absent: `~/sky_workdir`. In the container if there is one. */
  workingDir: absolute.optional(),
  /** HOME is an empty folder of the job, removed at its end. */
  scratchHome: z.literal(true).optional(),
  /** Empty folders of the job, removed at its end; `memory`: in RAM, which counts as the job's memory. */
  scratch: z
    .array(
      z.strictObject({
        path: absolute,
        memory: z.literal(true).optional(),
        sizeBytes: z
          .int()
          .min(1)
          .max(2 ** 50)
          .optional(),
      }),
    )
    .max(100)
    .optional(),
  /** Options of the container; only with an image. */
  container: z
    .strictObject({
      pull: z.enum(["always", "missing", "never"]).optional(),
      readOnlyRoot: z.literal(true).optional(),
      /** Exactly these (without `CAP_`); absent: the container program's own. */
      capabilities: z
        .array(z.string().regex(/^[A-Z_]{1,40}$/))
        .max(64)
        .optional(),
      seccomp: z.enum(["default", "unconfined"]).optional(),
      hostIpc: z.boolean().optional(),
      hostNetwork: z.boolean().optional(),
      /** Bytes of /dev/shm. */
      shmBytes: z
        .int()
        .min(1)
        .max(2 ** 50)
        .optional(),
      /** `--cap-add`, `--privileged`, `--user` and others in the task's own options are refused. */
      optionsChecked: z.literal(true).optional(),
    })
    .optional(),
});
export type LaunchSpec = z.infer<typeof launchSpecSchema>;

/** What a node needs for the spec. */
export function mechanismsOf(spec: LaunchSpec): Mechanism[] {
  const { cpuCoreLimit, memoryLimitBytes, noNewPrivileges, scratchHome, scratch } = spec;
  return [
    ...(cpuCoreLimit === undefined ? [] : (["cgroup-cpu"] as const)),
    ...(memoryLimitBytes === undefined ? [] : (["cgroup-memory"] as const)),
    ...(noNewPrivileges === undefined ? [] : (["no-new-privileges"] as const)),
    ...(scratchHome === undefined && (scratch ?? []).length === 0 ? [] : (["mount-namespace"] as const)),
  ];
}

/** What the kernel must hold it to; null: nothing. */
export function limitsOf({ cpuCoreLimit, memoryLimitBytes }: LaunchSpec): Limits | null {
  if (cpuCoreLimit === undefined && memoryLimitBytes === undefined) {
    return null;
  }
  return {
    ...(cpuCoreLimit === undefined ? {} : { cpuCores: cpuCoreLimit }),
    ...(memoryLimitBytes === undefined ? {} : { memoryBytes: memoryLimitBytes }),
  };
}
