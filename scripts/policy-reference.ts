/**
 * Writes the table of all policy fields into docs/policies.md, between its marks, from the catalog of fields and the table
 * of what each means on machines of one's own. The rest of that page is written by hand, and stays. Run by people after a
 * change (`npm run reference`); with `--check` it only says whether the table is up to date.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type FieldSpec, policyFields } from "../shared/policy/fields/fields.ts";
import { onPremGrade } from "../shared/policy/grades-table.ts";
import type { WorkloadKind } from "../shared/policy/words.ts";

const page = join(dirname(dirname(fileURLToPath(import.meta.url))), "docs/policies.md");
const begin = "<!-- fields: made by `npm run reference` -->";
const end = "<!-- end of the fields -->";

const letters: Readonly<Record<WorkloadKind, string>> = {
  workspace: "W",
  training: "T",
  distributed: "D",
  inference: "I",
};

function row(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

function code(words: readonly string[]): string {
  return words.map((word) => (word === "" ? '`""`' : `\`${word}\``)).join(", ");
}

/** What it is, the words that it may be, and its other names. */
function description(spec: FieldSpec): string {
  const said = [spec.description];
  if (spec.enum !== undefined) {
    said.push(`One of ${code(spec.enum)}.`);
  }
  if (spec.key !== undefined) {
    said.push(`Key: ${spec.key.map((alternative) => code([alternative.join("+")])).join(", else ")}.`);
  }
  const first = spec.v1?.filter((name) => name !== spec.path) ?? [];
  if (first.length > 0) {
    said.push(`V1: ${code(first)}.`);
  }
  if (spec.aliases.length > 0) {
    said.push(`Also read: ${code(spec.aliases.map((alias) => alias.split("[].").at(-1) ?? alias))}.`);
  }
  return said.join(" ");
}

/** A field and its attributes, which only say where they are held otherwise than the field. */
function rowsOf(spec: FieldSpec): string[] {
  const own = onPremGrade(spec.path);
  const taskField = own.grade === "no effect" ? "" : spec.taskField === "none" ? "" : spec.taskField;
  const kinds = spec.kinds.map((kind) => letters[kind]).join("");
  const attributes = (spec.attributes ?? []).map((attribute) => {
    const held = onPremGrade(attribute.path);
    const isOther = held.grade !== own.grade || held.note !== own.note;
    const name = attribute.path.slice(spec.path.length);
    const grade = isOther ? held.grade : "";
    return row([`… \`${name}\``, attribute.type, "", grade, "", description(attribute), isOther ? held.note : ""]);
  });
  return [
    row([`\`${spec.path}\``, spec.type, kinds, own.grade, taskField, description(spec), own.note]),
    ...attributes,
  ];
}

function fieldsText(): string {
  const head = [
    row(["Field", "Type", "For", "Held", "In a task", "What it is", "What it means here"]),
    row(["---", "---", "---", "---", "---", "---", "---"]),
  ];
  const later = policyFields.filter(({ dialect }) => dialect === undefined);
  const first = policyFields.filter(({ dialect }) => dialect === "v1");
  return [
    [...head, ...later.flatMap(rowsOf)].join("\n"),
    "Only V1's documents have these:",
    [...head, ...first.flatMap(rowsOf)].join("\n"),
  ].join("\n\n");
}

function main(): void {
  const text = readFileSync(page, "utf8");
  const [before, rest] = text.split(begin);
  const after = rest?.split(end)[1];
  if (before === undefined || after === undefined) {
    throw new Error(`docs/policies.md has lost its marks ${begin} and ${end}`);
  }
  const wanted = `${before}${begin}\n\n${fieldsText()}\n\n${end}${after}`;
  if (!process.argv.includes("--check")) {
    writeFileSync(page, wanted);
  } else if (text !== wanted) {
    process.stderr.write("docs/policies.md is not what the tables of fields say: run `npm run reference`.\n");
    process.exitCode = 1;
  }
}

main();
