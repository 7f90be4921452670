/** Times as admins type them. */
import { expect, it } from "vitest";
import { parseSpan } from "./program-admin-nodes.ts";

it.each([
  ["90s", 90],
  ["30m", 1800],
  ["2h", 7200],
  ["1d", 86_400],
  ["0", 0],
  ["0s", 0],
])("%s is %d seconds", (text, seconds) => {
  expect(parseSpan(text)).toBe(seconds);
});

it.each(["", "5", "-5m", "1.5h", "2w", "h", "400d", "9999999999s"])("'%s' is refused", (text) => {
  expect(() => parseSpan(text)).toThrow(/It m(ust|ay) be/);
});
