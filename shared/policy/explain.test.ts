/** Explanations as V1's document prints them, and what they add: the meaning here, and what binds now. */
import { describe, expect, test } from "vitest";
import { effectiveFor } from "./together/combine.ts";
import { explainField } from "./explain.ts";
import { policyFields } from "./fields/fields.ts";
import { readPolicy } from "./read/document.ts";
import { workloadKinds } from "./words.ts";

describe("explain", () => {
  test("drills down as kubectl does", () => {
    const spec = explainField("trainingpolicy.spec").split("\n");
    expect(spec.slice(0, 8)).toEqual([
      "KIND:     TrainingPolicy",
      "VERSION:  run.ai/v2alpha1",
      "",
      "RESOURCE: spec <Object>",
      "",
      "DESCRIPTION:",
      "     The specifications of this TrainingPolicy",
      "",
    ]);
    expect(spec).toContain("   arguments\t<Object>");
    const ports = explainField("trainingpolicy.spec.ports").split("\n");
    expect(ports[3]).toBe("RESOURCE: ports <Object>");
    expect(ports.filter((line) => line.includes("<")).slice(1)).toEqual([
      "   itemRules\t<Object>",
      "   items\t<map[string]Object>",
      "   rules\t<Object>",
    ]);
    const rules = explainField("trainingpolicy.spec.ports.rules").split("\n");
    expect(rules.filter((line) => line.includes("<boolean>"))).toEqual([
      "   canAdd\t<boolean>",
      "   required\t<boolean>",
    ]);
  });

  test("kinds differ", () => {
    expect(explainField("interactivepolicy.spec.jupyter")).toContain("RESOURCE: jupyter <Object>");
    expect(() => explainField("trainingpolicy.spec.jupyter")).toThrow("There is no field 'jupyter'.");
  });

  test("later fields, groups and attributes", () => {
    expect(explainField("training.compute")).toContain("gpuDevicesRequest\t<integer>");
    expect(explainField("training.ports.external")).toContain("RESOURCE: external <integer>");
    expect(explainField("training.storage.pvc.claimInfo.size.max")).toContain("The most that is allowed.");
    expect(explainField("notebook.image.rules.pattern")).toContain("RESOURCE: pattern <string>");
  });

  test("says what it means here, and what binds now", () => {
    const { compiled } = readPolicy(
      "defaults: {image: base}\nrules: {image: {required: true, options: [base, other]}}",
      {
        file: "images.yaml",
        head: { name: "images", target: { level: "cluster", id: "c1", kinds: ["training"] } },
      },
    );
    const scopes = [{ level: "cluster", id: "c1" } as const];
    const effective = effectiveFor(compiled, { kind: "training", scopes, combine: "tighten" });
    const text = explainField("training.image", effective);
    expect(text).toMatch(/HERE:\n {5}Enforced: /);
    expect(text).toContain("NOW:\n     default: base (images, cluster c1)");
    expect(text).toContain("required: true (images, cluster c1)");
    expect(explainField("training.command", effective)).toContain("No policy says anything of it.");
  });

  test("tells the nearest word", () => {
    expect(() => explainField("trainingg")).toThrow("'trainingg' is no kind of workloads.");
    const hint = (words: string): unknown => {
      try {
        return explainField(words);
      } catch (thrown) {
        return (thrown as { hint: unknown }).hint;
      }
    };
    expect(hint("training.compute.gpuDevicesRequst")).toBe("Did you mean 'gpuDevicesRequest'?");
    expect(hint("trainingpolicy.spec.ports.itemrules.externl")).toBe("Did you mean 'external'?");
    expect(hint("training.image.rules.optons")).toBe("Did you mean 'options'?");
  });

  test("knows every field of every kind in both dialects", () => {
    const explain = (words: string): string => explainField(words);
    for (const spec of policyFields) {
      for (const kind of workloadKinds.filter((one) => spec.kinds.includes(one))) {
        if (spec.dialect === undefined) {
          expect(explain(`${kind}.${spec.path}`)).toContain("HERE:");
        }
        for (const name of spec.v1 ?? []) {
          const first = {
            workspace: "interactive",
            training: "training",
            distributed: "distributed",
            inference: "inference",
          };
          expect(explain(`${first[kind]}policy.spec.${name}`), name).toContain("DESCRIPTION:");
        }
      }
    }
  });
});
