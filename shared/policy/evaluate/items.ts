/**
 * Itemized fields of one workload: the policies' own items, what the user has dropped, changed and added, and what is
 * imposed; each with its attributes' defaults. It must never let an item that is locked or imposed get lost or changed
 * without a finding. Pure but for the pass that it adds to. Used by evaluate.ts only.
 */
import { computedValue } from "./computed.ts";
import type { CompiledPolicy } from "../compiled.ts";
import { attributeName, fieldAt, type FieldSpec } from "../fields/fields.ts";
import { itemKeys, sameItem, setsNothingNew } from "../fields/items.ts";
import type { ItemLimits, Said } from "../together/limits.ts";
import type { DefaultItem, DefaultItems } from "../together/merge.ts";
import { placeText, texts } from "./messages.ts";
import type { Pass } from "./pass.ts";
import type { WrittenItem } from "./submission.ts";
import { compareTexts } from "../together/scope-order.ts";
import { sameValue } from "../fields/values.ts";
import type { Item, PlainValue, ValueOrigin } from "../words.ts";

/** An item of the effective workload. */
export interface LiveItem {
  label: string;
  item: Item;
  origin: ValueOrigin;
  /** Of attributes that others than the user have set. */
  origins: Map<string, ValueOrigin>;
}

const none: DefaultItems = { instances: [], attributes: new Map() };

/** The items of one field, before what is imposed. */
export function liveItems(pass: Pass, spec: FieldSpec): LiveItem[] {
  const defaults = pass.combined.items.get(spec.path) ?? none;
  const limits = pass.combined.itemLimits.get(spec.path) ?? [];
  const imposed = pass.imposed.get(spec.path) ?? [];
  const places = new Map<DefaultItem, LiveItem | null>();
  for (const one of defaults.instances) {
    const isImposed = imposed.some(({ item }) => sameItem(spec, item, one.item));
    places.set(one, isImposed ? null : untouched(pass, spec, defaults, one));
  }
  const added: LiveItem[] = [];
  for (const written of pass.submission.items.get(spec.path) ?? []) {
    if (imposed.some((one) => sameItem(spec, one.item, written.item))) {
      meetImposed(pass, spec, written);
      continue;
    }
    const one = defaults.instances.find((own) => places.get(own) !== null && sameItem(spec, own.item, written.item));
    if (one !== undefined) {
      const met = meetDefault(pass, { spec, limits, one, written });
      places.set(one, met === null ? null : withAttributes(pass, spec, defaults, met));
    } else if (written.exclude) {
      pass.notices.push(`${placeText({ path: spec.path, label: written.label })}: ${texts.nothingToExclude}`);
    } else {
      added.push(withAttributes(pass, spec, defaults, addItem(pass, { spec, limits, written })));
    }
  }
  const brought = imposed.map((one) => withAttributes(pass, spec, defaults, one));
  return [...places.values(), ...added, ...brought].filter((one) => one !== null);
}

/** What a policy's own item is when nobody touches it: made once. */
const kept = new WeakMap<DefaultItem, LiveItem>();

function untouched(pass: Pass, spec: FieldSpec, defaults: DefaultItems, one: DefaultItem): LiveItem {
  const live = kept.get(one) ?? withAttributes(pass, spec, defaults, fromPolicy(one, one.label));
  kept.set(one, live);
  return live;
}

function fromPolicy({ item, from, part }: DefaultItem, label: string): LiveItem {
  const origins = new Map([...from].map(([name, { source }]) => [name, { kind: "default", source } as const] as const));
  return { label, item, origin: { kind: "default", source: part.source }, origins };
}

function meetImposed(pass: Pass, spec: FieldSpec, { label, item, exclude }: WrittenItem): void {
  const live = pass.imposed.get(spec.path)?.find((one) => sameItem(spec, one.item, item));
  if (live !== undefined && (exclude || !setsNothingNew(spec, item, live.item))) {
    const message = texts.imposed(exclude ? "excluded" : "modified");
    pass.findings.forbid({ path: spec.path, label }, { rule: "locked", message }, [sayingOf(live.part)]);
  }
}

function sayingOf(part: CompiledPolicy): Said<true> {
  return { value: true, part, note: null };
}

interface Meeting {
  spec: FieldSpec;
  limits: readonly ItemLimits[];
  one: DefaultItem;
  written: WrittenItem;
}

/** A user's entry for an item that policies bring along; null: it is dropped. */
function meetDefault(pass: Pass, { spec, limits, one, written }: Meeting): LiveItem | null {
  const { label, item, exclude } = written;
  const place = { path: spec.path, label };
  const keys = itemKeys(spec, one.item);
  const changes = !exclude && !setsNothingNew(spec, item, one.item);
  for (const own of limits) {
    const saying = saidOf(keys, own.locked, exclude ? own.notExcluded : own.notChanged);
    if (exclude || changes) {
      const message = texts.locked(exclude ? "excluded" : "modified");
      pass.findings.forbid(place, { rule: "locked", message }, saying);
    }
    const taken = saidOf(
      itemKeys(spec, item).filter((key) => !keys.includes(key)),
      own.locked,
    );
    if (changes && saying.length === 0) {
      pass.findings.forbid(place, { rule: "locked", message: texts.locked("added") }, taken);
    }
  }
  if (exclude) {
    return null;
  }
  const live = fromPolicy(one, label);
  for (const name of Object.keys(item).filter((each) => !isSame(spec, each, item, one.item))) {
    live.origins.delete(name);
    checkWritten(pass, spec, written, name, one.item[name]);
  }
  for (const name of written.mistyped) {
    checkWritten(pass, spec, written, name, one.item[name]);
  }
  return changes ? { ...live, item: { ...one.item, ...item }, origin: { kind: "submitted" } } : live;
}

function isSame(spec: FieldSpec, name: string, item: Item, other: Item): boolean {
  return setsNothingNew(spec, { [name]: item[name] ?? null }, other);
}

/** Each policy once, whichever of the keys it names. */
function saidOf(keys: readonly string[], ...maps: ReadonlyMap<string, readonly Said<true>[]>[]): Said<true>[] {
  const all = maps.flatMap((map) => keys.flatMap((key) => map.get(key) ?? []));
  return all.filter((said, index) => all.findIndex(({ part }) => part === said.part) === index);
}

function addItem(pass: Pass, { spec, limits, written }: Omit<Meeting, "one">): LiveItem {
  const { label, item } = written;
  const place = { path: spec.path, label };
  for (const { locked, closed } of limits) {
    const banned = pass.findings.forbid(
      place,
      { rule: "locked", message: texts.locked("added") },
      saidOf(itemKeys(spec, item), locked),
    );
    pass.findings.forbid(place, { rule: "canAdd", message: texts.closed }, closed, banned);
  }
  const attributes = pass.combined.items.get(spec.path)?.attributes;
  for (const name of [...Object.keys(item), ...written.mistyped]) {
    checkWritten(pass, spec, written, name, attributes?.get(name)?.value);
  }
  return { label, item, origin: { kind: "submitted" }, origins: new Map() };
}

/** Whether the user may write this attribute: `blocked`, and `canEdit` against what it would be otherwise. */
function checkWritten(
  pass: Pass,
  spec: FieldSpec,
  { label, item }: WrittenItem,
  name: string,
  otherwise: PlainValue | undefined,
): void {
  const place = { path: spec.path, label, attribute: name };
  // Null: it fits not its type, and so is nothing that was set.
  const value = item[name] ?? null;
  for (const { spec: attribute, blocked, fixed } of pass.combined.limits.get(`${spec.path}[].${name}`) ?? []) {
    const first = pass.findings.forbid(place, { rule: "blocked", message: texts.blocked, value }, blocked);
    const set = otherwise ?? derivedAttribute(pass, spec, item, name) ?? attribute.builtin;
    if (fixed.length > 0 && (set === undefined || value === null || !sameValue(value, set, attribute))) {
      const message = set === undefined ? texts.notSettable : texts.fixed(set);
      pass.findings.forbid(place, { rule: "canEdit", message, value, limit: set ?? null }, fixed, first);
    }
  }
}

function derivedAttribute(pass: Pass, spec: FieldSpec, item: Item, name: string): PlainValue | undefined {
  const derived = pass.combined.derivedAttributes.get(spec.path)?.find(({ path }) => path === name);
  const to = fieldAt(`${spec.path}[].${name}`);
  if (derived === undefined || to === null) {
    return undefined;
  }
  const from = fieldAt(`${spec.path}[].${derived.field}`);
  return computedValue(item[derived.field] ?? undefined, derived.factor, { from, to });
}

/** Gives an item the attributes that it lacks: the policies' defaults, then those that are computed. */
function withAttributes(pass: Pass, spec: FieldSpec, { attributes }: DefaultItems, live: LiveItem): LiveItem {
  const item = { ...live.item };
  const origins = new Map(live.origins);
  for (const [name, { value, part }] of attributes) {
    if (item[name] === undefined) {
      item[name] = value;
      origins.set(name, { kind: "default", source: part.source });
    }
  }
  for (const { path: name, field, part } of pass.combined.derivedAttributes.get(spec.path) ?? []) {
    const value = item[name] === undefined ? derivedAttribute(pass, spec, item, name) : undefined;
    if (value !== undefined) {
      item[name] = value;
      origins.set(name, { kind: "computed", source: part.source, from: field });
    }
  }
  return { ...live, item: inOrder(item, spec), origins };
}

/** Attributes in the field's order, whoever wrote which first. */
function inOrder(item: Item, { attributes = [] }: FieldSpec): Item {
  const names = attributes.map(attributeName);
  const place = (name: string): number => (names.includes(name) ? names.indexOf(name) : names.length);
  return Object.fromEntries(Object.entries(item).sort(([a], [b]) => place(a) - place(b) || compareTexts(a, b)));
}
