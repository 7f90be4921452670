/**
 * What the policies that bind one workload say together: limits, defaults by the narrowest scope, items merged by key, and
 * assets. Made once for each effective policy and kept beside it. Pure. Policies that only warn or audit set nothing for
 * the workload; their own rules are judged as if they did. Used by evaluate.ts, form.ts and the checks at saving.
 */
import { compareScopes } from "./scope-order.ts";
import type { CompiledPolicy, EffectivePolicy } from "../compiled.ts";
import { fieldAt, type FieldSpec } from "../fields/fields.ts";
import { itemKey, itemKeys, sameItem } from "../fields/items.ts";
import { type FieldVoice, type ItemLimits, type ItemVoice, itemLimitsOf, type Limits, limitsOf } from "./limits.ts";
import { devicesPath, gpuParts, portionPath, withoutVolumes } from "./virtual.ts";
import type { Item, PlainValue, PolicyMode } from "../words.ts";

export type Role = "master" | "worker" | null;

/** An item that policies bring along. `from`: who set each attribute. */
export interface DefaultItem {
  /** With what the attributes' defaults add. */
  item: Item;
  /** Without. */
  own: Item;
  from: ReadonlyMap<string, CompiledPolicy>;
  part: CompiledPolicy;
  label: string;
}

export interface DefaultItems {
  instances: readonly DefaultItem[];
  attributes: ReadonlyMap<string, { value: PlainValue; part: CompiledPolicy }>;
}

export interface FieldDefault {
  value: PlainValue;
  part: CompiledPolicy;
  /** V1's `gpu`: it counts only where nothing of the group was submitted. */
  virtual: boolean;
}

/** A default that is computed from another field. */
export interface Derived {
  path: string;
  field: string;
  factor: string | number;
  part: CompiledPolicy;
}

export interface Combined {
  /** By path of scalars, arrays and attributes; V1's limits apart from the later ones. */
  limits: ReadonlyMap<string, readonly Limits[]>;
  itemLimits: ReadonlyMap<string, readonly ItemLimits[]>;
  defaults: ReadonlyMap<string, FieldDefault>;
  items: ReadonlyMap<string, DefaultItems>;
  /** Of fields, in the order in which they can be computed. */
  derived: readonly Derived[];
  /** Of attributes, by itemized field, in that order. */
  derivedAttributes: ReadonlyMap<string, readonly Derived[]>;
  imposed: readonly { id: string; part: CompiledPolicy }[];
  /** Fields that could only be computed from each other; saving refuses them. */
  circles: readonly (readonly string[])[];
}

const kept = new WeakMap<EffectivePolicy, Map<string, Combined>>();

/** The policies of one mode, for one role of a distributed workload. */
export function combined(policy: EffectivePolicy, mode: PolicyMode, role: Role = null): Combined {
  const own = kept.get(policy) ?? new Map<string, Combined>();
  kept.set(policy, own);
  const key = `${mode} ${role ?? ""}`;
  const found = own.get(key) ?? combine(policy, mode, role);
  own.set(key, found);
  return found;
}

function combine(policy: EffectivePolicy, mode: PolicyMode, role: Role): Combined {
  const parts = policy.parts
    .filter((part) => part.role === null || part.role === role)
    .map((part) => (part.source.dialect === "v1" ? withoutVolumes(part) : part));
  const judging = parts.filter(({ source }) => source.mode === mode);
  const setting = parts
    .filter(({ source }) => source.mode === mode || source.mode === "enforce")
    .sort((a, b) => compareScopes(a.source.scope, b.source.scope) || dialectOrder(a) - dialectOrder(b));
  const derived = derivedOf(setting);
  const [fields, attributes] = [false, true].map((isAttribute) =>
    derived.filter(({ path }) => path.includes("[].") === isAttribute),
  ) as [Derived[], Derived[]];
  const inItems = byField(attributes);
  return {
    limits: limitsByPath(judging),
    itemLimits: itemLimitsByPath(judging),
    defaults: fieldDefaults(setting, derived),
    items: defaultItems(setting),
    derived: inOrder(fields),
    derivedAttributes: new Map([...inItems].map(([path, own]) => [path, inOrder(own)])),
    imposed: imposedAssets(setting),
    circles: [fields, ...inItems.values()].map(outOfOrder).filter((paths) => paths.length > 0),
  };
}

/** On one scope the later dialect's default wins. */
function dialectOrder({ source }: CompiledPolicy): number {
  return source.dialect === "v1" ? 0 : 1;
}

const dialects = ["v2", "v1"] as const;

/** Paths of which a tenant's or a cluster's policy says something: there the built-in rules give way. */
function replaced(parts: readonly CompiledPolicy[], paths: (part: CompiledPolicy) => Iterable<string>): Set<string> {
  const above = parts.filter(({ source }) => source.scope.level === "tenant" || source.scope.level === "cluster");
  return new Set(above.flatMap((part) => [...paths(part)]));
}

/** Each policy's rules on each path, without those of the product that others replace. */
export function voicesOf<T>(
  parts: readonly CompiledPolicy[],
  rulesOf: (part: CompiledPolicy) => ReadonlyMap<string, T>,
): Map<string, { rules: T; part: CompiledPolicy }[]> {
  const gone = replaced(parts, (part) => rulesOf(part).keys());
  const found = new Map<string, { rules: T; part: CompiledPolicy }[]>();
  for (const part of parts) {
    for (const [path, rules] of rulesOf(part)) {
      if (part.source.scope.level !== "system" || !gone.has(path)) {
        const voices = found.get(path);
        if (voices === undefined) {
          found.set(path, [{ rules, part }]);
        } else {
          voices.push({ rules, part });
        }
      }
    }
  }
  return found;
}

function limitsByPath(parts: readonly CompiledPolicy[]): Map<string, Limits[]> {
  const found = new Map<string, Limits[]>();
  for (const dialect of dialects) {
    const own = parts.filter(({ source }) => source.dialect === dialect);
    for (const [path, voices] of voicesOf(own, ({ rules }) => rules)) {
      const spec = specOf(path);
      if (spec !== null) {
        found.set(path, [...(found.get(path) ?? []), limitsOf(voices satisfies FieldVoice[], spec)]);
      }
    }
  }
  return found;
}

/** A rule on V1's `nfsServer` stands at folders of the node too, where no field is. */
function specOf(path: string): FieldSpec | null {
  return fieldAt(path) ?? (path === "storage.hostPath[].server" ? fieldAt("storage.nfs[].server") : null);
}

function itemLimitsByPath(parts: readonly CompiledPolicy[]): Map<string, ItemLimits[]> {
  const found = new Map<string, ItemLimits[]>();
  for (const dialect of dialects) {
    const own = parts.filter(({ source }) => source.dialect === dialect);
    for (const [path, voices] of voicesOf(own, ({ itemRules }) => itemRules)) {
      found.set(path, [...(found.get(path) ?? []), itemLimitsOf(voices satisfies ItemVoice[])]);
    }
  }
  return found;
}

/** The narrowest rule of each path. */
function derivedOf(parts: readonly CompiledPolicy[]): Derived[] {
  const found = new Map<string, Derived>();
  for (const [path, voices] of voicesOf(parts, ({ rules }) => rules)) {
    for (const { rules, part } of voices) {
      if (rules.defaultFrom !== undefined) {
        found.set(path, { path, ...rules.defaultFrom, part });
      }
    }
  }
  return [...found.values()];
}

/** A static default of the same or a narrower scope wins over a computed one, which wins over those of wider scopes. */
function fieldDefaults(parts: readonly CompiledPolicy[], derived: readonly Derived[]): Map<string, FieldDefault> {
  const found = new Map<string, FieldDefault>();
  for (const part of parts) {
    for (const [path, value] of part.defaults) {
      const split = path === "gpu" ? gpuParts(value) : null;
      if (split !== null || path === devicesPath || path === portionPath) {
        dropGpu(found, split === null);
      }
      for (const [place, own] of split ?? [[path, value] as const]) {
        found.set(place, { value: own, part, virtual: split !== null });
      }
    }
  }
  for (const { path, part } of derived) {
    const fixed = found.get(path);
    if (fixed !== undefined && compareScopes(fixed.part.source.scope, part.source.scope) < 0) {
      found.delete(path);
    }
  }
  return found;
}

/** V1's `gpu` stands for two fields at one time: it takes the place of both, and gives way as a whole. */
function dropGpu(found: Map<string, FieldDefault>, onlyVirtual: boolean): void {
  for (const path of [devicesPath, portionPath]) {
    if (!onlyVirtual || found.get(path)?.virtual === true) {
      found.delete(path);
    }
  }
}

/** Those that others are computed from come first; without what is in a circle. */
function inOrder(derived: readonly Derived[]): Derived[] {
  const sorted: Derived[] = [];
  let waiting = [...derived].sort((a, b) => (a.path < b.path ? -1 : 1));
  while (waiting.length > 0) {
    const open = new Set(waiting.map(({ path }) => path));
    const ready = waiting.filter(({ field }) => !open.has(field));
    if (ready.length === 0) {
      return sorted;
    }
    sorted.push(...ready);
    waiting = waiting.filter((one) => !ready.includes(one));
  }
  return sorted;
}

function byField(derived: readonly Derived[]): Map<string, Derived[]> {
  const found = new Map<string, Derived[]>();
  for (const one of derived) {
    const [path = "", attribute = ""] = one.path.split("[].");
    found.set(path, [...(found.get(path) ?? []), { ...one, path: attribute }]);
  }
  return found;
}

function outOfOrder(derived: readonly Derived[]): string[] {
  const sorted = new Set(inOrder(derived));
  return derived.filter((one) => !sorted.has(one)).map(({ path }) => path);
}

interface Growing {
  instances: { own: Item; from: Map<string, CompiledPolicy>; part: CompiledPolicy }[];
  attributes: { name: string; value: PlainValue; part: CompiledPolicy }[];
}

function defaultItems(parts: readonly CompiledPolicy[]): Map<string, DefaultItems> {
  const growing = new Map<string, Growing>();
  for (const part of parts) {
    for (const [path, { instances, attributes }] of part.items) {
      const spec = fieldAt(path);
      const place = growing.get(path) ?? { instances: [], attributes: [] };
      growing.set(path, place);
      for (const [name, value] of Object.entries(attributes)) {
        place.attributes.push({ name, value, part });
      }
      for (const item of spec === null ? [] : instances) {
        addDefault(place, spec as FieldSpec, item, part);
      }
    }
  }
  return new Map([...growing].map(([path, place]) => [path, filled(path, place, parts)]));
}

/** Items merge by key; a narrower scope's `exclude` drops an inherited one. */
function addDefault({ instances }: Growing, spec: FieldSpec, { exclude, ...item }: Item, part: CompiledPolicy): void {
  const at = instances.findIndex(({ own }) => sameItem(spec, own, item));
  const before = instances[at];
  if (exclude === true) {
    if (before !== undefined) {
      instances.splice(at, 1);
    }
    return;
  }
  const from = new Map([...(before?.from ?? []), ...Object.keys(item).map((name) => [name, part] as const)]);
  const after = { own: { ...before?.own, ...item }, from, part };
  if (before === undefined) {
    instances.push(after);
  } else {
    instances[at] = after;
  }
}

/** Gives every item the missing attributes. Where a scope locks an item, narrower scopes' attributes come last. */
function filled(path: string, { instances, attributes }: Growing, parts: readonly CompiledPolicy[]): DefaultItems {
  const spec = fieldAt(path);
  const narrowest = new Map(attributes.map(({ name, value, part }) => [name, { value, part }]));
  return {
    attributes: narrowest,
    instances: instances.map(({ own, from, part }, index) => {
      const keys = spec === null ? [] : itemKeys(spec, own);
      const locking = parts.find(({ itemRules }) => itemRules.get(path)?.locked?.some((key) => keys.includes(key)));
      const until = locking === undefined ? parts.length : parts.indexOf(locking);
      const early = attributes.filter((one) => parts.indexOf(one.part) <= until);
      const counting = new Map([...narrowest, ...early.map(({ name, ...said }) => [name, said] as const)]);
      const missing = [...counting].filter(([name]) => own[name] === undefined);
      return {
        own,
        part,
        label: spec === null ? "" : labelOf(spec, own, index),
        item: { ...own, ...Object.fromEntries(missing.map(([name, { value }]) => [name, value])) },
        from: new Map([...from, ...missing.map(([name, said]) => [name, said.part] as const)]),
      };
    }),
  };
}

/** Ancestors first, each asset once. */
function imposedAssets(parts: readonly CompiledPolicy[]): { id: string; part: CompiledPolicy }[] {
  const found = new Map<string, CompiledPolicy>();
  for (const part of parts) {
    for (const id of part.imposed) {
      if (!found.has(id)) {
        found.set(id, part);
      }
    }
  }
  return [...found].map(([id, part]) => ({ id, part }));
}

/** The key of an item for messages; items without any are told by their place, from 1. */
export function labelOf(spec: FieldSpec, item: Item, index: number): string {
  const key = itemKey(spec, item);
  return key === "" ? `#${index + 1}` : key;
}
