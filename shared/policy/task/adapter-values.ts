/**
 * The values of the whole job on their way back into a task: those that its own fields hold are put there, those that
 * nothing here can carry are refused by name, and nobody's job becomes anybody else's. Pure. What only a policy asks for
 * and has no effect here is left out; what a user asks for never is. Called by task-adapter.ts only.
 */
import { SkyError } from "../../errors.ts";
import type { Task } from "../../task.ts";
import { isImageName } from "../../task-settings.ts";
import { requireVariablesFit, variableProblem } from "../../task-variables.ts";
import type { Account } from "../../users-policy.ts";
import { fieldAt } from "../fields/fields.ts";
import { onPremGrade } from "../grades-table.ts";
import { withoutWord } from "../fields/images.ts";
import { optionFieldsOf } from "./run-options.ts";
import { hiddenSecret, itemsBeside, itemsOf, priorityClasses } from "./adapter-fields.ts";
import { cannotCarry, withBucket, withGit, withHostPath, withVolume } from "./adapter-storage.ts";
import { amountIn, textOf } from "./adapter-ways.ts";
import type { Item, PlainValue } from "../words.ts";

/** Whose task it is. `groupIds`: the numbers of all of the account's groups, where they are known. */
export type Submitter = Pick<Account, "uid" | "gid" | "groups"> & { groupIds?: readonly number[] };

type Values = ReadonlyMap<string, PlainValue>;

/** What goes into the task's own fields or asks nothing more when it is granted, and so not into `workload:`. */
const movedPaths = new Set(
  (
    "cleanPodPolicy command environmentVariables image name numWorkers priorityClass privileged runAsUser " +
    "storage.dataVolume storage.git storage.hostPath storage.pvc storage.s3"
  ).split(" "),
);

/** Whether `workload:` keeps a value once it is carried out. */
export function isCarried(path: string): boolean {
  return !movedPaths.has(path) && onPremGrade(path).grade !== "no effect";
}

/**
 * Throws SkyError: "PermissionDeniedError" for somebody else's uid or groups, "NotSupportedError" for what nothing carries.
 * `asked`: the user's own word, which is never left out. `task`: the options of its container count too.
 */
export function requireCarried(values: Values, who: Submitter, asked: (path: string) => boolean, task?: Task): void {
  requireOwnIds(values, who);
  requireNoRoot(values, who, task);
  for (const [path, why] of Object.entries(refusedValues)) {
    const value = values.get(path);
    const reason = value === undefined ? null : why(value);
    if (reason !== null) {
      throw cannotCarry(path, reason);
    }
  }
  for (const [path, value] of values) {
    const { grade, note } = onPremGrade(path);
    if (asked(path) && grade === "no effect" && !asksNothing(value)) {
      throw cannotCarry(path, `${note}.`, "Leave it out of 'workload'.");
    }
    for (const item of asked(path) ? itemsOf(value) : []) {
      requireAttributes(path, item);
    }
  }
}

function asksNothing(value: PlainValue): boolean {
  return value === false || value === "" || (Array.isArray(value) && value.length === 0);
}

function requireAttributes(path: string, item: Item): void {
  for (const [name, value] of Object.entries(item)) {
    const attribute = `${path}[].${name}`;
    const { grade, note } = onPremGrade(attribute);
    if (name !== "exclude" && grade === "no effect" && onPremGrade(path).grade !== "no effect" && !asksNothing(value)) {
      throw cannotCarry(attribute, `${note}.`, "Leave it out of 'workload'.");
    }
  }
}

function requireOwnIds(values: Values, { uid, gid, groupIds = [] }: Submitter): void {
  for (const [path, own, what] of [
    ["security.runAsUid", uid, "uid"],
    ["security.runAsGid", gid, "gid"],
  ] as const) {
    const value = values.get(path);
    if (value !== undefined && amountIn(path, value) !== own) {
      throw new SkyError(
        "PermissionDeniedError",
        `${path}: ${textOf(value)} is not you (${what} ${own}). A job runs as the user who sends it; as anybody else ` +
          "it could read and write that user's files.",
      );
    }
  }
  const groups = values.get("security.supplementalGroups");
  const ids = typeof groups === "string" && groups !== "" ? groups.split(",") : [];
  const foreign = ids.find((id) => ![gid, ...groupIds].some((own) => String(own) === id.trim()));
  if (foreign !== undefined) {
    throw new SkyError(
      "PermissionDeniedError",
      `security.supplementalGroups: ${foreign.trim().slice(0, 20)} is no group that you are known to be in. ` +
        "A job has the groups of the user who sends it.",
    );
  }
}

function requireNoRoot(values: Values, { uid }: Submitter, task: Task | undefined): void {
  const options = optionFieldsOf(task?.imageOptions ?? []).fields;
  const isRoot = uid === 0 || options.get("security.runAsUid") === 0;
  if (values.get("security.runAsNonRoot") === true && isRoot) {
    const what = uid === 0 ? "you are root" : "'--user' among the container's options asks for root";
    throw new SkyError("PermissionDeniedError", `security.runAsNonRoot: ${what}.`);
  }
}

/** Values that nothing here can do, whoever sets them. Null: fine. */
export const refusedValues: Readonly<Record<string, (value: PlainValue) => string | null>> = {
  privileged: (value) => (value === true ? "a job never has more rights than its user." : null),
  runAsUser: (value) => (value === false ? "a job always runs as the user who sends it." : null),
  cleanPodPolicy: (value) =>
    value === "None" ? "when a job ends, all of its ranks are ended, and their nodes are free." : null,
  "security.uidGidSource": (value) =>
    value === "fromTheImage" ? "a job runs as the user who sends it, whatever user its image names." : null,
  "security.seccompProfileType": (value) =>
    value === "Localhost" ? "no profiles of the nodes' own are known here." : null,
};

/** The task with the values that its own fields hold. `own`: what those say already. */
export function withFields(task: Task, values: Values, own: Values, asked: (path: string) => boolean): Task {
  const { image, command, name } = Object.fromEntries(values);
  if (typeof image === "string" && !isImageName(withoutWord(image))) {
    throw cannotCarry("image", `'${image.slice(0, 100)}' names no image, such as python:3.12-slim.`);
  }
  let filled: Task = {
    ...task,
    ...(typeof name === "string" ? { name } : {}),
    ...(typeof image === "string" ? { image: withoutWord(image) } : {}),
    ...(typeof command === "string" ? { run: command } : {}),
  };
  const workers = values.get("numWorkers");
  if (workers !== undefined) {
    filled.numNodes = nodesOf(amountIn("numWorkers", workers));
  }
  filled = withPriority(filled, values.get("priorityClass"), values.get("preemptibility"));
  filled = withVariables(filled, addedItems("environmentVariables", values, own));
  filled = withPorts(filled, addedItems("ports", values, own));
  for (const item of addedItems("storage.hostPath", values, own)) {
    filled = withHostPath(filled, item, asked("storage.hostPath"));
  }
  for (const [path, added] of Object.entries(storageWriters)) {
    for (const item of addedItems(path, values, own)) {
      filled = added(filled, item);
    }
  }
  return filled;
}

const storageWriters: Readonly<Record<string, (task: Task, item: Item) => Task>> = {
  "storage.git": withGit,
  "storage.s3": withBucket,
  "storage.pvc": (task, item) => withVolume(task, "storage.pvc", item),
  "storage.dataVolume": (task, item) => withVolume(task, "storage.dataVolume", item),
};

function nodesOf(count: number): number {
  if (!Number.isInteger(count) || count < 1 || count > 10_000) {
    throw cannotCarry("numWorkers", "a task has from 1 to 10000 nodes.");
  }
  return count;
}

/** Items that the task's own fields do not have as they are. */
function addedItems(path: string, values: Values, own: Values): Item[] {
  const spec = fieldAt(path);
  return spec === null ? [] : itemsBeside(spec, itemsOf(values.get(path)), itemsOf(own.get(path)));
}

function withPriority(task: Task, name: PlainValue | undefined, preemptibility: PlainValue | undefined): Task {
  const resources = { ...task.resources };
  if (name !== undefined) {
    const priority = priorityClasses.find(([one]) => one === name)?.[1];
    if (priority === undefined) {
      throw cannotCarry(
        "priorityClass",
        `'${textOf(name)}' is none of ${priorityClasses.map(([one]) => one).join(", ")}.`,
      );
    }
    resources.priority = priority;
    if (priority === 0) {
      delete resources.priority;
    }
  }
  if (preemptibility === "preemptible") {
    resources.preemptible = true;
    resources.recovers = true;
  }
  return name === undefined && preemptibility === undefined ? task : { ...task, resources };
}

function withVariables(task: Task, items: readonly Item[]): Task {
  const envs = { ...task.envs };
  const secrets = { ...task.secrets };
  for (const item of items) {
    const name = textOf(item["name"]);
    const value = item["value"] ?? "";
    if (typeof value === "object" || variableProblem(name, textOf(value)) !== null) {
      throw cannotCarry("environmentVariables", `'${name.slice(0, 80)}' is no variable that a program can be given.`);
    }
    const group = Object.hasOwn(secrets, name) ? secrets : envs;
    if (value !== hiddenSecret || group === envs) {
      group[name] = textOf(value);
    }
  }
  if (items.length === 0) {
    return task;
  }
  requireVariablesFit("environmentVariables", envs, secrets);
  return { ...task, envs, ...(task.secrets === undefined ? {} : { secrets }) };
}

/** Numbers only: the rest of a port is a note. */
function withPorts(task: Task, items: readonly Item[]): Task {
  const numbers = items.map(({ container }) => textOf(container));
  const faulty = numbers.find((text) => !/^[1-9]\d{0,4}$/.test(text) || Number(text) > 65_535);
  if (faulty !== undefined) {
    throw cannotCarry("ports[].container", `'${faulty.slice(0, 20)}' is no port from 1 to 65535.`);
  }
  const ranges = (task.ports ?? []).map((range) => range.split("-").map(Number));
  const isThere = (port: number): boolean => ranges.some(([first = 0, last = first]) => first <= port && port <= last);
  const added = numbers.filter((text) => !isThere(Number(text)));
  return added.length === 0 ? task : { ...task, ports: [...(task.ports ?? []), ...new Set(added)] };
}
