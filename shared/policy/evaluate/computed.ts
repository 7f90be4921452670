/**
 * Defaults that are computed from another field (`defaultFrom`): exact, and rounded down only where the field counts whole
 * things. Pure. Used by evaluate.ts and its neighbours.
 */
import type { FieldSpec } from "../fields/fields.ts";
import { amountOf } from "../together/limits.ts";
import { floorAmount, multiplyAmounts, parseDecimal, printAmount, printQuantity } from "../fields/quantity.ts";
import type { PlainValue } from "../words.ts";

/** A source's effective value times the factor, as a value of the field; undefined: there is no source value, or it is no amount. */
export function computedValue(
  source: PlainValue | undefined,
  factor: string | number,
  { from, to }: { from: FieldSpec | null; to: FieldSpec },
): PlainValue | undefined {
  const amount = source === undefined || from === null ? null : amountOf(source, from);
  const times = parseDecimal(factor);
  if (amount === null || times === null) {
    return undefined;
  }
  const product = multiplyAmounts(amount, times);
  if (to.type === "quantity") {
    return printQuantity(floorAmount(product));
  }
  const text = printAmount(to.type === "integer" ? floorAmount(product) : product);
  return String(Number(text)) === text ? Number(text) : text;
}
