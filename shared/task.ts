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

export interface TaskResources {
  /** Kind as the user wrote it and count per node (a fraction below 1 is a share of one device); null: none. */
  accelerators: { kind: string; count: number } | null;
  cpus: Amount | null;
  /** GiB per node. */
  memoryGb: Amount | null;
  /** `job_recovery`: started again elsewhere when its machine is lost; absent: it is not. */
  recovers?: true;
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
