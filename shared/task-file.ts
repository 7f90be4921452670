/**
 * Reads a task file into a Task and writes a Task back as text. The client reads what the user wrote; the coordinator
 * reads again what any client sent, so nothing here trusts its input. Every fault is listed at once with `file:line`.
 * It must never accept a field that nothing honours, and never open a file.
 */
import { messageOf, SkyError } from "./errors.ts";
import { jobNameSchema } from "./ids.ts";
import { didYouMean } from "./near-match.ts";
import type { Amount, Task, TaskResources } from "./task.ts";
import { formatAmount, readAccelerators, readCpus, readMemory } from "./units.ts";
import { plainValue, readYaml, type YamlEntry, type YamlMapping, type YamlNode } from "./yaml11.ts";

/** Bytes of `setup` or `run`. The same as the store's limit for a payload. */
const scriptBytesMax = 8 * 1024 * 1024;
/** Linux takes no single argument or variable above 128 KiB, name and end mark included. */
const envBytesMax = 128 * 1024 - 1;
/** All variables together: Linux gives a new program about 2 MiB for arguments and environment. */
const envsBytesMax = 1024 * 1024;
const nodesMax = 10_000;
const faultsShown = 20;

const taskFields = ["name", "num_nodes", "resources", "envs", "setup", "run"];
/** Valid in SkyPilot's task YAML, but not honoured here yet. */
const laterTaskFields = [
  ..."workdir secrets managed_secrets file_mounts volumes config service pool api_server_access event_callback".split(
    " ",
  ),
  ..."inputs outputs file_mounts_mapping volume_mounts experimental _metadata".split(" "),
];
const resourceFields = ["accelerators", "gpus", "cpus", "memory", "cloud", "infra", "job_recovery"];
const recoveryFields = ["strategy"];
const laterRecoveryFields = ["max_restarts_on_errors", "recover_on_exit_codes"];
/** SkyPilot's; they differ in where it looks for another machine, which on one's own machines is the same. */
const recoveryStrategies = ["EAGER_NEXT_REGION", "FAILOVER"];
const laterResourceFields = [
  ..."region zone accelerator_args instance_type use_spot spot_recovery disk_size disk_tier".split(" "),
  ..."network_tier local_disk max_hourly_cost ports labels image_id autostop priority priority_class volumes".split(
    " ",
  ),
  ..."any_of ordered _cluster_config_overrides _docker_login_config _is_image_managed _requires_fuse".split(" "),
];

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
  private readonly faults: { line: number; text: string }[] = [];

  constructor(options: ReadTaskOptions) {
    this.file = options.file;
    this.envOverrides = options.envOverrides ?? {};
  }

  /** Throws when anything was wrong. */
  finish(): void {
    if (this.faults.length === 0) {
      return;
    }
    const lines = this.faults
      .sort((one, other) => one.line - other.line)
      .slice(0, faultsShown)
      .map((fault) => `${this.file}:${fault.line}: ${fault.text}`);
    if (this.faults.length > faultsShown) {
      lines.push(`… and ${this.faults.length - faultsShown} more.`);
    }
    throw new SkyError("InvalidTaskError", `Invalid task YAML: ${lines.join("\n")}`);
  }

  task(node: YamlNode): Task {
    const fields = this.fields(node, "the task", "", taskFields, laterTaskFields);
    return {
      name: this.name(fields.get("name")),
      numNodes: this.numNodes(fields.get("num_nodes")),
      resources: this.resources(fields.get("resources")),
      envs: this.envs(fields.get("envs")),
      setup: this.script(fields.get("setup")),
      run: this.script(fields.get("run")),
    };
  }

  name(entry: YamlEntry | undefined): string | null {
    const name = this.text(entry);
    if (entry === undefined || name === null) {
      return null;
    }
    if (!jobNameSchema.safeParse(name).success) {
      this.fault(
        entry,
        `Invalid name '${name.slice(0, 80)}': use letters, digits, '_', '.' and '-' (at most 63), with a letter or digit at both ends.`,
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
      this.fault(entry, `'num_nodes' must be a whole number from 1 to ${nodesMax}.`);
      return 1;
    }
    return value;
  }

  private resources(entry: YamlEntry | undefined): TaskResources {
    const none: TaskResources = { accelerators: null, cpus: null, memoryGb: null };
    if (entry === undefined) {
      return none;
    }
    const fields = this.fields(entry.node, "'resources'", "resources.", resourceFields, laterResourceFields);
    const gpus = fields.get("gpus");
    const accelerators = fields.get("accelerators");
    if (gpus !== undefined && accelerators !== undefined) {
      this.fault(gpus, "Cannot specify both `accelerators` and its alias `gpus`.");
    }
    this.place(fields.get("cloud"), fields.get("infra"));
    return {
      accelerators: this.parsed(accelerators ?? gpus, readAccelerators),
      cpus: this.parsed<Amount>(fields.get("cpus"), readCpus),
      memoryGb: this.parsed<Amount>(fields.get("memory"), readMemory),
      ...(this.recovers(fields.get("job_recovery")) ? { recovers: true } : {}),
    };
  }

  /** Whether the job is to be started elsewhere when its machine is lost. */
  private recovers(entry: YamlEntry | undefined): boolean {
    if (entry === undefined) {
      return false;
    }
    const { node } = entry;
    if (node.kind === "map") {
      const path = "resources.job_recovery.";
      const strategy = this.fields(node, "'job_recovery'", path, recoveryFields, laterRecoveryFields).get("strategy");
      return strategy === undefined || this.recovers(strategy);
    }
    const name = this.text(entry);
    if (name === null || name.toUpperCase() === "NONE") {
      return false;
    }
    if (!recoveryStrategies.includes(name.toUpperCase())) {
      const known = `Known strategies: ${recoveryStrategies.join(", ")}, none.`;
      this.fault(entry, `'${entry.key}: ${name.slice(0, 80)}' is no strategy. ${known}`);
    }
    return true;
  }

  /** Every machine is the site's own, so there is one place only. */
  private place(cloud: YamlEntry | undefined, infra: YamlEntry | undefined): void {
    if (cloud !== undefined && infra !== undefined) {
      this.fault(infra, "Cannot specify both `infra` and `cloud`.");
      return;
    }
    const entry = cloud ?? infra;
    const place = this.text(entry);
    if (entry !== undefined && place !== null && place.toLowerCase() !== "local") {
      this.fault(
        entry,
        `'${entry.key}: ${place.slice(0, 80)}' names no place that exists here. Must specify \`cloud: local\` or no cloud in YAML or CLI args.`,
      );
    }
  }

  private parsed<T>(entry: YamlEntry | undefined, parse: (value: unknown) => T | null): T | null {
    if (entry === undefined) {
      return null;
    }
    try {
      return parse(plainValue(entry.node));
    } catch (error) {
      this.fault(entry, messageOf(error));
      return null;
    }
  }

  private envs(entry: YamlEntry | undefined): Record<string, string> {
    const envs = new Map<string, string>();
    if (entry !== undefined && entry.node.kind !== "map") {
      this.fault(entry, "'envs' must be a mapping of names to values.");
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
        throw new SkyError("InvalidTaskError", `Environment variable '${name.slice(0, 80)}' ${problem}`);
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
      this.fault(entry, `Environment variable '${name.slice(0, 80)}' must have one value, not a ${entry.node.kind}.`);
      return null;
    }
    const problem = envProblem(name, entry.node.text);
    if (problem !== null) {
      this.fault(entry, `Environment variable '${name.slice(0, 80)}' ${problem}`);
      return null;
    }
    if (entry.node.value === null) {
      this.fault(
        entry,
        `Environment variable '${name}' is None. Please set a value for it in task YAML or with --env flag. ` +
          `To set it to be empty, use an empty string (${name}: "" in task YAML or --env ${name}="" in CLI).`,
      );
      return null;
    }
    return entry.node.text;
  }

  private script(entry: YamlEntry | undefined): string | null {
    const script = this.text(entry);
    if (entry === undefined || script === null || script === "") {
      return null;
    }
    const problem = textProblem(script);
    if (problem !== null) {
      this.fault(entry, `'${entry.key}' ${problem}`);
    } else if (byteLength(script) > scriptBytesMax) {
      this.fault(
        entry,
        `'${entry.key}' is larger than ${scriptBytesMax / 1024 / 1024} MB. Put it in a file on the machines.`,
      );
    }
    return script;
  }

  /** The text of a field that must be text; null when it is absent or refused. */
  private text(entry: YamlEntry | undefined): string | null {
    if (entry === undefined) {
      return null;
    }
    if (entry.node.kind === "scalar" && typeof entry.node.value === "string") {
      return entry.node.value;
    }
    const hint = entry.node.kind === "scalar" ? `; YAML reads this as ${entry.node.text}. Put it in quotes` : "";
    this.fault(entry, `'${entry.key}' must be text${hint}.`);
    return null;
  }

  /** The entries of a mapping that are supported and not null; what is unknown or comes later is a fault. */
  private fields(
    node: YamlNode,
    what: string,
    path: string,
    supported: readonly string[],
    later: readonly string[],
  ): Map<string, YamlEntry> {
    const fields = new Map<string, YamlEntry>();
    if (node.kind !== "map") {
      this.faults.push({ line: node.line, text: `${what} must be a mapping of fields to values.` });
      return fields;
    }
    for (const entry of node.entries.values()) {
      const isNull = entry.node.kind === "scalar" && entry.node.value === null;
      if (supported.includes(entry.key)) {
        if (!isNull) {
          fields.set(entry.key, entry);
        }
      } else if (later.includes(entry.key)) {
        if (!isNull) {
          this.fault(entry, `'${path}${entry.key}' is not supported yet. Remove it to run the task here.`);
        }
      } else {
        const name = entry.key.slice(0, 80);
        const hint = didYouMean(entry.key, [...supported, ...later]) ?? `Known fields: ${supported.join(", ")}.`;
        this.fault(entry, `unknown field '${path}${name}'. ${hint}`);
      }
    }
    return fields;
  }

  private fault(entry: YamlEntry, text: string): void {
    this.faults.push({ line: entry.keyLine, text });
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
  const { accelerators, cpus, memoryGb } = task.resources;
  const resources = {
    ...(accelerators === null ? {} : { accelerators: `${accelerators.kind}:${accelerators.count}` }),
    ...(cpus === null ? {} : { cpus: formatAmount(cpus) }),
    ...(memoryGb === null ? {} : { memory: formatAmount(memoryGb) }),
    ...(task.resources.recovers === true ? { job_recovery: "EAGER_NEXT_REGION" } : {}),
  };
  lines.push(`resources: ${JSON.stringify(resources)}`);
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
