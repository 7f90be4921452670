/**
 * A policy while it is read: what its defaults, rules and items say by canonical path, and the parts that read alike in all
 * dialects. A draft becomes compiled policies at the end, one for each group of kinds that have the same fields of it. Pure.
 * Used by the readers of V1's and of later documents.
 */
import type { CompiledPolicy, ItemDefaults } from "../compiled.ts";
import { existsFor, fieldAt, type PolicyDialect } from "../fields/fields.ts";
import { itemKey, sameItem } from "../fields/items.ts";
import type { DocumentFaults } from "./faults.ts";
import type { FoundField } from "./fields.ts";
import type { FieldRules, Item, ItemRules, PlainValue, PolicySource, WorkloadKind } from "../words.ts";

export type PolicyKind = WorkloadKind | "fallback";

export interface Draft {
  role: CompiledPolicy["role"];
  defaults: Map<string, PlainValue>;
  rules: Map<string, FieldRules>;
  items: Map<string, { instances: Item[]; attributes: Item }>;
  itemRules: Map<string, ItemRules>;
  imposed: string[];
  /** By canonical path, where it differs. */
  spelled: Map<string, string>;
}

export interface DraftContext {
  dialect: PolicyDialect;
  kinds: readonly PolicyKind[];
  report: DocumentFaults;
}

export function newDraft(role: CompiledPolicy["role"]): Draft {
  return {
    role,
    defaults: new Map(),
    rules: new Map(),
    items: new Map(),
    itemRules: new Map(),
    imposed: [],
    spelled: new Map(),
  };
}

export function itemsOf(draft: Draft, path: string): { instances: Item[]; attributes: Item } {
  const found = draft.items.get(path) ?? { instances: [], attributes: {} };
  draft.items.set(path, found);
  return found;
}

export function mergeRules(draft: Draft, path: string, rules: FieldRules | null): void {
  if (rules !== null) {
    draft.rules.set(path, { ...draft.rules.get(path), ...rules });
  }
}

/** Notes how the author calls a field, and tells of one that no kind of the policy has. True: it may be read. */
export function isOurs(
  { spec, name, entry }: FoundField,
  draft: Draft,
  { kinds, dialect, report }: DraftContext,
): boolean {
  // No kinds at all is a fault of the head, told there.
  if (kinds.length > 0 && !kinds.some((kind) => kind === "fallback" || existsFor(spec, kind, dialect))) {
    report.wrong(name, `does not exist for ${listed(kinds)} workloads`, "schema", entry.keyLine);
    return false;
  }
  if (name !== spec.path) {
    draft.spelled.set(spec.path, name);
  }
  return true;
}

function listed(words: readonly string[]): string {
  const last = words.at(-1) ?? "";
  return words.length < 2 ? last : `${words.slice(0, -1).join(", ")} and ${last}`;
}

/** What holds for the draft as a whole, when everything is read. */
export function checkDraft(draft: Draft, report: DocumentFaults): void {
  for (const [path, rules] of draft.rules) {
    const [list, attribute] = path.split("[].");
    const own = attribute === undefined ? draft.defaults.get(path) : draft.items.get(list ?? "")?.attributes[attribute];
    if (rules.defaultFrom !== undefined && own !== undefined) {
      report.warn(`${path}: its default wins over defaultFrom`);
    }
  }
  const folders = draft.items.get("storage.hostPath");
  const spec = fieldAt("storage.hostPath");
  for (const item of folders === undefined || folders.attributes["readOnly"] !== undefined ? [] : folders.instances) {
    if (spec !== null && item["readOnly"] === undefined && item["exclude"] !== true) {
      report.warn(`storage.hostPath[${itemKey(spec, item)}]: readOnly is not set, so it is false`);
    }
  }
}

/** Items of one field; nobody brings along so many. */
const instancesMax = 300;

/** One more of a policy's own items, if it has a key and is not there yet. */
export function addInstance(
  draft: Draft,
  { spec, name }: FoundField,
  item: Item,
  line: number,
  report: DocumentFaults,
): void {
  const { instances } = itemsOf(draft, spec.path);
  const key = itemKey(spec, item);
  if (key === "") {
    const wanted = (spec.key ?? []).map((alternative) => alternative.join("+")).join(" or ");
    report.wrong(name, `each of instances needs ${wanted}`, "schema", line);
  } else if (instances.some((other) => sameItem(spec, other, item))) {
    report.wrong(`${name}[${key}]`, "appears twice", "schema", line);
  } else if (instances.length < instancesMax) {
    instances.push(item);
  } else {
    report.wrong(name, `must not have more than ${instancesMax} instances`, "schema", line);
  }
}

/** Compiled policies: kinds that lack a field get the draft without it, which is told. */
export function compiledOf(
  draft: Draft,
  source: PolicySource,
  { kinds, dialect, report }: DraftContext,
): CompiledPolicy[] {
  const paths = [...draft.defaults, ...draft.rules, ...draft.items, ...draft.itemRules].map(([path]) => path);
  const hasRoles = (kind: PolicyKind): boolean => kind === "distributed" || kind === "fallback";
  const own = draft.role === null ? kinds : kinds.filter(hasRoles);
  const groups = new Map<string, { kinds: PolicyKind[]; lacking: Set<string> }>();
  for (const kind of own) {
    const lacking = paths.filter((path) => {
      const spec = fieldAt(path);
      return kind !== "fallback" && spec !== null && !existsFor(spec, kind, dialect);
    });
    for (const path of lacking) {
      report.warn(
        `${draft.spelled.get(path) ?? path}: does not exist for ${kind} workloads, and binds the others only`,
      );
    }
    const key = [...new Set(lacking)].sort().join(" ");
    const group = groups.get(key) ?? { kinds: [], lacking: new Set(lacking) };
    group.kinds.push(kind);
    groups.set(key, group);
  }
  return [...groups.values()].map(({ kinds: members, lacking }) => {
    const kept = <T>(all: ReadonlyMap<string, T>): Map<string, T> =>
      new Map([...all].filter(([path]) => !lacking.has(path)));
    return {
      source,
      kinds: members,
      role: draft.role,
      defaults: kept(draft.defaults),
      rules: kept(draft.rules),
      items: kept<ItemDefaults>(draft.items),
      itemRules: kept(draft.itemRules),
      imposed: draft.imposed,
      spelled: draft.spelled,
    };
  });
}
