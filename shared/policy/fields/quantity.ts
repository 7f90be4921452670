/**
 * Exact amounts of policies: decimals (`0.25`, `1e3`) and Kubernetes quantities (`500M`, `2Gi`, `1.5Gi`), as a whole number
 * of digits over a power of ten, so that no comparison ever goes through a binary fraction. Pure. Texts come from users:
 * the number of characters and the size of exponents are bounded, so that no amount takes long. Used by values.ts,
 * evaluate.ts and the adapter of tasks.
 */

/** `digits / 10 ** scale`; always in lowest form (no zero at the end of the digits unless scale is 0), so equal is equal. */
export interface Amount {
  readonly digits: bigint;
  readonly scale: number;
}

/** Characters. A quantity of Kubernetes has at most 19 digits. */
const textMax = 60;
/** Powers of ten, both ways: beyond it nothing can be counted. */
const exponentMax = 60;

const decimalPattern = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,3}))?$/;
const quantityPattern = /^([+-]?[0-9.]+)(?:([eE])([+-]?\d{1,3})|([A-Za-z]{0,3}))$/;

const decimalSuffixes = new Map([
  ["n", -9],
  ["u", -6],
  ["m", -3],
  ["", 0],
  ["k", 3],
  ["M", 6],
  ["G", 9],
  ["T", 12],
  ["P", 15],
  ["E", 18],
]);
const binarySuffixes = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/** What somebody probably meant, by the suffix that is none. */
const meant = new Map([
  ["k", "k or Ki"],
  ["kb", "k"],
  ["kib", "Ki"],
  ["m", "M or Mi"],
  ["mb", "M"],
  ["mib", "Mi"],
  ["g", "G or Gi"],
  ["gb", "G"],
  ["gib", "Gi"],
  ["gi", "Gi"],
  ["mi", "Mi"],
  ["ki", "Ki"],
  ["ti", "Ti"],
  ["t", "T or Ti"],
  ["tb", "T"],
  ["tib", "Ti"],
  ["p", "P or Pi"],
  ["pb", "P"],
  ["pib", "Pi"],
]);

export const zero: Amount = { digits: 0n, scale: 0 };

/** An exact decimal: a number or a text such as `2.75`, `.5`, `2.`, `12e6`. Null: it is none, or too large to count. */
export function parseDecimal(value: unknown): Amount | null {
  const text = amountText(value);
  const match = text === null ? null : decimalPattern.exec(text);
  if (match === null) {
    return null;
  }
  const [, sign, whole = "", fraction = "", exponent = "0"] = match;
  const power = Number(exponent);
  if (whole + fraction === "" || Math.abs(power) > exponentMax) {
    return null;
  }
  return lowest(BigInt(`${whole}${fraction}`) * (sign === "-" ? -1n : 1n), fraction.length - power);
}

/** A quantity as Kubernetes reads it: a decimal, with a suffix if it likes. Null: it is none. */
export function parseQuantity(value: unknown): Amount | null {
  const text = amountText(value);
  const match = text === null ? null : quantityPattern.exec(text);
  if (match === null) {
    return null;
  }
  const [, number = "", exponentMark, exponent = "", suffix = ""] = match;
  const base = parseDecimal(number);
  if (base === null) {
    return null;
  }
  if (exponentMark !== undefined) {
    return Math.abs(Number(exponent)) > exponentMax ? null : lowest(base.digits, base.scale - Number(exponent));
  }
  const power = decimalSuffixes.get(suffix);
  if (power !== undefined) {
    return lowest(base.digits, base.scale - power);
  }
  const binary = binarySuffixes.indexOf(suffix);
  return binary < 0 ? null : lowest(base.digits * 1024n ** BigInt(binary + 1), base.scale);
}

/** `use M or Mi instead of "MB"`, for a text that is no quantity only for its suffix; else null. */
export function quantityHint(value: unknown): string | null {
  const match = /^[+-]?[0-9.]{1,40}\s*([A-Za-z]{1,3})$/.exec(typeof value === "string" ? value.trim() : "");
  const suffix = match?.[1] ?? "";
  const better = meant.get(suffix.toLowerCase());
  return better === undefined || parseQuantity(value) !== null ? null : `write ${better} instead of ${suffix}`;
}

function amountText(value: unknown): string | null {
  if (typeof value === "number" || typeof value === "bigint") {
    const text = String(value);
    return text.length <= textMax ? text : null;
  }
  if (typeof value !== "string" || value.length > textMax) {
    return null;
  }
  const text = value.trim();
  return text === "" ? null : text;
}

function lowest(digits: bigint, scale: number): Amount {
  if (digits === 0n) {
    return zero;
  }
  let [left, places] = scale < 0 ? [digits * 10n ** BigInt(-scale), 0] : [digits, scale];
  while (places > 0 && left % 10n === 0n) {
    left /= 10n;
    places -= 1;
  }
  return { digits: left, scale: places };
}

/** Both over the same power of ten. */
function aligned(one: Amount, other: Amount): [bigint, bigint, number] {
  const scale = Math.max(one.scale, other.scale);
  return [one.digits * 10n ** BigInt(scale - one.scale), other.digits * 10n ** BigInt(scale - other.scale), scale];
}

/** Below zero, zero or above it, as for `sort`. */
export function compareAmounts(one: Amount, other: Amount): number {
  const [left, right] = aligned(one, other);
  return left < right ? -1 : left > right ? 1 : 0;
}

export function addAmounts(one: Amount, other: Amount): Amount {
  const [left, right, scale] = aligned(one, other);
  return lowest(left + right, scale);
}

export function subtractAmounts(one: Amount, other: Amount): Amount {
  const [left, right, scale] = aligned(one, other);
  return lowest(left - right, scale);
}

export function multiplyAmounts(one: Amount, other: Amount): Amount {
  return lowest(one.digits * other.digits, one.scale + other.scale);
}

/** Whether an amount is some whole number times another, which is not zero. */
export function isMultipleOf(amount: Amount, unit: Amount): boolean {
  const [left, right] = aligned(amount, unit);
  return right !== 0n && left % right === 0n;
}

export function isWhole(amount: Amount): boolean {
  return amount.scale === 0;
}

/** The largest whole number that is not above it. */
export function floorAmount(amount: Amount): Amount {
  if (amount.scale === 0) {
    return amount;
  }
  const unit = 10n ** BigInt(amount.scale);
  const cut = amount.digits / unit;
  return { digits: amount.digits < 0n && amount.digits % unit !== 0n ? cut - 1n : cut, scale: 0 };
}

/** As a decimal that reads back to the same amount: `2.75`, `-0.5`, `2147483648`. */
export function printAmount(amount: Amount): string {
  const negative = amount.digits < 0n;
  const digits = String(negative ? -amount.digits : amount.digits).padStart(amount.scale + 1, "0");
  const point = digits.length - amount.scale;
  const fraction = digits.slice(point);
  return `${negative ? "-" : ""}${digits.slice(0, point)}${fraction === "" ? "" : `.${fraction}`}`;
}

/** As the shortest quantity that is exact, a binary suffix before a decimal one: `2Gi`, `500M`, `1500`. */
export function printQuantity(amount: Amount): string {
  if (!isWhole(amount) || amount.digits === 0n) {
    return printAmount(amount);
  }
  const units: [string, bigint][] = [
    ...binarySuffixes.map((suffix, index): [string, bigint] => [suffix, 1024n ** BigInt(index + 1)]),
    ...[...decimalSuffixes].flatMap(([suffix, power]): [string, bigint][] =>
      power > 0 ? [[suffix, 10n ** BigInt(power)]] : [],
    ),
  ];
  const texts = units.flatMap(([suffix, unit]) =>
    amount.digits % unit === 0n ? [`${amount.digits / unit}${suffix}`] : [],
  );
  return texts.reduce((best, text) => (text.length < best.length ? text : best), texts[0] ?? printAmount(amount));
}

/** The nearest JavaScript number, for what only shows or sizes it. */
export function numberOf(amount: Amount): number {
  return Number(printAmount(amount));
}
