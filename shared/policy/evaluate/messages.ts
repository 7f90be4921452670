/**
 * The texts of violations, and how a field is spelled in them: as the policy that carries the rule spells it. Pure. It must
 * never show what a user has put into an environment variable, nor a secret. The wording is Run:ai's where its documents
 * print one. Used by evaluate.ts, rules.ts and the checks at saving.
 */
import type { CompiledPolicy } from "../compiled.ts";
import type { PlainValue } from "../words.ts";

const shownMax = 200;
const listedMax = 50;

/** Where something is: a field, or an item of it (`label`), or the item's attribute. */
export interface Place {
  /** Canonical, of the field as a whole. */
  path: string;
  label?: string;
  attribute?: string;
}

/** `gpu`, `storage.git[/src].branch`, `worker.image`. `part` null: a rule of the product. */
export function spelling({ path, label, attribute }: Place, part: CompiledPolicy | null): string {
  const field = part?.spelled.get(path) ?? path;
  const role = part?.role ?? null;
  const prefix = role === null || field.startsWith(`${role}.`) ? "" : `${role}.`;
  if (attribute === undefined) {
    return label === undefined ? `${prefix}${field}` : `${prefix}${field}[${label}]`;
  }
  const full = part?.spelled.get(`${path}[].${attribute}`) ?? attribute;
  const name = full.slice(full.indexOf("[].") < 0 ? 0 : full.indexOf("[].") + 3);
  return `${prefix}${field}[${label ?? ""}].${name}`;
}

/** A value in the form in which the policy writes it: V1 says yes or no of what later documents have a word for. */
export function spelledValue(path: string, value: PlainValue, part: CompiledPolicy | undefined): PlainValue {
  switch (part?.spelled.get(path)) {
    case "preemptible":
      return value === "preemptible";
    case "nonPreemptible":
      return value === "non-preemptible";
    default:
      return value;
  }
}

/** The same for whoever looks a place up: `storage.git[/src].branch`. */
export function placeText(place: Place): string {
  return spelling(place, null);
}

/** A value as its author wrote it; lists with commas between. */
export function shown(value: PlainValue): string {
  if (Array.isArray(value)) {
    const rest = value.length - listedMax;
    const texts = value.slice(0, listedMax).map((one) => (one === "" ? '""' : shown(one)));
    return `${texts.join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
  }
  const text = typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
  return text.length > shownMax ? `${text.slice(0, shownMax)}…` : text;
}

/** What a violation may repeat of a user's value. */
export function repeatable({ path, attribute }: Place, value: PlainValue | undefined): PlainValue {
  const isHidden = (path === "environmentVariables" && attribute !== "name") || path === "notebookToken";
  return isHidden || value === undefined || (typeof value === "string" && value.length > shownMax) ? null : value;
}

export const texts = {
  max: (limit: PlainValue) => `must be no greater than ${shown(limit)}`,
  min: (limit: PlainValue) => `must be no less than ${shown(limit)}`,
  required: "is required",
  blank: "cannot be blank",
  options: (values: readonly PlainValue[]) => `must be one of: ${shown([...values])}`,
  step: (step: PlainValue, base: PlainValue, isZero: boolean) =>
    isZero ? `must be a multiple of ${shown(step)}` : `must be ${shown(base)} plus a multiple of ${shown(step)}`,
  pattern: (pattern: string) => `must match ${shown(pattern)}`,
  fixed: (value: PlainValue) => `cannot be changed; the policy sets it to ${shown(value)}`,
  notSettable: "cannot be set; the policy does not allow editing this field",
  blocked: "is blocked by the policy",
  closed: "cannot be added; the policy does not allow new items here",
  locked: (what: "excluded" | "modified" | "added") => `is locked by the policy and cannot be ${what}`,
  imposed: (what: "excluded" | "modified") => `is imposed by the policy and cannot be ${what}`,
  twice: "appears twice",
  mountTwice: (path: string) => `mount path ${shown(path)} is used twice`,
  unknown: (path: string) => `unknown field "${shown(path)}"`,
  notOfKind: (kind: string) => `does not exist for ${kind} workloads`,
  nothingToExclude: "nothing to exclude",
  assetGone: (id: string, policy: string) => `asset "${id}" of policy "${policy}" does not exist any more`,
};
