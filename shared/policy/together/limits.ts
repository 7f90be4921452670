/**
 * The rules of several policies on one field as one set of limits: whatever one of them refuses, the set refuses, and each
 * limit remembers who says it. Pure. It must never let a narrower policy open what a wider one has closed. Used by
 * policy/together/merge.ts; a value is held against the limits in policy/evaluate/rules.ts.
 */
import type { CompiledPolicy } from "../compiled.ts";
import type { FieldSpec } from "../fields/fields.ts";
import {
  type Amount,
  compareAmounts,
  isMultipleOf,
  parseDecimal,
  parseQuantity,
  subtractAmounts,
  zero,
} from "../fields/quantity.ts";
import { sameValue } from "../fields/values.ts";
import type { FieldRules, ItemRules, PlainValue } from "../words.ts";

/** Something that a policy says; `note`: the admin's own words beside the rule. */
export interface Said<T> {
  value: T;
  part: CompiledPolicy;
  note: string | null;
}

/** An amount in its author's spelling. */
export interface Bound {
  said: string | number;
  amount: Amount;
}

export interface Step {
  said: string | number;
  amount: Amount;
  base: Bound;
}

/**
 * Of one scalar, array or attribute. Each list has what every policy says, for an exception may lift one of them: amounts
 * the strictest first, the rest the widest scope first.
 */
export interface Limits {
  spec: FieldSpec;
  required: readonly Said<true>[];
  blocked: readonly Said<true>[];
  /** `canEdit: false` */
  fixed: readonly Said<false>[];
  min: readonly Said<Bound>[];
  max: readonly Said<Bound>[];
  step: readonly Said<Step>[];
  options: readonly Said<readonly PlainValue[]>[];
  /** What all lists of options have in common; null: there are none. */
  common: readonly PlainValue[] | null;
  pattern: readonly Said<string>[];
}

/** Of an itemized field as a whole, by key of an item. */
export interface ItemLimits {
  /** `canAdd: false` */
  closed: readonly Said<false>[];
  required: readonly Said<true>[];
  locked: ReadonlyMap<string, readonly Said<true>[]>;
  notExcluded: ReadonlyMap<string, readonly Said<true>[]>;
  notChanged: ReadonlyMap<string, readonly Said<true>[]>;
}

/** One policy's rules on one field. */
export interface FieldVoice {
  rules: FieldRules;
  part: CompiledPolicy;
}
export interface ItemVoice {
  rules: ItemRules;
  part: CompiledPolicy;
}

/** The amount that a rule or a value of this field is; null: it is none. */
export function amountOf(value: unknown, spec: FieldSpec): Amount | null {
  return spec.type === "quantity" ? parseQuantity(value) : parseDecimal(value);
}

export function limitsOf(voices: readonly FieldVoice[], spec: FieldSpec): Limits {
  const saying = <T>(pick: (rules: FieldRules) => T | undefined): Said<T>[] =>
    voices.flatMap(({ rules, part }) => {
      const value = pick(rules);
      return value === undefined ? [] : [{ value, part, note: rules.message ?? null }];
    });
  const bounds = (pick: (rules: FieldRules) => string | number | undefined): Said<Bound>[] =>
    saying((rules) => boundOf(pick(rules), spec));
  const lists = saying(({ options }) => options?.map(({ value }) => value));
  return {
    spec,
    required: saying(({ required }) => (required === true ? true : undefined)),
    blocked: saying(({ blocked }) => (blocked === true ? true : undefined)),
    fixed: saying(({ canEdit }) => (canEdit === false ? false : undefined)),
    min: bounds(({ min }) => min).sort((a, b) => compareAmounts(b.value.amount, a.value.amount)),
    max: bounds(({ max }) => max).sort((a, b) => compareAmounts(a.value.amount, b.value.amount)),
    step: saying((rules) => stepOf(rules, spec)),
    options: lists,
    common: commonOptions(lists, spec),
    pattern: saying(({ pattern }) => pattern),
  };
}

export function itemLimitsOf(voices: readonly ItemVoice[]): ItemLimits {
  const keys = (pick: (rules: ItemRules) => readonly string[] | undefined): Map<string, Said<true>[]> => {
    const found = new Map<string, Said<true>[]>();
    for (const { rules, part } of voices) {
      for (const key of new Set(pick(rules) ?? [])) {
        found.set(key, [...(found.get(key) ?? []), { value: true, part, note: null }]);
      }
    }
    return found;
  };
  const saying = <T>(value: T, says: (rules: ItemRules) => boolean): Said<T>[] =>
    voices.filter(({ rules }) => says(rules)).map(({ part }) => ({ value, part, note: null }));
  return {
    closed: saying(false as const, ({ canAdd }) => canAdd === false),
    required: saying(true as const, ({ required }) => required === true),
    locked: keys(({ locked }) => locked),
    notExcluded: keys(({ notExcluded }) => notExcluded),
    notChanged: keys(({ notChanged }) => notChanged),
  };
}

function boundOf(said: string | number | undefined, spec: FieldSpec): Bound | undefined {
  const amount = said === undefined ? null : amountOf(said, spec);
  return said === undefined || amount === null ? undefined : { said, amount };
}

/** From the policy's own `min`, so that what it allows does not move when another policy has one too. */
function stepOf({ step, min }: FieldRules, spec: FieldSpec): Step | undefined {
  const bound = boundOf(step, spec);
  return bound === undefined || bound.amount.digits <= 0n
    ? undefined
    : { ...bound, base: boundOf(min, spec) ?? { said: 0, amount: zero } };
}

/** Whether two steps allow the same amounts. */
export function sameStep(a: Step, b: Step): boolean {
  return (
    compareAmounts(a.amount, b.amount) === 0 && isMultipleOf(subtractAmounts(a.base.amount, b.base.amount), a.amount)
  );
}

function commonOptions(lists: readonly Said<readonly PlainValue[]>[], spec: FieldSpec): readonly PlainValue[] | null {
  const [first, ...others] = lists.map(({ value }) => value);
  return first === undefined
    ? null
    : first.filter((one) => others.every((list) => list.some((other) => sameOption(one, other, spec))));
}

/** An option of a list is one of its elements. */
export function sameOption(one: PlainValue, other: PlainValue, spec: FieldSpec): boolean {
  return spec.type === "array" ? sameValue([one], [other], spec) : sameValue(one, other, spec);
}
