/**
 * What docs/policies.md shows is read by the product's own readers: every policy in it can be saved, its cases pass, and
 * the config of projects is one. An example that a change breaks fails here before a person types it.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { coordinatorConfigSchema } from "../coordinator/config.ts";
import { runCases } from "../shared/policy/cases.ts";
import { checkTogether } from "../shared/policy/together/combine.ts";
import { readPolicy } from "../shared/policy/read/document.ts";
import { plainValue, readYaml } from "../shared/yaml11.ts";

const checkout = join(import.meta.dirname, "..");
const page = readFileSync(join(checkout, "docs/policies.md"), "utf8");
const blocks = [...page.matchAll(/^```yaml\n([^]*?)^```/gm)].map(([, text = ""]) => text);

test("policies, cases and the config of the page are sound", () => {
  const seen = { policies: 0, cases: 0, config: 0 };
  for (const text of blocks) {
    const [root] = readYaml(text, "docs/policies.md");
    if (root?.kind === "list") {
      const open = (name: string): string => readFileSync(join(checkout, "examples/policies-declared", name), "utf8");
      const results = runCases(text, "docs/policies.md", open);
      expect(results.filter(({ passed }) => !passed)).toEqual([]);
      seen.cases += results.length;
    } else if (text.startsWith("policies:")) {
      const { policies } = (root === undefined ? {} : plainValue(root)) as { policies?: unknown };
      const { projects } = coordinatorConfigSchema.shape.policies.parse(policies);
      expect(projects.map(({ name }) => name)).toEqual(["nlp", "vision"]);
      seen.config += 1;
    } else {
      const isBare = !/^kind:/m.test(text);
      const target = { level: "cluster", id: null, kinds: ["training"] } as const;
      const document = readPolicy(text, { file: "docs/policies.md", head: isBare ? { name: "shown", target } : {} });
      checkTogether(document.compiled, { combine: "tighten", assets: new Map() });
      expect([document.head.name, document.warnings]).toEqual([document.head.name, []]);
      seen.policies += 1;
    }
  }
  expect(seen).toEqual({ policies: 3, cases: 2, config: 1 });
});
