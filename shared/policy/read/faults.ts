/**
 * What readers of policies and workloads have to say: faults of a document, all at once and with their lines, or
 * violations of a workload; and warnings, each once. The walk through a tree (read-fields.ts) reports to either. It must
 * never let a text that is nothing but faults take long: after a hundred it stops.
 */
import { SkyError } from "../../errors.ts";
import { nearMatch } from "../../near-match.ts";
import type { PlainValue, Violation } from "../words.ts";

/** Where readers report. `path` is the field as it was written, `line` 0 for trees without lines. */
export interface Reporter {
  unknown(path: string, suggestion: string | null, line: number): void;
  wrong(path: string, message: string, rule: "schema" | "type", line: number, value?: PlainValue): void;
  warn(text: string): void;
  /** No more is looked at. */
  isFull(): boolean;
}

const faultsMax = 100;
/** Characters of a word that is anybody's text, and of a whole sentence. */
const wordMax = 120;
const sentenceMax = 600;

export function shortened(text: string, most = wordMax): string {
  const plain = text.replace(/[\p{Cc}\u2028\u2029]/gu, "?");
  return plain.length > most ? `${plain.slice(0, most)}…` : plain;
}

function hint(suggestion: string | null): string {
  return suggestion === null ? "" : `; did you mean "${suggestion}"?`;
}

class Warnings {
  readonly texts = new Set<string>();

  warn(text: string): void {
    if (this.texts.size < faultsMax) {
      this.texts.add(shortened(text, sentenceMax));
    }
  }
}

/** Of a document. */
export class DocumentFaults implements Reporter {
  private readonly file: string | null;
  private readonly found: { line: number; text: string }[] = [];
  private readonly warned = new Warnings();

  /** `file`: null for trees without lines. */
  constructor(file: string | null) {
    this.file = file;
  }

  get warnings(): string[] {
    return [...this.warned.texts];
  }

  warn(text: string): void {
    this.warned.warn(text);
  }

  isFull(): boolean {
    return this.found.length >= faultsMax;
  }

  /** A fault that names its field itself. */
  fault(text: string, line: number): void {
    if (!this.isFull()) {
      this.found.push({ line, text: shortened(text, sentenceMax) });
    }
  }

  unknown(path: string, suggestion: string | null, line: number): void {
    this.fault(`unknown field "${shortened(path)}"${hint(suggestion)}`, line);
  }

  wrong(path: string, message: string, _rule: "schema" | "type", line: number): void {
    this.fault(`${shortened(path)}: ${message}`, line);
  }

  /** Throws SkyError("InvalidPolicyError") with every fault, a line each, if there is any. */
  refuse(): void {
    if (this.found.length === 0) {
      return;
    }
    const texts = this.found
      .sort((one, other) => one.line - other.line)
      .map(({ line, text }) => this.placed(line, text));
    throw new SkyError(
      "InvalidPolicyError",
      [...new Set(texts), ...(this.isFull() ? ["There are more faults than are shown."] : [])].join("\n"),
    );
  }

  private placed(line: number, text: string): string {
    return this.file === null ? text : line > 0 ? `${this.file}:${line}: ${text}` : `${this.file}: ${text}`;
  }
}

/** Of a workload. */
export class WorkloadFaults implements Reporter {
  readonly violations: Violation[] = [];
  private readonly warned = new Warnings();

  get warnings(): string[] {
    return [...this.warned.texts];
  }

  warn(text: string): void {
    this.warned.warn(text);
  }

  isFull(): boolean {
    return this.violations.length >= faultsMax;
  }

  unknown(path: string, suggestion: string | null): void {
    this.wrong(path, `unknown field${hint(suggestion)}`, "schema");
  }

  wrong(path: string, message: string, rule: "schema" | "type", _line = 0, value: PlainValue = null): void {
    if (!this.isFull()) {
      this.violations.push({ field: shortened(path), rule, message, source: null, value, limit: null });
    }
  }
}

/** The nearest of a few known words, for keys that are no fields. */
export function suggested(word: string, known: readonly string[]): string | null {
  return nearMatch(word, known);
}
