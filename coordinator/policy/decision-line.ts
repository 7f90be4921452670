/**
 * One line of the decision log: what the API shows of a decision, and what the policies saw of the workload, so that a
 * change can be tried on it later. It must never hold the value of an environment variable that a user gave, a secret, or
 * a script; what is left out of a workload is known to the replay. Used by the gate, the log and the replay.
 */
import * as z from "zod";
import { timeSchema, uidSchema } from "../../shared/ids.ts";
import { type Decision, decisionSchema, type PolicyViolation } from "../../shared/policy-api.ts";
import { shortened, shownViolation } from "../../shared/policy/check-result.ts";
import type { Item, PlainValue, Violation, Workload } from "../../shared/policy/words.ts";

/** Characters of one line; a longer one loses its workload, then its violations' values. */
const lineMax = 64 * 1024;
/** Characters of one text in a workload. */
const textMax = 1_000;
const violationsMax = 100;
/** Stands for a text that is not kept. */
export const leftOut = "(left out)";
/** Fields that are scripts, in which users write what they like. */
const scripts = new Set(["command", "args"]);
const variables = "environmentVariables";

const waySchema = z.strictObject({
  label: z.string().nullable(),
  workload: z.record(z.string(), z.json()),
});
export const decisionLineSchema = z.strictObject({
  ...decisionSchema.shape,
  format: z.literal(1),
  /** Milliseconds; `at` has seconds. */
  time: timeSchema,
  uid: uidSchema,
  /** As they were submitted, before any policy; null: not kept. */
  ways: z.array(waySchema).nullable(),
});
export type DecisionLine = z.infer<typeof decisionLineSchema>;

/** What is kept of a workload. */
export function keptWorkload(workload: Workload): Record<string, PlainValue> {
  const kept: Record<string, PlainValue> = {};
  for (const [path, value] of workload) {
    if (scripts.has(path)) {
      kept[path] = leftOut;
    } else if (path === variables && Array.isArray(value)) {
      kept[path] = value.map((item) => nameOnly(item));
    } else {
      kept[path] = shortened(value);
    }
  }
  return kept;
}

/** Whether a violation of this field, as any dialect spells it, speaks of variables or of a script. */
export function isOfUsersText(field: string): boolean {
  return /^(\S+\[\d+\] )?(environment|command\b|arg)/i.test(field);
}

/** What is kept of a violation. */
export function keptViolation(violation: Violation & { exception?: string }): PolicyViolation {
  const shown = shownViolation(violation);
  return isOfUsersText(shown.field) ? { ...shown, value: null } : shown;
}

function nameOnly(item: PlainValue): PlainValue {
  const { name = null, exclude } = (item ?? {}) as Item;
  return { name, ...(exclude === undefined ? {} : { exclude }) };
}

/** The line's text, within the bound; a smaller `max` leaves out as much as a line may lose, and no more. */
export function textOf(line: DecisionLine, max = lineMax): string {
  const few = { ...line, violations: line.violations.slice(0, violationsMax) };
  const text = JSON.stringify(few);
  if (text.length <= max) {
    return text;
  }
  const without = JSON.stringify({ ...few, ways: null });
  if (without.length <= max) {
    return without;
  }
  const violations = few.violations.slice(0, 10).map((one) => ({
    ...{ ...one, value: null, limit: null, details: one.details.slice(0, textMax), field: one.field.slice(0, textMax) },
  }));
  const changed = few.changed.slice(0, 10).map((path) => path.slice(0, textMax));
  const policies = few.policies.slice(0, violationsMax);
  return JSON.stringify({
    ...few,
    ways: null,
    violations,
    changed,
    policies,
    text: few.text?.slice(0, textMax) ?? null,
  });
}

/** What the API shows of it. */
export function decisionOf({
  format: _format,
  time: _time,
  uid: _uid,
  ways: _ways,
  ...decision
}: DecisionLine): Decision {
  return decision;
}
