/** Amounts, rates and times that are left, as people read them. */
import { expect, it } from "vitest";
import { bytesText, Rate, timeLeftText } from "./transfer-text.ts";

it("writes amounts of bytes", () => {
  const amounts = [0, 999, 1000, 9949, 9950, 999_499, 999_500, 64e6, 1.5e9, 3e12, 5e15];
  expect(amounts.map(bytesText)).toEqual([
    ...["0 B", "999 B", "1.0 KB", "9.9 KB", "10 KB", "999 KB", "1.0 MB", "64 MB", "1.5 GB", "3.0 TB", "5000 TB"],
  ]);
});

it("writes what is left, when that is known", () => {
  expect([0.4, 12.4, 600, 7200, Number.POSITIVE_INFINITY].map(timeLeftText)).toEqual([
    ...["", ", 12 s left", ", 10 min left", ", 2.0 h left", ""],
  ]);
});

it("measures the rate of the last seconds, not of the whole", () => {
  const rate = new Rate();
  rate.add(0, 0);
  expect(rate.perSecond(100)).toBe(null);
  for (let at = 100; at <= 10_000; at += 100) {
    rate.add(at * 10, at);
  }
  for (let at = 10_100; at <= 20_000; at += 100) {
    rate.add(100_000 + (at - 10_000), at);
  }
  expect(rate.perSecond(20_000)).toBeCloseTo(1000, -2);
});
