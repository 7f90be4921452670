/**
 * The calls about policies as typed functions. Every result is checked by its schema in shared/policy-api.ts; changes
 * carry a request id, so a call that was cut is sent again and taken once. It must never print. Used by
 * client/commands/policy/.
 */
import * as z from "zod";
import {
  type AssetsResult,
  assetsResultSchema,
  type assetSchema,
  type DecisionsResult,
  decisionsResultSchema,
  type ExceptionsResult,
  type exceptionBodySchema,
  exceptionsResultSchema,
  type PoliciesResult,
  policiesResultSchema,
  type policyApplyBodySchema,
  type PolicyApplyResult,
  policyApplyResultSchema,
  type policyCheckBodySchema,
  type PolicyCheckResult,
  policyCheckResultSchema,
  type policyDiffBodySchema,
  type PolicyDiffResult,
  policyDiffResultSchema,
  type PolicyEffectiveResult,
  policyEffectiveResultSchema,
  type PolicyGetResult,
  policyGetResultSchema,
  type PolicyHistoryResult,
  policyHistoryResultSchema,
  type policySecretSetBodySchema,
  type PolicySecretsResult,
  policySecretsResultSchema,
} from "../../shared/policy-api.ts";
import { type Patience, read, submit } from "./requests.ts";
import type { Transport } from "./transport.ts";

/** How long calls that change something are tried again, and those that only read. A replay looks at many jobs. */
const changeLimitMs = 30_000;
const readLimitMs = 60_000;

export interface EffectiveQuestion {
  kind: string;
  user?: string | undefined;
  project?: string | undefined;
}

export interface LogQuestion {
  limit: number;
  user?: string | undefined;
  outcome?: string | undefined;
}

/** The calls to one cluster. Every function rejects with a SkyError whose text is meant for the person. */
export interface PolicyCalls {
  list(): Promise<PoliciesResult>;
  /** Without a revision: the present one. */
  get(name: string, revision?: number): Promise<PolicyGetResult>;
  apply(body: z.input<typeof policyApplyBodySchema>): Promise<PolicyApplyResult>;
  delete(name: string): Promise<void>;
  rollback(name: string, revision: number): Promise<PolicyApplyResult>;
  history(name: string): Promise<PolicyHistoryResult>;
  check(body: z.input<typeof policyCheckBodySchema>): Promise<PolicyCheckResult>;
  diff(body: z.input<typeof policyDiffBodySchema>): Promise<PolicyDiffResult>;
  effective(question: EffectiveQuestion): Promise<PolicyEffectiveResult>;
  log(question: LogQuestion): Promise<DecisionsResult>;
  assets(): Promise<AssetsResult>;
  setAsset(body: z.input<typeof assetSchema>): Promise<void>;
  deleteAsset(id: string): Promise<void>;
  exceptions(): Promise<ExceptionsResult>;
  addException(body: z.input<typeof exceptionBodySchema>): Promise<{ id: string }>;
  removeException(id: string): Promise<void>;
  secrets(): Promise<PolicySecretsResult>;
  setSecret(body: z.input<typeof policySecretSetBodySchema>): Promise<void>;
  deleteSecret(project: string | null, name: string): Promise<void>;
  /** Ends the connection. */
  close(): void;
}

function query(path: string, values: Readonly<Record<string, string | number | undefined>>): string {
  const words = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) {
    if (value !== undefined) {
      words.append(key, String(value));
    }
  }
  return words.size === 0 ? path : `${path}?${words.toString()}`;
}

/** The calls over one transport. `say` gets a line for the person each time a lost call is sent again. */
export function createPolicyCalls(transport: Transport, say: (text: string) => void): PolicyCalls {
  const reading: Patience = { limitMs: readLimitMs, say, afterGivingUp: null };
  const changing = (verb: string): Patience => ({
    limitMs: changeLimitMs,
    say,
    afterGivingUp: `It may or may not have been done: \`sky policy ${verb}\` shows it once the cluster answers.`,
    changes: true,
  });
  const base = "/onprem/policies";
  const ask = async <T>(path: string, schema: z.ZodType<T>): Promise<T> =>
    read(transport, `${base}${path}`, schema, reading);
  const change = async <T>(path: string, body: object, schema: z.ZodType<T>, verb = "list"): Promise<T> =>
    submit(transport, `${base}${path}`, body, schema, changing(verb));
  const done = z.unknown();
  return {
    list: async () => ask("", policiesResultSchema),
    get: async (name, revision) => ask(query("/get", { name, revision }), policyGetResultSchema),
    apply: async (body) => change("/apply", body, policyApplyResultSchema),
    delete: async (name) => void (await change("/delete", { name }, done)),
    rollback: async (name, revision) => change("/rollback", { name, revision }, policyApplyResultSchema),
    history: async (name) => ask(query("/history", { name }), policyHistoryResultSchema),
    check: async (body) => submit(transport, `${base}/check`, body, policyCheckResultSchema, reading),
    diff: async (body) => submit(transport, `${base}/diff`, body, policyDiffResultSchema, reading),
    effective: async (question) => ask(query("/effective", { ...question }), policyEffectiveResultSchema),
    log: async (question) => ask(query("/log", { ...question }), decisionsResultSchema),
    assets: async () => ask("/assets", assetsResultSchema),
    setAsset: async (body) => void (await change("/assets/set", body, done, "asset list")),
    deleteAsset: async (id) => void (await change("/assets/delete", { id }, done, "asset list")),
    exceptions: async () => ask("/exceptions", exceptionsResultSchema),
    addException: async (body) => change("/exceptions/add", body, z.object({ id: z.string() }), "exception list"),
    removeException: async (id) => void (await change("/exceptions/remove", { id }, done, "exception list")),
    secrets: async () => ask("/secrets", policySecretsResultSchema),
    setSecret: async (body) => void (await change("/secrets/set", body, done, "secret list")),
    deleteSecret: async (project, name) =>
      void (await change("/secrets/delete", { project, name }, done, "secret list")),
    close: () => transport.close(),
  };
}
