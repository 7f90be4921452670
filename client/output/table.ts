/**
 * Tables as SkyPilot prints them: a header row, left-aligned columns, two spaces between them, no borders. On a terminal
 * a table is made to fit by shortening the columns that say they may be shortened; off a terminal nothing is cut. It must
 * never print control characters that came from a cell. Used by the commands through the table files beside it.
 */
import type { Colors } from "./screen.ts";

export interface Column {
  title: string;
  /** Smallest width this column may be cut to; absent: never cut. Columns are cut in the order of `cutOrder`. */
  min?: number;
  /** Lower is cut first. */
  cutOrder?: number;
  /** Cut at the front (paths), not at the end. */
  keepEnd?: boolean;
  /** Colour of a cell by its text; applied after widths are settled. */
  color?: (text: string, colors: Colors) => string;
}

const gap = "  ";

/** A cell's text on one line without anything a terminal would act on. */
export function plain(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ");
}

function cut(text: string, width: number, keepEnd: boolean): string {
  const letters = Array.from(text);
  if (letters.length <= width) {
    return text;
  }
  return keepEnd
    ? `…${letters.slice(letters.length - width + 1).join("")}`
    : `${letters.slice(0, width - 1).join("")}…`;
}

function settleWidths(columns: Column[], cells: string[][], limit: number): number[] {
  const widths = columns.map((column, index) =>
    cells.reduce((most, row) => Math.max(most, Array.from(row[index] ?? "").length), column.title.length),
  );
  let excess = widths.reduce((sum, width) => sum + width, gap.length * (columns.length - 1)) - limit;
  const order = columns
    .map((column, index) => ({ column, index }))
    .filter(({ column }) => column.min !== undefined)
    .sort((a, b) => (a.column.cutOrder ?? 0) - (b.column.cutOrder ?? 0));
  for (const { column, index } of order) {
    if (excess <= 0) {
      break;
    }
    const width = widths[index] ?? 0;
    const smaller = Math.max(column.min ?? width, column.title.length, width - excess);
    if (smaller < width) {
      excess -= width - smaller;
      widths[index] = smaller;
    }
  }
  return widths;
}

/** The table as lines joined by newlines, no trailing spaces. `limit` is the width to fit (Infinity: no cutting). */
export function formatTable(columns: Column[], rows: string[][], limit: number, colors: Colors): string {
  const cells = rows.map((row) => row.map(plain));
  const widths = settleWidths(columns, cells, limit);
  const line = (row: string[], isHeader: boolean): string => {
    let text = "";
    columns.forEach((column, index) => {
      const shown = cut(row[index] ?? "", widths[index] ?? 0, column.keepEnd === true);
      const padding = " ".repeat((widths[index] ?? 0) - Array.from(shown).length);
      const colored = isHeader || column.color === undefined ? shown : column.color(shown, colors);
      text += colored + (index === columns.length - 1 ? "" : padding + gap);
    });
    return text.trimEnd();
  };
  return [
    line(
      columns.map((column) => column.title),
      true,
    ),
    ...cells.map((row) => line(row, false)),
  ].join("\n");
}

/** Breaks text at spaces so that every line, with `indent` in front, fits `limit`. A longer word stays whole. */
export function wrap(text: string, indent: string, limit: number): string {
  const lines: string[] = [];
  let current = "";
  for (const word of plain(text)
    .split(" ")
    .filter((part) => part !== "")) {
    if (current !== "" && indent.length + current.length + 1 + word.length > limit) {
      lines.push(indent + current);
      current = word;
    } else {
      current = current === "" ? word : `${current} ${word}`;
    }
  }
  return [...lines, indent + current].join("\n");
}

/** Cut at `limit` characters on a word edge, with `...` added, as SkyPilot shortens commands. */
export function shortenCommand(text: string, limit = 25): string {
  const flat = plain(text);
  if (flat.length <= limit) {
    return flat;
  }
  const head = flat.slice(0, limit + 1);
  const edge = head.lastIndexOf(" ");
  return `${edge > 0 ? head.slice(0, edge) : flat.slice(0, limit)}...`;
}
