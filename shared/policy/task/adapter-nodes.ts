/**
 * Which nodes policies choose for a task: `nodeType`, `nodePools`, `nodeAffinityRequired` and `labels` become labels that
 * a way asks for, and further ways where there is a choice. Pure. Pools are tried in their order, whatever order the ways
 * had. Called by task-adapter.ts only.
 */
import type { SkyError } from "../../errors.ts";
import type { TaskResources, TaskWay } from "../../task.ts";
import { labelsSchema } from "../../job.ts";
import { withWays } from "../../task-resources.ts";
import { itemsOf } from "./adapter-fields.ts";
import { cannotCarry } from "./adapter-storage.ts";
import { nodePoolLabel, nodeTypeLabel, textOf, type WayChange } from "./adapter-ways.ts";
import { isMapping } from "../fields/values.ts";
import type { PlainValue } from "../words.ts";

/** As many as a job's shape holds. */
const waysMax = 64;

/** Of one way, those included that no node could meet. */
const choicesMax = 1024;

function tooMany(count: number): SkyError {
  return cannotCarry("nodePools", `${count} ways to run the task would come of it, more than ${waysMax}.`);
}

type Labels = Readonly<Record<string, string>>;

/** A way with the labels of one choice, and where its pool stands in the order of pools. */
interface Choice {
  way: TaskWay;
  pool: number;
}

/** The resources with these ways, each over what policies chose for it. */
export function withNodes(
  resources: TaskResources,
  ways: readonly TaskWay[],
  changes: readonly WayChange[],
): TaskResources {
  const chosen = ways.map((way, at) => choicesOf(way, changes[at]));
  const choices = chosen.flat();
  if (choices.length > waysMax) {
    throw tooMany(choices.length);
  }
  if (chosen.some(({ length }) => length === 0)) {
    throw cannotCarry("nodeAffinityRequired", "no node could ever meet it: it asks for two values of one label.");
  }
  const isPooled = choices.some(({ pool }) => pool > 0);
  const isSplit = ways.length === 1 && choices.length > 1;
  const sorted = choices.map((choice, at) => ({ ...choice, at })).sort((a, b) => a.pool - b.pool || a.at - b.at);
  const anyOrder = !isPooled && (resources.anyOrder === true || isSplit);
  return withWays(
    resources,
    sorted.map(({ way }) => way),
    anyOrder,
  );
}

/**
 * Throws SkyError("NotSupportedError") where a user's `workload:` names the label of a pool or a type as any other label:
 * policies look for those in `nodePools` and `nodeType`.
 */
export function requireNamedFields(asked: Readonly<Record<string, PlainValue>>): void {
  const { labels, nodeAffinityRequired: affinity = null } = asked;
  const names = itemsOf(labels).map(({ name }): [string, string] => ["labels", textOf(name)]);
  const terms = affinity === null ? [] : termsOf(affinity).flatMap((term) => Object.keys(term));
  for (const [path, name] of [...names, ...terms.map((one) => ["nodeAffinityRequired", one] as const)]) {
    if (name === nodePoolLabel || name === nodeTypeLabel) {
      const field = name === nodePoolLabel ? "nodePools" : "nodeType";
      throw cannotCarry(path, `'${name}' has a field of its own, '${field}'.`, "Write it there.");
    }
  }
}

function choicesOf(way: TaskWay, change: WayChange | undefined): Choice[] {
  if (change === undefined) {
    return [{ way, pool: 0 }];
  }
  const { effective, changed } = change;
  const given = (path: string): PlainValue => (changed(path) ? (effective.get(path) ?? null) : null);
  const [type, pools, affinity] = [given("nodeType"), given("nodePools"), given("nodeAffinityRequired")];
  const fixed: Labels = {
    ...Object.fromEntries(
      (changed("labels") ? itemsOf(effective.get("labels")) : []).map(({ name, value }) => [
        textOf(name),
        textOf(value),
      ]),
    ),
    ...(type === null ? {} : { [nodeTypeLabel]: textOf(type) }),
  };
  const { [nodePoolLabel]: _, ...others } = way.labels ?? {};
  const names = Array.isArray(pools) && pools.length > 0 ? pools.map(textOf) : null;
  const alternatives = affinity === null ? [{}] : termsOf(affinity);
  const count = (names?.length ?? 1) * alternatives.length;
  if (count > choicesMax) {
    throw tooMany(count);
  }
  return (names ?? [null]).flatMap((name, pool) =>
    alternatives.flatMap((term): Choice[] => {
      const own = name === null ? (way.labels ?? {}) : { ...others, [nodePoolLabel]: name };
      const labels = merged([{ ...own, ...fixed }, term]);
      return labels === null ? [] : [{ way: labelled(way, labels), pool }];
    }),
  );
}

function labelled({ accelerators, cpus, memoryGb }: TaskWay, labels: Labels): TaskWay {
  const checked = labelsSchema.safeParse(labels);
  if (!checked.success) {
    const text = Object.entries(labels).map(([name, value]) => `${name}=${value}`);
    throw cannotCarry("labels", `'${text.join(", ").slice(0, 200)}' holds what is no label of a node.`);
  }
  return { accelerators, cpus, memoryGb, ...(Object.keys(labels).length === 0 ? {} : { labels: checked.data }) };
}

/** Null: one label with two values. */
function merged(all: readonly Labels[]): Labels | null {
  const labels = new Map<string, string>();
  for (const [name, value] of all.flatMap(Object.entries<string>)) {
    if ((labels.get(name) ?? value) !== value) {
      return null;
    }
    labels.set(name, value);
  }
  return Object.fromEntries(labels);
}

const affinityForm =
  "nodes are chosen by equal labels: give {NAME: VALUE}, or nodeSelectorTerms with matchExpressions of operator In.";

/** Each of the terms will do; Kubernetes' form, or a plain mapping of labels. */
function termsOf(value: PlainValue): Labels[] {
  if (!isMapping(value)) {
    throw cannotCarry("nodeAffinityRequired", affinityForm);
  }
  const { nodeSelectorTerms: terms, ...plain } = value;
  if (terms === undefined) {
    return [Object.fromEntries(Object.entries(plain).map(([name, label]) => [name, labelText(label)]))];
  }
  if (!Array.isArray(terms) || terms.length === 0 || Object.keys(plain).length > 0) {
    throw cannotCarry("nodeAffinityRequired", affinityForm);
  }
  const found = terms.flatMap(termLabels);
  if (found.length > waysMax) {
    throw cannotCarry("nodeAffinityRequired", `it has more than ${waysMax} choices.`);
  }
  return found;
}

/** All expressions of a term together: one choice for each value of each. */
function termLabels(term: PlainValue): Labels[] {
  const expressions = isMapping(term) ? term["matchExpressions"] : undefined;
  if (!Array.isArray(expressions) || !isMapping(term) || Object.keys(term).length !== 1) {
    throw cannotCarry("nodeAffinityRequired", affinityForm);
  }
  let all: Labels[] = [{}];
  for (const expression of expressions) {
    const { key, operator, values } = isMapping(expression) ? expression : {};
    if (Array.isArray(values) && values.length > waysMax) {
      throw cannotCarry("nodeAffinityRequired", `it has more than ${waysMax} choices.`);
    }
    if (typeof key !== "string" || operator !== "In" || !Array.isArray(values) || values.length === 0) {
      throw cannotCarry("nodeAffinityRequired", affinityForm);
    }
    all = all.flatMap((labels) =>
      values.flatMap((value): Labels[] => {
        const both = merged([labels, { [key]: labelText(value) }]);
        return both === null ? [] : [both];
      }),
    );
    if (all.length > waysMax) {
      throw cannotCarry("nodeAffinityRequired", `it has more than ${waysMax} choices.`);
    }
  }
  return all;
}

function labelText(value: PlainValue | undefined): string {
  if (value === undefined || value === null || typeof value === "object") {
    throw cannotCarry("nodeAffinityRequired", affinityForm);
  }
  return String(value);
}
