/**
 * Runs every file of cases in test/policies through the engine, as `sky policy test` does. It must never pass with fewer
 * cases than there are: a file that could not be read is a failure.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { runCases } from "../shared/policy/cases.ts";

const folder = join(import.meta.dirname, "policies");

describe("cases of policies", () => {
  for (const name of readdirSync(folder).filter((one) => one.endsWith(".yaml"))) {
    const text = readFileSync(join(folder, name), "utf8");
    const results = runCases(text, name);
    test(`${name} has a result for each case`, () => {
      expect(results).toHaveLength(text.split("\n").filter((line) => line.startsWith("- id:")).length);
    });
    for (const { id, passed, text: difference } of results) {
      test(`${name} ${id}`, () => {
        expect(difference).toBe("");
        expect(passed).toBe(true);
      });
    }
  }
});

describe("the runner", () => {
  const policy = "  policy: {rules: {image: {required: true}}}\n";

  test("says what was expected and what came", () => {
    const text = `- id: a\n${policy}  submit: {}\n- id: b\n${policy}  submit: {image: x}\n  effective: {image: y}\n`;
    expect(runCases(text, "f.yaml")).toEqual([
      { id: "a", passed: false, text: "not expected: image: is required (required)" },
      { id: "b", passed: false, text: 'effective image: expected "y", got "x"' },
    ]);
  });

  test("fails what was expected and did not come", () => {
    const wrong = `- id: a\n${policy}  submit: {image: x}\n  errors: [{field: image, rule: required}]\n  warnings: [nothing]\n  absent: [image]\n`;
    expect(runCases(wrong, "f.yaml")[0]?.text.split("\n")).toEqual([
      "expected: image: a violation (required)",
      'absent image: got "x"',
      "expected the warning: nothing; there was none",
    ]);
    const accepted = `- id: b\n${policy}  submit: {}\n  apply_error: no\n`;
    expect(runCases(accepted, "f.yaml")[0]?.text).toBe("expected the policies to be refused: no\nthey were accepted");
  });

  test("fails a policy that is refused, with its reason", () => {
    const text = "- id: a\n  policy: {rules: {image: {max: 3}}}\n  submit: {}\n";
    expect(runCases(text, "f.yaml")[0]?.text).toBe(
      'the policies were refused: image: rule "max" does not apply to string',
    );
  });

  test("tells every fault of a file with its line", () => {
    const faulty = `- id: a\n${policy}  submit: {}\n  efective: {}\n- note: none\n- id: a\n  submit: {}\n  task: {}\n  combine: loose\n  errors: [{rule: maximum, field: x}]\n`;
    expect(() => runCases(faulty, "f.yaml")).toThrow(
      [
        "f.yaml:4: unknown key \"efective\" of a case; Did you mean 'effective'?",
        "f.yaml:5: the case has no id",
        'f.yaml:6: the id "a" is that of the case in line 1',
        "f.yaml:6: a: has none of v1, v1_scopes, policy and scopes",
        "f.yaml:6: a: has both submit and task",
        "f.yaml:9: a: combine must be one of: tighten, exclusive",
        "f.yaml:10: a: rule must be one of: schema",
      ].join("\n"),
    );
    expect(() => runCases("id: a", "f.yaml")).toThrow("f.yaml:1: a file of cases is one list: - id: …");
    expect(() => runCases("- {", "f.yaml")).toThrow(/^f\.yaml:\d+: /);
    expect(() => runCases("", "f.yaml")).toThrow("f.yaml:1: ");
  });
});
