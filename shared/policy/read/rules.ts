/**
 * Reads the rules of one field: each by its name whatever its case, fitting the field's type, its own amounts in order. What
 * a rule says is kept in its author's spelling. Pure. Used by the readers of V1's and of later documents; which rules of
 * several policies go together is together.ts's affair.
 */
import type { YamlEntry, YamlNode } from "../../yaml11.ts";
import { type FieldSpec, knownName, type PolicyDialect } from "../fields/fields.ts";
import { patternProblem } from "../fields/pattern.ts";
import { compareAmounts, parseDecimal, parseQuantity, quantityHint } from "../fields/quantity.ts";
import { type DocumentFaults, shortened, suggested } from "./faults.ts";
import type { FoundField } from "./fields.ts";
import { isNullNode, textOf, valueFor } from "./nodes.ts";
import { firstValue } from "./v1-values.ts";
import { typed } from "../fields/values.ts";
import type { FieldRules, PlainValue, ValueType } from "../words.ts";

const everywhere = ["canEdit", "required", "blocked", "message"] as const;
const amounts = ["min", "max", "step", "defaultFrom"] as const;
/** Which rules a type allows. Source: section A.3 of the design of the policies. */
const allowed: Readonly<Record<ValueType, readonly string[]>> = {
  boolean: everywhere,
  string: [...everywhere, "options", "pattern"],
  integer: [...everywhere, ...amounts, "options"],
  number: [...everywhere, ...amounts],
  quantity: [...everywhere, "min", "max", "defaultFrom"],
  array: [...everywhere, "options"],
  itemized: [],
  object: ["canEdit", "required", "message"],
};
const ruleNames = [...everywhere, ...amounts, "options", "pattern"];
/** Rules of whole lists of items, which stand elsewhere. */
const listRules = ["canAdd", "locked", "canRemove"];

const optionsMax = 1000;
const messageMax = 500;

export interface RuleContext {
  dialect: PolicyDialect;
  report: DocumentFaults;
}

/** The rules of a field that is no list of items. Null: there are none, or they were told to be wrong. */
export function readRules({ spec, name, entry }: FoundField, context: RuleContext): FieldRules | null {
  const { report } = context;
  if (isNullNode(entry.node)) {
    return null;
  }
  if (entry.node.kind !== "map") {
    report.wrong(name, "must hold rules such as required or canEdit", "schema", entry.keyLine);
    return null;
  }
  const rules: FieldRules = {};
  const seen = new Set<string>();
  for (const rule of entry.node.entries.values()) {
    const known = ruleNames.find((one) => one.toLowerCase() === rule.key.toLowerCase());
    if (known === undefined) {
      unknownRule(name, spec.type, rule, report);
    } else if (!allowed[spec.type].includes(known)) {
      report.wrong(name, `rule "${known}" does not apply to ${spec.type}`, "schema", rule.keyLine);
    } else if (seen.has(known)) {
      report.wrong(name, `rule "${known}" stands here twice`, "schema", rule.keyLine);
    } else if (!isNullNode(rule.node)) {
      if (rule.key !== known) {
        report.warn(`${name}: "${rule.key}" is read as "${known}"`);
      }
      seen.add(known);
      readRule(rules, known, rule, { spec, name, ...context });
    }
  }
  checkTogether(rules, spec, name, entry.keyLine, report);
  return Object.keys(rules).length === 0 ? null : rules;
}

function unknownRule(name: string, type: ValueType, rule: YamlEntry, report: DocumentFaults): void {
  const listRule = listRules.find((one) => one.toLowerCase() === rule.key.toLowerCase());
  const near = suggested(rule.key, ruleNames);
  const hint = near === null ? "" : `; did you mean "${near}"?`;
  const text =
    listRule === undefined
      ? `unknown rule "${shortened(rule.key)}"${hint}`
      : `rule "${listRule}" does not apply to ${type}`;
  report.wrong(name, text, "schema", rule.keyLine);
}

interface OneRule extends RuleContext {
  spec: FieldSpec;
  name: string;
}

function readRule(rules: FieldRules, rule: string, { node, keyLine }: YamlEntry, one: OneRule): void {
  const { name, report } = one;
  const wrong = (text: string): void => {
    report.wrong(name, `${rule} ${text}`, "schema", keyLine);
  };
  switch (rule) {
    case "canEdit":
    case "required":
    case "blocked": {
      const read = readFlag(node, `${name}: ${rule}`, report);
      if (read === null) {
        wrong("must be true or false");
      } else {
        rules[rule] = read;
      }
      return;
    }
    case "min":
    case "max":
    case "step": {
      const value = readAmount(node, one, rule);
      if (value !== null) {
        rules[rule] = value;
      }
      return;
    }
    case "options":
      rules.options = readOptions(node, one, keyLine);
      return;
    case "pattern": {
      const text = textOf(node);
      const problem = text === null ? "must be text" : patternProblem(text);
      if (text === null || problem !== null) {
        wrong(problem ?? "");
      } else {
        rules.pattern = text;
      }
      return;
    }
    case "message": {
      const text = textOf(node) ?? "";
      if (text.trim() === "" || text.length > messageMax) {
        wrong(`must be a text of at most ${messageMax} characters`);
      } else {
        rules.message = text;
      }
      return;
    }
    default: {
      const from = readDefaultFrom(node, one, keyLine);
      if (from !== null) {
        rules.defaultFrom = from;
      }
    }
  }
}

/** `true`, `false` and (with a warning) their texts; null: it is neither. */
export function readFlag(node: YamlNode, name: string, report: DocumentFaults): boolean | null {
  const value = node.kind === "scalar" ? node.value : null;
  if (value === "true" || value === "false") {
    report.warn(`${name}: the text "${value}" is read as ${value}`);
    return value === "true";
  }
  return typeof value === "boolean" ? value : null;
}

function readAmount(node: YamlNode, { spec, name, report }: OneRule, rule: string): string | number | null {
  const said = firstValue(node, spec, name);
  const read = said.ok ? typed(said.value, spec) : said;
  if (!read.ok) {
    const hint = spec.type === "quantity" ? quantityHint(valueFor(node, spec)) : null;
    report.wrong(name, `${rule} ${read.message}${hint === null ? "" : ` (${hint})`}`, "schema", node.line);
    return null;
  }
  const amount = parseDecimal(read.value);
  if (rule === "step" && amount !== null && amount.digits <= 0n) {
    report.wrong(name, "step must be greater than 0", "schema", node.line);
    return null;
  }
  return typeof read.value === "string" || typeof read.value === "number" ? read.value : null;
}

function readOptions(
  node: YamlNode,
  { spec, name, report }: OneRule,
  line: number,
): { value: PlainValue; displayed?: string }[] {
  if (node.kind !== "list" || node.items.length === 0 || node.items.length > optionsMax) {
    const text =
      node.kind === "list" && node.items.length > 0 ? `at most ${optionsMax} values` : "a list of at least one value";
    report.wrong(name, `options must be ${text}`, "schema", line);
    return [];
  }
  return node.items.flatMap((item) => {
    const value = item.kind === "map" ? item.entries.get("value")?.node : item;
    const displayed = item.kind === "map" ? item.entries.get("displayed")?.node : undefined;
    const strange =
      item.kind === "map" ? [...item.entries.keys()].find((key) => key !== "value" && key !== "displayed") : undefined;
    if (value === undefined || strange !== undefined) {
      const text =
        strange === undefined ? "each of options needs a value" : `unknown key "${shortened(strange)}" in options`;
      report.wrong(name, text, "schema", item.line);
      return [];
    }
    // Of an array, each element is one of the options.
    const plain = valueFor(value, spec);
    const read = typed(spec.type === "array" ? [plain] : plain, spec);
    if (!read.ok || isNullNode(value)) {
      report.wrong(name, `each of options ${read.ok ? "needs a value" : read.message}`, "schema", item.line);
      return [];
    }
    const one = spec.type === "array" && Array.isArray(read.value) ? (read.value[0] ?? "") : read.value;
    return [
      { value: one, ...(isNullNode(displayed) || displayed?.kind !== "scalar" ? {} : { displayed: displayed.text }) },
    ];
  });
}

const numeric: readonly ValueType[] = ["integer", "number", "quantity"];

/** The source stands in the same group, or is an attribute of the same item. */
function readDefaultFrom(
  node: YamlNode,
  { spec, name, dialect, report }: OneRule,
  line: number,
): { field: string; factor: string | number } | null {
  const wrong = (text: string): null => {
    report.wrong(name, `defaultFrom ${text}`, "schema", line);
    return null;
  };
  if (node.kind !== "map") {
    return wrong("must hold field and factor");
  }
  const strange = [...node.entries.keys()].find((key) => key !== "field" && key !== "factor");
  if (strange !== undefined) {
    return wrong(`has an unknown key "${shortened(strange)}"`);
  }
  const field = node.entries.get("field")?.node;
  const word = field?.kind === "scalar" ? field.text.trim() : "";
  const [list, attribute] = spec.path.split("[].");
  const group = attribute === undefined ? spec.path.slice(0, Math.max(0, spec.path.lastIndexOf("."))) : `${list}[]`;
  const names = group === "" ? [word] : [`${group}.${word}`, word];
  const source = names.flatMap((one) => knownName(one, dialect)?.spec ?? [])[0];
  if (word === "" || source === undefined) {
    return wrong(word === "" ? "needs a field" : `names an unknown field "${shortened(word)}"`);
  }
  if (source.path === spec.path) {
    return wrong("names its own field");
  }
  const place = source.path.includes("[].")
    ? `${source.path.split("[].")[0]}[]`
    : source.path.slice(0, Math.max(0, source.path.lastIndexOf(".")));
  if (place !== group || !numeric.includes(source.type)) {
    return wrong(`must name a number of the same ${attribute === undefined ? "section" : "item"}`);
  }
  const factorNode = node.entries.get("factor")?.node;
  const factor = factorNode === undefined || isNullNode(factorNode) ? 1 : valueFor(factorNode, null);
  const amount = parseDecimal(factor);
  if (amount === null || amount.digits < 0n || (typeof factor !== "number" && typeof factor !== "string")) {
    return wrong("needs a factor that is a number and not below 0");
  }
  return { field: attribute === undefined ? source.path : (source.path.split("[].")[1] ?? ""), factor };
}

/** What one policy says of one field must be possible. */
function checkTogether(rules: FieldRules, spec: FieldSpec, name: string, line: number, report: DocumentFaults): void {
  const parse = spec.type === "quantity" ? parseQuantity : parseDecimal;
  const [min, max] = [parse(rules.min), parse(rules.max)];
  if (min !== null && max !== null && compareAmounts(min, max) > 0) {
    report.wrong(name, `min ${rules.min} is greater than max ${rules.max}`, "schema", line);
  }
  if (rules.required === true && rules.blocked === true) {
    report.wrong(name, "is both required and blocked", "schema", line);
  }
}
