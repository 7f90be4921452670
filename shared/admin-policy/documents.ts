/**
 * A task's text as an admin policy sees it, and back: one document of plain values in which no secret has its value. What
 * a policy leaves as it was keeps its text, and with it the lines that errors name. Pure; sizes are those of the reader
 * of YAML. Used by coordinator/policy and client/policy.
 */
import { stringify } from "yaml";
import { SkyError } from "../errors.ts";
import { isHeader } from "../task-pipeline.ts";
import { plainValue, readYaml, type YamlNode } from "../yaml11.ts";
import { isTree, type Tree } from "./nested.ts";

/** Stands for a secret's value. Source: SkyPilot shows secrets so. */
const redacted = "<redacted>";

/** Which of a task's fields hold variables, whose values are texts whatever they look like. */
const variableFields = ["envs", "secrets"];

export interface PolicyTask {
  /** What the policy gets. */
  tree: Tree;
  /** The text with what the policy made of it. Throws SkyError("InvalidTaskError") for a secret that is none. */
  withChanges(changed: Tree): string;
}

function onlyTask(): SkyError {
  return new SkyError(
    "InvalidTaskError",
    "YAML specifies a DAG which is only supported by `sky jobs launch`. `sky launch` and `sky exec` take a single task.",
  );
}

/** Values that JSON knows; numbers and dates that it does not know become their texts. */
function valueOf(node: YamlNode): unknown {
  switch (node.kind) {
    case "list":
      return node.items.map(valueOf);
    case "map":
      return Object.fromEntries([...node.entries.values()].map(({ key, node: value }) => [key, valueOf(value)]));
    case "scalar": {
      const { value, text } = node;
      const isPlain = value === null || typeof value === "string" || typeof value === "boolean";
      return isPlain || (typeof value === "number" && Number.isFinite(value)) ? value : text;
    }
  }
}

function variablesOf(node: YamlNode): unknown {
  if (node.kind !== "map") {
    return valueOf(node);
  }
  const entries = [...node.entries.values()].map(({ key, node: value }) => {
    const isWord = value.kind === "scalar" && value.value !== null;
    return [key, isWord ? value.text : valueOf(value)];
  });
  return Object.fromEntries(entries);
}

function treeOf(node: YamlNode | undefined): Tree {
  if (node === undefined) {
    return {};
  }
  if (node.kind !== "map") {
    throw new SkyError("InvalidTaskError", "A task must be a mapping of fields to values.");
  }
  const entries = [...node.entries.values()].map(({ key, node: value }) => [
    key,
    variableFields.includes(key) ? variablesOf(value) : valueOf(value),
  ]);
  return Object.fromEntries(entries);
}

/** The same whatever the order of keys: other programs sort them. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    isTree(inner) ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1))) : inner,
  );
}

/** YAML that PyYAML and this product read as the same values. */
export function yamlText(tree: Tree): string {
  return stringify(tree, { version: "1.1", lineWidth: 0, aliasDuplicateObjects: false });
}

/** The first document of a text, which must be a mapping or nothing. Throws SkyError("ValueError"). */
export function firstTree(text: string, what: string): Tree {
  const [node] = readYaml(text, what);
  if (node === undefined || (node.kind === "scalar" && node.value === null)) {
    return {};
  }
  const value = valueOf(node);
  if (!isTree(value)) {
    throw new SkyError("ValueError", `${what} must be a mapping of keys to values.`);
  }
  return value;
}

/** SkyPilot's client repeats the user's file in it, secrets and all. */
const userFile = "_user_specified_yaml";

function hidden(whole: Tree): Tree {
  const tree = Object.fromEntries(Object.entries(whole).filter(([key]) => key !== userFile));
  const { secrets } = tree;
  if (!isTree(secrets)) {
    return tree;
  }
  const names = Object.entries(secrets).map(([name, value]) => [name, value === null ? null : redacted]);
  return { ...tree, secrets: Object.fromEntries(names) };
}

function revealed(changed: Tree, original: Tree): Tree {
  if (!isTree(changed["secrets"])) {
    return changed;
  }
  const known = isTree(original["secrets"]) ? original["secrets"] : {};
  const secrets = Object.entries(changed["secrets"]).map(([name, value]) => {
    if (value === redacted && !Object.hasOwn(known, name)) {
      throw new SkyError("InvalidTaskError", `The secret ${name.slice(0, 100)} has no value: the user gave none.`);
    }
    return [name, value === redacted ? known[name] : value];
  });
  return { ...changed, secrets: Object.fromEntries(secrets) };
}

/** The one task of a text; an empty one is a task that does nothing. Throws SkyError as the reader of tasks does. */
export function policyTask(text: string): PolicyTask {
  const documents = readYaml(text, "task").filter((node) => node.kind !== "scalar" || node.value !== null);
  const [first] = documents;
  const header = documents.length > 1 && first !== undefined && isHeader(first) ? first : null;
  const [task, other] = header === null ? documents : documents.slice(1);
  if (other !== undefined) {
    throw onlyTask();
  }
  const original = treeOf(task);
  const tree = hidden(original);
  const seen = canonical(tree);
  return {
    tree,
    withChanges(changed) {
      if (canonical(changed) === seen) {
        return text;
      }
      const body = yamlText(revealed(changed, original));
      return header === null ? body : `${JSON.stringify(plainValue(header))}\n---\n${body}`;
    },
  };
}
