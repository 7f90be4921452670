/**
 * What the rules of fields are called in explanations, and which a type has. Data only. Used by explain.ts; the readers of
 * policies know the rules by themselves.
 */
import type { ValueType } from "./words.ts";

export interface Explained {
  name: string;
  type: string;
  text: string;
}

const rule = (name: string, type: string, text: string): Explained => ({ name, type, text });

const everywhere = [
  rule("blocked", "boolean", "whether the field may not be set at all"),
  rule("canEdit", "boolean", "whether a workload may set the field to anything but the policy's value (default true)"),
  rule("message", "string", "words of the admin's own, shown after the message of a violation"),
  rule("required", "boolean", "whether the workload must have a value, the policy's own included"),
];
const min = rule("min", "amount", "the least that is allowed");
const max = rule("max", "amount", "the most that is allowed");
const step = rule("step", "amount", "the distance of allowed values, counted from min or else from 0");
const defaultFrom = rule(
  "defaultFrom",
  "Object",
  "a default that is another field's value times a factor: {field, factor}",
);
const options = rule("options", "[]Object", "the values that are allowed: {value, displayed}, or plain values");
const pattern = rule("pattern", "string", "a regular expression that the whole text must match");

const byName = (rules: Explained[]): Explained[] => rules.sort((a, b) => (a.name < b.name ? -1 : 1));

/** Of scalars, arrays, objects and attributes. */
export const rulesOfType: Readonly<Record<ValueType, readonly Explained[]>> = {
  boolean: everywhere,
  string: byName([...everywhere, options, pattern]),
  integer: byName([...everywhere, min, max, step, defaultFrom, options]),
  number: byName([...everywhere, min, max, step, defaultFrom]),
  quantity: byName([...everywhere, min, max, defaultFrom]),
  array: byName([...everywhere, options]),
  object: everywhere.filter(({ name }) => name !== "blocked"),
  itemized: [],
};

/** Of V1's lists as a whole. */
export const mapRules: readonly Explained[] = [
  rule("canAdd", "boolean", "whether a workload may add items to this map (default true)"),
  rule("required", "boolean", "whether the map needs at least one item"),
];

/** Of one item of V1's lists. */
export const itemRules: readonly Explained[] = [
  rule("canEdit", "boolean", "whether a workload may change the item (default true)"),
  rule("canRemove", "boolean", "whether a workload may leave the item out (default true)"),
];

/** Of lists in later documents. */
export const instanceRules: readonly Explained[] = [
  rule("canAdd", "boolean", "whether a workload may have items beside the policy's own (default true)"),
  rule("locked", "[]string", "keys of items that a workload may neither leave out, nor change, nor add"),
];

export const mapRulesText = "These rules apply to a map as a whole; rules of single items stand beside it.";
