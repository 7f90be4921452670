/** Rates and times that are left, as people read them. */
import { expect, it } from "vitest";
import { Rate, timeLeftText } from "./transfer-text.ts";

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
