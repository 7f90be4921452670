/**
 * What a task needs on each of its nodes, as an object that never changes. It checks the forms of its values at once, by
 * the same reader that reads task files, and refuses what machines of one's own cannot have. It must never ask a
 * cluster. Used by programs, and by Task.
 */
import { resourceRefusals } from "../../../shared/task-refusals.ts";
import { checkResources } from "./fields.ts";
import { NotSupportedError } from "./exceptions.ts";

/** Accelerators for each node: one kind, kinds in order of preference, or kinds that are equally good (a Set). */
export type Accelerators = string | Readonly<Record<string, number>> | readonly string[] | ReadonlySet<string>;

/** What can be said of the needs of a task. Everything is optional; `null` and `undefined` both mean "not said". */
export interface ResourcesOptions {
  /** Only `"local"`: a cluster of one's own machines is part of no cloud. */
  cloud?: string | null;
  /** Refused: an owned machine has no instance type. Ask with `accelerators`, `cpus`, `memory` or `labels`. */
  instanceType?: string | null;
  /** CPUs for each node: `4` or `"4"` (as many), `"4+"` (at least). Default: the cluster's. */
  cpus?: number | string | null;
  /** Memory for each node in GiB, or with a unit (`"16GB"`); `"16+"` asks for at least that. Default: the cluster's. */
  memory?: number | string | null;
  /**
   * Accelerators for each node: `"V100"`, `"V100:4"`, `{ V100: 4 }`, `"V100:0.5"` (half of one), `"80GB+:2"` (by
   * memory); an array takes the first kind that has room, a Set any. Default: none.
   */
  accelerators?: Accelerators | null;
  /** Refused: they are arguments of cloud TPUs. */
  acceleratorArgs?: Readonly<Record<string, unknown>> | null;
  /** Only `false`: nobody takes an owned machine away for a better offer. Default: false. */
  useSpot?: boolean | null;
  /**
   * The job is started again elsewhere when its machine is lost: a strategy (all mean the same here), or
   * `"none"`. Default: it is not started again.
   */
  jobRecovery?: string | Readonly<Record<string, unknown>> | null;
  /** Refused: the cluster is where it is. */
  region?: string | null;
  /** Refused, as `region`. */
  zone?: string | null;
  /** A container image in which setup and run run: `"docker:IMAGE"`. Default: none, they run on the machine itself. */
  imageId?: string | null;
  /** Refused: the disks of an owned machine are as large as they are. */
  diskSize?: number | string | null;
  /** Refused, as `diskSize`. */
  diskTier?: string | null;
  /** Ports that the task listens on, for people: `8080`, `"9000-9010"`, or several. Nothing is opened or closed. */
  ports?: number | string | readonly (number | string)[] | null;
  /** Only nodes that carry all of these labels. */
  labels?: Readonly<Record<string, string>> | null;
  /** −1000 to 1000; higher starts earlier. Default: 0. */
  priority?: number | null;
  /** Longest time from start to end: `"90m"`, `"1:30:00"`, or a number of minutes. Default: the cluster's limit. */
  time?: number | string | null;
  /** Nobody else's job on the same nodes. Default: false. */
  exclusive?: boolean | null;
  /** The job may be stopped for one of higher priority, and is started again later. Default: false. */
  preemptible?: boolean | null;
}

/** Fields that are refused with the words that a task file's are, by their names there. */
const refusedNames = {
  instanceType: "instance_type",
  acceleratorArgs: "accelerator_args",
  useSpot: "use_spot",
  region: "region",
  zone: "zone",
  diskSize: "disk_size",
  diskTier: "disk_tier",
} as const satisfies Partial<Record<keyof ResourcesOptions, string>>;

/** The field's name in a task file. */
const yamlNames = {
  cloud: "cloud",
  cpus: "cpus",
  memory: "memory",
  accelerators: "accelerators",
  jobRecovery: "job_recovery",
  imageId: "image_id",
  ports: "ports",
  labels: "labels",
  priority: "priority",
  time: "time",
  exclusive: "exclusive",
  preemptible: "preemptible",
} as const satisfies Partial<Record<keyof ResourcesOptions, string>>;

const known = new Set<string>([...Object.keys(yamlNames), ...Object.keys(refusedNames)]);

function acceleratorsValue(accelerators: Accelerators): unknown {
  if (accelerators instanceof Set) {
    // A set in a task file is a mapping whose values are empty.
    return Object.fromEntries([...(accelerators as ReadonlySet<string>)].map((kind) => [kind, null]));
  }
  return accelerators;
}

function refuseMeaningless(options: ResourcesOptions): void {
  for (const [name, yamlName] of Object.entries(refusedNames)) {
    const value = options[name as keyof typeof refusedNames];
    const refusal = resourceRefusals[yamlName];
    if (value !== undefined && value !== null && refusal?.harmless?.(value) !== true) {
      throw new NotSupportedError(`'${name}' has no meaning here. ${refusal?.reason ?? ""}`);
    }
  }
  const { cloud } = options;
  if (typeof cloud === "string" && cloud.toLowerCase() !== "local") {
    throw new NotSupportedError(`'cloud: ${cloud}' has no meaning here: a cluster of your own is part of no cloud.`, {
      hint: 'Leave cloud out, or say "local".',
    });
  }
}

/** As `resources` of a task file hold it. */
function yamlValue(options: ResourcesOptions): Record<string, unknown> {
  const value: Record<string, unknown> = {};
  for (const [name, yamlName] of Object.entries(yamlNames)) {
    const given = options[name as keyof typeof yamlNames];
    if (given !== undefined && given !== null) {
      value[yamlName] = name === "accelerators" ? acceleratorsValue(given as Accelerators) : given;
    }
  }
  return value;
}

/**
 * What a task needs on each of its nodes. It never changes: `copy` makes another one.
 *
 * @example
 * new sky.Resources({ accelerators: "V100:2", cpus: "8+", memory: "32+" });
 */
export class Resources {
  readonly #options: ResourcesOptions;

  /**
   * @throws NotSupportedError for a field that has no meaning on one's own machines
   * @throws ValueError for a name that is none, or a value of the wrong form
   */
  constructor(options: ResourcesOptions = {}) {
    refuseMeaningless(options);
    this.#options = structuredClone(options);
    checkResources(options, known, yamlValue(options));
    Object.freeze(this);
  }

  get accelerators(): Accelerators | null {
    return structuredClone(this.#options.accelerators ?? null);
  }

  get cpus(): number | string | null {
    return this.#options.cpus ?? null;
  }

  /** GiB where it is a number. */
  get memory(): number | string | null {
    return this.#options.memory ?? null;
  }

  get jobRecovery(): string | Readonly<Record<string, unknown>> | null {
    return structuredClone(this.#options.jobRecovery ?? null);
  }

  get imageId(): string | null {
    return this.#options.imageId ?? null;
  }

  get ports(): number | string | readonly (number | string)[] | null {
    return structuredClone(this.#options.ports ?? null);
  }

  get labels(): Readonly<Record<string, string>> | null {
    return structuredClone(this.#options.labels ?? null);
  }

  get priority(): number {
    return this.#options.priority ?? 0;
  }

  get time(): number | string | null {
    return this.#options.time ?? null;
  }

  /** False, always: see `useSpot` of the options. */
  get useSpot(): boolean {
    return false;
  }

  /**
   * The same with some fields exchanged; `null` takes one away.
   *
   * @throws as the constructor
   * @example
   * const bigger = resources.copy({ accelerators: "V100:4" });
   */
  copy(changes: ResourcesOptions = {}): Resources {
    return new Resources({ ...this.#options, ...changes });
  }

  /** As `resources` of a task file hold it, in plain values. */
  toYamlConfig(): Record<string, unknown> {
    return structuredClone(yamlValue(this.#options));
  }
}
