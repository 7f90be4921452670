/**
 * A task as the product understands it after reading: plain data, defaults filled in. Reading (YAML 1.1, line numbers,
 * near matches) is in shared/task-file.ts; this file has only the shape that crosses from there to the API and the
 * coordinator. It must never be widened with a field that nothing honours.
 */

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

export interface Task {
  name: string | null;
  numNodes: number;
  resources: TaskResources;
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
