/**
 * Reads the fields of a task's YAML tree and gathers what is wrong with them, each fault with its line, so that a user
 * sees all of them at once. It knows no field by name: shared/task-file.ts and shared/task-resources.ts say which there
 * are. It must never open a file.
 */
import { messageOf, SkyError } from "./errors.ts";
import { didYouMean } from "./near-match.ts";
import type { Refusals } from "./task-refusals.ts";
import { plainValue, type YamlEntry, type YamlNode } from "./yaml11.ts";

const faultsShown = 20;
/** Of what a user wrote, in messages. */
const shownMax = 80;

/** Fields of one mapping: those that are read, and those of SkyPilot that have no meaning here. */
export interface FieldNames {
  /** For messages: `the task`, `'resources'`. */
  what: string;
  /** In front of a field's name in messages: `resources.`. */
  path: string;
  supported: readonly string[];
  refused: Refusals;
}

export class TaskFields {
  private readonly file: string;
  private readonly faults = new Map<string, { line: number; text: string }>();

  /** `file`: as it is called in messages. */
  constructor(file: string) {
    this.file = file;
  }

  /** Throws SkyError("InvalidTaskError") with every fault when anything was wrong. */
  finish(): void {
    if (this.faults.size === 0) {
      return;
    }
    const lines = [...this.faults.values()]
      .sort((one, other) => one.line - other.line)
      .slice(0, faultsShown)
      .map((fault) => `${this.file}:${fault.line}: ${fault.text}`);
    if (this.faults.size > faultsShown) {
      lines.push(`… and ${this.faults.size - faultsShown} more.`);
    }
    throw new SkyError("InvalidTaskError", `Invalid task YAML: ${lines.join("\n")}`);
  }

  fault(entry: YamlEntry, text: string): void {
    this.faultAt(entry.keyLine, text);
  }

  /** The same fault in the same line counts once: what several ways inherit is read once for each. */
  faultAt(line: number, text: string): void {
    this.faults.set(`${line} ${text}`, { line, text });
  }

  /** The entries of a mapping that are supported and not null; what is unknown or has no meaning here is a fault. */
  of(node: YamlNode, { what, path, supported, refused }: FieldNames): Map<string, YamlEntry> {
    const fields = new Map<string, YamlEntry>();
    if (node.kind !== "map") {
      this.faultAt(node.line, `${what} must be a mapping of fields to values.`);
      return fields;
    }
    for (const entry of node.entries.values()) {
      if (supported.includes(entry.key)) {
        if (!isNull(entry.node)) {
          fields.set(entry.key, entry);
        }
        continue;
      }
      const refusal = Object.hasOwn(refused, entry.key) ? refused[entry.key] : undefined;
      if (refusal !== undefined) {
        if (!isNull(entry.node) && refusal.harmless?.(plainValue(entry.node)) !== true) {
          this.fault(entry, `'${path}${entry.key}' cannot be used here. ${refusal.reason}`);
        }
      } else {
        const hint =
          didYouMean(entry.key, [...supported, ...Object.keys(refused)]) ?? `Known fields: ${supported.join(", ")}.`;
        this.fault(entry, `unknown field '${path}${shownText(entry.key)}'. ${hint}`);
      }
    }
    return fields;
  }

  /** The text of a field that must be text; null when it is absent or refused. */
  text(entry: YamlEntry | undefined): string | null {
    if (entry === undefined) {
      return null;
    }
    if (entry.node.kind === "scalar" && typeof entry.node.value === "string") {
      return entry.node.value;
    }
    const hint = entry.node.kind === "scalar" ? `; YAML reads this as ${entry.node.text}. Put it in quotes` : "";
    this.fault(entry, `'${shownText(entry.key)}' must be text${hint}.`);
    return null;
  }

  /** The entries of a field that must be a mapping, nulls too; none when it is absent or refused. */
  entries(entry: YamlEntry | undefined): YamlEntry[] {
    if (entry === undefined) {
      return [];
    }
    if (entry.node.kind !== "map") {
      this.fault(entry, `'${shownText(entry.key)}' must be a mapping.`);
      return [];
    }
    return [...entry.node.entries.values()];
  }

  /** A field that is true or false; false when it is absent or refused. */
  flag(entry: YamlEntry | undefined): boolean {
    if (entry === undefined) {
      return false;
    }
    const { node } = entry;
    if (node.kind === "scalar" && typeof node.value === "boolean") {
      return node.value;
    }
    this.fault(entry, `'${entry.key}' must be true or false.`);
    return false;
  }

  /** What `parse` makes of a field's value; null when it is absent or refused. */
  parsed<T>(entry: YamlEntry | undefined, parse: (value: unknown) => T): T | null {
    return entry === undefined ? null : this.tried(entry, () => parse(plainValue(entry.node)));
  }

  /** The same for what is read as it stands in the file: YAML takes `1:30:00` for the number 5400. */
  parsedSource<T>(entry: YamlEntry | undefined, parse: (value: unknown) => T): T | null {
    if (entry === undefined) {
      return null;
    }
    const { node } = entry;
    return this.tried(entry, () => parse(node.kind === "scalar" ? node.source : plainValue(node)));
  }

  private tried<T>(entry: YamlEntry, parse: () => T): T | null {
    try {
      return parse();
    } catch (error) {
      this.fault(entry, messageOf(error));
      return null;
    }
  }
}

export function isNull(node: YamlNode): boolean {
  return node.kind === "scalar" && node.value === null;
}

/** The beginning of what a user wrote. */
export function shownText(text: string): string {
  return text.slice(0, shownMax);
}
