/**
 * `SECRET:name,key` as the value of an environment variable: the key of a secret of the job's project, or of everybody's,
 * put in its place when a node fetches the job's payload and at no other moment. What was put in goes the way of the
 * task's own secrets, so nothing shows it. It must never store or print a value. Called by coordinator/payloads.ts.
 */
import { SkyError } from "../../shared/errors.ts";
import type { Payload } from "../../shared/job.ts";
import { policyNameSchema } from "../../shared/policy-api.ts";
import type { PolicyStore, SecretValues } from "./policy-store.ts";

/** Anything else, also `SECRET` alone and `SECRET:x`, is plain text. */
const reference = /^SECRET:([^,]+),(.+)$/;

function isReference(value: string): boolean {
  return reference.test(value);
}

/** Whether any of its variables stands for a project's secret. */
export function hasReferences({ envs, secrets = {} }: Pick<Payload, "envs" | "secrets">): boolean {
  return Object.values(envs).some(isReference) || Object.values(secrets).some(isReference);
}

/**
 * The payload as its job sees it. Throws SkyError("InternalError") naming the variable, the secret and the key, for a job
 * that can never start: `MYPASSWORD: secret "my-secret" has no key "password"`.
 */
export async function withSecrets(
  payload: Payload,
  project: string | null,
  store: Pick<PolicyStore, "secret">,
): Promise<Payload> {
  if (!hasReferences(payload)) {
    return payload;
  }
  const known = new Map<string, SecretValues>();
  const envs: Record<string, string> = {};
  const secrets: Record<string, string> = { ...payload.secrets };
  // In the order in which the job would see them: a secret of the task stands over a variable of the same name.
  for (const [name, value] of [...Object.entries(payload.envs), ...Object.entries(payload.secrets ?? {})]) {
    const isSecret = Object.hasOwn(payload.secrets ?? {}, name);
    const found = reference.exec(value);
    if (found === null) {
      (isSecret ? secrets : envs)[name] = value;
    } else {
      const [, secret = "", key = ""] = found;
      secrets[name] = await valueOf(name, secret.trim(), key.trim(), project, known, store);
      delete envs[name];
    }
  }
  return { ...payload, envs, secrets };
}

async function valueOf(
  variable: string,
  name: string,
  key: string,
  project: string | null,
  known: Map<string, SecretValues>,
  store: Pick<PolicyStore, "secret">,
): Promise<string> {
  let values = known.get(name);
  if (values === undefined) {
    values = policyNameSchema.safeParse(name).success ? await valuesOf(name, project, store) : {};
    known.set(name, values);
  }
  const value = Object.hasOwn(values, key) ? values[key] : undefined;
  if (value === undefined) {
    const shown = (text: string): string => JSON.stringify(text.slice(0, 100));
    throw new SkyError("InternalError", `${variable}: secret ${shown(name)} has no key ${shown(key)}`);
  }
  return value;
}

/** Everybody's with the project's own over it. */
async function valuesOf(
  name: string,
  project: string | null,
  store: Pick<PolicyStore, "secret">,
): Promise<SecretValues> {
  const shared = (await store.secret({ project: null, name })) ?? {};
  const own = project === null ? {} : ((await store.secret({ project, name })) ?? {});
  return { ...shared, ...own };
}
