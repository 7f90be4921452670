/**
 * What a task's own fields say, as policy fields: the first half of the adapter. Pure. Everything that could undo a rule
 * is looked at: variables in `envs`, in `secrets` and in `-e` options, the registry that a login puts before the image,
 * each port of a range. It must never let a secret's value out. Called by task-adapter.ts and workload-block.ts.
 */
import type { Task, TaskWay } from "../../task.ts";
import { fieldAt, type FieldSpec } from "../fields/fields.ts";
import { itemIndex, sameItem, setsNothingNew } from "../fields/items.ts";
import { kindOf } from "./kind.ts";
import { optionFieldsOf } from "./run-options.ts";
import { fieldsOfWay } from "./adapter-ways.ts";
import { storageFields } from "./adapter-storage.ts";
import { samePlain, sameValue } from "../fields/values.ts";
import type { Item, PlainValue } from "../words.ts";

/** How the values of secrets stand in workloads: policies see that a variable is set, and never what to. */
export const hiddenSecret = "(secret)";

/** Each is an item that policies look at; a policy on ports refuses more (task-adapter.ts). */
export const portsMax = 200;

/** The lowest priority of each class, from the highest class; a job without a priority has no class either. */
export const priorityClasses: readonly (readonly [name: string, priority: number])[] = [
  ["very-high", 750],
  ["high", 500],
  ["medium-high", 250],
  ["medium", 0],
  ["medium-low", -250],
  ["low", -500],
  ["very-low", -1000],
];

/** Of each way; `workload:` is not looked at. What holds for the whole job is the same list for all of them. */
export function ownFields(task: Task): (way: TaskWay) => Map<string, PlainValue> {
  const whole = jobFields(task);
  return (way) => new Map([...whole, ...fieldsOfWay(way)]);
}

/** What holds for the whole job. */
function jobFields(task: Task): Map<string, PlainValue> {
  const { name, run, runGenerator, resources } = task;
  const options = optionFieldsOf(task.imageOptions ?? []).fields;
  const lists: readonly (readonly [string, readonly Item[]])[] = [
    ["environmentVariables", variableItems(task, itemsOf(options.get("environmentVariables")))],
    ["ports", portItems(task, itemsOf(options.get("ports")))],
    ...[...storageFields(task)].map(([path, items]) => [path, [...itemsOf(options.get(path)), ...items]] as const),
  ];
  const fields = new Map<string, PlainValue>(options);
  const setTexts: Record<string, string | null | undefined> = {
    name,
    image: pulledImage(task),
    command: run ?? runGenerator,
    preemptibility: resources.preemptible === true ? "preemptible" : null,
    priorityClass: resources.priority === undefined ? null : classOf(resources.priority),
  };
  for (const [path, text] of Object.entries(setTexts)) {
    if (text !== null && text !== undefined) {
      fields.set(path, text);
    }
  }
  if (kindOf(task) === "distributed") {
    fields.set("numWorkers", task.numNodes);
  }
  for (const [path, items] of lists) {
    if (items.length > 0) {
      fields.set(path, [...items]);
    }
  }
  return fields;
}

export function itemsOf(value: PlainValue | undefined): Item[] {
  return Array.isArray(value) ? value.filter((item): item is Item => typeof item === "object" && item !== null) : [];
}

/** Whether a field has one meaning in both places; items are compared whatever their order. */
export function sameField(path: string, one: PlainValue, other: PlainValue): boolean {
  const spec = fieldAt(path);
  if (spec === null) {
    return samePlain(one, other);
  }
  if (spec.type !== "itemized") {
    return sameValue(one, other, spec);
  }
  const [left, right] = [itemsOf(one), itemsOf(other)];
  return left.length === right.length && itemsBeside(spec, left, right).length === 0;
}

/** The items that the others do not have as they are. Most are there letter by letter: that is looked up, not compared. */
export function itemsBeside(spec: FieldSpec, items: readonly Item[], others: readonly Item[]): Item[] {
  const texts = new Set(others.map((item) => JSON.stringify(item)));
  const near = itemIndex(spec, others);
  return items.filter(
    (item) => !texts.has(JSON.stringify(item)) && !near(item).some((other) => sameItemAs(spec, item, other)),
  );
}

/** Whether two items are one and say the same. */
function sameItemAs(spec: FieldSpec, one: Item, other: Item): boolean {
  return sameItem(spec, one, other) && setsNothingNew(spec, one, other) && setsNothingNew(spec, other, one);
}

/** The variable that names a login's registry. */
export const registryVariable = "SKYPILOT_DOCKER_SERVER";

/**
 * As the node asks for it: a login to a registry puts that in front of the name, and `docker:dind` is the image `docker`,
 * not `dind` behind the word that a task file has for images.
 */
export function pulledImage({ image, envs, secrets = {} }: Pick<Task, "image" | "envs" | "secrets">): string | null {
  const all = { ...envs, ...secrets };
  const names = ["USERNAME", "PASSWORD", "SERVER"].map((part) => `SKYPILOT_DOCKER_${part}`);
  const server = names.every((name) => Object.hasOwn(all, name)) ? (all[registryVariable] ?? "") : "";
  const registry = server.replace(/^https?:\/\//u, "").replace(/\/+$/u, "");
  if (image === undefined || registry === "" || image.startsWith(`${registry}/`)) {
    return image === undefined ? null : image.replace(/^docker:(?!\/\/)/, "docker.io/library/docker:");
  }
  return `${registry}/${image}`;
}

function classOf(priority: number): string {
  return priorityClasses.find(([, least]) => priority >= least)?.[0] ?? "very-low";
}

/**
 * A secret hides a variable of its name, as in the job. One that an option gives too is one if it has the same value; with
 * two values both stand, and policies refuse the second.
 */
function variableItems({ envs, secrets = {} }: Task, options: readonly Item[]): Item[] {
  const items: Item[] = [
    ...Object.entries(envs).flatMap(([name, value]) => (Object.hasOwn(secrets, name) ? [] : [{ name, value }])),
    ...Object.keys(secrets).map((name) => ({ name, value: hiddenSecret })),
  ];
  const others = options.filter(
    (option) =>
      !items.some((item) => item["name"] === option["name"] && (option["value"] ?? item["value"]) === item["value"]),
  );
  return [...items, ...others];
}

function portItems(task: Task, options: readonly Item[]): Item[] {
  const published = new Set(options.map(({ container }) => container));
  const numbers = portNumbers(task, portsMax).filter((port) => !published.has(port));
  return [...options, ...numbers.map((container) => ({ container }))];
}

/** Each port once, as many as `most`. */
function portNumbers({ ports = [] }: Task, most: number): number[] {
  const numbers = new Set<number>();
  for (const range of ports) {
    const [first = 0, last = first] = range.split("-").map(Number);
    for (let port = first; port <= last && numbers.size < most; port += 1) {
      numbers.add(port);
    }
  }
  return [...numbers];
}

/** Whether a workload holds only some of the task's ports. */
export function hasTooManyPorts(task: Task): boolean {
  return portNumbers(task, portsMax + 1).length > portsMax;
}
