/**
 * What the doctor knows of the machine before it looks: the agent's config, and on the head the coordinator's. The files
 * are root's. They are read loosely, since a config that the agent would refuse is just what a doctor is called for; a
 * value that is not usable counts as not given. Not so whom the machine may run as: where that cannot be read, it is
 * nobody, because the doctor opens sessions. Called by main.ts.
 */
import * as z from "zod";
import { parse } from "yaml";
import { nodeNameSchema } from "../shared/ids.ts";
import { type UsersPolicy, usersPolicySchema } from "../shared/users-policy.ts";
import type { KnownUser, Site } from "./check.ts";
import type { Probes } from "./probes.ts";

const pathSchema = z.string().regex(/^\/[A-Za-z0-9._/@+-]{1,200}$/);
const agentSchema = z.object({
  node: nodeNameSchema.nullable().catch(null),
  coordinator: z
    .object({ address: z.string().min(1).max(255), port: z.int().min(1).max(65_535).default(7422) })
    .nullable()
    .catch(null),
  key: pathSchema.nullable().catch(null),
  runtime_dir: pathSchema.catch("/run/sky-onprem"),
  state_dir: pathSchema.catch("/var/lib/sky-onprem/agent"),
  users: usersPolicySchema.nullable().prefault({}).catch(null),
  accelerators: z.string().max(200).nullable().catch(null),
});
const coordinatorSchema = z.object({
  redis: z.object({ socket: pathSchema }).nullable().catch(null),
  socket: pathSchema.nullable().catch(null),
  users: usersPolicySchema.nullable().prefault({}).catch(null),
});

function read<T>(text: string | null, schema: z.ZodType<T>): T | null {
  try {
    return text === null ? null : (schema.safeParse(parse(text)).data ?? null);
  } catch {
    return null;
  }
}

/** As the file says; without a file as without the block; null when there is a file and it does not say it in a usable way. */
function policyOf(text: string | null, config: { users: UsersPolicy | null } | null): UsersPolicy | null {
  return text === null ? usersPolicySchema.parse({}) : (config?.users ?? null);
}

/** `users`: as the head knows them; null when nobody has said. */
export async function readSite(
  probes: Probes,
  agentFile: string,
  coordinatorFile: string,
  users: KnownUser[] | null,
): Promise<Site> {
  const agentText = await probes.file(agentFile);
  const headText = await probes.file(coordinatorFile).catch(() => "");
  const agent = read(agentText, agentSchema);
  const head = read(headText, coordinatorSchema);
  const there = async (path: string, instead: string): Promise<string> =>
    (await probes.list(path).catch(() => [])) === null ? instead : path;
  return {
    node: agent?.node ?? null,
    coordinator: agent?.coordinator ?? null,
    policy: policyOf(agentText === null ? headText : agentText, agentText === null ? head : agent),
    runtimeDir: await there(agent?.runtime_dir ?? "/run/sky-onprem", "/run"),
    stateDir: await there(agent?.state_dir ?? "/var/lib/sky-onprem/agent", "/var/lib"),
    configFile: agentText === null ? null : agentFile,
    keyFile: agent?.key ?? null,
    declaredAccelerators: agent?.accelerators ?? null,
    head:
      headText === null
        ? null
        : { configFile: coordinatorFile, redisSocket: head?.redis?.socket ?? null, socket: head?.socket ?? null },
    users,
  };
}
