/**
 * One document of a task file: every field of the top level, checked and understood. Reads a YAML tree; what is wrong is
 * gathered with its line. Called by shared/task-file.ts, on the client and again on the coordinator, so it trusts
 * nothing. It must never accept a field that nothing honours, and never open a file.
 */
import { SkyError } from "./errors.ts";
import { jobNameSchema } from "./ids.ts";
import { readWorkloadBlock } from "./policy/task/workload-block.ts";
import type { Task } from "./task.ts";
import { type FieldNames, isNull, shownText, TaskFields } from "./task-fields.ts";
import { readVolumes, readWorkdir } from "./task-files.ts";
import { readFileMounts } from "./task-mounts.ts";
import { refuseSameDestination } from "./task-paths.ts";
import { taskRefusals } from "./task-refusals.ts";
import { readResources } from "./task-resources.ts";
import { readRunOptions } from "./task-settings.ts";
import {
  byteLength,
  type Overrides,
  readEnvs,
  readSecrets,
  registryProblem,
  requireVariablesFit,
  textProblem,
  withVariables,
} from "./task-variables.ts";
import { plainValue, type YamlEntry, type YamlNode } from "./yaml11.ts";

/** Bytes of `setup` or `run`. The same as the store's limit for a payload. */
const scriptBytesMax = 8 * 1024 * 1024;
const callbackBytesMax = 64 * 1024;
const nodesMax = 10_000;
/** Their text may name variables. */
const withVariablesNames = ["workdir", "file_mounts", "volumes"];

const fieldNames: FieldNames = {
  what: "the task",
  path: "",
  supported: [
    ..."name workdir num_nodes resources envs secrets file_mounts volumes setup run config event_callback".split(" "),
    ..."run_generator file_mounts_mapping workload".split(" "),
  ],
  refused: taskRefusals,
};

/** From flags; they win over the file's values and may give a value to a null. */
export interface TaskOverrides {
  envs: Overrides;
  secrets: Overrides;
  /** In place of the file's image; null: the file's counts. */
  image: string | null;
}

export class TaskReader {
  private readonly file: string;
  private readonly overrides: TaskOverrides;
  readonly fields: TaskFields;

  /** `file`: as it is called in messages. */
  constructor(file: string, overrides: TaskOverrides) {
    this.file = file;
    this.overrides = overrides;
    this.fields = new TaskFields(file);
  }

  /** Faults are gathered in `fields`; a task that has any is not to be used. */
  task(node: YamlNode): Task {
    const written = this.fields.of(node, fieldNames);
    const envs = readEnvs(this.fields, written.get("envs"), this.overrides.envs);
    const secrets = readSecrets(this.fields, written.get("secrets"), this.overrides.secrets);
    requireVariablesFit(this.file, envs, secrets);
    const entries = this.withVariables(written, envs, secrets);
    const { resources, clusterName, image, ports, imageOptions } = this.resources(entries);
    const registry = registryProblem(envs, secrets);
    if (registry !== null) {
      this.fields.faultAt(node.line, registry);
    }
    const task: Task = {
      name: this.name(entries.get("name")),
      numNodes: this.numNodes(entries.get("num_nodes")),
      resources,
      ...(clusterName === null ? {} : { clusterName }),
      ...this.files(entries),
      ...(Object.keys(secrets).length === 0 ? {} : { secrets }),
      ...(image === null ? {} : { image }),
      ...(imageOptions === null ? {} : { imageOptions }),
      ...(ports.length === 0 ? {} : { ports }),
      ...this.callback(entries.get("event_callback")),
      ...this.generator(entries.get("run_generator"), entries.get("run")),
      envs,
      setup: this.script(entries.get("setup")),
      run: this.script(entries.get("run")),
    };
    const workload = readWorkloadBlock(this.fields, entries.get("workload"), task);
    return workload === null ? task : { ...task, workload };
  }

  private withVariables(
    entries: ReadonlyMap<string, YamlEntry>,
    ...variables: readonly Record<string, string>[]
  ): Map<string, YamlEntry> {
    const values = new Map(variables.flatMap((group) => Object.entries(group)));
    return new Map(
      [...entries].map(([name, entry]) => [
        name,
        withVariablesNames.includes(name) ? withVariables(this.fields, entry, values) : entry,
      ]),
    );
  }

  private resources(entries: ReadonlyMap<string, YamlEntry>) {
    const read = readResources(this.fields, entries.get("resources"));
    const image = this.overrides.image ?? read.image;
    const config = entries.get("config");
    const own = readRunOptions(this.fields, config);
    const options = own ?? read.runOptions;
    if (own !== null && image === null && config !== undefined) {
      this.fields.fault(
        config,
        "'config.docker.run_options' need a container: give `resources.image_id: docker:IMAGE`.",
      );
    }
    return { ...read, image, imageOptions: image === null ? null : options };
  }

  private files(
    entries: ReadonlyMap<string, YamlEntry>,
  ): Pick<Task, "workdir" | "fileMounts" | "volumes" | "sourceNames"> {
    const workdir = readWorkdir(this.fields, entries.get("workdir"));
    const { mounts, volumes: fromMounts } = readFileMounts(this.fields, entries.get("file_mounts"), workdir !== null);
    const volumes = [...fromMounts, ...readVolumes(this.fields, entries.get("volumes"))];
    refuseSameDestination(this.fields, entries.get("volumes") ?? entries.get("file_mounts"), [...mounts, ...volumes]);
    const sourceNames = this.sourceNames(entries.get("file_mounts_mapping"));
    return {
      ...(workdir === null ? {} : { workdir }),
      ...(mounts.length === 0 ? {} : { fileMounts: mounts }),
      ...(volumes.length === 0 ? {} : { volumes }),
      ...(Object.keys(sourceNames).length === 0 ? {} : { sourceNames }),
    };
  }

  /** SkyPilot's client writes where each local source lies in the archive that it uploaded. */
  private sourceNames(entry: YamlEntry | undefined): Record<string, string> {
    const names = new Map<string, string>();
    for (const item of this.fields.entries(entry)) {
      const text = this.fields.text(item);
      if (text !== null) {
        names.set(item.key, text);
      }
    }
    return Object.fromEntries(names);
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

  private callback(entry: YamlEntry | undefined): { eventCallback?: string } {
    const script = this.script(entry, callbackBytesMax);
    return script === null ? {} : { eventCallback: script };
  }

  /** The SDK's own field: a function cannot stand in YAML as anything but its source. */
  private generator(entry: YamlEntry | undefined, run: YamlEntry | undefined): { runGenerator?: string } {
    const source = this.script(entry);
    if (entry === undefined || source === null) {
      return {};
    }
    if (run !== undefined && !isNull(run.node)) {
      this.fields.fault(run, "'run' and 'run_generator' exclude each other.");
    }
    return { runGenerator: source };
  }

  private script(entry: YamlEntry | undefined, bytesMax = scriptBytesMax): string | null {
    const script = this.fields.text(entry);
    if (entry === undefined || script === null || script === "") {
      return null;
    }
    const problem = textProblem(script);
    if (problem !== null) {
      this.fields.fault(entry, `'${entry.key}' ${problem}`);
    } else if (byteLength(script) > bytesMax) {
      const limit = bytesMax >= 1024 * 1024 ? `${bytesMax / 1024 / 1024} MB` : `${bytesMax / 1024} KB`;
      this.fields.fault(entry, `'${entry.key}' is larger than ${limit}. Put it in a file on the machines.`);
    }
    return script;
  }
}

/** Throws SkyError("InvalidTaskError"): a text without any task. */
export function refuseEmpty(file: string): never {
  throw new SkyError(
    "InvalidTaskError",
    `${file} is empty or contains no task definition. Add at least a \`run:\` (or \`setup:\`) field.`,
  );
}
