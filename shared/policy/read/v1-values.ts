/**
 * Values that V1 writes in another form than later documents: durations in place of seconds, one pool in place of a list,
 * yes or no in place of a word. Pure. Used by the readers of V1's policies and of workloads.
 */
import type { YamlNode } from "../../yaml11.ts";
import type { FieldSpec } from "../fields/fields.ts";
import { addAmounts, floorAmount, multiplyAmounts, numberOf, parseDecimal, zero } from "../fields/quantity.ts";
import { valueFor } from "./nodes.ts";
import type { PlainValue } from "../words.ts";

export type FirstValue = { ok: true; value: PlainValue } | { ok: false; message: string };

const seconds: Readonly<Record<string, string>> = { ms: "0.001", s: "1", m: "60", h: "3600", d: "86400" };

/** Whole seconds of `1h30m`, `72h`, `90s` or a number of seconds; null: it is none. */
function durationSeconds(value: PlainValue): number | null {
  const text = typeof value === "number" || typeof value === "string" ? String(value).trim() : "";
  const plain = parseDecimal(text);
  if (plain !== null) {
    return plain.digits < 0n ? null : numberOf(floorAmount(plain));
  }
  if (text.length > 40 || !/^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/.test(text)) {
    return null;
  }
  let sum = zero;
  for (const [, amount = "", unit = ""] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    sum = addAmounts(sum, multiplyAmounts(parseDecimal(amount) ?? zero, parseDecimal(seconds[unit]) ?? zero));
  }
  return numberOf(floorAmount(sum));
}

/** The value as later documents have it; `name` is V1's name of the field, which tells in which form it is. */
export function firstValue(node: YamlNode, spec: FieldSpec, name: string): FirstValue {
  const value = valueFor(node, spec);
  switch (name) {
    case "nodePool":
      return { ok: true, value: typeof value === "string" ? [value] : value };
    case "ttlAfterFinish": {
      const number = durationSeconds(value);
      return number === null
        ? { ok: false, message: "must be a duration such as 72h or 1h30m" }
        : { ok: true, value: number };
    }
    case "preemptible":
    case "nonPreemptible": {
      const isYes = value === true || value === "true";
      if (!isYes && value !== false && value !== "false") {
        return { ok: false, message: "must be true or false" };
      }
      return { ok: true, value: isYes === (name === "preemptible") ? "preemptible" : "non-preemptible" };
    }
    default:
      return { ok: true, value };
  }
}
