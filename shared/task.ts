/**
 * A task as the product understands it after reading: plain data, defaults filled in. Reading (YAML 1.1, line numbers,
 * near matches) is in shared/task-file.ts; this file has only the shape that crosses from there to the API and the
 * coordinator. It must never be widened with a field that nothing honours.
 */

import type { LaunchSpec } from "./launch-spec.ts";
import type { PlainValue, WorkloadKind } from "./policy/words.ts";

/** A demand per node. `exact` is false for SkyPilot's `4+` form. */
export interface Amount {
  value: number;
  exact: boolean;
}

/**
 * Accelerators for each node: `V100:2`, or by device memory (`80GB+`, `NVIDIA:80GB:2`), which any kind of that size
 * serves. A count below 1 is a share of one device.
 */
export interface AcceleratorRequest {
  /** As the user wrote it; with `memory`: the size as written (`80GB`), without the `+`. */
  kind: string;
  count: number;
  memory?: { gb: number; orMore: boolean };
  /** Only this maker's devices; only with `memory`. */
  vendor?: string;
}

/** One way in which each node's part could be served. */
export interface TaskWay {
  accelerators: AcceleratorRequest | null;
  cpus: Amount | null;
  /** GiB per node. */
  memoryGb: Amount | null;
  /** Only nodes that have all of these; absent: any. */
  labels?: Record<string, string>;
}

/** The first way stands in it itself, so that a task with one way, as nearly all are, is plain. */
export interface TaskResources extends TaskWay {
  /** Further ways (`any_of`, `ordered`, sets and lists of accelerators). */
  others?: TaskWay[];
  /** The ways are equally good (`any_of`, sets); absent: earlier ones are preferred. */
  anyOrder?: true;
  /** `job_recovery`: started again elsewhere when its machine is lost; absent: it is not. */
  recovers?: true;
  /** −1000 to 1000; absent: 0. */
  priority?: number;
  /** `time`: longest from its start to its end; absent: none of its own. */
  timeLimitSeconds?: number;
  /** Nobody else on its nodes. */
  exclusive?: true;
  /** May be stopped for a job of higher priority and is started again later; then `recovers` is true as well. */
  preemptible?: true;
}

/** Where the files of the working folder or of a mount come from, as the user wrote it. */
export type FileSource =
  /** On the machine of the user; uploaded before the task is sent. */
  | { kind: "local"; path: string }
  | { kind: "git"; url: string; ref: string | null }
  /** A bucket or a web address, fetched on the node as the user. */
  | { kind: "uri"; uri: string };

export interface FileMount {
  /** Absolute, or relative to the home (`~/` is taken off). No slash at its end. */
  destination: string;
  source: FileSource;
  /** Buckets only; a local source is always copied. */
  mode: "COPY" | "MOUNT" | "MOUNT_CACHED";
  readOnly?: true;
}

/** A path that an admin publishes under a name (`volumes` of the coordinator's config). */
export interface VolumeMount {
  destination: string;
  name: string;
  /** Folder inside the volume; absent: all of it. */
  subPath?: string;
}

/** `workload:` of a task file: what SkyPilot's form has no place for. */
export interface TaskWorkload {
  /** Whose policies bind it; absent: the first of the user's projects. */
  project?: string;
  /** Absent: found from the rest of the task. */
  kind?: WorkloadKind;
  /** By canonical path (`compute.cpuCoreLimit`); itemized fields as arrays of items. */
  fields: Record<string, PlainValue>;
}

export interface Task {
  name: string | null;
  numNodes: number;
  resources: TaskResources;
  /** Of `infra: ssh/NAME`: the one cluster that it may be sent to; absent: any. */
  clusterName?: string;
  /** Absent: the job works in what is in `~/sky_workdir` already. */
  workdir?: FileSource;
  fileMounts?: FileMount[];
  volumes?: VolumeMount[];
  /** `file_mounts_mapping` of SkyPilot's client: where in its archive (`/upload_v2`) each local source lies, by its text. */
  sourceNames?: Record<string, string>;
  /** As `envs`, in setup and run alike, but never shown again. */
  secrets?: Record<string, string>;
  /** The image of `image_id: docker:IMAGE`, without the prefix. */
  image?: string;
  /** `config.docker.run_options`, in order; only with `image`. */
  imageOptions?: string[];
  /** Ports that the task says it listens on: `8080`, `9000-9010`; shown, never opened or closed. */
  ports?: string[];
  /** Bash script that runs on the head rank's node when the job's status changes. */
  eventCallback?: string;
  /**
   * Source text of a function `(rank, ips) => command or null`, from the SDK, in place of `run`. It runs on the node as
   * the user when the addresses are known.
   */
  runGenerator?: string;
  workload?: TaskWorkload;
  /** Made on the coordinator from `workload` and policies; never read from a file. */
  launchSpec?: LaunchSpec;
  /** In the file's order; every value already a string as SkyPilot would make it (`True`, `8`, `1.1`). */
  envs: Record<string, string>;
  setup: string | null;
  run: string | null;
}

/** All ways to serve the task, in order of preference. */
export function waysOf(resources: TaskResources): TaskWay[] {
  const { accelerators, cpus, memoryGb, labels } = resources;
  return [{ accelerators, cpus, memoryGb, ...(labels === undefined ? {} : { labels }) }, ...(resources.others ?? [])];
}
