/**
 * Findings as people read them: machine by machine, what is wrong first, each with why it matters and the command that
 * mends it. Commands are never broken into lines, so that they can be copied. Pure; used by sky-doctor and `sky admin
 * doctor`. It must never pass on a control character that came from a machine.
 */
import { type Finding, type FindingLevel, oneLine } from "./doctor.ts";

export interface Examined {
  name: string;
  findings: readonly Finding[];
  /** What is missing from the answer. */
  notes: readonly string[];
}

export type Marks = Record<FindingLevel, string>;

const words: Marks = { ok: "ok", warn: "WARN", error: "ERROR", unknown: "?" };
const signs: Marks = { ok: "✓", warn: "!", error: "✗", unknown: "?" };

/** Signs on a terminal with UTF-8, words elsewhere. */
export function marksFor(isTerminal: boolean, env: Record<string, string | undefined>): Marks {
  const locale = env["LC_ALL"] || env["LC_CTYPE"] || env["LANG"] || "";
  return isTerminal && /utf-?8/i.test(locale) && env["TERM"] !== "dumb" ? signs : words;
}

const order: Record<FindingLevel, number> = { error: 0, warn: 1, unknown: 2, ok: 3 };

/** Lines of at most `columns` characters; the first begins with `first`, the others are indented as far. */
function wrapped(first: string, text: string, columns: number): string[] {
  const indent = " ".repeat(first.length);
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && indent.length + line.length + 1 + word.length > columns) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].map((each, at) => (at === 0 ? first : indent) + each);
}

function findingLines(finding: Finding, columns: number, marks: Marks): string[] {
  const seen = oneLine(finding.seen, 600);
  const lines = wrapped(`  ${marks[finding.level].padEnd(marks.error.length)} `, `${finding.check}: ${seen}`, columns);
  const indent = " ".repeat(marks.error.length + 3);
  if (finding.why !== null) {
    lines.push(...wrapped(`${indent}why:  `, oneLine(finding.why, 400), columns));
  }
  if (finding.mend !== null) {
    lines.push(`${indent}mend: ${oneLine(finding.mend, 600)}`);
  }
  return lines;
}

function summary(findings: readonly Finding[]): string {
  const count = (level: FindingLevel): number => findings.filter((finding) => finding.level === level).length;
  const parts = [
    [count("error"), "error", "errors"],
    [count("warn"), "warning", "warnings"],
    [count("unknown"), "unknown", "unknown"],
  ] as const;
  const said = parts
    .filter(([number]) => number > 0)
    .map(([number, one, many]) => `${number} ${number === 1 ? one : many}`);
  return said.length === 0 ? "all well" : said.join(", ");
}

/** What is well stands in one list below the problems of its machine. */
export function doctorText(machines: readonly Examined[], columns: number, marks: Marks): string {
  return machines
    .map(({ name, findings, notes }) => {
      const problems = findings.filter((finding) => finding.level !== "ok");
      const sorted = [...problems].sort((a, b) => order[a.level] - order[b.level]);
      const fine = [
        ...new Set(findings.filter((finding) => finding.level === "ok").map((finding) => finding.check)),
      ].filter((check) => !problems.some((finding) => finding.check === check));
      return [
        `${oneLine(name, 255)}: ${summary(findings)}`,
        ...sorted.flatMap((finding) => findingLines(finding, columns, marks)),
        ...(fine.length === 0 ? [] : wrapped(`  ${marks.ok.padEnd(marks.error.length)} `, fine.join(" "), columns)),
        ...notes.flatMap((note) => wrapped("  - ", oneLine(note, 600), columns)),
      ].join("\n");
    })
    .join("\n\n");
}
