/**
 * `workload:` of a task file: policy fields for what SkyPilot's form has no place for, and the task's own say on its kind
 * and project. Read after the rest of the task, for nothing may be said twice in two ways; written back as it is read. It
 * must never accept a field that nothing honours, nor let a fault go without its line. Called by shared/task-reader.ts and
 * shared/task-file.ts.
 */
import { messageOf } from "../../errors.ts";
import { projectNameSchema } from "../../policy-api.ts";
import { type Task, type TaskWorkload, waysOf } from "../../task.ts";
import { isNull, shownText, type TaskFields } from "../../task-fields.ts";
import { lineAt, plainValue, type YamlEntry, type YamlMapping } from "../../yaml11.ts";
import { fieldAt, type FieldSpec, kindNamed } from "../fields/fields.ts";
import { onPremGrade } from "../grades-table.ts";
import { itemIndex, nestedItem, sameItem } from "../fields/items.ts";
import { kindOf, kindProblem } from "./kind.ts";
import { readWorkload } from "../read/workload.ts";
import { itemsOf, ownFields, sameField } from "./adapter-fields.ts";
import { refusedValues } from "./adapter-values.ts";
import { samePlain, sameValue, typed } from "../fields/values.ts";
import { type Item, type PlainValue, type WorkloadKind, workloadKinds } from "../words.ts";

const ownKeys = ["project", "kind", "interactive"];

/** Null: the task has none, or one that says nothing. `task`: what the rest of it says. Faults go to `fields`. */
export function readWorkloadBlock(fields: TaskFields, entry: YamlEntry | undefined, task: Task): TaskWorkload | null {
  if (entry === undefined) {
    return null;
  }
  if (entry.node.kind !== "map") {
    fields.fault(entry, "'workload' must be a mapping of fields to values.");
    return null;
  }
  return new BlockReader(fields, entry, entry.node, task).read();
}

class BlockReader {
  private readonly fields: TaskFields;
  private readonly entry: YamlEntry;
  private readonly map: YamlMapping;
  private readonly task: Task;

  constructor(fields: TaskFields, entry: YamlEntry, map: YamlMapping, task: Task) {
    this.fields = fields;
    this.entry = entry;
    this.map = map;
    this.task = task;
  }

  read(): TaskWorkload | null {
    const project = this.project();
    const kind = this.kind();
    const said: TaskWorkload = {
      ...(project === null ? {} : { project }),
      ...(kind === null ? {} : { kind }),
      fields: {},
    };
    const values = this.values(kindOf({ ...this.task, workload: said }));
    this.refuseContradictions({ ...this.task, workload: said }, values);
    const isEmpty = values.size === 0 && project === null && kind === null;
    return isEmpty ? null : { ...said, fields: Object.fromEntries(values) };
  }

  private own(key: string): YamlEntry | undefined {
    const entry = this.map.entries.get(key);
    return entry === undefined || isNull(entry.node) ? undefined : entry;
  }

  private project(): string | null {
    const entry = this.own("project");
    const name = this.fields.text(entry);
    if (entry !== undefined && name !== null && !projectNameSchema.safeParse(name).success) {
      this.fields.fault(entry, `'workload.project: ${shownText(name)}' is not a project's name.`);
      return null;
    }
    return name;
  }

  private kind(): WorkloadKind | null {
    const entry = this.own("kind");
    const name = this.fields.text(entry);
    const named = name === null ? null : kindNamed(name);
    if (entry !== undefined && name !== null && named === null) {
      const known = workloadKinds
        .filter((kind) => [1, 2].some((nodes) => kindProblem(kind, nodes) === null))
        .join(", ");
      this.fields.fault(entry, `'workload.kind: ${shownText(name)}' is no kind of workload. Known: ${known}.`);
    }
    const interactive = this.own("interactive");
    const isInteractive = this.fields.flag(interactive);
    if (interactive !== undefined && isInteractive && named !== null && named !== "workspace") {
      this.fields.fault(interactive, `'workload.interactive: true' is the kind workspace, and 'kind' says ${named}.`);
    }
    const kind = isInteractive ? "workspace" : named;
    const problem = kind === null ? null : kindProblem(kind, this.task.numNodes);
    const where = entry ?? interactive;
    if (problem !== null && where !== undefined) {
      this.fields.fault(where, problem);
      return null;
    }
    return kind;
  }

  /** The policy fields, each with a value of its type. */
  private values(kind: WorkloadKind): Map<string, PlainValue> {
    const entries = new Map([...this.map.entries].filter(([key]) => !ownKeys.includes(key)));
    const tree = plainValue({ ...this.map, entries });
    const master = this.own("master");
    if (master !== undefined && kind === "distributed") {
      this.fields.fault(master, "'workload.master' cannot be used here: the ranks of a task are all alike.");
    }
    let read: ReturnType<typeof readWorkload>;
    try {
      read = readWorkload(tree, { kind, dialect: "v2" });
    } catch (error) {
      this.fields.fault(this.entry, `'workload': ${messageOf(error)}`);
      return new Map();
    }
    for (const { field, message } of read.violations) {
      this.fault(field, message.endsWith("?") ? message : `${message}.`);
    }
    const values = new Map<string, PlainValue>();
    for (const [path, value] of read.workload) {
      if (read.violations.length === 0 && this.isFit(path, value)) {
        values.set(path, value);
      }
    }
    return values;
  }

  private fault(path: string, text: string): void {
    this.fields.faultAt(this.lineOf(path), `'workload.${shownText(path)}' ${text}`);
  }

  /** Of the field as it is written, else of what stands around it. */
  private lineOf(path: string): number {
    const [name = ""] = path.split("[");
    const whole = this.map.entries.get(name);
    return whole?.keyLine ?? Math.max(this.entry.keyLine, lineAt(this.map, name.split(".")));
  }

  /** Of its type, and something that is done here. */
  private isFit(path: string, value: PlainValue): boolean {
    const spec = fieldAt(path);
    const problem =
      spec === null
        ? "is no field."
        : (typeProblem(spec, value) ?? idleProblem(path, value) ?? refusedValues[path]?.(value) ?? null);
    if (problem !== null) {
      this.fault(
        path,
        problem.startsWith("must ") || problem.startsWith("cannot ") ? problem : `cannot be used here: ${problem}`,
      );
      return false;
    }
    for (const item of spec?.type === "itemized" ? itemsOf(value) : []) {
      this.checkItem(path, item);
    }
    return true;
  }

  private checkItem(path: string, item: Item): void {
    for (const [name, value] of Object.entries(item)) {
      const attribute = `${path}[].${name}`;
      const spec = fieldAt(attribute);
      const problem =
        spec === null || value === null ? null : (typeProblem(spec, value) ?? idleProblem(attribute, value));
      if (problem !== null) {
        this.fields.faultAt(
          this.lineOf(path),
          `'workload.${attribute}' ${problem.startsWith("must ") ? problem : `cannot be used here: ${problem}`}`,
        );
      }
    }
  }

  /** What another part of the task says may be said again, but not otherwise. */
  private refuseContradictions(task: Task, values: ReadonlyMap<string, PlainValue>): void {
    const own = waysOf(task.resources).map(ownFields(task));
    for (const [path, value] of values) {
      const spec = fieldAt(path);
      const lists = [...new Set(own.map((one) => one.get(path)))];
      const isOther =
        spec?.type === "itemized"
          ? lists.some((one) => contradicts(spec, itemsOf(value), itemsOf(one)))
          : own.some((one) => one.has(path) && !sameField(path, one.get(path) ?? null, value));
      if (spec !== null && isOther) {
        const where = spec.taskField.replaceAll("`", "'");
        this.fault(path, `says another thing than the task itself (${where}). Say it once.`);
      }
    }
  }
}

function typeProblem(spec: FieldSpec, value: PlainValue): string | null {
  if (spec.type === "itemized") {
    return Array.isArray(value) ? null : "must be a list.";
  }
  const result = typed(value, spec);
  return result.ok ? null : `${result.message}${result.hint === undefined ? "" : ` (${result.hint})`}.`;
}

/** Why nothing here does it; null: it is done, or asks for nothing. */
function idleProblem(path: string, value: PlainValue): string | null {
  const { grade, note } = onPremGrade(path);
  const asksNothing = value === false || value === "" || (Array.isArray(value) && value.length === 0);
  return grade === "no effect" && !asksNothing ? `${note}.` : null;
}

/** Whether an item is given here with another value than there. */
function contradicts(spec: FieldSpec, items: readonly Item[], others: readonly Item[]): boolean {
  const near = itemIndex(spec, others);
  return items.some((item) =>
    near(item).some(
      (other) =>
        sameItem(spec, item, other) &&
        Object.entries(item).some(([name, value]) => {
          const there = other[name];
          const attribute = fieldAt(`${spec.path}[].${name}`);
          return (
            there !== undefined && !(attribute === null ? samePlain(value, there) : sameValue(value, there, attribute))
          );
        }),
    ),
  );
}

/** As `readWorkloadBlock` reads it back. */
export function workloadValue({ project, kind, fields }: TaskWorkload): Record<string, unknown> {
  const items = Object.entries(fields).map(([path, value]): [string, PlainValue] => [
    path,
    fieldAt(path)?.type === "itemized" ? itemsOf(value).map(nestedItem) : value,
  ]);
  return {
    ...(project === undefined ? {} : { project }),
    ...(kind === undefined ? {} : { kind }),
    ...nestedItem(Object.fromEntries(items)),
  };
}
