/** Patterns against JavaScript's own matcher, and those that would take it forever. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { matches, patternProblem } from "./pattern.ts";

const atom = fc.constantFrom("a", "b", ".", "[ab]", "[^a]", "\\d", "\\.", "(a|bc)", "(?:ab)", "/", "[a-c-]");
const piece = fc.tuple(atom, fc.constantFrom("", "*", "+", "?", "{2}", "{1,2}", "{1,}")).map((both) => both.join(""));
const pattern = fc.array(piece, { maxLength: 5 }).map((pieces) => pieces.join(""));
const text = fc.string({ unit: fc.constantFrom("a", "b", "c", "1", "/", ".", "-"), maxLength: 8 });

describe("patterns", () => {
  test("mean what they mean elsewhere", () => {
    fc.assert(
      fc.property(fc.array(pattern, { minLength: 1, maxLength: 3 }), text, (choices, sample) => {
        const all = choices.join("|");
        expect(patternProblem(all)).toBeNull();
        expect(matches(all, sample)).toBe(new RegExp(`^(?:${all})$`, "u").test(sample));
      }),
      { numRuns: 500 },
    );
  });

  test("registries, with anchors or without", () => {
    for (const one of ["registry\\.local/.*", "^registry\\.local/.*$"]) {
      expect(matches(one, "registry.local/team/base:1")).toBe(true);
      expect(matches(one, "evil.org/registry.local/x")).toBe(false);
    }
    expect(matches("a\\$", "a$")).toBe(true);
  });

  test("that would take forever elsewhere are answered at once", () => {
    expect(matches("(a|a|aa)*(a|aa)*b", "a".repeat(5_000))).toBe(false);
    expect(matches("([a-z]+)+!", "a".repeat(9_000))).toBe(false);
  });

  test("that are none are told why, and match nothing", () => {
    const faults = {
      "(a": "ends too early",
      "a)": 'has a ")" without its beginning',
      "*a": 'has a "*" where it means nothing; write \\* for the character',
      "a**": "repeats a repetition",
      "[z-a]": 'has a range "z-a" that is none',
      "a{3,2}": 'has a "{" that is no count up to 200',
      "(?=a)": 'has a "(?" that is not known',
      "\\b": 'has a "\\b" that is not known',
      "((((a{200}){200}){200}){200})": "is too large",
    };
    for (const [wrong, problem] of Object.entries(faults)) {
      expect(patternProblem(wrong), wrong).toBe(problem);
      expect(matches(wrong, "a"), wrong).toBe(false);
    }
  });

  test("are never a crash", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...Array.from("ab()[]{}*+?|\\^$-,1.")), maxLength: 20 }),
        text,
        (any, sample) => {
          expect(typeof matches(any, sample)).toBe("boolean");
        },
      ),
    );
  });
});
