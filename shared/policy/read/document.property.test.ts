/**
 * Whatever somebody sends as a policy or a workload: a document, a SkyError with its lines, or violations; never another
 * exception, never for long, and nothing that did not fit is taken.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SkyError } from "../../errors.ts";
import type { PolicyDocument, PolicyHead } from "../compiled.ts";
import { fieldAt, type PolicyDialect, policyFields } from "../fields/fields.ts";
import { compilePolicy, readPolicy } from "./document.ts";
import { readWorkload } from "./workload.ts";
import { sameValue, typed } from "../fields/values.ts";
import { type PlainValue, workloadKinds } from "../words.ts";

const head: PolicyHead = {
  name: "p",
  owner: null,
  description: null,
  target: { level: "cluster", id: null, kinds: ["training", "distributed", "fallback"] },
  mode: "enforce",
  dialect: "v2",
};

/** A document that was parsed already, in either dialect. */
function compiled(tree: unknown, kinds = head.target.kinds, dialect: PolicyDialect = "v2"): PolicyDocument {
  const source = { policy: "p", scope: { level: "cluster", id: "c" }, revision: 0, mode: "enforce", dialect } as const;
  const own = { ...head, dialect, target: { ...head.target, kinds } };
  return { head: own, ...compilePolicy(tree, own, source) };
}

/** The document, or null for one that was refused with a message for people. */
function readOrRefuse(read: () => PolicyDocument): PolicyDocument | null {
  try {
    return read();
  } catch (error) {
    expect(error).toBeInstanceOf(SkyError);
    expect((error as SkyError).type).toBe("InvalidPolicyError");
    expect((error as SkyError).message).not.toMatch(/undefined|\[object|at .*\.ts:/);
    return null;
  }
}

/** Everything that a document holds fits its field. */
function expectFitting(document: PolicyDocument | null): void {
  for (const { defaults, rules, items } of document?.compiled ?? []) {
    for (const [path, value] of defaults) {
      const spec = fieldAt(path);
      expect(spec !== null && typed(value, spec).ok, path).toBe(true);
    }
    for (const path of [...rules.keys(), ...items.keys()]) {
      expect(fieldAt(path), path).not.toBeNull();
    }
    for (const [path, { instances, attributes }] of items) {
      for (const [name, value] of [...instances, attributes].flatMap((item) => Object.entries(item))) {
        const spec = fieldAt(`${path}[].${name}`);
        expect(name === "exclude" || (spec !== null && typed(value, spec).ok), `${path} ${name}`).toBe(true);
      }
    }
  }
}

const words = fc.constantFrom(
  ...policyFields.flatMap(({ path, aliases, v1 }) => [...path.split("."), ...aliases, ...(v1 ?? [])]),
  ...policyFields.flatMap(({ attributes }) => (attributes ?? []).map(({ path }) => path.split("[].")[1] ?? "")),
  "defaults",
  "rules",
  "instances",
  "attributes",
  "worker",
  "master",
  "exclude",
  "__proto__",
  "constructor",
  "toString",
  "",
);
const ruleWords = fc.constantFrom(
  "min",
  "max",
  "step",
  "options",
  "required",
  "canEdit",
  "Max",
  "blocked",
  "defaultFrom",
  "pattern",
  "x",
);
const leaves = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    false,
    "true",
    "nil",
    "1e999999",
    "9".repeat(400),
    -0,
    1e308,
    5e-324,
    "2GB",
    "64G",
    "",
  ),
  fc.string({ maxLength: 12 }),
  fc.double(),
  fc.integer(),
  fc.array(fc.oneof(fc.string({ maxLength: 5 }), fc.integer()), { maxLength: 3 }),
);
const trees = fc.letrec((tie) => ({
  tree: fc.oneof(
    { depthSize: "small", maxDepth: 6 },
    leaves,
    fc.dictionary(words, tie("tree"), { maxKeys: 5, noNullPrototype: true }),
    fc.dictionary(ruleWords, leaves, { maxKeys: 3, noNullPrototype: true }),
    fc.array(tie("tree"), { maxLength: 3 }),
  ),
})).tree;

const sections = fc.oneof(
  fc.record({ defaults: trees, rules: trees, imposedAssets: trees }, { requiredKeys: [] }),
  fc.record({
    apiVersion: fc.constantFrom<unknown>("run.ai/v2alpha1", "policy/v1", 3),
    kind: fc.constantFrom("TrainingPolicy", "InteractivePolicy", "WorkloadPolicy"),
    metadata: fc.oneof(fc.constant({ name: "n", namespace: "runai" }), trees),
    target: fc.oneof(fc.constant({ scope: "cluster", workloads: ["training"] }), trees),
    spec: trees,
  }),
  trees,
);

describe("any document", () => {
  test("of random text", () => {
    const texts = fc.oneof(
      fc.string({ maxLength: 300, unit: "binary" }),
      fc.string({
        maxLength: 300,
        unit: fc.constantFrom(
          "a",
          ":",
          " ",
          "\n",
          "-",
          "{",
          "}",
          "[",
          "]",
          "&",
          "*",
          "!",
          "|",
          ">",
          "'",
          '"',
          "#",
          "?",
          ",",
          "<<",
          "\t",
        ),
      }),
    );
    fc.assert(
      fc.property(texts, (text) => {
        expectFitting(readOrRefuse(() => readPolicy(text, { file: "f", head })));
      }),
      { numRuns: 120 },
    );
  });

  test("of random trees, parsed already or as text", () => {
    fc.assert(
      fc.property(sections, (tree) => {
        expectFitting(readOrRefuse(() => compiled(tree)));
        expectFitting(readOrRefuse(() => compiled(tree, ["training"], "v1")));
        const read = readOrRefuse(() => readPolicy(JSON.stringify(tree), { file: "f", head }));
        expectFitting(read);
      }),
      { numRuns: 120 },
    );
  });

  test("says the same as text and parsed", () => {
    const scalars = policyFields.filter(
      ({ type, dialect }) => type !== "itemized" && type !== "object" && dialect === undefined,
    );
    const values = fc.oneof(
      fc.integer(),
      fc.constantFrom("500M", "1.5", "always", "a"),
      fc.boolean(),
      fc.array(fc.constantFrom("a", "b")),
    );
    fc.assert(
      fc.property(fc.constantFrom(...scalars), values, (spec, value) => {
        const tree = {
          defaults: spec.path.split(".").reduceRight<unknown>((inner, step) => ({ [step]: inner }), value),
        };
        const given = { ...head, target: { level: "cluster", id: null, kinds: ["fallback"] } } as const;
        const parsed = readOrRefuse(() => compiled(tree, ["fallback"]))?.compiled[0]?.defaults.get(spec.path);
        const read = readOrRefuse(() =>
          readPolicy(JSON.stringify(tree), { file: "f", head: given }),
        )?.compiled[0]?.defaults.get(spec.path);
        expect(read).toEqual(parsed);
        expect(parsed !== undefined).toBe(typed(value as PlainValue, spec).ok);
        expect(parsed === undefined || sameValue(parsed, value as PlainValue, spec)).toBe(true);
      }),
      { numRuns: 120 },
    );
  });

  test.each<[string, string]>([
    ["deep lists", `defaults: ${"[".repeat(3000)}${"]".repeat(3000)}`],
    ["deeper lists", "[".repeat(100_000)],
    ["deep mappings", `defaults: ${"{a: ".repeat(2000)}1${"}".repeat(2000)}`],
    ["deep conditions", `defaults: {nodeAffinityRequired: ${"{a: ".repeat(200)}1${"}".repeat(200)}}`],
    ["huge exponents", "rules: {compute: {cpuCoreRequest: {max: 1e999999, min: 1e-999999, step: 1e60}}}"],
    ["huge numbers", `rules: {compute: {cpuCoreRequest: {max: ${"9".repeat(4000)}}}}`],
    ["larger numbers", `rules: {compute: {cpuCoreRequest: {max: ${"9".repeat(200_000)}}}}`],
    ["long keys", `rules: {${"x".repeat(100_000)}: {max: 1}}`],
    ["long texts", `defaults: {image: ${"x".repeat(200_000)}}`],
    ["many faults", `rules: {${Array.from({ length: 20_000 }, (_, index) => `x${index}: 1`).join(", ")}}`],
    [
      "many items",
      `defaults: {labels: {instances: [${Array.from({ length: 12_000 }, (_, index) => `{name: a${index}}`).join(", ")}]}}`,
    ],
    ["many patterns", `rules: {image: {pattern: "${"(a|b)*".repeat(200)}"}}`],
    ["repetitions", 'rules: {image: {pattern: "((a{99}){99}){99}"}}'],
    ["an alias within itself", "defaults: &a {image: *a}"],
    [
      "aliases that multiply",
      `a: &a [x, x, x, x, x, x, x, x, x]\n${["b", "c", "d", "e", "f", "g", "h"].map((key, index) => `${key}: &${key} [${Array.from({ length: 9 }, () => `*${"abcdefgh"[index]}`).join(", ")}]`).join("\n")}\n`,
    ],
    [
      "merges of merges",
      `a: &a {x: 1}\n${Array.from({ length: 500 }, (_, index) => `k${index}: {<<: [*a, *a, *a]}`).join("\n")}`,
    ],
    ["bytes of nothing", "\u0000\u0001\ufeff\ud800"],
    ["dates, sets and binaries", "defaults: {image: !!binary aGk=, args: !!set {a}, command: 2024-01-01}"],
  ])("%s are refused or read, soon", (_name, text) => {
    expectFitting(readOrRefuse(() => readPolicy(text, { file: "f", head })));
  });
});

describe("any workload", () => {
  test("is read into fields or told", () => {
    fc.assert(
      fc.property(
        trees,
        fc.constantFrom(...workloadKinds),
        fc.constantFrom("v1" as const, "v2" as const),
        (tree, kind, dialect) => {
          const { workload, violations } = readWorkload(tree, { kind, dialect });
          for (const [path, value] of workload) {
            const spec = fieldAt(path);
            expect(spec, path).not.toBeNull();
            expect(spec?.type !== "itemized" || Array.isArray(value), path).toBe(true);
          }
          expect(violations.every(({ field, message }) => field !== "" && message !== "")).toBe(true);
          const again = readWorkload(tree, { kind, dialect });
          expect([...again.workload]).toEqual([...workload]);
        },
      ),
      { numRuns: 120 },
    );
  });
});
