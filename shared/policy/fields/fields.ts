/**
 * Every field that a policy or a workload may name: type, kinds of workloads, spellings, keys of items. Made from
 * the tables of fields-table.ts and fields-more.ts; a lookup here is the only way to a field, whatever dialect or spelling
 * it was written in. Pure data. Used by everything in this folder and by the reference of docs/policies.md.
 */
import { fieldsMore } from "./fields-more.ts";
import { firstTable, generalTable, placeTable, serverTable } from "./fields-table.ts";
import { type PlainValue, type ValueType, valueTypes, type WorkloadKind, workloadKinds } from "../words.ts";

export interface FieldSpec {
  /** `compute.cpuCoreRequest`; of an attribute of items: `storage.git[].branch`, `storage.pvc[].claimInfo.size`. */
  path: string;
  type: ValueType;
  /** Kinds of workloads that have it. */
  kinds: readonly WorkloadKind[];
  /** Other spellings in later documents, as whole paths; read with a warning. */
  aliases: readonly string[];
  /** The only words that it may be, in their canonical spelling. */
  enum?: readonly string[];
  /** Older words for those, in lower case. */
  enumAliases?: Readonly<Record<string, string>>;
  /** Of itemized fields: what tells items apart, the first that is set. */
  key?: readonly (readonly string[])[];
  /** What it is when nobody says anything, if the product has such a value. */
  builtin?: PlainValue;
  /** Of itemized fields. */
  attributes?: readonly FieldSpec[];
  /** Of arrays: the order has a meaning. */
  ordered?: true;
  /** V1's names for it, the usual one first; absent: V1 has no such field. */
  v1?: readonly string[];
  /** Where V1 has it for more kinds. */
  v1Kinds?: readonly WorkloadKind[];
  /** It is V1's alone, under its own name. */
  dialect?: "v1";
  description: string;
  /** The field of a task file that carries it, as Markdown. */
  taskField: string;
}

export type PolicyDialect = "v1" | "v2";

const kindLetters: Readonly<Record<string, WorkloadKind>> = {
  W: "workspace",
  T: "training",
  D: "distributed",
  I: "inference",
};

function typeOf(word: string): ValueType {
  const type = valueTypes.find((one) => one === word);
  if (type === undefined) {
    throw new Error(`no type of fields: ${word}`);
  }
  return type;
}

/** A line that is indented is an attribute of the field above, and shares kinds and task field with it. */
function readTable(table: string, dialect: PolicyDialect): FieldSpec[] {
  const specs: (Omit<FieldSpec, "attributes"> & { attributes?: readonly FieldSpec[] })[] = [];
  for (const line of table.split("\n").filter((one) => one !== "")) {
    const cells = line.split("|").map((cell) => cell.trim());
    const last = specs.at(-1);
    if (line.startsWith(" ") && last !== undefined) {
      const [name = "", type = "", description = ""] = cells;
      const { kinds, taskField } = last;
      const path = `${last.path}[].${name}`;
      const more = fieldsMore[path] ?? {};
      const base = { path, type: typeOf(type), kinds, aliases: [], taskField, description };
      const own = dialect === "v1" ? { dialect } : {};
      last.attributes = [...(last.attributes ?? []), { ...base, ...own, ...more }];
      continue;
    }
    const [path = "", type = "", letters = "", taskField = "", description = ""] = cells;
    const kinds = letters.split("").flatMap((letter) => kindLetters[letter] ?? []);
    const base = { path, type: typeOf(type), kinds, aliases: [], taskField, description };
    const own = dialect === "v1" ? { dialect: "v1" as const, v1: [path] } : {};
    specs.push({ ...base, ...own, ...fieldsMore[path] });
  }
  return specs;
}

/** In the order of the reference: general, groups, servers, and V1's own fields at the end. */
export const policyFields: readonly FieldSpec[] = [
  ...readTable(generalTable, "v2"),
  ...readTable(placeTable, "v2"),
  ...readTable(serverTable, "v2"),
  ...readTable(firstTable, "v1"),
];

const byPath = new Map(
  policyFields.flatMap((spec) => [spec, ...(spec.attributes ?? [])]).map((spec) => [spec.path, spec] as const),
);

/** The field or attribute of a canonical path: `image`, `storage.git`, `storage.git[].branch`. Null: there is none. */
export function fieldAt(path: string): FieldSpec | null {
  return byPath.get(path) ?? null;
}

/** `branch` of `storage.git[].branch`; the whole path of a field of its own. */
export function attributeName(spec: FieldSpec): string {
  return spec.path.slice(spec.path.indexOf("[].") < 0 ? 0 : spec.path.indexOf("[].") + 3);
}

export function existsFor(spec: FieldSpec, kind: WorkloadKind, dialect: PolicyDialect): boolean {
  return (dialect === "v1" ? (spec.v1Kinds ?? spec.kinds) : spec.kinds).includes(kind);
}

/** A spelling that is known: of a field, or (spec null) of a group on the way to fields. */
export interface KnownName {
  spec: FieldSpec | null;
  /** As it is written in full: `compute.gpuDeviceRequest`. */
  name: string;
  /** It is not the spelling that this dialect uses. */
  alias: boolean;
}

/** All spellings of a dialect, by their lower-case form: Run:ai's documents capitalise some at will. */
const knownNames: Readonly<Record<PolicyDialect, ReadonlyMap<string, KnownName>>> = {
  v1: indexed(policyFields.flatMap((spec) => (spec.v1 === undefined ? [] : firstNames(spec, spec.v1)))),
  v2: indexed(policyFields.filter((spec) => spec.dialect === undefined).flatMap(laterNames)),
};

function laterNames(spec: FieldSpec): KnownName[] {
  const own = (one: FieldSpec): KnownName[] => [
    { spec: one, name: one.path, alias: false },
    ...one.aliases.map((name) => ({ spec: one, name, alias: true })),
  ];
  return [...own(spec), ...(spec.attributes ?? []).flatMap(own)];
}

/** V1 writes attributes as it likes: flat or not, under its own name for the field. */
function firstNames(spec: FieldSpec, names: readonly string[]): KnownName[] {
  const attributes = (spec.attributes ?? []).flatMap((attribute) => [
    ...[attribute.path, ...attribute.aliases].map((path) => {
      const name = `${names[0] ?? spec.path}${path.slice(spec.path.length)}`;
      return { spec: attribute, name, alias: false };
    }),
    ...(attribute.v1 ?? []).map((name) => ({ spec: attribute, name, alias: false })),
  ]);
  return [...names.map((name) => ({ spec, name, alias: false })), ...attributes];
}

function indexed(names: readonly KnownName[]): Map<string, KnownName> {
  const found = new Map<string, KnownName>();
  for (const known of names) {
    const lower = known.name.toLowerCase();
    if (found.get(lower)?.spec === undefined || found.get(lower)?.spec === null) {
      found.set(lower, known);
    }
    for (let at = known.name.lastIndexOf("."); at > 0; at = known.name.lastIndexOf(".", at - 1)) {
      const group = known.name.slice(0, at);
      if (!group.endsWith("[]") && !found.has(group.toLowerCase())) {
        found.set(group.toLowerCase(), { spec: null, name: group, alias: known.alias });
      }
    }
  }
  return found;
}

/** The field or group of a spelling, whatever its case. Null: nothing of this dialect. */
export function knownName(path: string, dialect: PolicyDialect): KnownName | null {
  return knownNames[dialect].get(path.toLowerCase()) ?? null;
}

const keptBelow = new Map<string, readonly string[]>();

/** The names below a group ("" for the top, `storage.git[]` for attributes), one step each; for suggestions. */
export function namesBelow(group: string, dialect: PolicyDialect): readonly string[] {
  const key = `${dialect} ${group}`;
  const kept = keptBelow.get(key);
  if (kept !== undefined) {
    return kept;
  }
  const prefix = group === "" ? "" : `${group}.`.toLowerCase();
  const below = [...knownNames[dialect].values()]
    .filter(({ name }) => name.toLowerCase().startsWith(prefix))
    .map(({ name }) => name.slice(prefix.length).replace(/[.[].*$/, ""));
  const names = [...new Set(below)].filter((name) => name !== "");
  // Groups that are none are anybody's words, and would fill the memory.
  if (group === "" || knownNames[dialect].has(group.toLowerCase())) {
    keptBelow.set(key, names);
  }
  return names;
}

/** Where a word stands that is right in another place (`runAsUid`) or in V1 (`memory`), as each dialect calls it. */
const places: Readonly<Record<PolicyDialect, ReadonlyMap<string, string>>> = {
  v1: new Map(wordsOf((spec) => spec.v1?.[0])),
  v2: new Map(wordsOf((spec) => (spec.dialect === "v1" ? undefined : spec.path))),
};

/** A field's own words come after those of V1, so that they count. */
function wordsOf(called: (spec: FieldSpec) => string | undefined): [string, string][] {
  const words = (pick: (spec: FieldSpec) => readonly string[]): [string, string][] =>
    policyFields.flatMap((spec) => {
      const name = called(spec);
      return name === undefined ? [] : pick(spec).map((word): [string, string] => [word.toLowerCase(), name]);
    });
  return [...words(({ v1 }) => v1 ?? []), ...words(({ path }) => [path.slice(path.lastIndexOf(".") + 1)])];
}

/** The field that a word is the last step of, or V1's name of, as the dialect calls it; for suggestions. */
export function placeOfWord(word: string, dialect: PolicyDialect): string | null {
  return places[dialect].get(word.toLowerCase()) ?? null;
}

/** Run:ai's and everyday names of kinds, in lower case. */
const kindNames = new Map<string, WorkloadKind>([
  ...workloadKinds.map((kind) => [kind, kind] as const),
  ["interactive", "workspace"],
  ["notebook", "workspace"],
  ["build", "workspace"],
  ["workspaces", "workspace"],
  ["interactivepolicy", "workspace"],
  ["train", "training"],
  ["job", "training"],
  ["standard", "training"],
  ["trainings", "training"],
  ["trainingpolicy", "training"],
  ["multi-node", "distributed"],
  ["distributedpolicy", "distributed"],
  ["serve", "inference"],
  ["service", "inference"],
  ["inferences", "inference"],
  ["inferencepolicy", "inference"],
]);

/** A kind by any of its names: `training`, `train`, `TrainingPolicy`. Null: none. */
export function kindNamed(name: string): WorkloadKind | null {
  return kindNames.get(name.toLowerCase()) ?? null;
}
