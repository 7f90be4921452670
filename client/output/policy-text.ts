/**
 * Policies, decisions, exceptions, assets and secrets as tables and lines that fit the terminal. Pure: texts of others go
 * through `plain` or a table's cells. Used by client/commands/policy/.
 */
import type {
  AssetsResult,
  Decision,
  DecisionsResult,
  ExceptionsResult,
  GradeLine,
  PoliciesResult,
  PolicyApplyResult,
  PolicyDiffResult,
  PolicyHistoryResult,
  PolicySecretsResult,
  PolicyViolation,
} from "../../shared/policy-api.ts";
import type { Colors } from "./screen.ts";
import { formatTable, plain } from "./table.ts";
import { ago, localTime } from "./times.ts";

export interface Page {
  /** Seconds since 1970. */
  now: number;
  columns: number;
  colors: Colors;
}

function count(number: number, one: string, several = `${one}s`): string {
  return `${number} ${number === 1 ? one : several}`;
}

/** `first, project nlp, rev 2`; of what is not saved, the name alone. */
function sourceText({ policy, scope, revision }: NonNullable<PolicyViolation["sourceOfRule"]>): string {
  return revision === 0 ? policy : `${policy}, ${scope.level} ${scope.id}, rev ${revision}`;
}

/** `compute.gpuDevicesRequest: must be no greater than 4` and where the rule stands. */
export function violationLine({ field, details, sourceOfRule: source }: PolicyViolation): string {
  return plain(`${field}: ${details}${source === null ? "" : ` [${sourceText(source)}]`}`);
}

export function policiesText({ policies }: PoliciesResult, { now, columns, colors }: Page): string {
  if (policies.length === 0) {
    return "No policies bind you here. An admin saves one: sky policy apply -f FILE";
  }
  const rows = policies.map((row) => [
    row.name,
    row.workloads.join(","),
    `${row.scope} ${row.scope_id}`,
    row.mode,
    String(row.revision),
    row.owner ?? row.created_by ?? "-",
    ago(row.updated_at, now),
  ]);
  const titles = [
    { title: "NAME", min: 12, cutOrder: 3 },
    { title: "TYPE", min: 8, cutOrder: 1 },
    { title: "SCOPE", min: 10, cutOrder: 2 },
    { title: "STATUS" },
    { title: "REV" },
    { title: "OWNER", min: 8, cutOrder: 0 },
    { title: "UPDATED" },
  ];
  return formatTable(titles, rows, columns, colors);
}

/** What of a policy this cluster can hold jobs to, one line a field. */
export function gradesText(grades: readonly GradeLine[], { columns, colors }: Page): string {
  const rows = grades.map(({ field, grade, note }) => [field, grade, note === "" ? "-" : note]);
  const titles = [
    { title: "FIELD", min: 20, cutOrder: 1, keepEnd: true },
    { title: "GRADE" },
    { title: "NOTE", min: 10, cutOrder: 0 },
  ];
  return formatTable(titles, rows, columns, colors);
}

export function appliedText(result: PolicyApplyResult, page: Page): string {
  const { name, revision, saved, changed, warnings, grades, refuses } = result;
  const state = !saved
    ? `Policy ${name} is valid; nothing was saved.`
    : changed
      ? `Policy ${name} is saved (rev ${revision}).`
      : `Policy ${name} is unchanged (rev ${revision}).`;
  const lines = warnings.map((text) => plain(`warning: ${text}`));
  if (grades.length > 0) {
    lines.push(gradesText(grades, page));
  }
  for (const { user, job_id: id, violations } of refuses) {
    lines.push(`Job ${id} of ${plain(user)} would be refused now; it is left alone:`);
    lines.push(...violations.map((violation) => `  ${violationLine(violation)}`));
  }
  return [...lines, state, ...(saved ? [`See it: sky policy get ${name}`] : [])].join("\n");
}

export function historyText({ revisions }: PolicyHistoryResult, { columns, colors }: Page): string {
  const rows = revisions.map(({ revision, at, by, what }) => [String(revision), what, by, localTime(at)]);
  const titles = [{ title: "REV" }, { title: "WHAT" }, { title: "BY", min: 8, cutOrder: 0 }, { title: "WHEN" }];
  return formatTable(titles, rows, columns, colors);
}

export function diffText({ text, looked, same, changed }: PolicyDiffResult): string {
  const lines = [
    text === "" ? "The document is the one that is saved." : text.trimEnd(),
    "",
    `Of the last ${count(looked, "job")}: ${same} as before, ${changed.length} otherwise.`,
  ];
  for (const one of changed) {
    const job = one.job_id === null ? "a request" : `job ${one.job_id}`;
    const what = one.before === one.after ? `other values: ${one.fields.join(", ")}` : `${one.before} → ${one.after}`;
    lines.push(plain(`${job} of ${one.user}${one.job_name === null ? "" : ` (${one.job_name})`}: ${what}`));
    lines.push(...one.violations.map((violation) => `  ${violationLine(violation)}`));
  }
  return lines.join("\n");
}

function decisionWhy({ text, violations, changed, outcome }: Decision): string {
  if (text !== null) {
    return text;
  }
  const [first, ...others] = violations;
  if (first === undefined) {
    return outcome === "accepted" && changed.length > 0 ? `set ${changed.join(", ")}` : "-";
  }
  return `${first.field}: ${first.details}${others.length === 0 ? "" : ` (and ${others.length} more)`}`;
}

export function decisionsText({ decisions }: DecisionsResult, { columns, colors }: Page): string {
  if (decisions.length === 0) {
    return "No decisions are recorded.";
  }
  const rows = decisions.map((one) => [
    localTime(one.at),
    one.user,
    one.job_id === null ? one.request : `${one.request} ${one.job_id}`,
    one.outcome,
    decisionWhy(one),
  ]);
  const titles = [
    { title: "WHEN" },
    { title: "USER", min: 6, cutOrder: 1 },
    { title: "REQUEST" },
    { title: "OUTCOME", min: 8, cutOrder: 2 },
    { title: "WHY", min: 10, cutOrder: 0 },
  ];
  return formatTable(titles, rows, columns, colors);
}

export function exceptionsText({ exceptions }: ExceptionsResult, { now, columns, colors }: Page): string {
  if (exceptions.length === 0) {
    return "There are no exceptions.";
  }
  const rows = exceptions.map((one) => [
    one.id,
    one.policy,
    [one.field ?? "all fields", one.rule].filter((part) => part !== null).join(" "),
    one.subjects.join(","),
    one.expired ? `expired ${ago(one.expires_at, now)}` : localTime(one.expires_at),
    `${one.owner}: ${one.reason}`,
  ]);
  const titles = [
    { title: "ID" },
    { title: "POLICY", min: 8, cutOrder: 3 },
    { title: "WHAT", min: 8, cutOrder: 1 },
    { title: "FOR", min: 8, cutOrder: 2 },
    { title: "UNTIL" },
    { title: "WHY", min: 8, cutOrder: 0 },
  ];
  return formatTable(titles, rows, columns, colors);
}

export function assetsText({ assets }: AssetsResult, { columns, colors }: Page): string {
  if (assets.length === 0) {
    return "There are no assets. An admin saves one: sky policy asset set -f FILE";
  }
  const rows = assets.map(({ id, field, spec, imposed_by: by }) => [
    id,
    field,
    by.length === 0 ? "-" : by.join(","),
    JSON.stringify(spec),
  ]);
  const titles = [
    { title: "ID", min: 8, cutOrder: 2 },
    { title: "FIELD" },
    { title: "IMPOSED BY", min: 10, cutOrder: 1 },
    { title: "SPEC", min: 10, cutOrder: 0 },
  ];
  return formatTable(titles, rows, columns, colors);
}

export function secretsText({ secrets }: PolicySecretsResult, { columns, colors }: Page): string {
  if (secrets.length === 0) {
    return "There are no secrets for policies.";
  }
  const rows = secrets.map(({ project, name, keys }) => [project ?? "every project", name, keys.join(", ")]);
  return formatTable(
    [{ title: "PROJECT" }, { title: "NAME" }, { title: "KEYS", min: 10, cutOrder: 0 }],
    rows,
    columns,
    colors,
  );
}
