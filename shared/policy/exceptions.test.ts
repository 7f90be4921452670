/** Exceptions: whom they are for, what they lift, and what they must leave. */
import { describe, expect, test } from "vitest";
import { effectiveFor } from "./together/combine.ts";
import { evaluate } from "./evaluate/evaluate.ts";
import { applyExceptions } from "./exceptions.ts";
import { readPolicy } from "./read/document.ts";
import type { Evaluation, PlainValue, PolicyException } from "./words.ts";

const scopes = [
  { level: "cluster", id: "c1" },
  { level: "project", id: "p1" },
] as const;

function judged(
  policies: Readonly<Record<string, string>>,
  submitted: Readonly<Record<string, PlainValue>>,
): Evaluation {
  const all = Object.entries(policies).flatMap(([name, text], index) => {
    const { level, id } = scopes[index] ?? scopes[0];
    return readPolicy(text, { file: name, head: { name, target: { level, id, kinds: ["training"] } } }).compiled;
  });
  const policy = effectiveFor(all, { kind: "training", scopes, combine: "tighten" });
  return evaluate(policy, new Map(Object.entries(submitted)), new Map());
}

const exception = (given: Partial<PolicyException>): PolicyException => ({
  ...{ id: "e1", policy: "wide", field: null, rule: null, subjects: ["user:ada"], owner: "ops", reason: "deadline" },
  ...{ expiresAt: 1_000, createdBy: "root", createdAt: 0 },
  ...given,
});
const ada = { user: "ada", groups: ["nlp"], project: "p1" };
const told = ({ violations }: Evaluation): string[] => violations.map(({ field, message }) => `${field}: ${message}`);

describe("an exception", () => {
  const wide = "rules: {compute: {gpuDevicesRequest: {max: 4}}, image: {required: true}}";
  const asked = { "compute.gpuDevicesRequest": 8 };

  test("lifts what it names for whom it names, and the violation stays visible", () => {
    const lifted = applyExceptions(judged({ wide }, asked), [exception({ rule: "max" })], ada, 10);
    expect(told(lifted)).toEqual(["image: is required"]);
    expect(lifted.excepted.map(({ field, exception: id }) => [field, id])).toEqual([
      ["compute.gpuDevicesRequest", "e1"],
    ]);
  });

  test("ends, and is for nobody else", () => {
    const both = ["compute.gpuDevicesRequest: must be no greater than 4", "image: is required"];
    const evaluation = judged({ wide }, asked);
    expect(told(applyExceptions(evaluation, [exception({})], ada, 1_000))).toEqual(both);
    expect(told(applyExceptions(evaluation, [exception({})], { ...ada, user: "bob" }, 10))).toEqual(both);
    expect(
      told(applyExceptions(evaluation, [exception({ subjects: ["project:p1"] })], { ...ada, user: "bob" }, 10)),
    ).toEqual([]);
    expect(
      told(applyExceptions(evaluation, [exception({ subjects: ["group:nlp"] })], { ...ada, user: "bob" }, 10)),
    ).toEqual([]);
  });

  test("leaves what another policy says of the same field", () => {
    const narrow = "rules: {compute: {gpuDevicesRequest: {max: 6}}}";
    const lifted = applyExceptions(judged({ wide, narrow }, { ...asked, image: "a" }), [exception({})], ada, 10);
    expect(told(lifted)).toEqual(["compute.gpuDevicesRequest: must be no greater than 6"]);
  });

  test("of canEdit does not let a value out of its range", () => {
    const fixed =
      "{defaults: {compute: {cpuCoreRequest: 2}}, rules: {compute: {cpuCoreRequest: {canEdit: false, max: 4}}}}";
    const evaluation = judged({ wide: fixed }, { "compute.cpuCoreRequest": 8 });
    expect(told(evaluation)).toEqual(["compute.cpuCoreRequest: cannot be changed; the policy sets it to 2"]);
    const lifted = applyExceptions(
      evaluation,
      [exception({ field: "compute.cpuCoreRequest", rule: "canEdit" })],
      ada,
      10,
    );
    expect(told(lifted)).toEqual(["compute.cpuCoreRequest: must be no greater than 4"]);
    expect(lifted.effective.get("compute.cpuCoreRequest")).toBe(8);
    expect(told(applyExceptions(evaluation, [exception({ field: "compute" })], ada, 10))).toEqual([]);
  });

  test("covers the items of a field by its path", () => {
    const closed = "rules: {storage: {hostPath: {instances: {canAdd: false}, attributes: {path: {options: [/a]}}}}}";
    const evaluation = judged({ wide: closed }, { "storage.hostPath": [{ path: "/etc", mountPath: "/etc" }] });
    expect(told(evaluation)).toEqual([
      "storage.hostPath[/etc]: cannot be added; the policy does not allow new items here",
    ]);
    const added = applyExceptions(evaluation, [exception({ field: "storage.hostPath", rule: "canAdd" })], ada, 10);
    expect(told(added)).toEqual(["storage.hostPath[/etc].path: must be one of: /a"]);
    expect(told(applyExceptions(evaluation, [exception({ field: "storage.hostPath" })], ada, 10))).toEqual([]);
  });

  test("never lifts a rule of the product", () => {
    const evaluation = judged({ wide }, { image: "a", tty: true });
    const lifted = applyExceptions(evaluation, [exception({})], ada, 10);
    expect(told(lifted)).toEqual(["tty: can be true only when stdin is true"]);
  });
});
