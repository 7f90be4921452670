/**
 * The Python SDK's graphs, as far as there are any here: a graph of one task. It must never take more: several tasks are
 * for managed jobs. Used by programs, and by launch and exec, which take a task in either form.
 */
import { InvalidTaskError, NotSupportedError, ValueError } from "./exceptions.ts";
import { shownValue } from "./fields.ts";
import { Task } from "./task.ts";

/** One task, in the form of the Python SDK's graphs. */
export class Dag {
  readonly #tasks: Task[] = [];

  /** @throws ValueError when it has one already: several tasks are for managed jobs */
  add(task: Task): this {
    if (!(task instanceof Task)) {
      throw new ValueError("A Dag takes tasks of the class Task.");
    }
    if (this.#tasks.length > 0) {
      throw new NotSupportedError("A Dag takes one task: launch and exec run a single task each.");
    }
    this.#tasks.push(task);
    return this;
  }

  get tasks(): readonly Task[] {
    return [...this.#tasks];
  }
}

/** The one task of what launch and exec are given. Throws InvalidTaskError for an empty Dag, ValueError for anything else. */
export function onlyTask(given: Task | Dag): Task {
  if (given instanceof Task) {
    return given;
  }
  if (!(given instanceof Dag)) {
    throw new ValueError(`The first argument must be a Task or a Dag, not ${shownValue(given)}.`);
  }
  const [task] = given.tasks;
  if (task === undefined) {
    throw new InvalidTaskError("The Dag has no task.");
  }
  return task;
}
