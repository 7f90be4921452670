/**
 * What policies make of a task, and what binds a field, as lines that fit the terminal. Pure: texts of others are made
 * plain. Used by client/commands/policy/.
 */
import type { PolicyCheckResult, PolicyEffectiveResult, PolicyViolation } from "../../shared/policy-api.ts";
import { violationLine, type Page } from "./policy-text.ts";
import { formatTable, plain } from "./table.ts";

function shown(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Who has said what the field is; of lists of items all who have said something of one. */
function originOf(path: string, origins: PolicyCheckResult["origins"]): string {
  const said = Object.entries(origins).filter(([place]) => place === path || place.startsWith(`${path}[`));
  return [...new Set(said.map(([, origin]) => origin))].sort().join(", ") || "the task";
}

function effectiveText({ effective, origins, grades }: PolicyCheckResult, { columns, colors }: Page): string {
  const held = new Map(grades.map(({ field, grade }) => [field, grade]));
  const rows = Object.entries(effective).map(([path, value]) => [
    path,
    shown(value),
    originOf(path, origins),
    held.get(path) ?? "-",
  ]);
  const titles = [
    { title: "FIELD", min: 20, cutOrder: 1, keepEnd: true },
    { title: "VALUE", min: 12, cutOrder: 0 },
    { title: "FROM", min: 10, cutOrder: 2 },
    { title: "HELD" },
  ];
  return formatTable(titles, rows, columns, colors);
}

/** The verdict last, so that it is what stands above the prompt. */
export function checkText(result: PolicyCheckResult, page: Page): string {
  const { accepted, violations, warned, audited, excepted, notices, kind, project, task } = result;
  const block = (title: string, all: readonly PolicyViolation[]): string[] =>
    all.length === 0 ? [] : [title, ...all.map((one) => `  ${violationLine(one)}`)];
  const place = `${kind}${project === null ? "" : `, project ${plain(project)}`}`;
  return [
    ...(Object.keys(result.effective).length === 0 ? [] : [effectiveText(result, page), ""]),
    ...(task === null
      ? []
      : [
          "The task as it would run:",
          ...task
            .trimEnd()
            .split("\n")
            .map((line) => `  ${line}`),
          "",
        ]),
    ...notices.map(plain),
    ...block("Would have been refused, but for exceptions:", excepted),
    ...block("Would be refused by policies that only watch:", audited),
    ...block("Warnings:", warned),
    ...block("Violations:", violations),
    accepted ? `Accepted (${place}).` : `Refused (${place}).`,
  ].join("\n");
}

/** What binds the fields at or below `path` ("" for all): one line a rule, with who says it. */
export function bindingText({ fields }: PolicyEffectiveResult, path: string, { columns, colors }: Page): string {
  const inside = Object.entries(fields).filter(
    ([name]) => path === "" || name === path || name.startsWith(`${path}.`) || name.startsWith(`${path}[]`),
  );
  if (inside.length === 0) {
    return "No policy binds it for you.";
  }
  const rows = inside.flatMap(([name, field]) =>
    Object.entries(field.sources).map(([rule, { policy, scope, revision }]) => [
      name,
      rule,
      shown((field as Record<string, unknown>)[rule] ?? true),
      `${policy}@${revision} (${scope.level} ${scope.id})`,
    ]),
  );
  const titles = [
    { title: "FIELD", min: 20, cutOrder: 1, keepEnd: true },
    { title: "RULE" },
    { title: "VALUE", min: 8, cutOrder: 0 },
    { title: "BY", min: 12, cutOrder: 2 },
  ];
  return formatTable(titles, rows, columns, colors);
}
