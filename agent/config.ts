/**
 * The agent's config file: schema, defaults and loading. It is root-owned and has the last word about whom this node may
 * run as, whatever the coordinator says. Unknown keys refuse to start and name the near match. Called by agent/main.ts.
 */
import * as z from "zod";
import { nodeNameSchema } from "../shared/ids.ts";
import { usersPolicySchema } from "../shared/users-policy.ts";

const absolutePathSchema = z.string().regex(/^\/[^\0]*$/, "must be an absolute path");

/** Where an installed agent has its socket; another folder is another agent's (a development cluster beside it). */
export const installedRuntimeDir = "/run/sky-onprem";

export const agentConfigSchema = z.strictObject({
  node: nodeNameSchema,
  coordinator: z.strictObject({
    address: z.string(),
    port: z.int().min(1).max(65535).default(7422),
    /** The coordinator's pinned public host key, one OpenSSH line. Another key is refused. */
    host_key: z.string().max(2000),
  }),
  /** This node's private key (OpenSSH format). */
  key: absolutePathSchema,
  /** Address that other ranks use; default: the local address of the connection to the coordinator. */
  address: z.string().max(255).optional(),
  /** Root-owned folder for the agent's socket and the users' folders (UID/ATTEMPT). At most 80 bytes; a tmpfs where there is one. */
  runtime_dir: absolutePathSchema.default(installedRuntimeDir),
  /** Root-owned folder for the ledger. */
  state_dir: absolutePathSchema.default("/var/lib/sky-onprem/agent"),
  /** Whom this node may run as; the same keys as in the coordinator's config. */
  users: usersPolicySchema.prefault({}),
  /** The agent runs without root as an ordinary user and runs that user's jobs only, without a switch of user. */
  single_user: z.boolean().default(false),
  /** Take accelerator jobs although this node mixes kinds. */
  mixed_accelerators: z.boolean().default(false),
  /** Declared instead of detected, e.g. `V100:4` or `-` for none. For tests and machines without a vendor tool. */
  accelerators: z.string().optional(),
  /** Declared instead of detected. */
  cpus: z.number().positive().optional(),
  memory_gb: z.number().positive().optional(),
  /** Seconds between two looks at the accelerators while the agent runs. */
  detect_seconds: z.int().min(1).max(86_400).default(60),
  /** Where the tools of accelerators' makers are looked for, the first match counts; each must be root's alone. */
  tool_folders: z
    .array(absolutePathSchema)
    .max(20)
    .default(["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/opt/rocm/bin"]),
  /** Seconds without any attempt after which a user's skylet ends. */
  skylet_idle_seconds: z.int().min(1).default(600),
  log_level: z.enum(["debug", "info", "warn", "error"]).default("info"),
});
export type AgentConfig = z.infer<typeof agentConfigSchema>;
