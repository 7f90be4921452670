/**
 * Amounts are exact: the table of suffixes, and properties against whole-number arithmetic of its own.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  addAmounts,
  type Amount,
  compareAmounts,
  floorAmount,
  isMultipleOf,
  isWhole,
  multiplyAmounts,
  numberOf,
  parseDecimal,
  parseQuantity,
  printAmount,
  printQuantity,
  quantityHint,
  subtractAmounts,
} from "./quantity.ts";

function printed(value: unknown): string | null {
  const amount = parseQuantity(value);
  return amount === null ? null : printAmount(amount);
}

function quantity(text: string): Amount {
  const amount = parseQuantity(text);
  if (amount === null) {
    throw new Error(`no quantity: ${text}`);
  }
  return amount;
}

describe("quantities", () => {
  test.each([
    ["0", "0"],
    ["-0", "0"],
    ["5", "5"],
    [5, "5"],
    [0.1, "0.1"],
    ["1n", "0.000000001"],
    ["1u", "0.000001"],
    ["100m", "0.1"],
    ["2k", "2000"],
    ["2M", "2000000"],
    ["2G", "2000000000"],
    ["2T", "2000000000000"],
    ["2P", "2000000000000000"],
    ["2E", "2000000000000000000"],
    ["2Ki", "2048"],
    ["2Mi", "2097152"],
    ["2Gi", "2147483648"],
    ["2Ti", "2199023255552"],
    ["2Pi", "2251799813685248"],
    ["2Ei", "2305843009213693952"],
    ["12e6", "12000000"],
    ["12E6", "12000000"],
    ["1e-3", "0.001"],
    ["1.5Gi", "1610612736"],
    ["0.1Gi", "107374182.4"],
    [".5G", "500000000"],
    ["2.", "2"],
    ["+3M", "3000000"],
    ["-3M", "-3000000"],
    [" 1Gi ", "1073741824"],
    ["9".repeat(50), "9".repeat(50)],
  ])("%s is %s", (text, expected) => {
    expect(printed(text)).toBe(expected);
  });

  test.each([
    "",
    " ",
    ".",
    "+",
    "-",
    "K",
    "1K",
    "1MB",
    "1GB",
    "1GiB",
    "1gi",
    "1ki",
    "1.2.3",
    "1e",
    "1e+",
    "Gi",
    "1 Gi",
    "1Gi2",
    "0x10",
    "١",
    "1e999999",
    "1e-999999",
    "1e61",
    "9".repeat(61),
    "Infinity",
    "NaN",
    "1_000",
    "1,5",
    "--1",
    null,
    true,
    [],
    {},
    undefined,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    1e300,
    -1e300,
    5e-324,
  ])("%j is none", (text) => {
    expect(parseQuantity(text)).toBeNull();
    expect(parseDecimal(text)).toBeNull();
  });

  test.each([
    ["1K", "write k or Ki instead of K"],
    ["1GB", "write G instead of GB"],
    ["1GiB", "write Gi instead of GiB"],
    ["1 MB", "write M instead of MB"],
    ["1gi", "write Gi instead of gi"],
    ["1Gi", null],
    ["1zz", null],
    ["x", null],
    [5, null],
  ])("hint of %s: %s", (text, expected) => {
    expect(quantityHint(text)).toBe(expected);
  });

  test("spellings of one amount are one, and neighbours are not", () => {
    expect(quantity("1Gi")).toEqual(quantity("1024Mi"));
    expect(quantity("0.50")).toEqual(quantity("500m"));
    expect(compareAmounts(quantity("9007199254740993"), quantity("9007199254740992"))).toBe(1);
    expect(compareAmounts(quantity("2G"), quantity("2Gi"))).toBe(-1);
    expect(numberOf(quantity("1.5k"))).toBe(1500);
  });

  test.each([
    ["2147483648", "2Gi"],
    ["1536Mi", "1536Mi"],
    ["500000000", "500M"],
    ["1E", "1E"],
    ["1500", "1500"],
    ["0", "0"],
    ["-2048", "-2Ki"],
    ["0.5", "0.5"],
    ["1025", "1025"],
  ])("%s is printed as %s", (text, expected) => {
    expect(printQuantity(quantity(text))).toBe(expected);
  });
});

/** A decimal text with what it is over a power of ten, by other means than the parser's. */
const decimals = fc
  .record({ digits: fc.bigInt({ min: -(10n ** 25n), max: 10n ** 25n }), places: fc.nat({ max: 12 }) })
  .map(({ digits, places }) => {
    const absolute = String(digits < 0n ? -digits : digits).padStart(places + 1, "0");
    const point = absolute.length - places;
    return {
      text: `${digits < 0n ? "-" : ""}${absolute.slice(0, point)}.${absolute.slice(point)}`,
      top: digits,
      bottom: 10n ** BigInt(places),
    };
  });
const suffixes: Readonly<Record<string, bigint>> = {
  "": 1n,
  k: 1000n,
  M: 1000n ** 2n,
  G: 1000n ** 3n,
  Ki: 1024n,
  Gi: 1024n ** 3n,
  Ei: 1024n ** 6n,
};

describe("arithmetic", () => {
  const amounts = fc
    .record({ decimal: decimals, suffix: fc.constantFrom(...Object.keys(suffixes)) })
    .map(({ decimal, suffix }) => ({
      text: `${decimal.text}${suffix}`,
      amount: quantity(`${decimal.text}${suffix}`),
      top: decimal.top * (suffixes[suffix] ?? 1n),
      bottom: decimal.bottom,
    }));

  test("comes to what whole numbers come to", () => {
    fc.assert(
      fc.property(amounts, amounts, (one, other) => {
        const [left, right] = [one.top * other.bottom, other.top * one.bottom];
        expect(compareAmounts(one.amount, other.amount)).toBe(left < right ? -1 : left > right ? 1 : 0);
        const bottom = one.bottom * other.bottom;
        const equals = (amount: Amount, top: bigint): void => {
          expect(amount.digits * bottom).toBe(top * 10n ** BigInt(amount.scale));
        };
        equals(addAmounts(one.amount, other.amount), left + right);
        equals(subtractAmounts(one.amount, other.amount), left - right);
        equals(multiplyAmounts(one.amount, other.amount), one.top * other.top);
        expect(isMultipleOf(one.amount, other.amount)).toBe(right !== 0n && left % right === 0n);
      }),
      { numRuns: 500 },
    );
  });

  test("floors downwards", () => {
    fc.assert(
      fc.property(amounts, ({ amount, top, bottom }) => {
        const { digits, scale } = floorAmount(amount);
        expect(scale).toBe(0);
        expect(digits * bottom <= top && (digits + 1n) * bottom > top).toBe(true);
        expect(isWhole(amount)).toBe(top % bottom === 0n);
      }),
    );
    expect(printAmount(floorAmount(quantity("-0.5")))).toBe("-1");
  });

  test("what is printed reads back", () => {
    fc.assert(
      fc.property(amounts, ({ amount }) => {
        expect(parseQuantity(printAmount(amount)) ?? parseLong(amount)).toEqual(amount);
        expect(parseQuantity(printQuantity(amount)) ?? parseLong(amount)).toEqual(amount);
      }),
      { numRuns: 500 },
    );
  });

  test("any text is a quantity or none, and never takes long", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ maxLength: 80 }), fc.double(), fc.anything()), (value) => {
        const amount = parseQuantity(value);
        expect(amount === null || amount.scale >= 0).toBe(true);
        expect(parseDecimal(value)?.scale ?? 0).toBeLessThanOrEqual(130);
      }),
      { numRuns: 1000 },
    );
  });
});

/** More digits than a document may hold come only from arithmetic, and are compared as they are. */
function parseLong(amount: Amount): Amount | null {
  return printAmount(amount).length > 60 ? amount : null;
}
