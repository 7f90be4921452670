/**
 * What a user wrote, value for value against the types of its fields, in later Run:ai's fields. What fits nothing is one
 * violation each and takes part in nothing further. Pure; it must never throw, whatever it is given. Used by evaluate.ts.
 */
import { existsFor, fieldAt, type FieldSpec } from "../fields/fields.ts";
import { itemKeys, sameItem } from "../fields/items.ts";
import { labelOf } from "../together/merge.ts";
import { type Place, placeText, repeatable, texts } from "./messages.ts";
import { isMapping, typed } from "../fields/values.ts";
import { withoutVirtual } from "../together/virtual.ts";
import type { Item, PlainValue, ViolationRule, Workload, WorkloadKind } from "../words.ts";

/** A violation of a rule of the product. */
export interface Problem {
  place: Place;
  rule: ViolationRule;
  message: string;
  value: PlainValue;
}

export interface WrittenItem {
  label: string;
  /** What fits its type; `exclude` apart. */
  item: Item;
  /** Attributes whose values do not. */
  mistyped: readonly string[];
  exclude: boolean;
}

export interface Submission {
  fields: ReadonlyMap<string, PlainValue>;
  items: ReadonlyMap<string, readonly WrittenItem[]>;
  problems: readonly Problem[];
  /** What was probably meant. */
  notices: readonly string[];
  /** What was written for a field and fits not its type. */
  mistyped: ReadonlyMap<string, PlainValue>;
  /** Places whose values do not count: `image`, `ports[a].container`. */
  invalid: ReadonlySet<string>;
}

interface Reading {
  fields: Map<string, PlainValue>;
  items: Map<string, WrittenItem[]>;
  mistyped: Map<string, PlainValue>;
  problems: Problem[];
  notices: string[];
  kind: WorkloadKind;
}

/** `served`: the policies' own items of NFS, which V1's users name without their server. */
export function readSubmission(submitted: Workload, kind: WorkloadKind, served: readonly Item[]): Submission {
  const reading: Reading = {
    fields: new Map(),
    items: new Map(),
    mistyped: new Map(),
    problems: [],
    notices: [],
    kind,
  };
  const spec = fieldAt("storage.nfs");
  const isKnown = (item: Item): boolean => spec !== null && served.some((own) => sameItem(spec, own, item));
  for (const [path, value] of withoutVirtual(submitted, isKnown)) {
    readField(reading, path, value);
  }
  const invalid = reading.problems.map(({ place }) => placeText(place));
  return { ...reading, invalid: new Set(invalid) };
}

function readField(reading: Reading, path: string, value: PlainValue | undefined): void {
  const spec = path.includes("[]") ? null : fieldAt(path);
  if (value === null || value === undefined) {
    return;
  }
  if (spec === null) {
    problem(reading, { path }, "schema", texts.unknown(path), null);
    return;
  }
  if (!existsFor(spec, reading.kind, "v2") && !existsFor(spec, reading.kind, "v1")) {
    problem(reading, { path }, "schema", texts.notOfKind(reading.kind), value);
    return;
  }
  const read = typed(value, spec);
  if (!read.ok) {
    mistyped(reading, { path }, read, value);
    reading.mistyped.set(path, value);
  } else if (spec.type === "itemized") {
    readItems(reading, spec, Array.isArray(read.value) ? read.value : []);
  } else {
    reading.fields.set(path, read.value);
  }
}

function readItems(reading: Reading, spec: FieldSpec, entries: readonly PlainValue[]): void {
  const written: WrittenItem[] = [];
  // Items that are one share a key, and a task may have thousands of variables.
  const byKey = new Map<string, Item[]>();
  for (const [index, entry] of entries.entries()) {
    if (!isMapping(entry)) {
      problem(reading, { path: spec.path, label: `#${index + 1}` }, "type", "must be a mapping", entry);
      continue;
    }
    const label = labelOf(spec, entry, index);
    const place = { path: spec.path, label };
    const near = itemKeys(spec, entry).flatMap((key) => byKey.get(key) ?? []);
    if (near.some((item) => sameItem(spec, item, entry))) {
      problem(reading, place, "constraint", texts.twice, null);
      continue;
    }
    const { item, mistyped: unfit } = readItem(reading, spec, entry, label);
    const { exclude = false } = entry;
    if (typeof exclude !== "boolean" && exclude !== null) {
      problem(reading, { ...place, attribute: "exclude" }, "type", "must be true or false", exclude);
    }
    if (label.startsWith("#") && spec.path !== "tolerations") {
      problem(reading, place, "constraint", `must have ${keyWords(spec)}`, null);
    }
    written.push({ label, item, mistyped: unfit, exclude: exclude === true });
    for (const key of itemKeys(spec, item)) {
      byKey.set(key, [...(byKey.get(key) ?? []), item]);
    }
  }
  reading.items.set(spec.path, written);
}

function readItem(
  reading: Reading,
  spec: FieldSpec,
  entry: Item,
  label: string,
): Pick<WrittenItem, "item" | "mistyped"> {
  const item: Item = {};
  const unfit: string[] = [];
  for (const [name, value] of Object.entries(entry)) {
    const attribute = fieldAt(`${spec.path}[].${name}`);
    const place = { path: spec.path, label, attribute: name };
    if (name === "exclude" || value === null) {
      continue;
    }
    const read = attribute === null ? null : typed(value, attribute);
    if (read === null) {
      problem(reading, place, "schema", texts.unknown(`${spec.path}[].${name}`), null);
    } else if (!read.ok) {
      mistyped(reading, place, read, value);
      unfit.push(name);
    } else {
      item[name] = read.value;
    }
  }
  return { item, mistyped: unfit };
}

function mistyped(reading: Reading, place: Place, read: { message: string; hint?: string }, value: PlainValue): void {
  problem(reading, place, "type", read.message, value);
  if (read.hint !== undefined) {
    reading.notices.push(`${placeText(place)}: ${read.hint}`);
  }
}

/** `name or mountPath` */
function keyWords({ key = [] }: FieldSpec): string {
  return [...new Set(["name", ...key.flat()])].join(" or ");
}

function problem({ problems }: Reading, place: Place, rule: ViolationRule, message: string, value: PlainValue): void {
  problems.push({ place, rule, message, value: repeatable(place, value) });
}
