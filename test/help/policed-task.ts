/**
 * A task under a policy, as a test says both in a few words: what its user reads, and the task as it would run. The engine
 * is the product's own. Used by the tests of shared/policy/task.
 */
import { readTask } from "../../shared/task-file.ts";
import type { Task } from "../../shared/task.ts";
import type { EffectivePolicy } from "../../shared/policy/compiled.ts";
import { judgeBy } from "../../shared/policy/judge.ts";
import { compilePolicy } from "../../shared/policy/read/document.ts";
import { optionViolations, taskWith, workloadsOf } from "../../shared/policy/task/adapter.ts";
import { kindOf } from "../../shared/policy/task/kind.ts";
import type { PlainValue } from "../../shared/policy/words.ts";
import { expect } from "vitest";

export const who = { uid: 1000, gid: 1000, groups: ["people"], groupIds: [1000, 2000] };
export const read = (text: string): Task => readTask(`${text}\n`, { file: "t.yaml" });

export function fields(text: string): Record<string, PlainValue>[] {
  return workloadsOf(read(text), who).map(({ workload }) => Object.fromEntries(workload));
}

export function policyOf(task: Task, tree: object): EffectivePolicy {
  const kind = kindOf(task);
  const target = { level: "project" as const, id: "nlp", kinds: [kind] };
  const head = { name: "p", owner: null, description: null, target, mode: "enforce" as const, dialect: "v2" as const };
  const source = {
    policy: "p",
    scope: { level: "project" as const, id: "nlp" },
    revision: 1,
    mode: "enforce" as const,
    dialect: "v2" as const,
  };
  return { kind, parts: compilePolicy(tree, head, source).compiled, combine: "tighten" };
}

/** Violations as a user reads them, and the task as it would run. */
export function under(policy: object, text: string): { violations: string[]; task: Task } {
  const task = read(text);
  const effective = policyOf(task, policy);
  const options = optionViolations(task, effective.parts);
  const asked = { kind: kindOf(task), project: "nlp", user: "u", groups: [], ways: workloadsOf(task, who), options };
  const found = judgeBy({ policy: effective, assets: new Map(), exceptions: [] }, asked, 0);
  return {
    violations: found.violations.map(({ field, message }) => `${field}: ${message}`),
    task: found.violations.length > 0 ? task : taskWith(task, found.effective, who),
  };
}

export const violations = (policy: object, text: string): string[] => under(policy, text).violations;
export const made = (policy: object, text: string): Task => {
  const { violations: found, task } = under(policy, text);
  expect(found).toEqual([]);
  return task;
};
