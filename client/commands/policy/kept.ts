/**
 * The verbs about what stands beside policies: the decision log, exceptions, assets, and secrets that policies name. The
 * value of a secret is read from a file or standard input, never from the command line, and never printed. Called by
 * client/program-policy.ts.
 */
import { userInfo } from "node:os";
import { resolve } from "node:path";
import type { exceptionBodySchema } from "../../../shared/policy-api.ts";
import type * as z from "zod";
import { assetsText, decisionsText, exceptionsText, secretsText } from "../../output/policy-text.ts";
import { plain } from "../../output/table.ts";
import { momentOf } from "../admin/moments.ts";
import { type Context, UsageError } from "../context.ts";
import { readSmallFile } from "../entrypoint.ts";
import { type PolicyFlags, show, withPolicyCalls } from "./calls.ts";
import { readAsset } from "./offline.ts";
import { pageOf, policyFile } from "./saved.ts";

export interface LogFlags extends PolicyFlags {
  limit: number;
  user?: string;
  outcome?: string;
}

export interface ExceptionFlags extends PolicyFlags {
  field?: string;
  rule?: string;
  for?: string[];
  owner?: string;
  reason: string;
  until: string;
}

export interface SecretFlags extends PolicyFlags {
  project?: string;
  file?: string;
}

export async function log(context: Context, flags: LogFlags): Promise<number> {
  const { limit, user, outcome } = flags;
  const result = await withPolicyCalls(context, flags, async (calls) => calls.log({ limit, user, outcome }));
  show(context, flags, result, (one) => decisionsText(one, pageOf(context)));
  return 0;
}

export async function listExceptions(context: Context, flags: PolicyFlags): Promise<number> {
  const result = await withPolicyCalls(context, flags, async (calls) => calls.exceptions());
  show(context, flags, result, (one) => exceptionsText(one, pageOf(context)));
  return 0;
}

export async function addException(context: Context, policy: string, flags: ExceptionFlags): Promise<number> {
  const until = momentOf(flags.until, context.now());
  if (until === null) {
    throw new UsageError("--until must be in the future, such as +30d or 2026-12-31.");
  }
  const body = {
    policy,
    field: flags.field ?? null,
    rule: (flags.rule ?? null) as z.input<typeof exceptionBodySchema>["rule"] & {},
    subjects: flags.for ?? [],
    owner: flags.owner ?? userInfo().username,
    reason: flags.reason,
    expires_at: until,
  };
  const { id } = await withPolicyCalls(context, flags, async (calls) => calls.addException(body));
  context.screen.print(`Exception ${id} is in force. Take it back: sky policy exception remove ${id}`);
  return 0;
}

export async function removeException(context: Context, id: string, flags: PolicyFlags): Promise<number> {
  await withPolicyCalls(context, flags, async (calls) => calls.removeException(id));
  context.screen.print(`Exception ${plain(id)} is gone.`);
  return 0;
}

export async function listAssets(context: Context, flags: PolicyFlags): Promise<number> {
  const result = await withPolicyCalls(context, flags, async (calls) => calls.assets());
  show(context, flags, result, (one) => assetsText(one, pageOf(context)));
  return 0;
}

export async function setAsset(context: Context, flags: PolicyFlags & { file?: string[] }): Promise<number> {
  const [file = "asset"] = flags.file ?? [];
  const asset = readAsset(await policyFile(context, flags.file), file);
  await withPolicyCalls(context, flags, async (calls) => calls.setAsset(asset));
  context.screen.print(`Asset ${asset.id} is saved. Policies name it under imposedAssets.`);
  return 0;
}

export async function deleteAsset(context: Context, id: string, flags: PolicyFlags): Promise<number> {
  await withPolicyCalls(context, flags, async (calls) => calls.deleteAsset(id));
  context.screen.print(`Asset ${plain(id)} is gone.`);
  return 0;
}

export async function listSecrets(context: Context, flags: PolicyFlags): Promise<number> {
  const result = await withPolicyCalls(context, flags, async (calls) => calls.secrets());
  show(context, flags, result, (one) => secretsText(one, pageOf(context)));
  return 0;
}

/** Of `--file`, or typed after a question. A line break at its end is not part of it. */
async function secretValue(context: Context, key: string, file: string | undefined): Promise<string> {
  if (file !== undefined) {
    return (await readSmallFile(resolve(context.cwd, file), "the secret's file")).replace(/\n$/, "");
  }
  const typed = await context.screen.ask(`Value of ${plain(key)}: `, { hidden: true });
  if (typed === null) {
    throw new UsageError("Nobody can be asked for the value here.", "Give a file: --file FILE");
  }
  return typed;
}

export async function setSecret(context: Context, name: string, key: string, flags: SecretFlags): Promise<number> {
  const value = await secretValue(context, key, flags.file);
  const body = { project: flags.project ?? null, name, values: { [key]: value } };
  await withPolicyCalls(context, flags, async (calls) => calls.setSecret(body));
  context.screen.print(`Policies may say: SECRET:${plain(name)},${plain(key)}`);
  return 0;
}

export async function deleteSecret(context: Context, name: string, flags: SecretFlags): Promise<number> {
  await withPolicyCalls(context, flags, async (calls) => calls.deleteSecret(flags.project ?? null, name));
  context.screen.print(`Secret ${plain(name)} is gone. Jobs whose policies name it fail at their start.`);
  return 0;
}
