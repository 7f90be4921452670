/**
 * The lines of a unified diff between two documents, for admins who look at what a change would do. Pure. Very long
 * documents that differ everywhere are shown as one replacement, so that the work has a bound. Used by `diff`.
 */

/** Lines around a change. */
const contextLines = 3;
/** Pairs of lines that are compared. */
const pairsMax = 4_000_000;

type Line = [mark: " " | "-" | "+", text: string];

/** Empty when the texts are equal. */
export function unifiedDiff(before: string, after: string, names: { before: string; after: string }): string {
  if (before === after) {
    return "";
  }
  const lines = compared(before === "" ? [] : before.split("\n"), after === "" ? [] : after.split("\n"));
  const out = [`--- ${names.before}`, `+++ ${names.after}`];
  let old = 1;
  let young = 1;
  const hunks = hunksOf(lines);
  let at = 0;
  for (const [from, to] of hunks) {
    for (; at < from; at += 1) {
      old += 1;
      young += 1;
    }
    const part = lines.slice(from, to);
    const count = (mark: string): number => part.filter(([own]) => own === " " || own === mark).length;
    const [olds, youngs] = [count("-"), count("+")];
    out.push(`@@ -${olds === 0 ? old - 1 : old},${olds} +${youngs === 0 ? young - 1 : young},${youngs} @@`);
    out.push(...part.map(([mark, text]) => `${mark}${text}`));
    old += olds;
    young += youngs;
    at = to;
  }
  return out.join("\n");
}

/** Where changes with their surroundings begin and end. */
function hunksOf(lines: readonly Line[]): [from: number, to: number][] {
  const hunks: [number, number][] = [];
  for (const [at, [mark]] of lines.entries()) {
    if (mark !== " ") {
      const last = hunks.at(-1);
      const [from, to] = [Math.max(0, at - contextLines), Math.min(lines.length, at + contextLines + 1)];
      if (last !== undefined && from <= last[1]) {
        last[1] = to;
      } else {
        hunks.push([from, to]);
      }
    }
  }
  return hunks;
}

function compared(before: readonly string[], after: readonly string[]): Line[] {
  let head = 0;
  while (head < before.length && head < after.length && before[head] === after[head]) {
    head += 1;
  }
  let tail = 0;
  const left = Math.min(before.length, after.length) - head;
  while (tail < left && before.at(-1 - tail) === after.at(-1 - tail)) {
    tail += 1;
  }
  const same = (texts: readonly string[]): Line[] => texts.map((text) => [" ", text]);
  return [
    ...same(before.slice(0, head)),
    ...middle(before.slice(head, before.length - tail), after.slice(head, after.length - tail)),
    ...same(before.slice(before.length - tail)),
  ];
}

/** By the longest common subsequence. */
function middle(before: readonly string[], after: readonly string[]): Line[] {
  const [rows, columns] = [before.length, after.length];
  if (rows * columns > pairsMax || rows === 0 || columns === 0) {
    return [...before.map((text): Line => ["-", text]), ...after.map((text): Line => ["+", text])];
  }
  const width = columns + 1;
  const longest = new Uint32Array((rows + 1) * width);
  const at = (row: number, column: number): number => longest[row * width + column] ?? 0;
  for (let row = rows - 1; row >= 0; row -= 1) {
    for (let column = columns - 1; column >= 0; column -= 1) {
      longest[row * width + column] =
        before[row] === after[column]
          ? at(row + 1, column + 1) + 1
          : Math.max(at(row + 1, column), at(row, column + 1));
    }
  }
  const lines: Line[] = [];
  let [row, column] = [0, 0];
  while (row < rows || column < columns) {
    if (row < rows && column < columns && before[row] === after[column]) {
      lines.push([" ", before[row] ?? ""]);
      row += 1;
      column += 1;
    } else if (row < rows && (column === columns || at(row + 1, column) >= at(row, column + 1))) {
      lines.push(["-", before[row] ?? ""]);
      row += 1;
    } else {
      lines.push(["+", after[column] ?? ""]);
      column += 1;
    }
  }
  return lines;
}
