/** SkyPilot's forms of amounts: each accepted one with its value, each refused one with its text; and how bytes are shown. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bytesText, formatAmount, formatTime, readCpus, readMemory, readPriority, readTime } from "./units.ts";

describe("cpus", () => {
  test.each([
    [4, { value: 4, exact: true }],
    ["4", { value: 4, exact: true }],
    ["4+", { value: 4, exact: false }],
    [0.5, { value: 0.5, exact: true }],
    ["0.5+", { value: 0.5, exact: false }],
    [" 2 ", { value: 2, exact: true }],
  ])("%j", (source, amount) => {
    expect(readCpus(source)).toEqual(amount);
  });

  test.each([[0], [-1], ["x"], ["4x"], ["++"], [""], [null], [true], [["4"]], [Number.NaN], ["1e99"]])(
    "refuses %j",
    (source) => {
      expect(() => readCpus(source)).toThrow(
        /^The "cpus" field should be either a number or a string "<number>\+"\. Found: /,
      );
    },
  );
});

describe("memory in GiB", () => {
  test.each([
    [16, { value: 16, exact: true }],
    ["16+", { value: 16, exact: false }],
    ["16GB", { value: 16, exact: true }],
    ["16gb+", { value: 16, exact: false }],
    ["16 GiB", { value: 16, exact: true }],
    ["512MB", { value: 0.5, exact: true }],
    ["1048576KB", { value: 1, exact: true }],
    ["1TB", { value: 1024, exact: true }],
    ["1PB", { value: 1024 * 1024, exact: true }],
  ])("%j", (source, amount) => {
    expect(readMemory(source)).toEqual(amount);
  });

  test.each([["16XB"], ["GB"], ["0GB"], [{}], ["16G+B"]])("refuses %j", (source) => {
    expect(() => readMemory(source)).toThrow(/^The "memory" field should be either a number .* Found: /);
  });
});

describe("time", () => {
  test.each([
    [90, 5_400],
    ["90", 5_400],
    [0.5, 30],
    ["2h", 7_200],
    ["1.5h", 5_400],
    ["90m", 5_400],
    ["45s", 45],
    ["1d12h", 129_600],
    ["1h 30m", 5_400],
    ["2W", 1_209_600],
    ["1:30:00", 5_400],
    ["0:00:30", 30],
    ["2-12:00:00", 216_000],
    ["365d", 31_536_000],
  ])("%j", (source, seconds) => {
    expect(readTime(source)).toBe(seconds);
    expect(readTime(formatTime(seconds))).toBe(seconds);
  });

  test.each([[0], ["0h"], ["366d"], ["1:30"], ["2x"], ["h"], ["-1h"], [""], [true], [null], ["1h,2m"], ["1e9d"]])(
    "refuses %j",
    (source) => {
      expect(() => readTime(source)).toThrow(/^The "time" field should be like 2h, 90m, 1d12h or 1:30:00/);
    },
  );

  test("any whole number of seconds is written and read back", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 31_536_000 }), (seconds) => {
        expect(readTime(formatTime(seconds))).toBe(seconds);
      }),
    );
    expect(formatTime(5_400)).toBe("1h30m");
    expect(formatTime(86_400)).toBe("1d");
  });
});

describe("priority", () => {
  test.each([
    [0, 0],
    [-1000, -1000],
    ["1000", 1000],
    ["-5", -5],
  ])("%j", (source, priority) => {
    expect(readPriority(source)).toBe(priority);
  });

  test.each([[1001], [-1001], [1.5], ["high"], [null], [""]])("refuses %j", (source) => {
    expect(() => readPriority(source)).toThrow(/^Priority must be a whole number between -1000 and 1000\. Found: /);
  });
});

test("amounts are written as they are read", () => {
  expect(formatAmount({ value: 4, exact: true })).toBe("4");
  expect(formatAmount({ value: 0.5, exact: false })).toBe("0.5+");
});

test("amounts of bytes are written in powers of 1000", () => {
  const amounts = [0, 999, 1000, 9949, 9950, 999_499, 999_500, 64e6, 1.5e9, 3e12, 5e15];
  expect(amounts.map(bytesText)).toEqual([
    ...["0 B", "999 B", "1.0 KB", "9.9 KB", "10 KB", "999 KB", "1.0 MB", "64 MB", "1.5 GB", "3.0 TB", "5000 TB"],
  ]);
});
