/**
 * The walk through a tree of fields, whichever document it stands in: every key is found by any of its spellings, what is
 * not known is told with what was probably meant, and values become canonical. Pure. Used by the readers of V1, of later
 * documents and of workloads; it must never know what a section such as `rules` holds.
 */
import type { YamlEntry, YamlMapping, YamlNode } from "../../yaml11.ts";
import {
  attributeName,
  type FieldSpec,
  knownName,
  namesBelow,
  placeOfWord,
  type PolicyDialect,
} from "../fields/fields.ts";
import { plainPath } from "../fields/items.ts";
import { type Reporter, shortened, suggested } from "./faults.ts";
import { isNullNode, valueFor } from "./nodes.ts";
import { typed } from "../fields/values.ts";
import type { Item, PlainValue } from "../words.ts";

/** Of distributed workloads. */
export const workloadRoles = ["master", "worker"] as const;
export type WorkloadRole = (typeof workloadRoles)[number];

/** A field that a tree names. */
export interface FoundField {
  spec: FieldSpec;
  /** The canonical path, or V1's name for it: how messages call the field. */
  name: string;
  entry: YamlEntry;
}

export interface WalkOptions {
  dialect: PolicyDialect;
  /** Of what stands around the tree: "" at the top, `storage.git[]` for attributes. */
  prefix: string;
  report: Reporter;
  /** Keys that are no fields. */
  skip?: readonly string[];
}

/** Every field of a mapping, groups opened, in its order. A field that is named twice is told once and given once. */
export function fieldsOf(map: YamlMapping, options: WalkOptions): FoundField[] {
  const found = new Map<FieldSpec, FoundField>();
  walk(map, options, options.prefix, (field) => {
    const earlier = found.get(field.spec);
    if (earlier === undefined) {
      found.set(field.spec, field);
    } else {
      const text = `"${shortened(earlier.entry.key)}" and "${shortened(field.entry.key)}" are the same field`;
      options.report.wrong(field.name, text, "schema", field.entry.keyLine);
    }
  });
  return [...found.values()];
}

function walk(map: YamlMapping, options: WalkOptions, prefix: string, found: (field: FoundField) => void): void {
  const { dialect, report, skip } = options;
  for (const entry of map.entries.values()) {
    if (report.isFull()) {
      return;
    }
    if (prefix === options.prefix && skip?.includes(entry.key.toLowerCase()) === true) {
      continue;
    }
    const path = prefix === "" ? entry.key : `${prefix}.${entry.key}`;
    const known = knownName(path, dialect);
    if (known === null) {
      report.unknown(path === "" ? '""' : path, suggestionFor(entry.key, prefix, dialect), entry.keyLine);
    } else if (known.spec !== null) {
      const name = dialect === "v1" ? known.name : known.spec.path;
      if (path !== name) {
        report.warn(`"${path}" is read as "${name}"`);
      }
      found({ spec: known.spec, name, entry });
    } else if (entry.node.kind === "map") {
      if (path !== known.name) {
        report.warn(`"${path}" is read as "${known.name}"`);
      }
      walk(entry.node, options, known.name, found);
    } else if (!isNullNode(entry.node)) {
      const below = namesBelow(known.name, dialect).slice(0, 5).join(", ");
      report.wrong(known.name, `must hold fields such as ${below}`, "schema", entry.keyLine);
    }
  }
}

/** A word that is near among the names of the same place, or the whole path of a field that is called so elsewhere. */
function suggestionFor(key: string, prefix: string, dialect: PolicyDialect): string | null {
  const elsewhere = prefix.endsWith("[]") ? null : placeOfWord(key, dialect);
  if (elsewhere !== null) {
    return elsewhere;
  }
  const near = suggested(key, namesBelow(prefix, dialect));
  return near === null ? null : prefix === "" ? near : `${prefix}.${near}`;
}

/** A value, canonical; undefined for null and for what does not fit its field, which is told. */
export function fieldValue(
  node: YamlNode,
  spec: FieldSpec,
  name: string,
  report: Reporter,
  value: PlainValue = valueFor(node, spec),
): PlainValue | undefined {
  if (isNullNode(node)) {
    return undefined;
  }
  const read = typed(value, spec);
  if (read.ok) {
    if (read.warning !== undefined) {
      report.warn(`${name}: ${read.warning}`);
    }
    return read.value;
  }
  report.wrong(name, `${read.message}${read.hint === undefined ? "" : ` (${read.hint})`}`, "type", node.line);
  return undefined;
}

/** The older class of workspaces says whether they may be preempted, too. */
export function preemptibilityOf(classNode: YamlNode): string | null {
  const word = classNode.kind === "scalar" ? classNode.source.trim().toLowerCase() : "";
  return word === "build" ? "non-preemptible" : word === "interactive-preemptible" ? "preemptible" : null;
}

/** The older word means the same. */
const leavingWords = ["exclude", "deleted"];

/** What an item's mapping says: its attributes, and `exclude`. */
export function itemOf(
  map: YamlMapping,
  options: WalkOptions,
  value: (field: FoundField) => PlainValue | undefined,
): Item {
  const item: Item = {};
  for (const entry of map.entries.values()) {
    if (!leavingWords.includes(entry.key.toLowerCase())) {
      continue;
    }
    const said = valueFor(entry.node, null);
    if (said === true || said === "true") {
      item["exclude"] = true;
    } else if (said !== null && said !== false && said !== "false") {
      const name = `${options.prefix}.${entry.key.toLowerCase()}`;
      options.report.wrong(name, "must be true or false", "type", entry.keyLine);
    }
  }
  for (const field of fieldsOf(map, { ...options, skip: leavingWords })) {
    const one = value(field);
    if (one !== undefined) {
      item[attributeName(field.spec)] = one;
    }
  }
  return item;
}

/** What stands below `master` and `worker`, whatever their case; one that stands there twice is told. */
export function rolesIn(map: YamlMapping, report: Reporter): Map<WorkloadRole, YamlEntry> {
  const found = new Map<WorkloadRole, YamlEntry>();
  for (const entry of map.entries.values()) {
    const role = workloadRoles.find((one) => one === entry.key.toLowerCase());
    if (role !== undefined && found.has(role)) {
      report.wrong(role, "stands here twice", "schema", entry.keyLine);
    } else if (role !== undefined && !isNullNode(entry.node)) {
      found.set(role, entry);
    }
  }
  return found;
}

/** The keys that a lock's text may be: paths also without what makes no difference. */
export function lockKeys(spec: FieldSpec, text: string): string[] {
  const isPath = spec.key?.some(([name]) => name === "mountPath" || name === "path") === true;
  return isPath ? [...new Set([text, plainPath(text)])] : [text];
}
