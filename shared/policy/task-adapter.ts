/**
 * Between tasks and policies: a task as the fields that policies speak of, one workload for each way in which its
 * resources may be served, and back. Pure. What policies have set goes into the task's own fields where it has them and
 * into its launch spec else; what nothing here can carry is refused by name, never left out. Called by the coordinator's
 * policy rooms and by `sky policy check`.
 */
import { SkyError } from "../errors.ts";
import { type Task, type TaskWay, waysOf } from "../task.ts";
import type { Account } from "../users-policy.ts";
import type { CompiledPolicy } from "./compiled.ts";
import type { PlainValue, Violation, Workload } from "./words.ts";

/** Whose task it is: nobody's job is anybody else. */
export type Submitter = Pick<Account, "uid" | "gid" | "groups">;

export interface TaskWorkloadOfWay {
  /** `any_of[1]`, `ordered[0]`; null: the task has one way. */
  label: string | null;
  workload: Workload;
}

/** How the values of secrets stand in workloads: policies see that a variable is set, and never what to. */
export const hiddenSecret = "(secret)";

/** Throws SkyError: "PermissionDeniedError" for somebody else's uid or groups, "InvalidTaskError" for too many ports. */
export function workloadsOf(task: Task, _who: Submitter): TaskWorkloadOfWay[] {
  const ways = waysOf(task.resources);
  const choice = task.resources.anyOrder === true ? "any_of" : "ordered";
  return ways.map((way, at) => ({
    label: ways.length === 1 ? null : `${choice}[${at}]`,
    workload: fieldsOf(task, way),
  }));
}

/**
 * The task with what policies have set: `effective` has one workload for each of `workloadsOf`, in the same order. With
 * nothing set it is the same task. Throws SkyError "NotSupportedError" for what nothing here can carry and
 * "PermissionDeniedError" for somebody else's uid or groups.
 */
export function taskWith(task: Task, effective: readonly Workload[], _who: Submitter): Task {
  if (effective.length !== waysOf(task.resources).length) {
    throw new SkyError("InternalError", "a workload for each way of the task was expected");
  }
  return task;
}

/**
 * `config.docker.run_options` that no field stands for, where a policy says anything of what such an option could undo:
 * the caller adds them to the violations of the evaluation.
 */
export function optionViolations(_task: Task, _policies: readonly CompiledPolicy[]): Violation[] {
  return [];
}

function fieldsOf(task: Task, way: TaskWay): Map<string, PlainValue> {
  const fields = new Map<string, PlainValue>(Object.entries(task.workload?.fields ?? {}));
  if (task.image !== undefined) {
    fields.set("image", task.image);
  }
  if (way.accelerators !== null) {
    fields.set("compute.gpuDevicesRequest", Math.max(1, way.accelerators.count));
  }
  return fields;
}
