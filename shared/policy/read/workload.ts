/**
 * Reads the tree of a workload, as somebody submits it, into canonical paths and values: spellings and V1's names are
 * resolved, an explicit null says nothing, what no field is called becomes a violation. A value that does not fit its field
 * stays as it is, for evaluate.ts to tell beside everything else. Pure. Called by the adapter of tasks, by cases.ts and for
 * `workload:` of task files.
 */
import type { YamlNode } from "../../yaml11.ts";
import { existsFor, type FieldSpec, type PolicyDialect } from "../fields/fields.ts";
import { WorkloadFaults } from "./faults.ts";
import {
  fieldsOf,
  type FoundField,
  itemOf,
  preemptibilityOf,
  rolesIn,
  type WorkloadRole,
  workloadRoles,
} from "./fields.ts";
import { isNullNode, treeOf, valueFor } from "./nodes.ts";
import { firstValue } from "./v1-values.ts";
import { typed } from "../fields/values.ts";
import type { Item, PlainValue, Violation, WorkloadKind } from "../words.ts";

export interface ReadWorkloadOptions {
  kind: WorkloadKind;
  dialect: PolicyDialect;
  /** Of a distributed workload with `master:` and `worker:`; absent: the worker's. */
  role?: WorkloadRole;
}

export interface ReadWorkload {
  workload: Map<string, PlainValue>;
  violations: Violation[];
  warnings: string[];
}

/** Items of one field; nobody mounts so many. */
const itemsMax = 1000;

/** `tree`: `{image: …, compute: {…}}`. Throws SkyError("InvalidTaskError") for a tree that is too deep or too large. */
export function readWorkload(tree: unknown, { kind, dialect, role = "worker" }: ReadWorkloadOptions): ReadWorkload {
  const report = new WorkloadFaults();
  const workload = new Map<string, PlainValue>();
  const root = treeOf(tree, "InvalidTaskError");
  const context = { kind, dialect, report, workload };
  if (root.kind === "map") {
    const hasRoles = kind === "distributed" && dialect === "v2";
    readFields(root, context, hasRoles ? workloadRoles : []);
    const own = hasRoles ? rolesIn(root, report).get(role)?.node : undefined;
    if (own?.kind === "map") {
      readFields(own, context, []);
    } else if (own !== undefined) {
      report.wrong(role, "must hold fields", "schema");
    }
  } else if (!isNullNode(root)) {
    report.wrong("workload", "must be a mapping of fields", "schema");
  }
  return { workload, violations: report.violations, warnings: report.warnings };
}

interface Context {
  kind: WorkloadKind;
  dialect: PolicyDialect;
  report: WorkloadFaults;
  workload: Map<string, PlainValue>;
}

function readFields(map: YamlNode & { kind: "map" }, context: Context, skip: readonly string[]): void {
  const { kind, dialect, report, workload } = context;
  // Attributes that stand for every item come when the items are there.
  const fields = fieldsOf(map, { dialect, prefix: "", report, skip });
  const isAttribute = ({ spec }: FoundField): boolean => spec.path.includes("[].");
  for (const field of [...fields.filter((one) => !isAttribute(one)), ...fields.filter(isAttribute)]) {
    const { spec, name, entry } = field;
    if (isNullNode(entry.node)) {
      continue;
    }
    if (!existsFor(spec, kind, dialect)) {
      report.wrong(name, `does not exist for ${kind} workloads`, "schema");
    } else if (isAttribute(field)) {
      setAttribute(field, context);
    } else if (spec.type === "itemized") {
      const items = readItems(field, context);
      if (items !== null) {
        workload.set(spec.path, items);
      }
    } else {
      workload.set(spec.path, fitting(field, report));
      const preemptibility = spec.path === "priorityClass" ? preemptibilityOf(entry.node) : null;
      if (preemptibility !== null && !workload.has("preemptibility")) {
        workload.set("preemptibility", preemptibility);
      }
    }
  }
}

/** Canonical if it fits, else as it was written. */
function fitting({ spec, name, entry }: FoundField, report: WorkloadFaults): PlainValue {
  const said = firstValue(entry.node, spec, name);
  const value = said.ok ? said.value : valueFor(entry.node, spec);
  const read = typed(value, spec);
  if (read.ok && read.warning !== undefined) {
    report.warn(`${name}: ${read.warning}`);
  }
  return read.ok ? read.value : value;
}

function readItems({ spec, name, entry }: FoundField, { dialect, report }: Context): Item[] | null {
  const node = asList(entry.node, spec);
  if (node.kind !== "list" || node.items.length > itemsMax) {
    const message = node.kind === "list" ? `must not have more than ${itemsMax} items` : "must be a list";
    report.wrong(name, message, "type");
    return null;
  }
  return node.items.flatMap((item, index): Item[] => {
    if (item.kind !== "map") {
      report.wrong(`${name}[#${index + 1}]`, "must be a mapping of attributes", "type");
      return [];
    }
    const options = { dialect, prefix: `${name}[]`, report };
    return [itemOf(item, options, (field) => (isNullNode(field.entry.node) ? undefined : fitting(field, report)))];
  });
}

/** Names with values may be written as a mapping, as task files do. */
function asList(node: YamlNode, spec: FieldSpec): YamlNode {
  const isPlain = spec.attributes?.length === 2 && spec.attributes.some(({ path }) => path.endsWith("[].value"));
  if (!isPlain || node.kind !== "map") {
    return node;
  }
  const items = [...node.entries.values()].map((entry): YamlNode => {
    const name: YamlNode = {
      kind: "scalar",
      line: 0,
      quoted: true,
      source: entry.key,
      value: entry.key,
      text: entry.key,
    };
    return {
      kind: "map",
      line: 0,
      entries: new Map([
        ["name", { key: "name", keyLine: 0, node: name }],
        ["value", { key: "value", keyLine: 0, node: entry.node }],
      ]),
    };
  });
  return { kind: "list", line: 0, items };
}

/** V1's `serviceType` and `mountPropagation` stand for every item that has none of its own. */
function setAttribute(field: FoundField, { report, workload }: Context): void {
  const [path = "", attribute = ""] = field.spec.path.split("[].");
  const value = fitting(field, report);
  const items = workload.get(path);
  if (Array.isArray(items)) {
    workload.set(
      path,
      items.map((item) => ({ ...(item as Item), [attribute]: (item as Item)[attribute] ?? value })),
    );
  }
}
