/**
 * Values against the type of their field: what a task or a policy wrote becomes one canonical value, or the message of
 * rule `type`; and whether two values mean the same, however they are spelled (`1Gi`, `1024Mi`). Amounts keep their
 * author's spelling. Pure. Used by the readers for policies and workloads and by evaluate.ts.
 */
import type { FieldSpec } from "./fields.ts";
import { sameImage } from "./images.ts";
import { compareAmounts, isWhole, numberOf, parseDecimal, parseQuantity, quantityHint } from "./quantity.ts";
import type { PlainValue } from "../words.ts";

/** `warning`: it was read as something else than it says. `hint`: what was probably meant. */
export type TypedValue =
  | { ok: true; value: PlainValue; warning?: string }
  | { ok: false; message: string; hint?: string };

const fault = (message: string): TypedValue => ({ ok: false, message });

/** The canonical value for a field, or the message of rule `type`. Null and lists of items are the readers' affair. */
export function typed(value: PlainValue, spec: FieldSpec): TypedValue {
  switch (spec.type) {
    case "boolean":
      return typedBoolean(value);
    case "string":
      return typedText(value, spec);
    case "integer": {
      const amount = parseDecimal(value);
      if (amount === null || !isWhole(amount)) {
        return fault("must be a whole number");
      }
      const number = numberOf(amount);
      const digits = String(amount.digits);
      if (parseDecimal(digits) === null) {
        return fault("must be a whole number");
      }
      return { ok: true, value: Number.isSafeInteger(number) ? number : digits };
    }
    case "number":
      return parseDecimal(value) === null ? fault("must be a number") : { ok: true, value: trimmed(value) };
    case "quantity": {
      const hint = quantityHint(value);
      const message = "must be a quantity such as 500M or 2Gi";
      return parseQuantity(value) === null
        ? { ok: false, message, ...(hint === null ? {} : { hint }) }
        : { ok: true, value: trimmed(value) };
    }
    case "array":
      return typedList(value, spec);
    case "itemized":
      return Array.isArray(value) ? { ok: true, value } : fault("must be a list");
    case "object":
      return isMapping(value) ? { ok: true, value } : fault("must be a mapping");
  }
}

function trimmed(value: PlainValue): PlainValue {
  return typeof value === "string" ? value.trim() : value;
}

export function isMapping(value: unknown): value is { [key: string]: PlainValue } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function typedBoolean(value: PlainValue): TypedValue {
  if (typeof value === "boolean") {
    return { ok: true, value };
  }
  if (value === "true" || value === "false") {
    return { ok: true, value: value === "true", warning: `the text "${value}" is read as ${value}` };
  }
  return fault("must be true or false");
}

function typedText(value: PlainValue, spec: FieldSpec): TypedValue {
  if (typeof value === "object") {
    return fault("must be text");
  }
  const text = String(value);
  if (spec.enum !== undefined) {
    const lower = text.trim().toLowerCase();
    const word = spec.enum.find((one) => one.toLowerCase() === lower) ?? spec.enumAliases?.[lower];
    return word === undefined
      ? fault(`must be one of: ${spec.enum.map((one) => (one === "" ? '""' : one)).join(", ")}`)
      : { ok: true, value: word };
  }
  if (spec.path === "security.supplementalGroups") {
    const ids = text.split(/[;,]/).map((id) => id.trim());
    const fine = text.trim() === "" || ids.every((id) => /^\d{1,10}$/.test(id));
    return fine ? { ok: true, value: ids.join(",") } : fault("must be group ids with commas between");
  }
  return { ok: true, value: text };
}

function typedList(value: PlainValue, spec: FieldSpec): TypedValue {
  if (!Array.isArray(value)) {
    return fault("must be a list");
  }
  const texts: string[] = [];
  for (const element of value) {
    if (element === null || typeof element === "object") {
      return fault("must be a list of texts");
    }
    const text = String(element);
    texts.push(spec.path === "security.capabilities" ? capabilityName(text) : text);
  }
  return { ok: true, value: texts };
}

/** `CAP_SYS_ADMIN`, `sys admin` and `SYS_ADMIN` are one. */
function capabilityName(text: string): string {
  return text.trim().toUpperCase().replaceAll(" ", "_").replace(/^CAP_/, "");
}

/** Whether two values of a field mean the same. Those that do not fit its type are compared as they are. */
export function sameValue(one: PlainValue, other: PlainValue, spec: FieldSpec): boolean {
  if (spec.type === "integer" || spec.type === "number" || spec.type === "quantity") {
    const parse = spec.type === "quantity" ? parseQuantity : parseDecimal;
    const [left, right] = [parse(one), parse(other)];
    return left !== null && right !== null ? compareAmounts(left, right) === 0 : samePlain(one, other);
  }
  const [left, right] = [typed(one, spec), typed(other, spec)];
  if (!left.ok || !right.ok) {
    return samePlain(one, other);
  }
  const listed = spec.path === "security.supplementalGroups" ? [split(left.value), split(right.value)] : null;
  if (listed !== null || (spec.type === "array" && spec.ordered !== true)) {
    const [first, second] = listed ?? [left.value, right.value];
    return samePlain(asSet(first), asSet(second));
  }
  if (spec.path === "image" && typeof left.value === "string" && typeof right.value === "string") {
    return sameImage(left.value, right.value);
  }
  return samePlain(left.value, right.value);
}

function split(value: PlainValue): PlainValue {
  return typeof value === "string" ? value.split(",") : value;
}

/** Without doubles, in one order. */
function asSet(value: PlainValue | undefined): string[] {
  const texts = Array.isArray(value) ? value.map((element) => JSON.stringify(element)) : [];
  return [...new Set(texts)].sort((one, other) => (one < other ? -1 : one > other ? 1 : 0));
}

/** Whether two plain values are the same, whatever the order of their keys. */
export function samePlain(one: PlainValue | undefined, other: PlainValue | undefined): boolean {
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((element, index) => samePlain(element, other[index]));
  }
  if (isMapping(one) && isMapping(other)) {
    const keys = Object.keys(one);
    return (
      keys.length === Object.keys(other).length &&
      keys.every((key) => Object.hasOwn(other, key) && samePlain(one[key], other[key]))
    );
  }
  return one === other;
}
