/**
 * Trees of policies and workloads, from a file (with lines) or from values that were parsed already, in one form; and how
 * their scalars become values of a field, without a digit lost. It bounds how deep and how large a tree may be, so that
 * everything after it can recurse. Pure. Used by the readers of this folder only.
 */
import { SkyError } from "../../errors.ts";
import type { YamlEntry, YamlMapping, YamlNode, YamlScalar } from "../../yaml11.ts";
import type { FieldSpec } from "../fields/fields.ts";
import { compareAmounts, parseDecimal } from "../fields/quantity.ts";
import type { PlainValue } from "../words.ts";

/** Nothing that a policy or workload says needs half of it. */
const depthMax = 30;
const nodesMax = 50_000;

const tooDeep = "is nested too deeply";

/** The tree of a value; it has no lines (0). Throws SkyError for one that is nested too deeply, too large or no plain value. */
export function treeOf(value: unknown, errorType: "InvalidPolicyError" | "InvalidTaskError"): YamlNode {
  let left = nodesMax;
  const build = (one: unknown, depth: number): YamlNode => {
    left -= 1;
    if (depth > depthMax || left < 0) {
      throw new SkyError(errorType, `the document ${depth > depthMax ? tooDeep : `has more than ${nodesMax} values`}.`);
    }
    if (Array.isArray(one)) {
      return { kind: "list", line: 0, items: one.map((item) => build(item, depth + 1)) };
    }
    if (typeof one === "object" && one !== null) {
      const entries = Object.entries(one).map(([key, inner]): [string, YamlEntry] => {
        return [key, { key, keyLine: 0, node: build(inner, depth + 1) }];
      });
      return { kind: "map", line: 0, entries: new Map(entries) };
    }
    const isKnown = ["string", "number", "boolean", "bigint"].includes(typeof one);
    const scalar = isKnown ? (one as string | number | boolean | bigint) : null;
    const source = scalar === null ? "" : String(scalar);
    return { kind: "scalar", line: 0, quoted: typeof one === "string", source, value: scalar, text: source };
  };
  return build(value, 0);
}

/** The place of the first node that is nested too deeply; null: none is. Looks without recursing. */
export function tooDeepAt(root: YamlNode): number | null {
  const waiting: [YamlNode, number][] = [[root, 0]];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const [node, depth] = next;
    if (depth > depthMax) {
      return node.line;
    }
    if (node.kind === "list") {
      waiting.push(...node.items.map((item): [YamlNode, number] => [item, depth + 1]));
    } else if (node.kind === "map") {
      waiting.push(...[...node.entries.values()].map((entry): [YamlNode, number] => [entry.node, depth + 1]));
    }
  }
  return null;
}

export function isNullNode(node: YamlNode | undefined): boolean {
  return node === undefined || (node.kind === "scalar" && node.value === null);
}

/** What was written, of a scalar that is not null; null: it is none. */
export function textOf(node: YamlNode | undefined): string | null {
  return node?.kind !== "scalar" || node.value === null ? null : node.quoted ? node.text : node.source;
}

/** A plain value for a field: text fields take what was written, amounts keep every digit. */
export function valueFor(node: YamlNode, spec: FieldSpec | null): PlainValue {
  if (node.kind === "list") {
    return node.items.map((item) => valueFor(item, spec));
  }
  if (node.kind === "map") {
    return Object.fromEntries([...node.entries.values()].map((entry) => [entry.key, valueFor(entry.node, null)]));
  }
  if (node.value === null) {
    return null;
  }
  const wantsText = spec !== null && (spec.type === "string" || spec.type === "array");
  return wantsText ? textOf(node) : scalarValue(node);
}

function scalarValue(node: YamlScalar): PlainValue {
  const { value, source } = node;
  if (typeof value === "string" || typeof value === "boolean" || value === null) {
    return value;
  }
  if (typeof value === "bigint") {
    return String(value);
  }
  if (typeof value !== "number") {
    return source;
  }
  // A binary fraction may be another number than what was written: then the text is the value.
  const [written, kept] = [parseDecimal(source), parseDecimal(value)];
  return written === null || (kept !== null && compareAmounts(written, kept) === 0) ? value : source;
}

/** The entry of a word, whatever its case. */
export function entryNamed(map: YamlMapping, name: string): YamlEntry | undefined {
  const exact = map.entries.get(name);
  return exact ?? [...map.entries.values()].find(({ key }) => key.toLowerCase() === name.toLowerCase());
}
