/**
 * Checks of what programs give, by the reader that reads task files: one place decides what a value may look like. It
 * must never open a file. Used by Task, Resources, Storage and the functions with options.
 */
import { messageOf, SkyError } from "../../../shared/errors.ts";
import { didYouMean } from "../../../shared/near-match.ts";
import type { Task as PlainTask } from "../../../shared/task.ts";
import { readTask, writeTask } from "../../../shared/task-file.ts";
import { plainValue, readYaml } from "../../../shared/yaml11.ts";
import { InvalidTaskError, ValueError } from "./exceptions.ts";

/** A task as a task file holds it, in plain values. */
export type TaskConfig = Record<string, unknown>;

/** What a task is called in the reader's messages; a task that was made in a program has no lines to point at. */
const madeHere = "task";

/** Throws ValueError when `given` has a field that nobody knows: a misspelt option must not be ignored. */
export function requireKnown(what: string, given: object, known: ReadonlySet<string>): void {
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    throw new ValueError(`${what} must be an object with fields, not ${shownValue(given)}.`);
  }
  for (const name of Object.keys(given)) {
    if (!known.has(name)) {
      const hint = didYouMean(name, [...known]) ?? `Known: ${[...known].sort().join(", ")}.`;
      throw new ValueError(`${what}: unknown option '${name.slice(0, 80)}'.`, { hint });
    }
  }
}

/** A value, shortened, for messages. */
export function shownValue(value: unknown): string {
  if (typeof value === "string") {
    return `'${value.slice(0, 80)}'`;
  }
  return value === null || ["number", "boolean", "undefined"].includes(typeof value)
    ? String(value)
    : Array.isArray(value)
      ? "an array"
      : `a ${typeof value}`;
}

/** The task of plain values. Throws InvalidTaskError with every fault. */
export function taskOfConfig(config: TaskConfig): PlainTask {
  try {
    return readTask(JSON.stringify(config), { file: madeHere });
  } catch (error) {
    if (error instanceof SkyError) {
      const message = messageOf(error)
        .replace(/^Invalid task YAML: /, "")
        .replace(/^task:\d+: /gm, "");
      throw new InvalidTaskError(message, { hint: error.hint, cause: error });
    }
    throw error;
  }
}

/** The plain values of a task file's text. Throws SkyError with the file's lines. */
export function configOfText(text: string, file: string): TaskConfig {
  const written = readYaml(writeTask(readTask(text, { file })), file)[0];
  const value = written === undefined ? {} : plainValue(written);
  return value as TaskConfig;
}

/** Throws when the names or the values of resources are wrong. */
export function checkResources(options: object, known: ReadonlySet<string>, value: TaskConfig): void {
  requireKnown("Resources", options, known);
  taskOfConfig({ resources: value });
}
