/**
 * Files with several tasks: the header that may stand in front of them, and how the tasks belong together. Only managed
 * jobs run more than one task; everything else takes the first and refuses more. Called by shared/task-file.ts. It must
 * never read a task itself.
 */
import type { Task } from "./task.ts";
import { type FieldNames, shownText } from "./task-fields.ts";
import type { TaskReader } from "./task-reader.ts";
import { readTime } from "./units.ts";
import { plainValue, type YamlEntry, type YamlMapping, type YamlNode } from "./yaml11.ts";

export interface Pipeline {
  name: string | null;
  /** One after another, or all at once as a job group. */
  execution: "serial" | "parallel";
  tasks: Task[];
  /** Of a group: by name, those whose end ends it; none: all of them. */
  primaryTasks: string[];
  /** Of a group: seconds for which a task goes on after the last primary one, by its name; `default` for the others. */
  terminationDelays: Record<string, number>;
}

const headerNames: FieldNames = {
  what: "the header",
  path: "",
  supported: ["name", "execution", "primary_tasks", "termination_delay"],
  refused: {},
};

/** A first document that holds nothing but what a header may. */
export function isHeader(node: YamlNode): node is YamlMapping {
  return node.kind === "map" && [...node.entries.keys()].every((key) => headerNames.supported.includes(key));
}

/** Null stands for a file without a header: one task, or several one after another. Faults go to the reader. */
export function readHeader(reader: TaskReader, header: YamlMapping | null, tasks: Task[]): Pipeline {
  const pipeline: Pipeline = { name: null, execution: "serial", tasks, primaryTasks: [], terminationDelays: {} };
  if (header === null) {
    return pipeline;
  }
  const entries = reader.fields.of(header, headerNames);
  const execution = reader.fields.text(entries.get("execution"));
  const entry = entries.get("execution");
  if (entry !== undefined && execution !== null && execution !== "serial" && execution !== "parallel") {
    reader.fields.fault(entry, `'execution: ${shownText(execution)}' is not known. Known: serial, parallel.`);
  }
  for (const only of ["primary_tasks", "termination_delay"]) {
    const given = entries.get(only);
    if (given !== undefined && execution !== "parallel") {
      reader.fields.fault(given, `'${only}' belongs to groups: write 'execution: parallel'.`);
    }
  }
  return {
    name: reader.name(entries.get("name")),
    execution: execution === "parallel" ? "parallel" : "serial",
    tasks,
    primaryTasks: primaryTasks(reader, entries.get("primary_tasks"), tasks),
    terminationDelays: delays(reader, entries.get("termination_delay")),
  };
}

function primaryTasks(reader: TaskReader, entry: YamlEntry | undefined, tasks: readonly Task[]): string[] {
  const value = entry === undefined ? [] : plainValue(entry.node);
  const names = tasks.map(({ name }) => name);
  const isKnown = (name: unknown): name is string => typeof name === "string" && names.includes(name);
  if (entry !== undefined && !(Array.isArray(value) && value.every(isKnown))) {
    reader.fields.fault(entry, "'primary_tasks' must be a list of names of tasks in this file.");
  }
  return Array.isArray(value) ? value.filter(isKnown) : [];
}

function delays(reader: TaskReader, entry: YamlEntry | undefined): Record<string, number> {
  if (entry === undefined) {
    return {};
  }
  const given = entry.node.kind === "map" ? [...entry.node.entries.values()] : [{ ...entry, key: "default" }];
  const seconds = given.map((delay) => [delay.key, reader.fields.parsed(delay, readDelay) ?? 0] as const);
  return Object.fromEntries(seconds);
}

/** Seconds from a number of seconds or a time with its unit; 0 is none. */
function readDelay(value: unknown): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= 0) {
    return value;
  }
  return value === "0s" ? 0 : readTime(value);
}
