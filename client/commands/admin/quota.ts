/**
 * `sky admin quota`: list what limits whom, set limits, drop them. What admins type is read here; whether a user, a group
 * or a kind exists is the coordinator's to say.
 */
import { SkyError } from "../../../shared/errors.ts";
import { groupNameSchema, type QuotaSubject, quotaSubjectSchema } from "../../../shared/scheduling.ts";
import type { QuotaChangeResult } from "../../../shared/scheduling-api.ts";
import { acceleratorKindSchema } from "../../../shared/job.ts";
import { userNameSchema } from "../../../shared/ids.ts";
import { readMemory } from "../../../shared/units.ts";
import { quotaLine, quotasText } from "../../output/quota-text.ts";
import { plain, wrap } from "../../output/table.ts";
import { type Context, UsageError } from "../context.ts";
import type { ClusterFlags } from "./cluster.ts";
import { withSchedulingCalls } from "./scheduling-calls.ts";

export interface QuotaFlags extends ClusterFlags {
  output: "table" | "json";
}

/** What `set` changes; null drops a limit. */
export interface LimitChange {
  accelerators: Record<string, number | null>;
  cpus?: number | null;
  memory_gb?: number | null;
  running?: number | null;
  waiting?: number | null;
}

const subjectHint = "Write user:NAME, group:NAME, or each (every user without a quota of their own).";
const limitHint = "For example H100=8, gpus=16 (all kinds together), cpus=64, memory=512, running=20, waiting=100.";

/** Throws UsageError for what names nobody. */
export function subjectOf(text: string): QuotaSubject {
  const parsed = quotaSubjectSchema.safeParse(text);
  if (parsed.success) {
    return parsed.data;
  }
  const [word = "", name] = text.split(/:(.*)/s);
  const schema = word === "group" ? groupNameSchema : userNameSchema;
  const isName = name !== undefined && !schema.safeParse(name).success && (word === "user" || word === "group");
  const shown = plain(text).slice(0, 80);
  throw new UsageError(isName ? `'${shown}' has no valid ${word} name.` : `'${shown}' is no subject.`, subjectHint);
}

function amountOf(key: string, value: string): number | null {
  if (["none", "unlimited"].includes(value.toLowerCase())) {
    return null;
  }
  const amount = key === "memory" && Number(value) !== 0 ? readMemory(value).value : Number(value);
  const isWhole = key !== "running" && key !== "waiting" ? true : Number.isInteger(amount);
  if (value.trim() === "" || !(amount >= 0 && amount <= 1e9) || !isWhole || value.endsWith("+")) {
    const shown = plain(`${key}=${value}`).slice(0, 80);
    throw new UsageError(`'${shown}': a limit is a number, or none to drop it.`, limitHint);
  }
  return amount;
}

/** `H100=8 gpus=16 cpus=64 memory=512GB running=20 waiting=none`. Throws UsageError. */
export function limitsOf(words: readonly string[]): LimitChange {
  const change: LimitChange = { accelerators: {} };
  for (const word of words) {
    const at = word.indexOf("=");
    const key = at < 0 ? word : word.slice(0, at);
    const name = key.toLowerCase();
    if (at < 0) {
      throw new UsageError(`'${plain(word).slice(0, 80)}' is no limit: write KEY=NUMBER.`, limitHint);
    }
    const amount = amountOf(name, word.slice(at + 1));
    if (name === "cpus" || name === "running" || name === "waiting") {
      change[name] = amount;
    } else if (name === "memory") {
      change.memory_gb = amount;
    } else if (["gpus", "accelerators", "*"].includes(name)) {
      change.accelerators["*"] = amount;
    } else if (acceleratorKindSchema.safeParse(key).success) {
      change.accelerators[key] = amount;
    } else {
      throw new UsageError(`'${plain(key).slice(0, 80)}' is no name of an accelerator.`, limitHint);
    }
  }
  return change;
}

export async function listQuotas(context: Context, flags: QuotaFlags): Promise<number> {
  const { screen } = context;
  const result = await withSchedulingCalls(context, flags, (calls) => calls.quotas());
  screen.print(
    flags.output === "json" ? JSON.stringify(result, null, 2) : quotasText(result, screen.columns, screen.colors),
  );
  return 0;
}

function show(context: Context, subject: string, result: QuotaChangeResult, flags: QuotaFlags): void {
  const { screen } = context;
  if (flags.output === "json") {
    screen.print(JSON.stringify(result, null, 2));
    return;
  }
  const text = result.quota === null ? `${subject}: no limits any more.` : quotaLine(result.quota);
  screen.print(`${screen.colors.green("✓")} ${plain(text)}`);
  for (const note of result.notes) {
    screen.note(screen.noteColors.yellow(wrap(note, "", screen.columns)));
  }
}

export async function setQuota(context: Context, subject: string, words: string[], flags: QuotaFlags): Promise<number> {
  let body: { subject: QuotaSubject } & LimitChange;
  try {
    body = { subject: subjectOf(subject), ...limitsOf(words) };
  } catch (error) {
    throw error instanceof SkyError && !(error instanceof UsageError) ? new UsageError(error.message) : error;
  }
  const result = await withSchedulingCalls(context, flags, (calls) => calls.setQuota(body));
  show(context, subject, result, flags);
  return 0;
}

export async function unsetQuota(context: Context, subject: string, flags: QuotaFlags): Promise<number> {
  const checked = subjectOf(subject);
  const result = await withSchedulingCalls(context, flags, (calls) => calls.unsetQuota(checked));
  show(context, subject, result, flags);
  return 0;
}
