/**
 * A task as programs build it: what a task file says, with setters that can be chained. Values are kept as a task file
 * would hold them and are read by the same reader, so that a program and a file mean the same. It must never contact a
 * cluster, and shows no secret when it is printed. Used by programs, and by launch and exec.
 */
import { readFileSync } from "node:fs";
import { messageOf } from "../../../shared/errors.ts";
import type { Task as PlainTask } from "../../../shared/task.ts";
import { readTask, writeTask } from "../../../shared/task-file.ts";
import { NotSupportedError, ValueError } from "./exceptions.ts";
import { configOfText, requireKnown, shownValue, type TaskConfig, taskOfConfig } from "./fields.ts";
import { raisingNow } from "./raise.ts";
import { Resources, type ResourcesOptions } from "./resources.ts";
import { generatorSource } from "./run-generator.ts";
import { Storage } from "./storage.ts";

/**
 * Makes the command of each node: called on the node itself with its rank and the addresses of all nodes by rank; `null`
 * runs nothing there. Its source text is what travels, so it may use nothing but its arguments.
 */
export type CommandGenerator = (rank: number, ips: string[]) => string | null;

/** A folder of this machine, or a git repository that each node fetches. */
export type Workdir = string | { url: string; ref?: string };

/** What makes a Task. Everything is optional; `null` and `undefined` both mean "not said". */
export interface TaskOptions {
  /** Shown in queues and logs: letters, digits, `_`, `.` and `-`. Default: none. */
  name?: string | null;
  /** Bash script that runs on each node of a launch before `run`. Default: none. */
  setup?: string | null;
  /** Bash script, or a generator that makes one for each node. Default: none. */
  run?: string | CommandGenerator | null;
  /** Environment variables of setup and run. */
  envs?: Readonly<Record<string, string>> | null;
  /** As envs, but shown nowhere: not in lists, not in logs. */
  secrets?: Readonly<Record<string, string>> | null;
  /** Its content is brought to `~/sky_workdir` of each node, where setup and run begin. Default: none. */
  workdir?: Workdir | null;
  /** Nodes that run the task at the same time. Default: 1. */
  numNodes?: number | null;
  /** Where what comes from: see `setFileMounts`. */
  fileMounts?: Readonly<Record<string, string>> | null;
  /** Paths on the nodes, and the names of volumes that an admin publishes. */
  volumes?: Readonly<Record<string, string>> | null;
  /** Bash script that runs where rank 0 is when the job's status changes. Default: none. */
  eventCallback?: string | null;
  /** What policies speak of and SkyPilot's tasks lack: `{ compute: { cpuCoreLimit: 8 } }`. Default: none. */
  workload?: Readonly<Record<string, unknown>> | null;
  /** Refused: say `new Resources({ imageId: "docker:IMAGE" })`. */
  dockerImage?: string | null;
  /** Refused: on one's own machines nodes are chosen by what they have. */
  blockedResources?: Iterable<Resources> | null;
}

const known = new Set([
  ..."name setup run envs secrets workdir numNodes fileMounts volumes".split(" "),
  ..."eventCallback workload dockerImage blockedResources".split(" "),
]);

type Variables = Readonly<Record<string, string>> | readonly (readonly [string, string])[];
type Several = readonly Resources[] | ReadonlySet<Resources>;
/** `resources` as a task file holds them, in plain values. */
type ResourceConfig = Readonly<Record<string, unknown>>;

/** Names and values of variables. Throws ValueError for a value that is no text. */
function variablesOf(what: string, variables: Variables | null): Record<string, string> {
  const entries = Array.isArray(variables) ? (variables as [string, string][]) : Object.entries(variables ?? {});
  for (const [name, value] of entries) {
    if (typeof value !== "string") {
      throw new ValueError(`${what} must be strings; ${shownValue(name)} is ${shownValue(value)}.`);
    }
  }
  return Object.fromEntries(entries);
}

/** As in the Python SDK: a slash at an end means one thing to rsync and nothing here, so nobody may rely on it. */
function checkMounts(mounts: Readonly<Record<string, unknown>>): void {
  for (const [destination, source] of Object.entries(mounts)) {
    const slashed = [destination, source].find((path) => typeof path === "string" && /.\/$/.test(path));
    if (slashed !== undefined) {
      throw new ValueError(`File mounts may not end with a slash: ${shownValue(slashed)}.`);
    }
  }
}

function refuseMeaningless(options: TaskOptions): void {
  if (options.dockerImage !== undefined && options.dockerImage !== null) {
    throw new NotSupportedError("'dockerImage' has no meaning here.", {
      hint: 'Say task.setResources(new sky.Resources({ imageId: "docker:IMAGE" })).',
    });
  }
  if (options.blockedResources !== undefined && options.blockedResources !== null) {
    throw new NotSupportedError("'blockedResources' has no meaning here: nodes are chosen by what they have.", {
      hint: "Name what the task needs with accelerators or labels.",
    });
  }
}

function isPlain(value: unknown): value is ResourceConfig {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Set);
}

/** Resources as a task file's `resources`: an array is an order of preference, a Set leaves the choice. */
function resourcesConfig(resources: Resources | Several): TaskConfig {
  const isSeveral = Array.isArray(resources) || resources instanceof Set;
  const several: readonly Resources[] = isSeveral ? [...(resources as Several)] : [resources as Resources];
  if (several.length === 0 || several.some((one) => !(one instanceof Resources))) {
    throw new ValueError("setResources takes a Resources, an array or a Set of them, or what a task file says.");
  }
  const configs = several.map((one) => one.toYamlConfig());
  return configs.length === 1 ? (configs[0] ?? {}) : { [resources instanceof Set ? "any_of" : "ordered"]: configs };
}

let fromPolicyConfig: (config: TaskConfig) => Task;
let configOf: (task: Task) => TaskConfig;

/**
 * A computation to be run on a cluster. All setters check what they are given, change the task and return it.
 *
 * @example
 * const task = new sky.Task({ name: "train", setup: "make", run: "python train.py", workdir: "." })
 *   .setResources(new sky.Resources({ accelerators: "V100:4" }))
 *   .setEnvs({ EPOCHS: "10" });
 */
export class Task {
  #config: TaskConfig = {};
  #generator: string | null = null;
  #resources: Resources | Several | null = null;
  /** A policy's task may say what no cluster here can do: the cluster is who refuses it. */
  #isChecked = true;

  static {
    fromPolicyConfig = (config) => {
      const task = new Task();
      task.#isChecked = false;
      task.#config = structuredClone(config);
      return task;
    };
    configOf = (task) => structuredClone(task.#config);
  }

  /**
   * @throws NotSupportedError for what has no meaning on one's own machines
   * @throws ValueError for an unknown option, or a command generator that cannot be sent
   * @throws InvalidTaskError for values of the wrong form
   */
  constructor(options: TaskOptions = {}) {
    requireKnown("Task", options, known);
    refuseMeaningless(options);
    const { name, setup, run, workdir, numNodes, volumes, eventCallback, workload } = options;
    if (typeof run === "function") {
      this.#generator = generatorSource(run);
    }
    this.#set({
      name: name ?? undefined,
      setup: setup ?? undefined,
      run: typeof run === "function" ? undefined : (run ?? undefined),
      workdir: workdir ?? undefined,
      num_nodes: numNodes ?? undefined,
      volumes: volumes ?? undefined,
      event_callback: eventCallback ?? undefined,
      workload: workload ?? undefined,
    });
    this.setEnvs(options.envs ?? null)
      .setSecrets(options.secrets ?? null)
      .setFileMounts(options.fileMounts ?? null);
  }

  /**
   * The task in a task file.
   *
   * @param path of the file; a relative one starts at the working folder
   * @throws ValueError when it cannot be read or is no YAML
   * @throws InvalidTaskError with every fault and its line
   * @example
   * const task = sky.Task.fromYaml("task.yaml");
   */
  static fromYaml(path: string): Task {
    let text: string;
    try {
      text = readFileSync(path, "utf8");
    } catch (error) {
      throw new ValueError(`Cannot read the task file ${path}: ${messageOf(error)}.`, { cause: error });
    }
    const task = new Task();
    task.#config = raisingNow(() => configOfText(text, path));
    return task;
  }

  get name(): string | null {
    return (this.#config["name"] as string | undefined) ?? null;
  }

  get setup(): string | null {
    return (this.#config["setup"] as string | undefined) ?? null;
  }

  /** The script; null where there is none or a command generator stands in its place. */
  get run(): string | null {
    return (this.#config["run"] as string | undefined) ?? null;
  }

  get workdir(): Workdir | null {
    return structuredClone((this.#config["workdir"] as Workdir | undefined) ?? null);
  }

  get numNodes(): number {
    return (this.#config["num_nodes"] as number | undefined) ?? 1;
  }

  get envs(): Record<string, string> {
    return { ...(this.#config["envs"] as Record<string, string> | undefined) };
  }

  /** Destinations and sources, storage included. */
  get fileMounts(): Record<string, string | Record<string, unknown>> {
    return structuredClone((this.#config["file_mounts"] as Record<string, string> | undefined) ?? {});
  }

  /** What `setResources` was last given; null for a task whose file says it, or that says nothing. */
  get resources(): Resources | Several | null {
    return this.#resources;
  }

  /** Paths on the nodes, and the names of volumes that an admin publishes. */
  get volumes(): Record<string, string | Record<string, unknown>> {
    return structuredClone((this.#config["volumes"] as Record<string, string> | undefined) ?? {});
  }

  /** The bash script that each node runs, in place of what was said before; null: none. */
  setRun(run: string | null): this {
    this.#generator = null;
    this.#set({ run: run ?? undefined });
    return this;
  }

  /** `resources` as a task file says them, in plain values; a copy. */
  getResourceConfig(): Record<string, unknown> {
    return structuredClone((this.#config["resources"] as Record<string, unknown> | undefined) ?? {});
  }

  /**
   * What the task needs on each node, in place of what was said before.
   *
   * @param resources one, an array in order of preference, a Set of which any is as good, or what a task file says
   * under `resources` (as `getResourceConfig` gives it)
   * @throws ValueError when it is none of these; InvalidTaskError when the values are wrong
   */
  setResources(resources: Resources | Several | ResourceConfig): this {
    if (isPlain(resources) && !(resources instanceof Resources)) {
      this.#set({ resources });
      this.#resources = null;
    } else {
      this.#set({ resources: resourcesConfig(resources) });
      this.#resources = resources;
    }
    return this;
  }

  /** Volumes, in place of those said before. @throws InvalidTaskError for a path that is not allowed */
  setVolumes(volumes: Readonly<Record<string, string>> | null): this {
    this.#set({ volumes: volumes === null ? undefined : { ...volumes } });
    return this;
  }

  /** As `setVolumes`, beside those said before. @throws as `setVolumes` */
  updateVolumes(volumes: Readonly<Record<string, string>>): this {
    this.#set({ volumes: { ...this.volumes, ...volumes } });
    return this;
  }

  /** Whether the task runs a controller of managed jobs or services. Always false here: there are no such tasks. */
  isControllerTask(): boolean {
    return false;
  }

  /**
   * Exchanges some fields in all resources of the task.
   *
   * @throws as the constructor of Resources; ValueError when `setResources` was not called before
   */
  setResourcesOverride(changes: ResourcesOptions): this {
    const before = this.#resources ?? new Resources();
    if (this.#resources === null && Object.keys((this.#config["resources"] as object | undefined) ?? {}).length > 0) {
      throw new ValueError("The task's file says its resources: use setResources.");
    }
    if (before instanceof Resources) {
      return this.setResources(before.copy(changes));
    }
    const copies = [...before].map((one) => one.copy(changes));
    return this.setResources(before instanceof Set ? new Set(copies) : copies);
  }

  /**
   * Files and folders that are brought to each node, in place of those said before.
   *
   * @param mounts where they go (absolute, `~/…`, or relative to the home) and where they come from: a path of this
   * machine, a bucket's URI or an `https://` address. Null: none.
   * @throws ValueError for a slash at an end; InvalidTaskError for a destination that is not allowed
   * @example
   * task.setFileMounts({ "~/.netrc": "/home/alice/.netrc", "/tmp/data": "s3://bucket/data" });
   */
  setFileMounts(mounts: Readonly<Record<string, string>> | null): this {
    checkMounts(mounts ?? {});
    this.#set({ file_mounts: mounts === null ? undefined : { ...mounts } });
    return this;
  }

  /** As `setFileMounts`, beside those said before. @throws as `setFileMounts` */
  updateFileMounts(mounts: Readonly<Record<string, string>>): this {
    return this.setFileMounts({ ...(this.fileMounts as Record<string, string>), ...mounts });
  }

  /**
   * Storage that is mounted or copied on each node, in place of storage said before; other file mounts stay.
   *
   * @throws ValueError when a value is no Storage
   */
  setStorageMounts(mounts: Readonly<Record<string, Storage>> | null): this {
    const others = Object.entries(this.fileMounts).filter(([, source]) => typeof source === "string");
    return this.#withStorage(Object.fromEntries(others), mounts ?? {});
  }

  /** As `setStorageMounts`, beside those said before. @throws as `setStorageMounts` */
  updateStorageMounts(mounts: Readonly<Record<string, Storage>>): this {
    return this.#withStorage(this.fileMounts, mounts);
  }

  /** Environment variables, in place of those said before. @throws ValueError for a value that is no string */
  setEnvs(envs: Variables | null): this {
    const given = variablesOf("Environment variables", envs);
    this.#set({ envs: Object.keys(given).length === 0 ? undefined : given });
    return this;
  }

  /** As `setEnvs`, beside those said before. @throws as `setEnvs` */
  updateEnvs(envs: Variables): this {
    return this.setEnvs({ ...this.envs, ...variablesOf("Environment variables", envs) });
  }

  /** Secret variables, in place of those said before. @throws ValueError for a value that is no string */
  setSecrets(secrets: Variables | null): this {
    const given = variablesOf("Secrets", secrets);
    this.#set({ secrets: Object.keys(given).length === 0 ? undefined : given });
    return this;
  }

  /** As `setSecrets`, beside those said before. @throws as `setSecrets` */
  updateSecrets(secrets: Variables): this {
    const before = this.#config["secrets"] as Record<string, string> | undefined;
    return this.setSecrets({ ...before, ...variablesOf("Secrets", secrets) });
  }

  /**
   * The text of a task file that says the same. It holds the secrets as well: mind where it goes.
   */
  toYaml(): string {
    const task = taskOfConfig(this.#config);
    const runGenerator = this.#generator;
    return raisingNow(() => writeTask(runGenerator === null ? task : { ...task, runGenerator }));
  }

  #withStorage(mounts: Record<string, unknown>, storage: Readonly<Record<string, Storage>>): this {
    for (const [destination, one] of Object.entries(storage)) {
      if (!(one instanceof Storage)) {
        throw new ValueError(`Storage mounts must be of the class Storage; that of ${shownValue(destination)} is not.`);
      }
      mounts[destination.replace(/(.)\/$/, "$1")] = one.toYamlConfig();
    }
    this.#set({ file_mounts: mounts });
    return this;
  }

  /** Takes the values if the task is still a task with them. */
  #set(changes: TaskConfig): void {
    const config = { ...this.#config, ...structuredClone(changes) };
    if (this.#isChecked) {
      taskOfConfig(config);
    }
    this.#config = config;
  }
}

/** The task in the product's own form, for sending. Throws InvalidTaskError. */
export function plainTask(task: Task): PlainTask {
  return raisingNow(() => readTask(task.toYaml(), { file: "task" }));
}

/** A task as a policy gets it, of what a task file says; what is in it is not checked. */
export function taskOfPolicy(config: TaskConfig): Task {
  return fromPolicyConfig(config);
}

/** What a task file would say, without what is not said. */
export function configOfTask(task: Task): TaskConfig {
  return Object.fromEntries(Object.entries(configOf(task)).filter(([, value]) => value !== undefined));
}
