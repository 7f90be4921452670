/**
 * The judgement of policies on a task, or on a workload that was kept: what is violated, and what the policies have set.
 * Pure. It must never know how policies are stored or who is in which project: the caller says what binds. Used by the
 * coordinator's gate, its `check` and its replay, and offline by `sky policy check`.
 */
import type { Task } from "../task.ts";
import type { EffectivePolicy } from "./compiled.ts";
import { evaluate } from "./evaluate/evaluate.ts";
import { applyExceptions } from "./exceptions.ts";
import { kindOf } from "./task/kind.ts";
import { optionViolations, type Submitter, workloadsOf } from "./task/adapter.ts";
import type { Asset, Evaluation, PolicyException, ValueOrigin, Violation, Workload, WorkloadKind } from "./words.ts";

export interface Way {
  label: string | null;
  workload: Workload;
}

/** A workload and whose it is. */
export interface Case {
  kind: WorkloadKind;
  project: string | null;
  user: string;
  groups: readonly string[];
  ways: readonly Way[];
  /** Of options that no field stands for. */
  options: readonly Violation[];
}

/** What one workload is judged by. */
export interface Binding {
  policy: EffectivePolicy;
  assets: ReadonlyMap<string, Asset>;
  exceptions: readonly PolicyException[];
}

export interface Judgement {
  case: Case;
  /** One for each way. */
  effective: readonly Workload[];
  origins: ReadonlyMap<string, ValueOrigin>;
  violations: Violation[];
  warned: Violation[];
  audited: Violation[];
  excepted: (Violation & { exception: string })[];
  notices: string[];
  /** Names with revisions of those that bind it. */
  policies: string[];
  /** Paths that policies have set, of any way. */
  changed: string[];
}

/**
 * What policies see of a task of this user in this project. `bind`: what binds such a workload. Throws SkyError for what
 * no task may ask.
 */
export function caseFor(
  task: Task,
  who: Submitter & { name: string },
  project: string | null,
  bind: (kind: WorkloadKind, project: string | null) => EffectivePolicy,
): Case {
  const kind = kindOf(task);
  const options = optionViolations(task, bind(kind, project).parts);
  return { kind, project, user: who.name, groups: who.groups, ways: workloadsOf(task, who), options };
}

/** `now`: milliseconds since 1970. */
export function judgeBy({ policy, assets, exceptions }: Binding, asked: Case, now: number): Judgement {
  const evaluations = asked.ways.map(({ label, workload }, at) => {
    const own = evaluate(policy, workload, assets);
    const whole = at === 0 ? withOptions(own, asked.options) : own;
    return labelled(applyExceptions(whole, exceptions, asked, now), label);
  });
  const changed = new Set(
    evaluations.flatMap(({ origins }) => [...origins].flatMap(([path, origin]) => setBy(path, origin))),
  );
  return {
    case: asked,
    effective: evaluations.map(({ effective }) => effective),
    origins: new Map(evaluations.flatMap(({ origins }) => [...origins])),
    violations: evaluations.flatMap(({ violations }) => violations),
    warned: evaluations.flatMap(({ warned }) => warned),
    audited: evaluations.flatMap(({ audited }) => audited),
    excepted: evaluations.flatMap(({ excepted }) => excepted),
    notices: [...new Set(evaluations.flatMap(({ notices }) => notices))],
    policies: [...new Set(policy.parts.map(({ source }) => `${source.policy}@${source.revision}`))],
    // What an item brings along is told with the item.
    changed: [...changed].filter((path) => !changed.has(itemOf(path))).sort(),
  };
}

/** `ports[web]` of `ports[web].external`; of anything else nothing. */
function itemOf(path: string): string {
  return /^(.*\])\.[^.\]]+$/.exec(path)?.[1] ?? "";
}

/** The path if somebody's policy set its value; the product's own defaults are no news. */
function setBy(path: string, origin: ValueOrigin): string[] {
  return origin.kind === "submitted" || origin.source.scope.level === "system" ? [] : [path];
}

/** Those of options count like any other of their policy's mode. */
function withOptions(evaluation: Evaluation, options: readonly Violation[]): Evaluation {
  const of = (mode: string): Violation[] => options.filter(({ source }) => (source?.mode ?? "enforce") === mode);
  return {
    ...evaluation,
    violations: [...evaluation.violations, ...of("enforce")],
    warned: [...evaluation.warned, ...of("warn")],
    audited: [...evaluation.audited, ...of("audit")],
  };
}

function labelled(evaluation: Evaluation, label: string | null): Evaluation {
  if (label === null) {
    return evaluation;
  }
  const named = <One extends Violation>(all: readonly One[]): One[] =>
    all.map((one) => ({ ...one, field: `${label} ${one.field}` }));
  const { violations, warned, audited, excepted } = evaluation;
  return {
    ...evaluation,
    ...{ violations: named(violations), warned: named(warned), audited: named(audited), excepted: named(excepted) },
  };
}
