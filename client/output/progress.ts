/**
 * One line that shows how far a long work is: a bar, a count, what is being done now. It is drawn over itself on a
 * terminal and does not exist elsewhere, so that logs of scripts hold no half lines. Used by commands that take long.
 */
import { plain } from "./table.ts";

const barWidth = 20;
/** Clears the line from its beginning. */
const eraseLine = "\r\u001b[K";

export interface ProgressStream {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

export interface Progress {
  /** Draws it; `total` 0: not known. `count`: what stands in place of `done/total`. */
  show(done: number, total: number, text: string, count?: string): void;
  /** Draws how long somebody is waited for, but only where nothing shows how far the work is. */
  wait(text: string, count: string): void;
  /** Takes it away, so that something else can be printed. */
  clear(): void;
  /** The same, if it is what `wait` drew. */
  endWait(): void;
  /** Somebody sees it; absent: nobody does. */
  visible?: boolean;
}

/** The text of one state, at most `columns` wide. */
export function progressText(done: number, total: number, text: string, columns: number, amount?: string): string {
  const share = total > 0 ? Math.min(1, done / total) : 0;
  const full = Math.round(share * barWidth);
  const bar = `[${"#".repeat(full)}${".".repeat(barWidth - full)}]`;
  const count = amount ?? (total > 0 ? `${Math.min(done, total)}/${total}` : String(done));
  const line = `${bar} ${count} ${plain(text)}`;
  return Array.from(line)
    .slice(0, Math.max(10, columns - 1))
    .join("");
}

export function createProgress(stream: ProgressStream): Progress {
  let shown: "work" | "wait" | null = null;
  const draw = (line: string, kind: "work" | "wait"): void => {
    if (stream.isTTY === true) {
      stream.write(eraseLine + line);
      shown = kind;
    }
  };
  const columns = (): number => stream.columns || 80;
  const clear = (): void => {
    if (shown !== null) {
      stream.write(eraseLine);
      shown = null;
    }
  };
  return {
    visible: stream.isTTY === true,
    show(done, total, text, count) {
      draw(progressText(done, total, text, columns(), count), "work");
    },
    wait(text, count) {
      if (shown !== "work") {
        draw(progressText(0, 0, text, columns(), count), "wait");
      }
    },
    clear,
    endWait() {
      if (shown === "wait") {
        clear();
      }
    },
  };
}
