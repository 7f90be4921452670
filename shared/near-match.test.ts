/** Hints for mistyped words: near ones are found, far ones give no hint. */
import { expect, test } from "vitest";
import { didYouMean, nearMatch } from "./near-match.ts";

const keys = ["name", "num_nodes", "resources", "envs", "setup", "run"];

test.each([
  ["resorces", "resources"],
  ["num_node", "num_nodes"],
  ["Setup", "setup"],
  ["rum", "run"],
  ["env", "envs"],
  ["image_id", null],
  ["x", null],
  ["", null],
  ["resources".repeat(50), null],
])("%s → %s", (word, match) => {
  expect(nearMatch(word, keys)).toBe(match);
});

test("the hint's text", () => {
  expect(didYouMean("setp", keys)).toBe("Did you mean 'setup'?");
  expect(didYouMean("zzz", keys)).toBeNull();
});
