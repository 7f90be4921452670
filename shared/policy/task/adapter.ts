/**
 * Between tasks and policies: a task as the fields that policies speak of, one workload for each way in which its
 * resources may be served, and back. Pure. What policies have set goes into the task's own fields where it has them and
 * into its launch spec else; what nothing here can carry is refused by name, never left out. Called by the coordinator's
 * policy rooms and by `sky policy check`.
 */
import { SkyError } from "../../errors.ts";
import { type Task, waysOf } from "../../task.ts";
import type { CompiledPolicy } from "../compiled.ts";
import { fieldAt, type FieldSpec } from "../fields/fields.ts";
import { sameImage, withoutWord } from "../fields/images.ts";
import { optionFieldsOf } from "./run-options.ts";
import {
  hasTooManyPorts,
  itemsOf,
  ownFields,
  portsMax,
  pulledImage,
  registryVariable,
  sameField,
} from "./adapter-fields.ts";
import { itemIndex, sameItem, setsNothingNew } from "../fields/items.ts";
import { launchSpecOf } from "./adapter-launch.ts";
import { requireNamedFields, withNodes } from "./adapter-nodes.ts";
import { cannotCarry, hasDots } from "./adapter-storage.ts";
import { isCarried, requireCarried, type Submitter, withFields } from "./adapter-values.ts";
import { textOf, wayPaths, wayWith } from "./adapter-ways.ts";
import type { Item, PlainValue, Violation, Workload } from "../words.ts";

export { hiddenSecret } from "./adapter-fields.ts";
export type { Submitter } from "./adapter-values.ts";

export interface TaskWorkloadOfWay {
  /** `any_of[1]`, `ordered[0]`; null: the task has one way. */
  label: string | null;
  workload: Workload;
}

/** Throws SkyError: "PermissionDeniedError" for somebody else's uid or groups, "NotSupportedError" for what nothing carries. */
export function workloadsOf(task: Task, who: Submitter): TaskWorkloadOfWay[] {
  const ways = waysOf(task.resources);
  const choice = task.resources.anyOrder === true ? "any_of" : "ordered";
  const asked = task.workload?.fields ?? {};
  requireCarried(new Map(Object.entries(asked)), who, () => true);
  const all = ways.map(ownFields(task));
  requireNamedFields(asked);
  requirePlainAddresses(task);
  requireFew([...Object.values(asked), ...(all[0]?.values() ?? [])], ways.length);
  const [whole, pulled] = [together(asked), withPulled(task, asked)];
  return all.map((own, at) => ({
    label: ways.length === 1 ? null : `${choice}[${at}]`,
    workload: pulled(whole(own)),
  }));
}

/** A repository's server would follow `..` to another than the one that rules on addresses read. */
function requirePlainAddresses({ workdir, fileMounts = [] }: Task): void {
  const sources = [...(workdir === undefined ? [] : [workdir]), ...fileMounts.map(({ source }) => source)];
  const bad = sources.find((source) => source.kind === "git" && hasDots(source.url));
  if (bad?.kind === "git") {
    throw cannotCarry(
      "storage.git[].repository",
      `'${bad.url.slice(0, 200)}' has a step '.' or '..'.`,
      "Write it out.",
    );
  }
}

/** Each item is looked at for each way, and others wait meanwhile. */
function requireFew(values: readonly PlainValue[], ways: number): void {
  const count = values.reduce((sum: number, value) => sum + itemsOf(value).length, 0);
  if (count * ways > itemsMax && ways > 1) {
    throw new SkyError(
      "InvalidTaskError",
      `The task has ${count} variables, ports and mounts and ${ways} ways to run, more than can be looked at.`,
      "Put variables into a file, or give fewer ways.",
    );
  }
}

/** The image as a node would pull it, whichever half of the task names it and the login that goes before it. */
function withPulled(task: Task, asked: Asked): (workload: Map<string, PlainValue>) => Map<string, PlainValue> {
  const image = task.image ?? withoutWord(textOf(asked["image"]));
  if (image === "") {
    return (workload) => workload;
  }
  const given = itemsOf(asked["environmentVariables"]).filter(({ exclude }) => exclude !== true);
  const envs = { ...task.envs, ...Object.fromEntries(given.map(({ name, value }) => [textOf(name), textOf(value)])) };
  const pulled = pulledImage({ ...task, image, envs });
  return (workload) => (pulled === null || pulled === image ? workload : workload.set("image", pulled));
}

/** A registry of the user's own must not go before an image that policies chose, nor a login of theirs before the user's. */
function requireJudgedImage(task: Task, filled: Task, judged: PlainValue | undefined): void {
  const isOwn = (one: Task): boolean => Object.hasOwn({ ...one.envs, ...one.secrets }, registryVariable);
  const asked = itemsOf(task.workload?.fields["environmentVariables"]).some(({ name }) => name === registryVariable);
  const pulled = pulledImage(filled);
  if ((isOwn(task) || asked) && pulled !== null && !sameImage(pulled, textOf(judged))) {
    throw cannotCarry(
      "image",
      `${registryVariable} of the task would make '${pulled.slice(0, 200)}' of '${textOf(judged).slice(0, 200)}'.`,
      "Leave the login out, or name the image with its registry.",
    );
  }
}

/** Items of all ways together. */
const itemsMax = 100_000;

type Asked = Readonly<Record<string, PlainValue>>;

/** What `workload:` says beside a task's own fields; reading the file saw to it that they do not contradict each other. */
function together(asked: Asked): (own: Map<string, PlainValue>) => Map<string, PlainValue> {
  // Most lists are the same one for every way.
  const joined = new Map<PlainValue, PlainValue>();
  return (own) => {
    for (const [path, value] of Object.entries(asked)) {
      const spec = fieldAt(path);
      const there = own.get(path) ?? null;
      const items = spec?.type === "itemized" ? itemsOf(there) : [];
      if (spec === null || items.length === 0) {
        own.set(path, value);
      } else {
        const both = joined.get(there) ?? joinedItems(spec, items, itemsOf(value));
        joined.set(there, both);
        own.set(path, both);
      }
    }
    return own;
  };
}

function joinedItems(spec: FieldSpec, items: readonly Item[], others: readonly Item[]): Item[] {
  const said = itemIndex(spec, others);
  const both = items.map((item): Item => {
    const other = said(item).find((one) => sameItem(spec, one, item) && one["exclude"] !== true);
    return other === undefined ? item : { ...item, ...other };
  });
  const there = itemIndex(spec, both);
  return [...both, ...others.filter((one) => !there(one).some((item) => item !== one && contains(spec, item, one)))];
}

function contains(spec: FieldSpec, item: Item, other: Item): boolean {
  return sameItem(spec, item, other) && setsNothingNew(spec, other, item);
}

/**
 * The task with what policies have set: `effective` has one workload for each of `workloadsOf`, in the same order. With
 * nothing set it is the same task. Throws SkyError "NotSupportedError" for what nothing here can carry and
 * "PermissionDeniedError" for somebody else's uid or groups.
 */
export function taskWith(task: Task, effective: readonly Workload[], who: Submitter): Task {
  const ways = waysOf(task.resources);
  const [first] = effective;
  if (first === undefined || effective.length !== ways.length) {
    throw new SkyError("InternalError", "a workload for each way of the task was expected");
  }
  const asked = task.workload?.fields ?? {};
  const isAsked = (path: string): boolean => Object.hasOwn(asked, path);
  const owns = ways.map(ownFields(task));
  const changes = ways.map((_, at) => ({
    effective: effective[at] ?? first,
    changed: isChanged(owns[at] ?? new Map(), effective[at] ?? first),
    asked: isAsked,
  }));
  requireAlike(task, effective);
  const changed = changes[0]?.changed ?? ((): boolean => false);
  const values = new Map([...first].filter(([path]) => changed(path) && !wayPaths.has(path)));
  requireCarried(values, who, isAsked, task);
  const filled = withFields(task, values, owns[0] ?? new Map(), isAsked);
  requireJudgedImage(task, filled, first.get("image"));
  const changedWays = ways.map((way, at) => {
    const change = changes[at];
    return change === undefined ? way : wayWith(way, change);
  });
  const isSame = changes.every((change) => ![...wayPaths].some(change.changed));
  const resources = isSame ? filled.resources : withNodes(filled.resources, changedWays, changes);
  const launchSpec = launchSpecOf(filled, first, (path) => values.get(path));
  return withWorkload({ ...filled, resources, ...(launchSpec === null ? {} : { launchSpec }) }, values);
}

function isChanged(own: ReadonlyMap<string, PlainValue>, effective: Workload): (path: string) => boolean {
  return (path) => {
    const value = effective.get(path);
    const before = own.get(path);
    return value !== undefined && value !== null && (before === undefined || !sameField(path, before, value));
  };
}

/** What holds for the whole job must come out alike for every way. */
function requireAlike({ resources }: Task, effective: readonly Workload[]): void {
  const [first, ...others] = effective;
  for (const [at, other] of others.entries()) {
    for (const path of new Set([...(first?.keys() ?? []), ...other.keys()])) {
      const [one = null, two = null] = [first?.get(path), other.get(path)];
      if (!wayPaths.has(path) && !sameField(path, one, two)) {
        const choice = resources.anyOrder === true ? "any_of" : "ordered";
        throw new SkyError(
          "NotSupportedError",
          `${path}: it would be another for ${choice}[0] than for ${choice}[${at + 1}], and one value holds for the whole job.`,
          "Give all ways the same, or send a task for each.",
        );
      }
    }
  }
}

/** `workload:` keeps what the task's own fields have no place for, so that a written task says all of it. */
function withWorkload(task: Task, values: ReadonlyMap<string, PlainValue>): Task {
  const { workload, ...rest } = task;
  const fields = Object.fromEntries([...values].filter(([path]) => isCarried(path)).map(keptItems));
  if (workload === undefined && Object.keys(fields).length === 0) {
    return rest;
  }
  return { ...rest, workload: { ...workload, fields } };
}

/** Of ports only what tells more than their numbers. */
function keptItems([path, value]: [string, PlainValue]): [string, PlainValue] {
  return path === "ports" ? [path, itemsOf(value).filter((item) => Object.keys(item).length > 1)] : [path, value];
}

/** What an option that no field stands for could undo. */
const guarded =
  /^(security\.|privileged$|storage\.|image|ports\b|compute\.(gpu|migProfile$|cpu\w+Limit$)|environmentVariables$)/;

/**
 * What policies cannot look at, where one says anything of it: options of the container that no field stands for and that
 * could undo a rule, and more ports than are looked at. The caller adds these to the violations of the evaluation. The
 * product's own system policy alone refuses none.
 */
export function optionViolations(task: Task, policies: readonly CompiledPolicy[]): Violation[] {
  const { raw } = optionFieldsOf(task.image === undefined ? [] : (task.imageOptions ?? []));
  const guarding = saying(policies, guarded);
  const options = raw.map((name) => ({
    field: "config.docker.run_options",
    message: `'${name}' is no option that policies can look at, and the policy has rules on ${guarding?.path ?? ""}; leave it out`,
    source: guarding?.source ?? null,
    value: name,
  }));
  const onPorts = hasTooManyPorts(task) ? saying(policies, /^ports\b/) : null;
  const ports = {
    field: "ports",
    message: `are more than ${portsMax}, and the policy looks at each of them; name those that the job listens on`,
    source: onPorts?.source ?? null,
    value: null,
  };
  return [...(guarding === null ? [] : options), ...(onPorts === null ? [] : [ports])].map((one) => ({
    ...one,
    rule: "blocked",
    limit: null,
  }));
}

/** The first policy that says anything of such a field, and of which. */
function saying(
  policies: readonly CompiledPolicy[],
  fields: RegExp,
): { source: CompiledPolicy["source"]; path: string } | null {
  for (const { source, defaults, rules, items, itemRules, imposed } of policies) {
    const paths = [...rules.keys(), ...itemRules.keys(), ...defaults.keys(), ...items.keys()];
    const path = [...paths, ...(imposed.length === 0 ? [] : ["storage (imposed)"])].find((one) => fields.test(one));
    if (source.scope.level !== "system" && path !== undefined) {
      return { source, path };
    }
  }
  return null;
}
