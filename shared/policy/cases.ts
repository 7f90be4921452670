/**
 * Runs files of cases: policies, a workload, and what must come of it, in the form of docs/policies.md. Pure. It must never
 * count a case that it could not read as passed. Called by `sky policy test`, in CI of whoever writes policies.
 */
import { messageOf, SkyError } from "../errors.ts";
import { readTask } from "../task-file.ts";
import { compare, type CaseOutcome } from "./cases-compare.ts";
import { type CasePolicy, type OpenPolicy, type PolicyCase, readCases } from "./cases-read.ts";
import { checkTogether, effectiveFor } from "./together/combine.ts";
import type { CompiledPolicy, EffectivePolicy, PolicyHead } from "./compiled.ts";
import { evaluate } from "./evaluate/evaluate.ts";
import { existsFor, fieldAt, kindNamed, type PolicyDialect } from "./fields/fields.ts";
import { distinct } from "./evaluate/findings.ts";
import { kindOf } from "./task/kind.ts";
import type { Role } from "./together/merge.ts";
import { compilePolicy } from "./read/document.ts";
import { type ReadWorkload, readWorkload } from "./read/workload.ts";
import { compareScopes, isSameScope } from "./together/scope-order.ts";
import { optionViolations, workloadsOf } from "./task/adapter.ts";
import { isMapping } from "./fields/values.ts";
import { type Asset, type Item, type PlainValue, type Violation, type WorkloadKind, workloadKinds } from "./words.ts";

export interface CaseResult {
  id: string;
  passed: boolean;
  /** Empty when it passed; else what was expected and what came, in lines. */
  text: string;
}

/** Who submits the tasks of cases. */
const submitter = { uid: 1000, gid: 1000, groups: [] };

/**
 * `open`: files that cases name in place of a policy. Throws SkyError("InvalidPolicyError") with file and line for a file
 * that is no list of cases.
 */
export function runCases(text: string, file: string, open: OpenPolicy = () => null): CaseResult[] {
  return readCases(text, file, open).map((one) => {
    const faults = runCase(one, file);
    return { id: one.id, passed: faults.length === 0, text: faults.join("\n") };
  });
}

function runCase(one: PolicyCase, file: string): string[] {
  try {
    return compare(one, outcomeOf(one, file));
  } catch (thrown) {
    if (thrown instanceof SkyError) {
      return [messageOf(thrown)];
    }
    throw thrown;
  }
}

interface Saved {
  compiled: CompiledPolicy[];
  warnings: string[];
}

function outcomeOf(one: PolicyCase, file: string): CaseOutcome {
  const task = one.task === null ? null : readTask(JSON.stringify(one.task), { file: `${file}: ${one.id}: task` });
  const kind = one.kind ?? kindOfFirst(one.policies) ?? (task === null ? kindOfFields(one) : kindOf(task));
  const dialect = dialectOf(one);
  const outcome = { kind, dialect, warnings: [] as string[], errors: [] as Violation[], results: [] } as CaseOutcome;
  const assets = assetsOf(one);
  const scopes = one.policies
    .map(({ level, id }) => ({ level, id }))
    .sort(compareScopes)
    .filter((scope, index, all) => all.findIndex((other) => isSameScope(other, scope)) === index);
  let saved: Saved;
  try {
    saved = save(one.policies, kind);
    saved.warnings.push(...checkTogether(saved.compiled, { combine: one.combine, assets, chains: [scopes] }));
  } catch (thrown) {
    if (thrown instanceof SkyError && thrown.type === "InvalidPolicyError") {
      return { ...outcome, applyError: messageOf(thrown) };
    }
    throw thrown;
  }
  outcome.warnings.push(...saved.warnings);
  const policy = effectiveFor(saved.compiled, { kind, scopes, combine: one.combine });
  if (task === null) {
    submit(outcome, policy, one.submit, assets);
  } else {
    for (const { label, workload } of workloadsOf(task, submitter)) {
      const evaluation = evaluate(policy, workload, assets);
      const violations = [...evaluation.violations, ...optionViolations(task, policy.parts)];
      outcome.results.push({ role: null, evaluation });
      outcome.errors.push(
        ...violations.map((own) => (label === null ? own : { ...own, field: `${label} ${own.field}` })),
      );
    }
  }
  const notices = outcome.results.flatMap(({ evaluation }) => [
    ...evaluation.notices,
    ...evaluation.warned.map(({ field, message }) => `${field}: ${message}`),
  ]);
  return { ...outcome, errors: distinct(outcome.errors), warnings: [...outcome.warnings, ...notices] };
}

/** A submission in either dialect, for each role if it or a policy tells them apart. */
function submit(
  outcome: CaseOutcome,
  policy: EffectivePolicy,
  tree: PlainValue,
  assets: ReadonlyMap<string, Asset>,
): void {
  const { kind, dialect } = outcome;
  const hasRoles = policy.parts.some(({ role }) => role !== null) || namesRoles(tree);
  for (const role of rolesOf(kind, hasRoles)) {
    const read = readEither(tree, kind, dialect, role);
    const evaluation = evaluate(policy, read.workload, assets, role);
    outcome.results.push({ role, evaluation });
    outcome.errors.push(...read.violations, ...evaluation.violations);
    outcome.warnings.push(...read.warnings);
  }
}

function namesRoles(tree: PlainValue): boolean {
  return isMapping(tree) && ("master" in tree || "worker" in tree);
}

function rolesOf(kind: WorkloadKind, hasRoles: boolean): readonly Role[] {
  return kind === "distributed" && hasRoles ? ["worker", "master"] : [null];
}

function dialectOf({ policies }: PolicyCase): PolicyDialect {
  return policies.every(({ dialect }) => dialect === "v1") ? "v1" : "v2";
}

/** Of a case that does not say its kind: the first kind that has its fields, or the most of them. */
function kindOfFields(one: PolicyCase): WorkloadKind {
  let [found, fewest] = ["training" as WorkloadKind, Infinity];
  for (const kind of ["training", "workspace", "distributed", "inference"] as const) {
    const strange = strangeFields(one, kind);
    if (strange < fewest) {
      [found, fewest] = [kind, strange];
    }
  }
  return found;
}

/** How many of a case's fields a kind does not have. */
function strangeFields(one: PolicyCase, kind: WorkloadKind): number {
  const submitted = rolesOf(kind, namesRoles(one.submit)).flatMap(
    (role) => readEither(one.submit, kind, dialectOf(one), role).violations,
  );
  const schema = submitted.filter(({ rule }) => rule === "schema").length;
  try {
    save(one.policies, kind);
    return schema;
  } catch (thrown) {
    const faults = messageOf(thrown).split("\n");
    return (
      schema + faults.filter((text) => /does not exist for|only distributed workloads have roles/.test(text)).length
    );
  }
}

/** As the policies' dialect has it; in the other where that knows more of its fields. */
function readEither(tree: PlainValue, kind: WorkloadKind, dialect: PolicyDialect, role: Role): ReadWorkload {
  const inDialect = (one: PolicyDialect): ReadWorkload =>
    readWorkload(tree, { kind, dialect: one, ...(role === null ? {} : { role }) });
  const own = inDialect(dialect);
  const strange = ({ violations }: ReadWorkload): number => violations.filter(({ rule }) => rule === "schema").length;
  if (strange(own) === 0) {
    return own;
  }
  const other = inDialect(dialect === "v1" ? "v2" : "v1");
  return strange(other) < strange(own) ? other : own;
}

function save(policies: readonly CasePolicy[], kind: WorkloadKind): Saved {
  const saved: Saved = { compiled: [], warnings: [] };
  for (const [index, { dialect, level, id, mode, tree }] of policies.entries()) {
    const name = `${level}-${index + 1}`;
    const kinds = dialect === "v1" ? [kindOfFirst([{ dialect, tree }]) ?? kind] : [kind];
    const head: PolicyHead = {
      ...{ name, owner: null, description: null, mode, dialect },
      target: { level: level === "system" ? "tenant" : level, id, kinds },
    };
    const source = { policy: name, scope: { level, id }, revision: 0, mode, dialect };
    const { compiled, warnings } = compilePolicy(tree, head, source);
    saved.compiled.push(...compiled);
    saved.warnings.push(...warnings);
  }
  return saved;
}

/** The kind that a V1 document is for. */
function kindOfFirst(policies: readonly Pick<CasePolicy, "dialect" | "tree">[]): WorkloadKind | null {
  const tree = policies.find(({ dialect }) => dialect === "v1")?.tree;
  const name = isMapping(tree) ? tree["kind"] : null;
  return typeof name === "string" ? kindNamed(name) : null;
}

/** Throws SkyError("InvalidPolicyError") for one that is no item of its field. */
function assetsOf({ assets }: PolicyCase): Map<string, Asset> {
  return new Map(
    assets.map(({ id, field, spec, credentials }) => {
      const found = fieldAt(field);
      const kind = workloadKinds.find((one) => found !== null && existsFor(found, one, "v2"));
      if (found?.type !== "itemized" || kind === undefined) {
        throw new SkyError("InvalidPolicyError", `assets: "${id}": ${field} is no field of items`);
      }
      const tree = field.split(".").reduceRight<PlainValue>((inner, step) => ({ [step]: inner }), [spec]);
      const { workload, violations } = readWorkload(tree, { kind, dialect: "v2" });
      const [item] = (workload.get(field) ?? []) as Item[];
      if (item === undefined || violations[0] !== undefined) {
        throw new SkyError("InvalidPolicyError", `assets: "${id}": ${violations[0]?.message ?? "has no spec"}`);
      }
      return [id, { id, field, spec: item, credentials }];
    }),
  );
}
