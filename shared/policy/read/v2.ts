/**
 * Reads the later form of a policy: `defaults`, `rules` and `imposedAssets` over one tree of fields, with `instances` and
 * `attributes` of lists, and `worker:`/`master:` for distributed workloads. What Run:ai's documents write wrongly is read as
 * it was meant, with a warning. Pure. Used by read-document.ts, for bare documents and those in our envelope.
 */
import type { YamlEntry, YamlMapping, YamlNode } from "../../yaml11.ts";
import { attributeName, knownName } from "../fields/fields.ts";
import {
  addInstance,
  type Draft,
  type DraftContext,
  checkDraft,
  isOurs,
  itemsOf,
  mergeRules,
  newDraft,
} from "./draft.ts";
import { shortened, suggested } from "./faults.ts";
import {
  fieldsOf,
  fieldValue,
  type FoundField,
  itemOf,
  lockKeys,
  preemptibilityOf,
  rolesIn,
  workloadRoles,
} from "./fields.ts";
import { isNullNode, textOf } from "./nodes.ts";
import { readFlag, readRules } from "./rules.ts";

const sections = ["defaults", "rules", "imposedAssets"] as const;
type Section = (typeof sections)[number];
/** Fields of the whole job, which Run:ai's API has below `worker:`. */
const jobWide = new Set([
  "numWorkers",
  "cleanPodPolicy",
  "distributedFramework",
  "minReplicas",
  "maxReplicas",
  "slotsPerWorker",
  "sshAuthMountPath",
  "mpiLauncherCreationPolicy",
]);
const lockedMax = 1000;
const imposedMax = 100;

interface V2Context extends DraftContext {
  drafts: Readonly<Record<"all" | "master" | "worker", Draft>>;
}

/** The drafts of a document, those for roles only if they say something. Faults and warnings go to the report. */
export function readV2(root: YamlMapping, context: DraftContext): Draft[] {
  const drafts = { all: newDraft(null), master: newDraft("master"), worker: newDraft("worker") };
  const full: V2Context = { ...context, drafts };
  const found = sectionsOf(root, full);
  readSection(found.defaults, "defaults", full);
  readSection(found.rules, "rules", full);
  readImposed(found.imposedAssets, full);
  const used = Object.values(drafts).filter(
    ({ role, defaults, rules, items, itemRules }) =>
      role === null || defaults.size + rules.size + items.size + itemRules.size > 0,
  );
  for (const draft of used) {
    checkDraft(draft, context.report);
  }
  return used;
}

/** The sections by name. A field beside an empty `defaults` was meant to stand in it. */
function sectionsOf(root: YamlMapping, { report, dialect }: V2Context): Partial<Record<Section, YamlEntry>> {
  const found: Partial<Record<Section, YamlEntry>> = {};
  const strays: YamlEntry[] = [];
  for (const entry of root.entries.values()) {
    const section = sections.find((one) => one.toLowerCase() === entry.key.toLowerCase());
    if (section === undefined) {
      strays.push(entry);
    } else if (found[section] !== undefined) {
      report.fault(`"${found[section].key}" and "${entry.key}" are the same section`, entry.keyLine);
    } else {
      if (entry.key !== section) {
        report.warn(`"${entry.key}" is read as "${section}"`);
      }
      found[section] = entry;
    }
  }
  const folded: [string, YamlEntry][] = [];
  for (const entry of strays) {
    const known = knownName(entry.key, dialect);
    if (known === null && !isRole(entry.key)) {
      report.unknown(entry.key, suggested(entry.key, sections), entry.keyLine);
    } else if (!isNullNode(found.defaults?.node)) {
      report.fault(`"${entry.key}" is outside defaults; did you mean defaults.${entry.key}?`, entry.keyLine);
    } else {
      report.warn(`"${entry.key}" is outside defaults; read as defaults.${entry.key}`);
      folded.push([entry.key, entry]);
    }
  }
  if (folded.length > 0) {
    const line = found.defaults?.keyLine ?? root.line;
    found.defaults = { key: "defaults", keyLine: line, node: { kind: "map", line, entries: new Map(folded) } };
  }
  return found;
}

function isRole(key: string): boolean {
  return workloadRoles.some((role) => role === key.toLowerCase());
}

function readSection(entry: YamlEntry | undefined, section: "defaults" | "rules", context: V2Context): void {
  if (entry === undefined || isNullNode(entry.node)) {
    return;
  }
  const { report, kinds } = context;
  if (entry.node.kind !== "map") {
    report.fault(`${section} must hold fields`, entry.keyLine);
    return;
  }
  readTree(entry.node, section, "all", context);
  for (const [role, part] of rolesIn(entry.node, report)) {
    if (!kinds.some((kind) => kind === "distributed" || kind === "fallback")) {
      report.fault(`${part.key}: only distributed workloads have roles`, part.keyLine);
    } else if (part.node.kind === "map") {
      readTree(part.node, section, role, context);
    } else {
      report.fault(`${part.key}: must hold fields`, part.keyLine);
    }
  }
}

function readTree(
  map: YamlMapping,
  section: "defaults" | "rules",
  place: "all" | "master" | "worker",
  context: V2Context,
): void {
  const { report, dialect, drafts } = context;
  const skip = place === "all" ? workloadRoles : [];
  for (const field of fieldsOf(map, { dialect, prefix: "", report, skip })) {
    const draft = jobWide.has(field.spec.path) ? drafts.all : drafts[place];
    if (!isOurs(field, draft, context) || isNullNode(field.entry.node)) {
      continue;
    }
    if (field.spec.type !== "itemized") {
      readScalar(field, section, draft, context);
    } else if (field.entry.node.kind !== "map") {
      const text = "must hold instances and attributes; an item is one of instances";
      report.wrong(field.name, text, "schema", field.entry.keyLine);
    } else {
      readItemized(field, field.entry.node, section, draft, context);
    }
  }
}

function readScalar(field: FoundField, section: "defaults" | "rules", draft: Draft, context: V2Context): void {
  const { spec, name, entry } = field;
  if (section === "rules") {
    mergeRules(draft, spec.path, readRules(field, context));
    return;
  }
  const value = fieldValue(entry.node, spec, name, context.report);
  if (value === undefined) {
    return;
  }
  draft.defaults.set(spec.path, value);
  const preemptibility = spec.path === "priorityClass" ? preemptibilityOf(entry.node) : null;
  if (preemptibility !== null && !draft.defaults.has("preemptibility")) {
    draft.defaults.set("preemptibility", preemptibility);
  }
}

function readItemized(
  field: FoundField,
  map: YamlMapping,
  section: "defaults" | "rules",
  draft: Draft,
  context: V2Context,
): void {
  const { name } = field;
  const { report } = context;
  for (const entry of map.entries.values()) {
    const word = ["instances", "attributes"].find((one) => one === entry.key.toLowerCase());
    if (word === undefined) {
      misplaced(field, entry, section, context);
      continue;
    }
    if (entry.key !== word) {
      report.warn(`${name}: "${entry.key}" is read as "${word}"`);
    }
    if (isNullNode(entry.node)) {
      continue;
    }
    if (word === "attributes") {
      readAttributes(field, entry, section, draft, context);
    } else if (section === "defaults") {
      readInstances(field, entry, draft, context);
    } else {
      readListRules(field, entry, draft, context);
    }
  }
}

function misplaced({ name }: FoundField, entry: YamlEntry, section: string, { report, dialect }: V2Context): void {
  const isListRule = section === "rules" && ["canadd", "locked"].includes(entry.key.toLowerCase());
  const place = isListRule ? "instances" : knownName(`${name}[].${entry.key}`, dialect) === null ? null : "attributes";
  const near = suggested(entry.key, ["instances", "attributes"]);
  const hint = place === null ? near : `${place}.${entry.key}`;
  const text = `holds an unknown key "${shortened(entry.key)}"${hint === null ? "" : `; did you mean "${hint}"?`}`;
  report.wrong(name, text, "schema", entry.keyLine);
}

/** The documents write attributes as a list of mappings in one place. */
function merged(node: YamlNode): YamlMapping | null {
  if (node.kind !== "list") {
    return node.kind === "map" ? node : null;
  }
  const entries = new Map<string, YamlEntry>();
  for (const item of node.items) {
    if (item.kind !== "map") {
      return null;
    }
    item.entries.forEach((entry, key) => entries.set(key, entry));
  }
  return { kind: "map", line: node.line, entries };
}

function readAttributes(
  { spec, name }: FoundField,
  entry: YamlEntry,
  section: string,
  draft: Draft,
  context: V2Context,
): void {
  const { report, dialect } = context;
  const map = merged(entry.node);
  if (map === null) {
    report.wrong(name, "attributes must be a mapping", "schema", entry.keyLine);
    return;
  }
  if (entry.node.kind === "list") {
    report.warn(`${name}: attributes is a list; its mappings are read as one`);
  }
  for (const field of fieldsOf(map, { dialect, prefix: `${spec.path}[]`, report })) {
    if (section === "rules") {
      mergeRules(draft, field.spec.path, readRules(field, context));
    } else {
      const value = fieldValue(field.entry.node, field.spec, field.name, report);
      if (value !== undefined) {
        itemsOf(draft, spec.path).attributes[attributeName(field.spec)] = value;
      }
    }
  }
}

function readInstances(found: FoundField, entry: YamlEntry, draft: Draft, context: V2Context): void {
  const { report, dialect } = context;
  const { spec, name } = found;
  if (entry.node.kind !== "list") {
    report.wrong(name, "instances must be a list", "schema", entry.keyLine);
    return;
  }
  for (const node of entry.node.items) {
    if (report.isFull()) {
      return;
    }
    if (node.kind !== "map") {
      report.wrong(name, "each of instances must be a mapping of attributes", "schema", node.line);
      continue;
    }
    const options = { dialect, prefix: `${spec.path}[]`, report };
    const item = itemOf(node, options, (one) => fieldValue(one.entry.node, one.spec, one.name, report));
    addInstance(draft, found, item, node.line, report);
  }
}

function readListRules({ spec, name }: FoundField, entry: YamlEntry, draft: Draft, { report }: V2Context): void {
  if (entry.node.kind !== "map") {
    report.wrong(name, "instances must hold canAdd or locked", "schema", entry.keyLine);
    return;
  }
  for (const { key, keyLine, node } of entry.node.entries.values()) {
    const word = ["canAdd", "locked"].find((one) => one.toLowerCase() === key.toLowerCase());
    if (word === undefined) {
      const near = suggested(key, ["canAdd", "locked"]);
      const text = `unknown rule "${shortened(key)}" of instances${near === null ? "" : `; did you mean "${near}"?`}`;
      report.wrong(name, text, "schema", keyLine);
      continue;
    }
    if (key !== word) {
      report.warn(`${name}: "${key}" is read as "${word}"`);
    }
    if (isNullNode(node)) {
      continue;
    }
    const rules = draft.itemRules.get(spec.path) ?? {};
    if (word === "canAdd") {
      const flag = readFlag(node, `${name}: canAdd`, report);
      if (flag === null) {
        report.wrong(name, "canAdd must be true or false", "schema", keyLine);
      } else {
        rules.canAdd = flag;
      }
    } else {
      const keys = textsOf(node, lockedMax);
      if (keys === null) {
        report.wrong(name, "locked must be a list of items' keys", "schema", keyLine);
      } else {
        rules.locked = keys.flatMap((one) => lockKeys(spec, one));
      }
    }
    draft.itemRules.set(spec.path, rules);
  }
}

/** Null: it is no list of texts, or too long. */
function textsOf(node: YamlNode, most: number): string[] | null {
  if (node.kind !== "list" || node.items.length > most) {
    return null;
  }
  const texts = node.items.map((item) => textOf(item) ?? "");
  return texts.includes("") ? null : [...new Set(texts)];
}

function readImposed(entry: YamlEntry | undefined, { report, drafts }: V2Context): void {
  if (entry === undefined || isNullNode(entry.node)) {
    return;
  }
  const ids = textsOf(entry.node, imposedMax);
  if (ids === null) {
    report.fault(`imposedAssets must be a list of at most ${imposedMax} assets' ids`, entry.keyLine);
  } else {
    drafts.all.imposed.push(...ids);
  }
}
