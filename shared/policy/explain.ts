/**
 * Describes a field of policies as `kubectl explain` does: kind, resource, description and what may stand under it, then
 * what it means on this product's machines, and what binds it now. Pure. A first word that ends in `policy` is V1's, with
 * its names and its form. Called by `sky policy explain`.
 */
import { SkyError } from "../errors.ts";
import { didYouMean } from "../near-match.ts";
import type { EffectivePolicy } from "./compiled.ts";
import { type Explained, instanceRules, itemRules, mapRules, mapRulesText, rulesOfType } from "./explain-words.ts";
import {
  attributeName,
  existsFor,
  type FieldSpec,
  kindNamed,
  type PolicyDialect,
  policyFields,
} from "./fields/fields.ts";
import { formOf } from "./form.ts";
import { onPremGrade } from "./grades-table.ts";
import { shown } from "./evaluate/messages.ts";
import type { PlainValue, WorkloadKind } from "./words.ts";

interface Subject {
  kind: WorkloadKind;
  dialect: PolicyDialect;
}

interface Page {
  resource: string;
  type: string;
  description: string;
  fields: readonly Explained[];
  /** The field or attribute that it is about. */
  spec?: FieldSpec;
}

const firstKinds: Readonly<Record<WorkloadKind, string>> = {
  workspace: "InteractivePolicy",
  training: "TrainingPolicy",
  distributed: "DistributedPolicy",
  inference: "InferencePolicy",
};
const width = 78;

/**
 * `words`: `trainingpolicy.spec.ports.rules` or `training.ports.external`. With `effective`: what binds the field now.
 * Throws SkyError("ValueError") for a word that is none, with the nearest one.
 */
export function explainField(words: string, effective?: EffectivePolicy): string {
  const [first = "", ...path] = words.trim().split(".");
  const kind = kindNamed(first);
  if (kind === null) {
    const known = ["workspace", "training", "distributed", "inference", "trainingpolicy.spec"];
    const hint = didYouMean(first, known) ?? `Known are: ${known.join(", ")}.`;
    throw new SkyError("ValueError", `'${first.slice(0, 100)}' is no kind of workloads.`, hint);
  }
  const dialect: PolicyDialect = /policy$/i.test(first) ? "v1" : "v2";
  const page = pageOf({ kind, dialect }, path);
  return [
    `KIND:     ${dialect === "v1" ? firstKinds[kind] : kind}`,
    `VERSION:  ${dialect === "v1" ? "run.ai/v2alpha1" : "policy/v1"}`,
    "",
    `RESOURCE: ${page.resource} <${page.type}>`,
    "",
    "DESCRIPTION:",
    ...wrapped(page.description),
    ...(page.fields.length === 0 ? [] : ["", "FIELDS:", ...page.fields.flatMap(fieldLines)]),
    ...(page.spec === undefined ? [] : hereLines(page.spec)),
    ...(page.spec === undefined || effective === undefined ? [] : nowLines(page.spec, effective)),
    "",
  ].join("\n");
}

function fieldLines({ name, type, text }: Explained): string[] {
  return [`   ${name}\t<${type}>`, ...wrapped(text), ""];
}

function wrapped(text: string): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + word.length + 1 > width - 5) {
      lines.push(`     ${line}`);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, `     ${line}`];
}

function hereLines({ path, taskField, builtin }: FieldSpec): string[] {
  const { grade, note } = onPremGrade(path);
  const more = builtin === undefined ? "" : ` Without a word it is ${shown(builtin)}.`;
  return ["", "HERE:", ...wrapped(`${capital(grade)}: ${note}. In a task file: ${taskField}.${more}`)];
}

function nowLines({ path }: FieldSpec, effective: EffectivePolicy): string[] {
  const field = formOf(effective)[path];
  if (field === undefined) {
    return ["", "NOW:", ...wrapped("No policy says anything of it.")];
  }
  const { sources, type: _, default: value, ...rules } = field;
  const facts = Object.entries({ default: value, ...rules } as Record<string, unknown>).flatMap(([name, fact]) => {
    const source = sources[name];
    const from = source === undefined ? "" : ` (${source.policy}, ${source.scope.level} ${source.scope.id})`;
    return source === undefined ? [] : [`     ${name}: ${shown(plain(fact))}${from}`];
  });
  return ["", "NOW:", ...(facts.length === 0 ? wrapped("No policy binds it.") : facts)];
}

function plain(fact: unknown): PlainValue {
  return JSON.parse(JSON.stringify(fact ?? null)) as PlainValue;
}

function pageOf(subject: Subject, path: readonly string[]): Page {
  const { kind, dialect } = subject;
  const isRoot = path[0]?.toLowerCase() === "spec";
  const rest = isRoot ? path.slice(1) : path;
  if (dialect === "v1" && path.length === 0) {
    return {
      resource: firstKinds[kind],
      type: "Object",
      description: `What binds ${kind} workloads, in a project (namespace runai-NAME) or in all that have none (runai).`,
      fields: [
        { name: "metadata", type: "Object", text: "name and namespace of the policy" },
        { name: "spec", type: "Object", text: `The specifications of this ${firstKinds[kind]}` },
      ],
    };
  }
  return rest.length === 0 ? allFields(subject) : below(subject, rest);
}

function namesOf(spec: FieldSpec, { dialect }: Subject): readonly string[] {
  return dialect === "v1" ? (spec.v1 ?? []).filter((name) => !name.includes("[]")) : [spec.path, ...spec.aliases];
}

function known({ kind, dialect }: Subject): FieldSpec[] {
  return policyFields.filter(
    (spec) => existsFor(spec, kind, dialect) && (dialect === "v1" ? spec.v1 !== undefined : spec.dialect === undefined),
  );
}

function allFields(subject: Subject): Page {
  const { kind, dialect } = subject;
  const description =
    dialect === "v1"
      ? `The specifications of this ${firstKinds[kind]}`
      : `The fields of ${kind} workloads, below defaults and below rules`;
  return { resource: "spec", type: "Object", description, fields: steps(subject, "") };
}

/** What stands one step below a group, each once. */
function steps(subject: Subject, group: string): Explained[] {
  const prefix = group === "" ? "" : `${group.toLowerCase()}.`;
  const found = new Map<string, Explained>();
  for (const spec of known(subject)) {
    const name = namesOf(spec, subject)[0] ?? "";
    if (!name.toLowerCase().startsWith(prefix)) {
      continue;
    }
    const [step = "", ...more] = name.slice(prefix.length).split(".");
    if (!found.has(step)) {
      const type = more.length > 0 || subject.dialect === "v1" ? "Object" : typeWord(spec);
      found.set(step, { name: step, type, text: more.length > 0 ? `A group of fields: ${step}.` : spec.description });
    }
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

function typeWord({ type }: FieldSpec): string {
  return type === "itemized" ? "[]Object" : type === "array" ? "[]string" : type === "object" ? "Object" : type;
}

function below(subject: Subject, path: readonly string[]): Page {
  for (let length = path.length; length > 0; length -= 1) {
    const name = path.slice(0, length).join(".").toLowerCase();
    const spec = known(subject).find((one) => namesOf(one, subject).some((own) => own.toLowerCase() === name));
    if (spec !== undefined) {
      return inField(subject, spec, path.slice(length));
    }
  }
  const group = steps(subject, path.join("."));
  if (group.length > 0) {
    const name = path.at(-1) ?? "";
    return { resource: name, type: "Object", description: `A group of fields: ${name}.`, fields: group };
  }
  const parent = path.slice(0, -1);
  const nearby = steps(subject, parent.join(".")).map(({ name }) => name);
  throw unknown(path.at(-1) ?? "", path.join("."), nearby);
}

function unknown(word: string, path: string, nearby: readonly string[]): SkyError {
  const hint =
    didYouMean(word, nearby) ?? (nearby.length === 0 ? null : `Known are: ${nearby.slice(0, 20).join(", ")}.`);
  return new SkyError("ValueError", `There is no field '${path.slice(0, 100)}'.`, hint);
}

function inField(subject: Subject, spec: FieldSpec, rest: readonly string[]): Page {
  const name = subject.dialect === "v1" ? (spec.v1?.[0] ?? spec.path) : attributeName(spec).split(".").at(-1);
  const resource = name ?? spec.path;
  if (spec.type === "itemized") {
    return subject.dialect === "v1" ? inMap(spec, resource, rest) : inList(spec, resource, rest);
  }
  return inScalar(subject, spec, resource, rest);
}

function inScalar({ dialect }: Subject, spec: FieldSpec, resource: string, [word, ...more]: readonly string[]): Page {
  const rules = rulesOfType[spec.type];
  if (word === undefined) {
    const parts: readonly Explained[] = [
      { name: "rules", type: "Object", text: "the rules that apply to the value" },
      { name: "value", type: typeWord(spec), text: "the policy's own value" },
    ];
    const isFirst = dialect === "v1";
    const type = isFirst ? "Object" : typeWord(spec);
    return { resource, type, description: spec.description, fields: isFirst ? parts : rules, spec };
  }
  const found = rules.find(({ name }) => name.toLowerCase() === (more[0] ?? word).toLowerCase());
  if (word.toLowerCase() === "rules" && more.length === 0) {
    return {
      resource: "rules",
      type: "Object",
      description: "The rules that apply to the value.",
      fields: rules,
      spec,
    };
  }
  if (word.toLowerCase() === "value" && more.length === 0) {
    return { resource: "value", type: typeWord(spec), description: spec.description, fields: [], spec };
  }
  if (found !== undefined && more.length <= 1) {
    return { resource: found.name, type: found.type, description: `${capital(found.text)}.`, fields: [], spec };
  }
  throw unknown(more[0] ?? word, [resource, word, ...more].join("."), [
    "rules",
    "value",
    ...rules.map(({ name }) => name),
  ]);
}

function capital(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`;
}

/** V1's lists: rules of the map, rules of attributes, and items by label. */
function inMap(spec: FieldSpec, resource: string, [word, ...more]: readonly string[]): Page {
  const parts: readonly Explained[] = [
    { name: "itemRules", type: "Object", text: "rules for the attributes of every item" },
    { name: "items", type: "map[string]Object", text: "the policy's own items by label; DEFAULTS: for all others" },
    { name: "rules", type: "Object", text: mapRulesText },
  ];
  const attributes = attributesOf(spec);
  switch (word?.toLowerCase()) {
    case undefined:
      return { resource, type: "Object", description: spec.description, fields: parts, spec };
    case "rules":
      return more.length === 0
        ? { resource: "rules", type: "Object", description: mapRulesText, fields: mapRules, spec }
        : single(mapRules, more, spec);
    case "itemrules":
      return more.length === 0
        ? {
            resource: "itemRules",
            type: "Object",
            description: "Rules for the attributes of every item.",
            fields: attributes,
            spec,
          }
        : inAttribute(spec, more);
    case "items":
      return inItems(spec, more);
    default:
      return inAttribute(spec, [word ?? "", ...more]);
  }
}

function single(rules: readonly Explained[], [word = ""]: readonly string[], spec: FieldSpec): Page {
  const found = rules.find(({ name }) => name.toLowerCase() === word.toLowerCase());
  if (found === undefined) {
    throw unknown(
      word,
      word,
      rules.map(({ name }) => name),
    );
  }
  return { resource: found.name, type: found.type, description: `${capital(found.text)}.`, fields: [], spec };
}

function inItems(spec: FieldSpec, [word, ...more]: readonly string[]): Page {
  const value = { name: "value", type: "Object", text: "the item's attributes" };
  const rules = { name: "rules", type: "Object", text: "what a workload may do with the item" };
  switch (word?.toLowerCase()) {
    case undefined: {
      const description = "The policy's own items by label; the label DEFAULTS stands for all others.";
      return { resource: "items", type: "map[string]Object", description, fields: [rules, value], spec };
    }
    case "rules":
      return { resource: "rules", type: "Object", description: `${capital(rules.text)}.`, fields: itemRules, spec };
    case "value":
      return more.length > 0
        ? inAttribute(spec, more)
        : {
            resource: "value",
            type: "Object",
            description: "The item's attributes.",
            fields: attributesOf(spec),
            spec,
          };
    default:
      return inItems(spec, more);
  }
}

/** Lists of later documents. */
function inList(spec: FieldSpec, resource: string, [word, ...more]: readonly string[]): Page {
  switch (word?.toLowerCase()) {
    case undefined: {
      const instances = {
        name: "instances",
        type: "[]Object",
        text: "in defaults: the policy's own items; in rules: canAdd and locked",
      };
      const attributes = {
        name: "attributes",
        type: "Object",
        text: "defaults, or rules, for the attributes of every item",
      };
      return {
        resource,
        type: "[]Object",
        description: spec.description,
        fields: [instances, attributes, ...attributesOf(spec)],
        spec,
      };
    }
    case "instances":
    case "rules":
      return {
        resource: word ?? "",
        type: "Object",
        description: "Rules of the list as a whole.",
        fields: instanceRules,
        spec,
      };
    case "attributes":
      return more.length > 0
        ? inAttribute(spec, more)
        : {
            resource: "attributes",
            type: "Object",
            description: "The attributes of every item.",
            fields: attributesOf(spec),
            spec,
          };
    default:
      return inAttribute(spec, [word ?? "", ...more]);
  }
}

function attributesOf({ attributes = [] }: FieldSpec): Explained[] {
  return attributes.map((one) => ({ name: attributeName(one), type: typeWord(one), text: one.description }));
}

function inAttribute(spec: FieldSpec, words: readonly string[]): Page {
  for (let length = words.length; length > 0; length -= 1) {
    const name = words.slice(0, length).join(".").toLowerCase();
    const found = spec.attributes?.find((one) => attributeName(one).toLowerCase() === name);
    if (found !== undefined) {
      return inScalar({ kind: "training", dialect: "v2" }, found, attributeName(found), words.slice(length));
    }
  }
  throw unknown(
    words[0] ?? "",
    `${spec.path}.${words.join(".")}`,
    attributesOf(spec).map(({ name }) => name),
  );
}
