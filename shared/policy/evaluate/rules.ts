/**
 * A value against the limits that several policies set for its field: every breach with its message. Pure; amounts are
 * compared exactly. A value that does not fit its type is not looked at: that is one violation already. Used by evaluate.ts
 * and, for defaults, by the checks at saving.
 */
import { amountOf, type Limits, type Said, sameOption, type Step } from "../together/limits.ts";
import { texts } from "./messages.ts";
import { matches } from "../fields/pattern.ts";
import { compareAmounts, isMultipleOf, subtractAmounts } from "../fields/quantity.ts";
import type { PlainValue, ViolationRule } from "../words.ts";

export interface Breach {
  rule: ViolationRule;
  message: string;
  limit: PlainValue;
  said: Said<unknown>;
  /** The same by other policies, told only where the first is lifted by an exception. */
  also: readonly Breach[];
}

/** Of an effective value, whatever it came from; undefined: there is none. */
export function breachesOf(value: PlainValue | undefined, limits: Limits): Breach[] {
  const isNothing = value === undefined || isBlank(value);
  if (isNothing && (value === undefined || limits.required.length > 0)) {
    const message = value === undefined ? texts.required : texts.blank;
    return joined(limits.required.map((said) => breach("required", message, null, said)));
  }
  return value === undefined ? [] : [...amountBreaches(value, limits), ...textBreaches(value, limits)];
}

/** `""`, `[]` and `{}` say nothing; 0 and false do. */
function isBlank(value: PlainValue): boolean {
  return (
    value === "" ||
    (Array.isArray(value) && value.length === 0) ||
    (typeof value === "object" && value !== null && Object.keys(value).length === 0)
  );
}

function amountBreaches(value: PlainValue, { spec, min, max, step }: Limits): Breach[] {
  const amount = min.length + max.length + step.length === 0 ? null : amountOf(value, spec);
  if (amount === null) {
    return [];
  }
  const [low, high] = [min[0], max[0]];
  const isLow = low !== undefined && compareAmounts(amount, low.value.amount) < 0;
  const isHigh = high !== undefined && compareAmounts(amount, high.value.amount) > 0;
  // The strictest comes first: what passes it passes all.
  const below = (isLow ? min : []).filter((said) => compareAmounts(amount, said.value.amount) < 0);
  const above = (isHigh ? max : []).filter((said) => compareAmounts(amount, said.value.amount) > 0);
  const [first, ...others] = step;
  const isBetween = ({ value: { base, amount: unit } }: Said<Step>): boolean =>
    !isMultipleOf(subtractAmounts(amount, base.amount), unit);
  // Saving refuses steps of several policies that allow other amounts than the first.
  const between = first === undefined || !isBetween(first) ? [] : [first, ...others.filter(isBetween)];
  return [
    ...joined(below.map((said) => breach("min", texts.min(said.value.said), said.value.said, said))),
    ...joined(above.map((said) => breach("max", texts.max(said.value.said), said.value.said, said))),
    ...joined(
      between.map((said) => {
        const { said: unit, base } = said.value;
        return breach("step", texts.step(unit, base.said, base.amount.digits === 0n), unit, said);
      }),
    ),
  ];
}

function textBreaches(value: PlainValue, { spec, options, common, pattern }: Limits): Breach[] {
  const isListed = (list: readonly PlainValue[]): boolean =>
    (Array.isArray(value) ? value : [value]).every((one) => list.some((option) => sameOption(one, option, spec)));
  const values = common ?? [];
  const left = options.length === 0 || isListed(values) ? [] : options.filter((said) => !isListed(said.value));
  const unlike = pattern.filter((said) => typeof value !== "string" || !matches(said.value, value));
  return [
    ...joined(
      left.map((said, index) => {
        const list = index === 0 ? values : said.value;
        return breach("options", texts.options(list), [...list], said);
      }),
    ),
    ...joined(unlike.map((said) => breach("pattern", texts.pattern(said.value), said.value, said))),
  ];
}

function breach(rule: ViolationRule, message: string, limit: PlainValue, said: Said<unknown>): Breach {
  return { rule, message: said.note === null ? message : `${message}; ${said.note}`, limit, said, also: [] };
}

/** One breach, with the others behind it. */
function joined([first, ...also]: readonly Breach[]): Breach[] {
  return first === undefined ? [] : [{ ...first, also }];
}
