/**
 * Reads a policy's text as tests want it: what the first compiled policy says as plain objects, or the lines of the error.
 * Used by the tests of shared/policy's readers.
 */
import { expect } from "vitest";
import { SkyError } from "../../shared/errors.ts";
import type { PolicyDocument, PolicyHead } from "../../shared/policy/compiled.ts";
import { readPolicy } from "../../shared/policy/read/document.ts";

export function headFor(...kinds: PolicyHead["target"]["kinds"][number][]): Partial<PolicyHead> {
  return { name: "p", target: { level: "cluster", id: null, kinds: kinds.length === 0 ? ["training"] : kinds } };
}

export function read(text: string, head: Partial<PolicyHead> = headFor()): PolicyDocument {
  return readPolicy(text, { file: "p.yaml", head });
}

/** The lines of the error. */
export function faultsOf(text: string, head: Partial<PolicyHead> = headFor()): string[] {
  try {
    read(text, head);
  } catch (error) {
    expect(error).toBeInstanceOf(SkyError);
    expect((error as SkyError).type).toBe("InvalidPolicyError");
    return (error as SkyError).message.split("\n");
  }
  return [];
}

export function first(document: PolicyDocument) {
  const [compiled] = document.compiled;
  if (compiled === undefined) {
    throw new Error("nothing was compiled");
  }
  const { defaults, rules, items, itemRules, spelled, imposed } = compiled;
  return {
    defaults: Object.fromEntries(defaults),
    rules: Object.fromEntries(rules),
    items: Object.fromEntries(items),
    itemRules: Object.fromEntries(itemRules),
    spelled: Object.fromEntries(spelled),
    imposed,
  };
}

export const nothing = { defaults: {}, rules: {}, items: {}, itemRules: {}, spelled: {}, imposed: [] };
