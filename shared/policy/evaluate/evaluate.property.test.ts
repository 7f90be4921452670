/**
 * What holds for any policies and any submission: a narrower scope opens nothing, what was saved accepts an empty
 * submission, order never counts, and nothing that a user can write is a crash or gets past its type.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SkyError } from "../../errors.ts";
import { checkTogether, effectiveFor } from "../together/combine.ts";
import type { CompiledPolicy, EffectivePolicy } from "../compiled.ts";
import { evaluate } from "./evaluate.ts";
import { existsFor, fieldAt, policyFields } from "../fields/fields.ts";
import { compilePolicy } from "../read/document.ts";
import { readWorkload } from "../read/workload.ts";
import { typed } from "../fields/values.ts";
import type { Evaluation, PlainValue, Scope, ScopeLevel, Workload } from "../words.ts";

const none = new Map<string, never>();
const levels: readonly ScopeLevel[] = ["tenant", "cluster", "department", "project"];
const flag = fc.option(fc.boolean(), { nil: undefined });
const small = fc.integer({ min: 0, max: 8 });
const word = fc.constantFrom("a", "b", "c");

const common = { canEdit: flag, required: flag };
const range = fc
  .record({ ...common, min: small, max: small, blocked: flag }, { requiredKeys: [] })
  .map(({ min, max, ...rest }) => ({
    ...rest,
    ...(min === undefined ? {} : { min: Math.min(min, max ?? min) }),
    ...(max === undefined ? {} : { max: Math.max(max, min ?? max) }),
    ...(rest.blocked === true ? { required: false } : {}),
  }));
const choice = fc.record({ ...common, options: fc.uniqueArray(word, { minLength: 1 }) }, { requiredKeys: [] });
const rules = fc.record(
  {
    compute: fc.record(
      { cpuCoreRequest: range, cpuMemoryRequest: range, gpuDevicesRequest: range },
      { requiredKeys: [] },
    ),
    image: choice,
    nodePools: choice,
    createHomeDir: fc.record(common, { requiredKeys: [] }),
    environmentVariables: fc.record(
      {
        instances: fc.record({ canAdd: flag, locked: fc.uniqueArray(word) }, { requiredKeys: [] }),
        attributes: fc.record({ value: choice }, { requiredKeys: [] }),
      },
      { requiredKeys: [] },
    ),
  },
  { requiredKeys: [] },
);
const variables = fc.uniqueArray(fc.record({ name: word, value: word }), {
  selector: ({ name }) => name,
  maxLength: 3,
});
const defaults = fc.record(
  {
    compute: fc.record(
      { cpuCoreRequest: small, cpuMemoryRequest: small, gpuDevicesRequest: small },
      { requiredKeys: [] },
    ),
    image: word,
    nodePools: fc.uniqueArray(word, { minLength: 1 }),
    createHomeDir: fc.boolean(),
    environmentVariables: fc.record(
      { instances: variables, attributes: fc.record({ value: word }, { requiredKeys: [] }) },
      { requiredKeys: [] },
    ),
  },
  { requiredKeys: [] },
);
/** Mostly rules alone: defaults often break rules, and such sets are not saved. */
const document = fc.oneof(
  { weight: 3, arbitrary: fc.record({ rules }) },
  { weight: 1, arbitrary: fc.record({ defaults }) },
  { weight: 1, arbitrary: fc.record({ rules, defaults }) },
);
const submission = fc.record(
  {
    compute: fc.record(
      { cpuCoreRequest: small, cpuMemoryRequest: small, gpuDevicesRequest: small },
      { requiredKeys: [] },
    ),
    image: fc.constantFrom("a", "b", "c", ""),
    nodePools: fc.uniqueArray(word),
    createHomeDir: fc.boolean(),
    environmentVariables: fc.uniqueArray(
      fc.record({ name: word, value: word, exclude: fc.boolean() }, { requiredKeys: ["name"] }),
      { selector: ({ name }) => name },
    ),
  },
  { requiredKeys: [] },
);

interface Placed {
  level: ScopeLevel;
  tree: unknown;
  name: string;
}

/** Null: the document, or the set, would not have been saved. */
function saved(placed: readonly Placed[], scopes: readonly Scope[]): CompiledPolicy[] | null {
  try {
    const all = placed.flatMap(({ level, tree, name }) => {
      const target = { level: level === "system" ? "tenant" : level, id: level, kinds: ["training" as const] } as const;
      const head = { name, owner: null, description: null, mode: "enforce", dialect: "v2", target } as const;
      const source = {
        policy: name,
        scope: { level, id: level },
        revision: 1,
        mode: "enforce",
        dialect: "v2",
      } as const;
      return compilePolicy(tree, head, source).compiled;
    });
    checkTogether(all, { combine: "tighten", assets: none, chains: [scopes] });
    return all;
  } catch (thrown) {
    if (thrown instanceof SkyError && thrown.type === "InvalidPolicyError") {
      return null;
    }
    throw thrown;
  }
}

const scopesOf = (used: readonly ScopeLevel[]): Scope[] => used.map((level) => ({ level, id: level }));

function binding(all: readonly CompiledPolicy[], scopes: readonly Scope[]): EffectivePolicy {
  return effectiveFor(all, { kind: "training", scopes, combine: "tighten" });
}

const read = (tree: unknown): Workload => readWorkload(tree, { kind: "training", dialect: "v2" }).workload;

const bytes = ({ effective, origins, ...rest }: Evaluation): string =>
  JSON.stringify([[...effective], [...origins], rest]);

describe("for any policies", () => {
  test("a narrower scope allows nothing that a wider one alone forbids", () => {
    let refused = 0;
    fc.assert(
      fc.property(document, document, submission, (wide, narrow, tree) => {
        const scopes = scopesOf(["cluster", "project"]);
        const first: Placed = { level: "cluster", tree: wide, name: "wide" };
        const alone = saved([first], scopes);
        const both = saved([first, { level: "project", tree: narrow, name: "narrow" }], scopes);
        fc.pre(alone !== null && both !== null);
        const asked = read(tree);
        const before = evaluate(binding(alone ?? [], scopes), asked, none).violations;
        const after = evaluate(binding(both ?? [], scopes), asked, none).violations;
        // What users may not write, or must, a narrower scope may give them by its own defaults.
        const isGiven = (field: string): boolean => {
          const [path = ""] = field.split("[");
          const own = both?.find(({ source }) => source.policy === "narrow");
          return own?.defaults.has(path) === true || own?.items.has(path) === true;
        };
        const isLeft = (rule: string, message: string): boolean =>
          rule === "required" || rule === "canAdd" || message.startsWith("cannot be set");
        const lasting = before.filter(({ field, rule, message }) => !(isLeft(rule, message) && isGiven(field)));
        refused += lasting.length > 0 ? 1 : 0;
        expect(lasting.length > 0 && after.length === 0).toBe(false);
      }),
      { numRuns: 80 },
    );
    expect(refused).toBeGreaterThan(5);
  });

  test("what was saved accepts who asks for nothing, but for what users must give", () => {
    fc.assert(
      fc.property(fc.array(document, { minLength: 1, maxLength: 4 }), (documents) => {
        const scopes = scopesOf(levels);
        const placed = documents.map(
          (tree, index): Placed => ({ level: levels[index] ?? "tenant", tree, name: `p${index}` }),
        );
        const all = saved(placed, scopes);
        fc.pre(all !== null);
        const { violations } = evaluate(binding(all ?? [], scopes), new Map(), none);
        expect(violations.filter(({ rule }) => rule !== "required")).toEqual([]);
      }),
      { numRuns: 60 },
    );
  });

  test("neither the order of policies nor that of keys counts", () => {
    fc.assert(
      fc.property(
        fc.array(document, { minLength: 2, maxLength: 4 }),
        submission,
        fc.boolean(),
        (documents, tree, one) => {
          const scopes = scopesOf(levels);
          const level = (index: number): ScopeLevel => (one ? "cluster" : (levels[index] ?? "tenant"));
          const placed = documents.map(
            (each, index): Placed => ({ level: level(index), tree: each, name: `p${index}` }),
          );
          const all = saved(placed, scopes);
          fc.pre(all !== null);
          const turned = saved(
            placed.toReversed().map((each) => ({ ...each, tree: reversed(each.tree as PlainValue) })),
            scopes,
          );
          const first = bytes(evaluate(binding(all ?? [], scopes), read(tree), none));
          const again = evaluate(binding(turned ?? [], scopes), read(reversed(tree)), none);
          expect(bytes(again)).toBe(first);
        },
      ),
      { numRuns: 60 },
    );
  });
});

/** The same value with the keys of its mappings the other way round. */
function reversed(value: PlainValue): PlainValue {
  if (Array.isArray(value)) {
    return value.map(reversed);
  }
  return typeof value === "object" && value !== null
    ? Object.fromEntries(
        Object.entries(value)
          .reverse()
          .map(([key, inner]) => [key, reversed(inner)]),
      )
    : value;
}

describe("whatever is submitted", () => {
  const anything = fc.jsonValue({ maxDepth: 4 }) as fc.Arbitrary<PlainValue>;
  const paths = policyFields.filter((spec) => existsFor(spec, "training", "v2")).map(({ path }) => path);
  const policy = binding(
    saved(
      [
        {
          level: "cluster",
          name: "all",
          tree: {
            defaults: { storage: { nfs: { instances: [{ server: "s", path: "/x", mountPath: "/x" }] } } },
            rules: {
              compute: { cpuCoreRequest: { max: 4, step: 0.5 }, cpuMemoryRequest: { max: "4Gi" } },
              image: { pattern: "[a-z]*", required: true },
              storage: { nfs: { instances: { locked: ["/x"] }, attributes: { server: { options: ["s"] } } } },
              ports: { attributes: { container: { min: 1 } } },
            },
          },
        },
      ],
      scopesOf(["cluster"]),
    ) ?? [],
    scopesOf(["cluster"]),
  );

  test("is never a crash", () => {
    const tree = fc.dictionary(fc.oneof(fc.constantFrom(...paths), fc.string(), fc.constant("__proto__")), anything);
    fc.assert(
      fc.property(tree, (all) => {
        const direct = evaluate(policy, new Map(Object.entries(all)), none);
        expect(direct.violations.every(({ message }) => message !== "")).toBe(true);
        const nested = Object.fromEntries(
          Object.entries(all).map(([path, value]) => [path.split(".")[0] ?? "", value]),
        );
        expect(Array.isArray(evaluate(policy, read(nested), none).violations)).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  test("never gets past its type", () => {
    fc.assert(
      fc.property(fc.constantFrom(...paths), anything, (path, value) => {
        const spec = fieldAt(path);
        fc.pre(spec !== null && value !== null && spec.type !== "itemized" && !typed(value, spec).ok);
        const { violations } = evaluate(policy, new Map([[path, value]]), none);
        expect(violations.filter(({ field, rule }) => field === path && rule === "type")).toHaveLength(1);
      }),
      { numRuns: 150 },
    );
  });

  test("nor does an item", () => {
    const lists = paths.filter((path) => fieldAt(path)?.type === "itemized" && path !== "volumes");
    fc.assert(
      fc.property(fc.constantFrom(...lists), anything, (path, value) => {
        const isItem = typeof value === "object" && value !== null && !Array.isArray(value);
        const isStrange = ([name, one]: [string, PlainValue]): boolean =>
          fieldAt(`${path}[].${name}`) === null && name !== "exclude" && one !== null;
        fc.pre(!isItem || Object.entries(value).some(isStrange));
        const { violations } = evaluate(policy, new Map([[path, [value]]]), none);
        expect(violations.some(({ field }) => field.startsWith(`${path}[`))).toBe(true);
      }),
      { numRuns: 150 },
    );
  });
});
