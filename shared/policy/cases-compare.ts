/**
 * What came of a case against what was expected: a line for each difference. Amounts and words are compared by what they
 * mean (`1Gi`, `1024Mi`), items as a whole and in their order. Pure. Used by cases.ts only.
 */
import type { ExpectedError, PolicyCase } from "./cases-read.ts";
import { fieldAt, type FieldSpec, knownName, type PolicyDialect } from "./fields/fields.ts";
import { itemKeys, nestedItem } from "./fields/items.ts";
import type { Role } from "./together/merge.ts";
import { shown } from "./evaluate/messages.ts";
import { readWorkload } from "./read/workload.ts";
import { isMapping, samePlain, sameValue } from "./fields/values.ts";
import { gpuOf, withoutVirtual } from "./together/virtual.ts";
import type { Evaluation, PlainValue, Violation, Workload, WorkloadKind } from "./words.ts";

export interface CaseOutcome {
  kind: WorkloadKind;
  dialect: PolicyDialect;
  /** The policies were refused. */
  applyError?: string;
  /** For each role, or each way of a task; the first counts where none is named. */
  results: { role: Role; evaluation: Evaluation }[];
  errors: Violation[];
  warnings: string[];
}

export function compare(expected: PolicyCase, came: CaseOutcome): string[] {
  const { applyError } = came;
  if (expected.applyError !== null) {
    const isTold = applyError?.includes(expected.applyError) === true;
    const said = applyError === undefined ? "they were accepted" : `they were refused with: ${applyError}`;
    return isTold ? [] : [`expected the policies to be refused: ${expected.applyError}`, said];
  }
  if (applyError !== undefined) {
    return [`the policies were refused: ${applyError}`];
  }
  return [
    ...errorFaults(expected.errors, came.errors),
    ...expected.effective.flatMap(([path, value]) => effectiveFaults(path, value, came)),
    ...expected.absent.flatMap((path) => absentFaults(path, came)),
    ...expected.warnings
      .filter((text) => !came.warnings.some((warning) => warning.includes(text)))
      .map(
        (text) =>
          `expected the warning: ${text}; there ${came.warnings.length === 0 ? "was none" : `were: ${came.warnings.join("; ")}`}`,
      ),
  ];
}

function errorFaults(expected: readonly ExpectedError[], came: readonly Violation[]): string[] {
  const isMet = (one: ExpectedError, violation: Violation): boolean =>
    one.field === violation.field &&
    (one.rule === null || one.rule === violation.rule) &&
    (one.message === null || one.message === violation.message);
  const missing = expected.filter((one) => !came.some((violation) => isMet(one, violation)));
  const more = came.filter((violation) => !expected.some((one) => isMet(one, violation)));
  return [
    ...missing.map(
      ({ field, rule, message }) => `expected: ${field}: ${message ?? "a violation"} (${rule ?? "any rule"})`,
    ),
    ...more.map(({ field, rule, message }) => `not expected: ${field}: ${message} (${rule})`),
  ];
}

/** The place of the result that a path is of: `worker.image` is that of the workers. */
function resultFor(path: string, { results }: CaseOutcome): { path: string; workload: Workload } {
  const [, role, rest] = /^(worker|master)\.(.*)$/.exec(path) ?? [];
  const found = results.find((one) => one.role === role) ?? results[0];
  return { path: role === undefined ? path : (rest ?? ""), workload: found?.evaluation.effective ?? new Map() };
}

function effectiveFaults(wanted: string, value: PlainValue, came: CaseOutcome): string[] {
  const { path, workload } = resultFor(wanted, came);
  const canonical = canonicalField(path, came.dialect);
  if (canonical === null) {
    return [`effective: there is no field ${wanted}`];
  }
  const { spec, dialect } = canonical;
  const tree = (dialect === "v1" ? [path] : spec.path.split(".")).reduceRight<PlainValue>(
    (inner, step) => ({ [step]: inner }),
    value,
  );
  const read = withoutVirtual(readWorkload(tree, { kind: came.kind, dialect }).workload);
  if (read.size === 0) {
    return value === null ? absentFaults(wanted, came) : [`effective: ${wanted} cannot be ${shown(value)}`];
  }
  // A word such as the older priority classes may say something of another field too; that is not asked here.
  const asked = read.has(spec.path) ? [...read].filter(([own]) => own === spec.path) : [...read];
  return asked.flatMap(([own, plain]) => {
    const field = fieldAt(own);
    const there = workload.get(own);
    return field !== null && there !== undefined && isSame(plain, there, field)
      ? []
      : [
          `effective ${wanted}: expected ${shownValue(plain)}, got ${there === undefined ? "nothing" : shownValue(there)}`,
        ];
  });
}

function canonicalField(path: string, dialect: PolicyDialect): { spec: FieldSpec; dialect: PolicyDialect } | null {
  const own = knownName(path, dialect)?.spec ?? null;
  const other = dialect === "v1" ? "v2" : "v1";
  const found = own ?? knownName(path, other)?.spec ?? null;
  return found === null ? null : { spec: found, dialect: own === null ? other : dialect };
}

function isSame(expected: PlainValue, came: PlainValue, spec: FieldSpec): boolean {
  if (spec.type !== "itemized") {
    return sameValue(expected, came, spec);
  }
  return (
    Array.isArray(expected) &&
    Array.isArray(came) &&
    expected.length === came.length &&
    expected.every((item, index) => isSameItem(item, came[index] ?? null, spec))
  );
}

function isSameItem(expected: PlainValue, came: PlainValue, spec: FieldSpec): boolean {
  if (!isMapping(expected) || !isMapping(came)) {
    return false;
  }
  return [...new Set([...Object.keys(expected), ...Object.keys(came)])].every((name) => {
    const attribute = fieldAt(`${spec.path}[].${name}`);
    const [one, other] = [expected[name], came[name]];
    return (
      one !== undefined &&
      other !== undefined &&
      (attribute === null ? samePlain(one, other) : sameValue(one, other, attribute))
    );
  });
}

function shownValue(value: PlainValue): string {
  const plain = Array.isArray(value) ? value.map((one) => (isMapping(one) ? nestedItem(one) : one)) : value;
  return JSON.stringify(plain);
}

/** `ports`, `ports[8888]`, `ports[8888].external` */
function absentFaults(wanted: string, came: CaseOutcome): string[] {
  const { path, workload } = resultFor(wanted, came);
  const [, field = path, key, attribute] = /^([^[]+)\[(.*)\](?:\.(.+))?$/.exec(path) ?? [];
  const spec = canonicalField(field, came.dialect)?.spec;
  if (spec === undefined) {
    return [`absent: there is no field ${wanted}`];
  }
  const value = valueAt(workload, spec);
  const item = key === undefined ? value : itemWith(value, key, spec);
  const there = attribute === undefined || !isMapping(item) ? item : item[attribute];
  return there === undefined ? [] : [`absent ${wanted}: got ${shownValue(there)}`];
}

function valueAt(workload: Workload, { path }: FieldSpec): PlainValue | undefined {
  if (path === "gpu") {
    return gpuOf(workload);
  }
  return path === "volumes" ? (workload.get("storage.nfs") ?? workload.get("storage.hostPath")) : workload.get(path);
}

function itemWith(value: PlainValue | undefined, key: string, spec: FieldSpec): PlainValue | undefined {
  const items = Array.isArray(value) ? value : [];
  return items.find((item) => isMapping(item) && itemKeys(spec, item).includes(key));
}
