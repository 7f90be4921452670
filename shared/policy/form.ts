/**
 * What binds each field, for forms: its default, whether it may be edited, its limits, and who says so. Pure. It must
 * never name a field that no policy speaks of. Served by the coordinator's routes for policies, and shown by explain.ts.
 */
import type { PolicyEffectiveResult } from "../policy-api.ts";
import type { CompiledPolicy, EffectivePolicy } from "./compiled.ts";
import { fieldAt } from "./fields/fields.ts";
import { nestedItem } from "./fields/items.ts";
import type { ItemLimits, Limits, Said } from "./together/limits.ts";
import { combined, type Combined } from "./together/merge.ts";
import type { PlainValue, PolicySource } from "./words.ts";

type Fields = PolicyEffectiveResult["fields"];
type FormField = Fields[string];

/** By canonical path, attributes as `storage.git[].branch`; only what policies that enforce say. */
export function formOf(policy: EffectivePolicy): Fields {
  const roles = policy.parts.some(({ role }) => role !== null) ? (["worker", "master"] as const) : ([null] as const);
  const fields: Fields = {};
  for (const role of roles) {
    for (const [path, field] of fieldsOf(combined(policy, "enforce", role))) {
      fields[path] ??= field;
    }
  }
  return Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function fieldsOf(own: Combined): Map<string, FormField> {
  const paths = new Set([...own.limits.keys(), ...own.itemLimits.keys(), ...own.defaults.keys(), ...own.items.keys()]);
  const found = new Map<string, FormField>();
  for (const [path, { attributes }] of own.items) {
    for (const name of attributes.keys()) {
      paths.add(`${path}[].${name}`);
    }
  }
  for (const path of paths) {
    const spec = fieldAt(path);
    if (spec !== null) {
      const limits = own.limits.get(path) ?? [];
      const base = { type: spec.type, ...defaultOf(own, path) };
      found.set(path, withItemLimits(withLimits(base, limits), own.itemLimits.get(path) ?? []));
    }
  }
  return found;
}

function defaultOf({ defaults, items }: Combined, path: string): Omit<FormField, "type"> {
  const free = { canEdit: true, required: false, blocked: false };
  const [field = "", attribute] = path.split("[].");
  const set = attribute === undefined ? defaults.get(path) : items.get(field)?.attributes.get(attribute);
  if (set !== undefined) {
    return { ...free, default: set.value, sources: { default: set.part.source } };
  }
  const instances = items.get(path)?.instances ?? [];
  const builtin = fieldAt(path)?.builtin ?? null;
  const [first] = instances;
  return first === undefined
    ? { ...free, default: builtin, sources: {} }
    : { ...free, default: instances.map(({ item }) => nestedItem(item)), sources: { default: first.part.source } };
}

/** V1's limits and the later ones both count: the strictest is shown. */
function withLimits(base: FormField, all: readonly Limits[]): FormField {
  const field: FormField = { ...base, sources: { ...base.sources } };
  const first = <T>(name: string, lists: readonly (readonly Said<T>[])[]): Said<T> | undefined => {
    const said = lists.flat()[0];
    if (said !== undefined) {
      field.sources[name] = said.part.source;
    }
    return said;
  };
  field.required =
    first(
      "required",
      all.map(({ required }) => required),
    ) !== undefined;
  field.blocked =
    first(
      "blocked",
      all.map(({ blocked }) => blocked),
    ) !== undefined;
  field.canEdit =
    first(
      "canEdit",
      all.map(({ fixed }) => fixed),
    ) === undefined && !field.blocked;
  const min = first(
    "min",
    all.map((one) => one.min),
  );
  const max = first(
    "max",
    all.map((one) => one.max),
  );
  const step = first(
    "step",
    all.map((one) => one.step),
  );
  const options = first(
    "options",
    all.map((one) => one.options),
  );
  const common = all.find((one) => one.common !== null)?.common;
  return {
    ...field,
    ...(min === undefined ? {} : { min: min.value.said }),
    ...(max === undefined ? {} : { max: max.value.said }),
    ...(step === undefined ? {} : { step: step.value.said }),
    ...(options === undefined || common === undefined ? {} : { options: optionsOf(options.part, all, common ?? []) }),
  };
}

/** With the words that an author wants shown. */
function optionsOf(
  part: CompiledPolicy,
  all: readonly Limits[],
  common: readonly PlainValue[],
): { value: PlainValue; displayed?: string }[] {
  const path = all[0]?.spec.path ?? "";
  const own = part.rules.get(path)?.options ?? [];
  return common.map((value) => own.find((one) => one.value === value) ?? { value });
}

function withItemLimits(field: FormField, all: readonly ItemLimits[]): FormField {
  if (field.type !== "itemized") {
    return field;
  }
  const closed = all.flatMap((one) => one.closed)[0];
  const required = all.flatMap((one) => one.required)[0];
  const locks = all.flatMap(({ locked }) => [...locked]);
  const source = (said: Said<unknown> | undefined, name: string): Record<string, PolicySource> =>
    said === undefined ? {} : { [name]: said.part.source };
  return {
    ...field,
    canAdd: closed === undefined,
    required: required !== undefined,
    locked: [...new Set(locks.map(([key]) => key))],
    sources: {
      ...field.sources,
      ...source(closed, "canAdd"),
      ...source(required, "required"),
      ...source(locks[0]?.[1][0], "locked"),
    },
  };
}
