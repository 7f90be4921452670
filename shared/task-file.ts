/**
 * Reads a task file into a Task and writes a Task back as text. The client reads what the user wrote; the coordinator
 * reads again what any client sent, so nothing here trusts its input. Every fault is listed at once with `file:line`.
 * It must never accept a field that nothing honours, and never open a file.
 */
import { SkyError } from "./errors.ts";
import { jobNameSchema } from "./ids.ts";
import type { Task } from "./task.ts";
import { type FieldNames, shownText, TaskFields } from "./task-fields.ts";
import { readResources, resourcesValue } from "./task-resources.ts";
import { plainValue, readYaml, type YamlEntry, type YamlMapping, type YamlNode } from "./yaml11.ts";

/** Bytes of `setup` or `run`. The same as the store's limit for a payload. */
const scriptBytesMax = 8 * 1024 * 1024;
/** Linux takes no single argument or variable above 128 KiB, name and end mark included. */
const envBytesMax = 128 * 1024 - 1;
/** All variables together: Linux gives a new program about 2 MiB for arguments and environment. */
const envsBytesMax = 1024 * 1024;
const nodesMax = 10_000;

const taskNames: FieldNames = {
  what: "the task",
  path: "",
  supported: ["name", "num_nodes", "resources", "envs", "setup", "run"],
  /** Valid in SkyPilot's task YAML, but not honoured here yet. */
  later: [
    ..."workdir secrets managed_secrets file_mounts volumes config service pool api_server_access".split(" "),
    ..."event_callback inputs outputs file_mounts_mapping volume_mounts experimental _metadata".split(" "),
  ],
};

export interface ReadTaskOptions {
  /** How the text is called in errors, usually the file's path as the user wrote it. */
  file: string;
  /** From `--env`; they win over the file's and may give a value to a null. Default: none. */
  envOverrides?: Readonly<Record<string, string>>;
}

/**
 * The one task of a file. An empty `setup` or `run` counts as absent. Throws SkyError: "ValueError" for text that is no
 * YAML, "InvalidTaskError" for everything else.
 */
export function readTask(text: string, options: ReadTaskOptions): Task {
  const documents = readYaml(text, options.file).filter((node) => node.kind !== "scalar" || node.value !== null);
  const first = documents[0];
  if (first === undefined) {
    throw new SkyError(
      "InvalidTaskError",
      `${options.file} is empty or contains no task definition. Add at least a \`run:\` (or \`setup:\`) field.`,
    );
  }
  const reader = new TaskReader(options);
  const header = documents.length > 1 && isHeader(first) ? first : null;
  const [node, ...others] = header === null ? documents : documents.slice(1);
  if (node === undefined || others.length > 0) {
    throw new SkyError(
      "InvalidTaskError",
      "YAML specifies a DAG which is only supported by `sky jobs launch`. `sky launch` and `sky exec` take a single task.",
    );
  }
  const task = reader.task(node);
  const headerName = header === null ? null : reader.name(header.entries.get("name"));
  reader.finish();
  return task.name === null ? { ...task, name: headerName } : task;
}

function isHeader(node: YamlNode): node is YamlMapping {
  return node.kind === "map" && [...node.entries.keys()].every((key) => key === "name" || key === "execution");
}

class TaskReader {
  private readonly file: string;
  private readonly envOverrides: Readonly<Record<string, string>>;
  private readonly fields: TaskFields;

  constructor(options: ReadTaskOptions) {
    this.file = options.file;
    this.envOverrides = options.envOverrides ?? {};
    this.fields = new TaskFields(options.file);
  }

  /** Throws when anything was wrong. */
  finish(): void {
    this.fields.finish();
  }

  task(node: YamlNode): Task {
    const entries = this.fields.of(node, taskNames);
    return {
      name: this.name(entries.get("name")),
      numNodes: this.numNodes(entries.get("num_nodes")),
      resources: readResources(this.fields, entries.get("resources")),
      envs: this.envs(entries.get("envs")),
      setup: this.script(entries.get("setup")),
      run: this.script(entries.get("run")),
    };
  }

  name(entry: YamlEntry | undefined): string | null {
    const name = this.fields.text(entry);
    if (entry === undefined || name === null) {
      return null;
    }
    if (!jobNameSchema.safeParse(name).success) {
      this.fields.fault(
        entry,
        `Invalid name '${shownText(name)}': use letters, digits, '_', '.' and '-' (at most 63), with a letter or digit at both ends.`,
      );
      return null;
    }
    return name;
  }

  private numNodes(entry: YamlEntry | undefined): number {
    if (entry === undefined) {
      return 1;
    }
    const value = plainValue(entry.node);
    if (typeof value !== "number" || !Number.isInteger(value) || value < 1 || value > nodesMax) {
      this.fields.fault(entry, `'num_nodes' must be a whole number from 1 to ${nodesMax}.`);
      return 1;
    }
    return value;
  }

  private envs(entry: YamlEntry | undefined): Record<string, string> {
    const envs = new Map<string, string>();
    if (entry !== undefined && entry.node.kind !== "map") {
      this.fields.fault(entry, "'envs' must be a mapping of names to values.");
    } else if (entry?.node.kind === "map") {
      for (const variable of entry.node.entries.values()) {
        const value = this.env(variable);
        if (value !== null) {
          envs.set(variable.key, value);
        }
      }
    }
    for (const [name, value] of Object.entries(this.envOverrides)) {
      const problem = envProblem(name, value);
      if (problem !== null) {
        throw new SkyError("InvalidTaskError", `Environment variable '${shownText(name)}' ${problem}`);
      }
      envs.set(name, value);
    }
    const bytes = [...envs].reduce((sum, [name, value]) => sum + byteLength(name) + byteLength(value) + 2, 0);
    if (bytes > envsBytesMax) {
      throw new SkyError(
        "InvalidTaskError",
        `${this.file}: the environment variables take ${bytes} bytes together; the limit is ${envsBytesMax}. Put large values in a file.`,
      );
    }
    return Object.fromEntries(envs);
  }

  private env(entry: YamlEntry): string | null {
    const name = entry.key;
    const override = Object.hasOwn(this.envOverrides, name) ? this.envOverrides[name] : undefined;
    if (override !== undefined) {
      return override;
    }
    if (entry.node.kind !== "scalar") {
      this.fields.fault(
        entry,
        `Environment variable '${shownText(name)}' must have one value, not a ${entry.node.kind}.`,
      );
      return null;
    }
    const problem = envProblem(name, entry.node.text);
    if (problem !== null) {
      this.fields.fault(entry, `Environment variable '${shownText(name)}' ${problem}`);
      return null;
    }
    if (entry.node.value === null) {
      this.fields.fault(
        entry,
        `Environment variable '${name}' is None. Please set a value for it in task YAML or with --env flag. ` +
          `To set it to be empty, use an empty string (${name}: "" in task YAML or --env ${name}="" in CLI).`,
      );
      return null;
    }
    return entry.node.text;
  }

  private script(entry: YamlEntry | undefined): string | null {
    const script = this.fields.text(entry);
    if (entry === undefined || script === null || script === "") {
      return null;
    }
    const problem = textProblem(script);
    if (problem !== null) {
      this.fields.fault(entry, `'${entry.key}' ${problem}`);
    } else if (byteLength(script) > scriptBytesMax) {
      this.fields.fault(
        entry,
        `'${entry.key}' is larger than ${scriptBytesMax / 1024 / 1024} MB. Put it in a file on the machines.`,
      );
    }
    return script;
  }
}

function envProblem(name: string, value: string): string | null {
  if (!/^[a-zA-Z_][a-zA-Z0-9_]{0,254}$/.test(name)) {
    return "has an invalid name: use letters, digits and '_', not starting with a digit.";
  }
  if (byteLength(name) + byteLength(value) + 1 > envBytesMax) {
    return `is larger than ${Math.floor(envBytesMax / 1024)} KiB, which Linux refuses. Put the value in a file.`;
  }
  return textProblem(value);
}

function textProblem(text: string): string | null {
  if (text.includes("\0")) {
    return "contains a NUL character, which no program can be given.";
  }
  return /\p{Surrogate}/u.test(text) ? "contains half of a Unicode character (a lone surrogate)." : null;
}

function byteLength(text: string): number {
  return new TextEncoder().encode(text).byteLength;
}

/** YAML text that `readTask` reads back to the same task (with `null` for an empty setup or run). */
export function writeTask(task: Task): string {
  const lines: string[] = [];
  if (task.name !== null) {
    lines.push(`name: ${JSON.stringify(task.name)}`);
  }
  lines.push(`num_nodes: ${task.numNodes}`);
  lines.push(`resources: ${JSON.stringify(resourcesValue(task.resources))}`);
  lines.push(Object.keys(task.envs).length === 0 ? "envs: {}" : "envs:");
  for (const [name, value] of Object.entries(task.envs)) {
    lines.push(`  ${JSON.stringify(name)}: ${JSON.stringify(value)}`);
  }
  for (const field of ["setup", "run"] as const) {
    const script = task[field];
    if (script !== null) {
      lines.push(`${field}: ${scriptText(script)}`);
    }
  }
  return `${lines.join("\n")}\n`;
}

/** What YAML neither takes for a line break nor refuses. */
const blockSafe = /^[\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\u{10000}-\u{10ffff}]+$/u;

/** A literal block where every character survives one (four times faster to read than quotes), else a quoted string. */
function scriptText(script: string): string {
  if (!blockSafe.test(script) || script.trim() === "") {
    return JSON.stringify(script);
  }
  const ends = script.endsWith("\n");
  const body = ends ? script.slice(0, -1) : script;
  return `|2${ends ? "+" : "-"}\n  ${body.replaceAll("\n", "\n  ")}`;
}
