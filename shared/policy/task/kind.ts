/**
 * Which kind of workload a task is, and so which policies bind it. Pure. A task may say its kind itself, but never one
 * that its number of nodes contradicts: nobody leaves the policies of distributed training by a word. Called by the
 * adapter of tasks, by workload-block.ts for what a task file says, and by the coordinator's policy rooms.
 */
import type { Task } from "../../task.ts";
import type { WorkloadKind } from "../words.ts";

type Told = Pick<Task, "numNodes" | "run" | "runGenerator" | "workload">;

/** What `workload.kind` says, or what the task looks like: several nodes, no `run` (people work there), or else training. */
export function kindOf({ numNodes, run, runGenerator, workload }: Told): WorkloadKind {
  if (workload?.kind !== undefined) {
    return workload.kind;
  }
  if (numNodes > 1) {
    return "distributed";
  }
  return run === null && runGenerator === undefined ? "workspace" : "training";
}

/** Why a task may not call itself that kind; null: it may. */
export function kindProblem(kind: WorkloadKind, numNodes: number): string | null {
  if (kind === "inference") {
    return "Services are not run here yet, so no task is of the kind 'inference'.";
  }
  if (kind === "distributed" && numNodes === 1) {
    return "A task with one node is not of the kind 'distributed'.";
  }
  if (kind !== "distributed" && numNodes > 1) {
    return `A task with several nodes is of the kind 'distributed', not '${kind}'.`;
  }
  return null;
}
