/**
 * Reads V1's policies, as Run:ai's cluster keeps them: one kind each, `spec` with `rules` and `value` of fields, `itemRules`
 * and `items` of lists. V1's names become canonical paths, and are kept for messages. What the documents write wrongly is
 * read as it was meant, with a warning. Pure. Used by read-document.ts.
 */
import type { YamlEntry, YamlMapping, YamlNode } from "../../yaml11.ts";
import { attributeName, knownName } from "../fields/fields.ts";
import {
  addInstance,
  checkDraft,
  type Draft,
  type DraftContext,
  isOurs,
  itemsOf,
  mergeRules,
  newDraft,
} from "./draft.ts";
import { shortened, suggested } from "./faults.ts";
import { fieldsOf, fieldValue, type FoundField, itemOf } from "./fields.ts";
import { entryNamed, isNullNode } from "./nodes.ts";
import { readFlag, readRules } from "./rules.ts";
import { firstValue } from "./v1-values.ts";
import type { Item, ItemRules, PlainValue } from "../words.ts";

/** What stands around `spec`; the rest of what kubectl prints says nothing. */
const around = ["apiVersion", "kind", "metadata", "spec", "status"];
const defaultsLabel = "DEFAULTS";

/** The draft of a document's `spec`. Faults and warnings go to the report. */
export function readV1(root: YamlMapping, context: DraftContext): Draft {
  const draft = newDraft(null);
  const { report, dialect } = context;
  for (const field of fieldsOf(specOf(root, context), { dialect, prefix: "", report })) {
    if (isOurs(field, draft, context) && !isNullNode(field.entry.node)) {
      readField(field, draft, context);
    }
  }
  checkDraft(draft, report);
  return draft;
}

/** With the fields that stand beside it. */
function specOf(root: YamlMapping, { report, dialect }: DraftContext): YamlMapping {
  const spec = root.entries.get("spec");
  const entries = new Map<string, YamlEntry>();
  if (spec?.node.kind === "map") {
    spec.node.entries.forEach((entry, key) => entries.set(key, entry));
  } else if (!isNullNode(spec?.node)) {
    report.fault("spec must hold fields", spec?.keyLine ?? root.line);
  }
  for (const entry of root.entries.values()) {
    if (around.includes(entry.key)) {
      continue;
    }
    if (knownName(entry.key, dialect) === null) {
      report.unknown(entry.key, suggested(entry.key, around), entry.keyLine);
    } else if (entries.has(entry.key)) {
      report.fault(`"${entry.key}" stands both in spec and outside of it`, entry.keyLine);
    } else {
      report.warn(`"${entry.key}" is outside spec; read as spec.${entry.key}`);
      entries.set(entry.key, entry);
    }
  }
  return { kind: "map", line: root.line, entries };
}

/** The parts of a field, by name; what is none of them is told. */
function partsOf(
  map: YamlMapping,
  name: string,
  known: readonly string[],
  { report }: DraftContext,
): Map<string, YamlEntry> {
  const parts = new Map<string, YamlEntry>();
  for (const entry of map.entries.values()) {
    const word = known.find((one) => one.toLowerCase() === entry.key.toLowerCase());
    if (word === undefined) {
      const near = suggested(entry.key, known);
      const hint = near === null ? `; known are ${known.join(", ")}` : `; did you mean "${near}"?`;
      report.wrong(name, `holds an unknown key "${shortened(entry.key)}"${hint}`, "schema", entry.keyLine);
      continue;
    }
    if (entry.key !== word) {
      report.warn(`${name}: "${entry.key}" is read as "${word}"`);
    }
    if (!isNullNode(entry.node)) {
      parts.set(word, entry);
    }
  }
  return parts;
}

function readField(field: FoundField, draft: Draft, context: DraftContext): void {
  const { spec, name, entry } = field;
  if (entry.node.kind !== "map") {
    const parts = spec.type === "itemized" ? "rules, itemRules and items" : "rules and value";
    context.report.wrong(name, `must hold ${parts}`, "schema", entry.keyLine);
    return;
  }
  if (spec.type === "itemized") {
    readItemized(field, entry.node, draft, context);
    return;
  }
  const parts = partsOf(entry.node, name, ["rules", "value"], context);
  const rules = parts.get("rules");
  if (rules !== undefined) {
    mergeRules(draft, spec.path, readRules({ spec, name, entry: rules }, context));
  }
  const value = valueOf({ ...field, entry: parts.get("value") ?? entry }, parts.has("value"), context);
  if (value === undefined) {
    return;
  }
  const [list, attribute] = spec.path.split("[].");
  if (attribute === undefined || list === undefined) {
    draft.defaults.set(spec.path, value);
  } else {
    itemsOf(draft, list).attributes[attribute] ??= value;
  }
}

/** A value, canonical; undefined where there is none. Older documents have `value: {value: X}`. */
function valueOf(
  { spec, name, entry }: FoundField,
  isThere: boolean,
  { report }: DraftContext,
): PlainValue | undefined {
  if (!isThere) {
    return undefined;
  }
  let node = entry.node;
  if (node.kind === "map" && spec.type !== "object" && node.entries.size === 1) {
    node = node.entries.get("value")?.node ?? node;
  }
  if (node.kind === "scalar" && node.source === "nil") {
    report.warn(`${name}: the text "nil" is read as not set`);
    return undefined;
  }
  if (isNullNode(node)) {
    return undefined;
  }
  const said = firstValue(node, spec, name);
  if (!said.ok) {
    report.wrong(name, said.message, "type", node.line);
    return undefined;
  }
  return fieldValue(node, spec, name, report, said.value);
}

function readItemized(field: FoundField, map: YamlMapping, draft: Draft, context: DraftContext): void {
  const { name } = field;
  const parts = partsOf(map, name, ["rules", "itemRules", "items"], context);
  const [rules, itemRules, items] = [parts.get("rules"), parts.get("itemRules"), parts.get("items")];
  if (rules !== undefined) {
    readListRules(field, rules, draft, context);
  }
  if (itemRules?.node.kind === "map") {
    const options = { dialect: context.dialect, prefix: `${name}[]`, report: context.report };
    for (const attribute of fieldsOf(itemRules.node, options)) {
      noteSpelling(attribute, draft);
      mergeRules(draft, attribute.spec.path, readRules(attribute, context));
    }
  } else if (itemRules !== undefined) {
    context.report.wrong(name, "itemRules must be a mapping of attributes", "schema", itemRules.keyLine);
  }
  if (items?.node.kind === "map") {
    readItems(field, items.node, draft, context);
  } else if (items !== undefined) {
    context.report.wrong(name, "items must be a mapping of names", "schema", items.keyLine);
  }
}

function noteSpelling({ spec, name }: FoundField, draft: Draft): void {
  if (name !== spec.path) {
    draft.spelled.set(spec.path, name);
  }
}

function readListRules(
  { spec, name }: FoundField,
  { node, keyLine }: YamlEntry,
  draft: Draft,
  context: DraftContext,
): void {
  if (node.kind !== "map") {
    context.report.wrong(name, "rules must hold canAdd or required", "schema", keyLine);
    return;
  }
  const rules: ItemRules = { ...draft.itemRules.get(spec.path) };
  for (const [word, entry] of partsOf(node, name, ["canAdd", "required"], context)) {
    const flag = readFlag(entry.node, `${name}: ${word}`, context.report);
    if (flag === null) {
      context.report.wrong(name, `${word} must be true or false`, "schema", entry.keyLine);
    } else {
      rules[word === "canAdd" ? "canAdd" : "required"] = flag;
    }
  }
  draft.itemRules.set(spec.path, rules);
}

function readItems(field: FoundField, map: YamlMapping, draft: Draft, context: DraftContext): void {
  for (const entry of map.entries.values()) {
    const name = `${field.name}[${shortened(entry.key)}]`;
    if (isNullNode(entry.node) || context.report.isFull()) {
      continue;
    }
    if (entry.node.kind !== "map") {
      context.report.wrong(name, "must hold rules and value", "schema", entry.keyLine);
      continue;
    }
    const parts = partsOf(entry.node, name, ["rules", "value"], context);
    const [rules, value] = [parts.get("rules"), parts.get("value")];
    if (rules?.node.kind === "map") {
      readLocks(field, entry.key, rules.node, name, draft, context);
    } else if (rules !== undefined) {
      context.report.wrong(name, "rules must hold canRemove or canEdit", "schema", rules.keyLine);
    }
    if (value !== undefined) {
      readItem(field, entry.key, value.node, draft, context);
    }
  }
}

/** Both together are a lock as later documents have it. */
function readLocks(
  { spec }: FoundField,
  label: string,
  map: YamlMapping,
  name: string,
  draft: Draft,
  context: DraftContext,
): void {
  const flags = new Map<string, boolean>();
  for (const [word, entry] of partsOf(map, name, ["canRemove", "canEdit"], context)) {
    const flag = readFlag(entry.node, `${name}: ${word}`, context.report);
    if (flag === null) {
      context.report.wrong(name, `${word} must be true or false`, "schema", entry.keyLine);
    } else {
      flags.set(word, flag);
    }
  }
  const [isKept, isFixed] = [flags.get("canRemove") === false, flags.get("canEdit") === false];
  const list = isKept && isFixed ? "locked" : isKept ? "notExcluded" : isFixed ? "notChanged" : null;
  if (list === null || label === defaultsLabel) {
    return;
  }
  const rules: ItemRules = draft.itemRules.get(spec.path) ?? {};
  rules[list] = [...(rules[list] ?? []), label];
  draft.itemRules.set(spec.path, rules);
}

/** Names with a value (variables, labels) have the text itself; other items have attributes. */
function readItem(field: FoundField, label: string, node: YamlNode, draft: Draft, context: DraftContext): void {
  const { spec, name } = field;
  const { report, dialect } = context;
  const options = { dialect, prefix: `${name}[]`, report };
  const value = spec.attributes?.find(({ path }) => path.endsWith("[].value"));
  const isText =
    node.kind === "scalar" || (spec.attributes?.length === 2 && entryNamed({ ...asMap(node) }, "value") !== undefined);
  let item: Item;
  if (isText && value !== undefined) {
    const entry = { key: label, keyLine: node.line, node };
    item = { value: valueOf({ spec: value, name: `${name}[${label}]`, entry }, true, context) ?? null };
  } else if (node.kind === "map") {
    item = itemOf(node, options, (one) => {
      noteSpelling(one, draft);
      return valueOf(one, true, context);
    });
  } else {
    report.wrong(`${name}[${shortened(label)}]`, "value must be a mapping of attributes", "schema", node.line);
    return;
  }
  if (label === defaultsLabel) {
    Object.assign(itemsOf(draft, spec.path).attributes, item);
    return;
  }
  const key = spec.key?.[0]?.[0] ?? "name";
  const isKeyed =
    item[key] !== undefined ||
    spec.key?.[0]?.length !== 1 ||
    !spec.attributes?.some((one) => attributeName(one) === key);
  addInstance(draft, field, { name: label, ...(isKeyed ? {} : { [key]: label }), ...item }, node.line, report);
}

function asMap(node: YamlNode): YamlMapping {
  return node.kind === "map" ? node : { kind: "map", line: node.line, entries: new Map() };
}
