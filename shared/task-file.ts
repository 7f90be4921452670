/**
 * Reads a task file into a Task, or several tasks into a Pipeline, and writes a Task back as text. The client reads what
 * the user wrote; the coordinator reads again what any client sent, so nothing here trusts its input. Every fault is
 * listed at once with `file:line`. It must never open a file.
 */
import type { ConfigTree } from "./config-layers.ts";
import { SkyError } from "./errors.ts";
import { workloadValue } from "./policy/task/workload-block.ts";
import type { Task } from "./task.ts";
import { TaskFields } from "./task-fields.ts";
import { filesValue } from "./task-files.ts";
import { type Pipeline, readHeader, isHeader } from "./task-pipeline.ts";
import type { Overrides } from "./task-variables.ts";
import { refuseEmpty, TaskReader } from "./task-reader.ts";
import { placeValue } from "./task-place.ts";
import { resourcesValue } from "./task-resources.ts";
import { imageValue, readRunOptions, runOptionsValue } from "./task-settings.ts";
import { plainValue, readYaml, type YamlNode } from "./yaml11.ts";

export interface ReadTaskOptions {
  /** How the text is called in errors, usually the file's path as the user wrote it. */
  file: string;
  /** From `--env`; they win over the file's and may give a value to a null. Default: none. */
  envOverrides?: Overrides;
  /** From `--secret`; as `envOverrides`, for the file's secrets. Default: none. */
  secretOverrides?: Overrides;
  /** From `--image-id`, without `docker:`; in place of the file's. Default: the file's. */
  image?: string;
}

function documentsOf(text: string, file: string): YamlNode[] {
  return readYaml(text, file).filter((node) => node.kind !== "scalar" || node.value !== null);
}

/**
 * The one task of a file. An empty `setup` or `run` counts as absent. Throws SkyError: "ValueError" for text that is no
 * YAML, "InvalidTaskError" for everything else.
 */
export function readTask(text: string, options: ReadTaskOptions): Task {
  const documents = documentsOf(text, options.file);
  const first = documents[0] ?? refuseEmpty(options.file);
  if (documents.length - (documents.length > 1 && isHeader(first) ? 1 : 0) > 1) {
    throw onlyOneTask();
  }
  const { name, tasks } = pipelineOf(documents, options);
  const task = tasks[0] ?? refuseEmpty(options.file);
  return task.name === null ? { ...task, name } : task;
}

/** All tasks of a file in their order, with what its header says. Throws as `readTask`. */
export function readPipeline(text: string, options: ReadTaskOptions): Pipeline {
  const documents = documentsOf(text, options.file);
  if (documents.length === 0) {
    refuseEmpty(options.file);
  }
  return pipelineOf(documents, options);
}

function pipelineOf(documents: readonly YamlNode[], options: ReadTaskOptions): Pipeline {
  const { file, envOverrides: envs = {}, secretOverrides: secrets = {}, image = null } = options;
  const reader = new TaskReader(file, { envs, secrets, image });
  const [first] = documents;
  const header = documents.length > 1 && first !== undefined && isHeader(first) ? first : null;
  const tasks = documents.slice(header === null ? 0 : 1).map((node) => reader.task(node));
  const pipeline = readHeader(reader, header, tasks);
  reader.fields.finish();
  return pipeline;
}

/**
 * The `config` of a file's one task, as a layer of SkyPilot's config; nothing: an empty tree. The rest of the task is not
 * looked at. Throws as `readTask`, for what a task's config may not say as well.
 */
export function readTaskConfig(text: string, file: string): ConfigTree {
  const documents = documentsOf(text, file);
  const tasks = documents.slice(documents.length > 1 && documents[0] !== undefined && isHeader(documents[0]) ? 1 : 0);
  const [task, other] = tasks;
  if (other !== undefined) {
    throw onlyOneTask();
  }
  const entry = task?.kind === "map" ? task.entries.get("config") : undefined;
  const fields = new TaskFields(file);
  readRunOptions(fields, entry);
  fields.finish();
  const tree = entry === undefined ? null : plainValue(entry.node);
  return typeof tree === "object" && tree !== null && !Array.isArray(tree) ? (tree as ConfigTree) : {};
}

function onlyOneTask(): SkyError {
  return new SkyError(
    "InvalidTaskError",
    "YAML specifies a DAG which is only supported by `sky jobs launch`. `sky launch` and `sky exec` take a single task.",
  );
}

/** YAML text that `readTask` reads back to the same task (with `null` for an empty setup or run). */
export function writeTask(task: Task): string {
  const lines: string[] = [];
  if (task.name !== null) {
    lines.push(`name: ${JSON.stringify(task.name)}`);
  }
  lines.push(`num_nodes: ${task.numNodes}`);
  const { clusterName, image, imageOptions, ports, secrets = {} } = task;
  const resources = {
    ...resourcesValue(task.resources),
    ...(clusterName === undefined ? {} : placeValue(clusterName)),
    ...(image === undefined ? {} : { image_id: imageValue(image) }),
    ...(ports === undefined ? {} : { ports }),
  };
  lines.push(`resources: ${JSON.stringify(resources)}`);
  for (const [name, value] of Object.entries(filesValue(task))) {
    lines.push(`${name}: ${JSON.stringify(value)}`);
  }
  if (imageOptions !== undefined) {
    lines.push(`config: ${JSON.stringify(runOptionsValue(imageOptions))}`);
  }
  lines.push(Object.keys(task.envs).length === 0 ? "envs: {}" : "envs:");
  for (const [name, value] of Object.entries(task.envs)) {
    lines.push(`  ${JSON.stringify(name)}: ${JSON.stringify(value)}`);
  }
  if (Object.keys(secrets).length > 0) {
    lines.push(`secrets: ${JSON.stringify(secrets)}`);
  }
  if (task.workload !== undefined) {
    lines.push(`workload: ${JSON.stringify(workloadValue(task.workload))}`);
  }
  const { setup, run, runGenerator = null, eventCallback = null } = task;
  for (const [field, script] of Object.entries({
    setup,
    run,
    run_generator: runGenerator,
    event_callback: eventCallback,
  })) {
    if (script !== null) {
      lines.push(`${field}: ${scriptText(script)}`);
    }
  }
  return `${lines.join("\n")}\n`;
}

/** What YAML neither takes for a line break nor refuses. */
const blockSafe = /^[\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\u{10000}-\u{10ffff}]+$/u;

/** The reader of blocks takes lines of nothing but blanks at the end for no lines when the first one is indented. */
const endsBlank = /\n[ \t]+\n*$/;

/** A literal block where every character survives one (four times faster to read than quotes), else a quoted string. */
function scriptText(script: string): string {
  if (!blockSafe.test(script) || endsBlank.test(script) || script.trim() === "") {
    return JSON.stringify(script);
  }
  const ends = script.endsWith("\n");
  const body = ends ? script.slice(0, -1) : script;
  return `|2${ends ? "+" : "-"}\n  ${body.replaceAll("\n", "\n  ")}`;
}
