/**
 * Reads a config file: YAML 1.1, then a strict schema; every fault in one error, each as `file:line: …` with a near match
 * for a mistyped key. It is given the text and must never open a file. Called by the mains of coordinator and agent with
 * their own schemas, and by client/local for registration files.
 */
import type { z } from "zod";
import { SkyError } from "./errors.ts";
import { didYouMean } from "./near-match.ts";
import { lineAt, nodeAt, plainValue, readYaml, type YamlNode } from "./yaml11.ts";

/** More faults than this are counted, not listed. */
const faultsShown = 20;

/**
 * The config as `schema` gives it, defaults filled in. Throws one SkyError("ValueError") that lists every fault, a line
 * each. An empty file is an empty mapping.
 */
export function parseConfig<T>(text: string, fileName: string, schema: z.ZodType<T>): T {
  const documents = readYaml(text, fileName);
  if (documents.length > 1) {
    throw new SkyError("ValueError", `${fileName} holds ${documents.length} YAML documents; it must hold one.`);
  }
  const root = documents[0];
  if (root !== undefined && root.kind !== "map" && !(root.kind === "scalar" && root.value === null)) {
    throw new SkyError("ValueError", `${fileName}:${root.line}: expected a mapping of keys to values.`);
  }
  const tree: YamlNode = root?.kind === "map" ? root : { kind: "map", line: 1, entries: new Map() };
  const result = schema.safeParse(plainValue(tree));
  if (result.success) {
    return result.data;
  }
  const faults = result.error.issues.flatMap((issue) => describe(issue, tree, schema));
  const shown = faults
    .sort((one, other) => one.line - other.line)
    .slice(0, faultsShown)
    .map((fault) => `${fileName}:${fault.line}: ${fault.text}`);
  if (faults.length > faultsShown) {
    shown.push(`… and ${faults.length - faultsShown} more.`);
  }
  throw new SkyError("ValueError", shown.join("\n"));
}

interface Fault {
  line: number;
  text: string;
}

function describe(issue: z.core.$ZodIssue, tree: YamlNode, schema: z.core.$ZodType): Fault[] {
  const line = lineAt(tree, issue.path);
  if (issue.code === "unrecognized_keys") {
    const known = keysAt(schema, issue.path);
    return issue.keys.map((key) => {
      const hint = didYouMean(key, known) ?? (known.length > 0 ? `Known keys: ${known.join(", ")}.` : "");
      const path = [...issue.path, key];
      return { line: lineAt(tree, path), text: `unknown key '${pathText(path)}'. ${hint}`.trimEnd() };
    });
  }
  if (issue.code === "invalid_union") {
    // Of the alternatives, the one whose type fits is what was meant; its own faults say more than "invalid input".
    const meant = issue.errors.find((branch) =>
      branch.every((inner) => inner.path.length > 0 || inner.code === "unrecognized_keys"),
    );
    if (meant !== undefined) {
      return meant.flatMap((inner) => describe({ ...inner, path: [...issue.path, ...inner.path] }, tree, schema));
    }
  }
  if (issue.code === "invalid_key") {
    return [{ line, text: `key '${pathText(issue.path)}': '${String(issue.path.at(-1))}' is not a valid name here.` }];
  }
  const name = issue.path.length === 0 ? "the file" : `key '${pathText(issue.path)}'`;
  const node = nodeAt(tree, issue.path);
  if (node === null) {
    return [{ line, text: `${name} is missing.` }];
  }
  const wantsText = issue.code === "invalid_type" && issue.expected === "string";
  const quotes = wantsText && node.kind === "scalar" ? " Put it in quotes to make it text." : "";
  return [{ line, text: `${name}: ${issue.message}.${quotes}` }];
}

function pathText(path: readonly PropertyKey[]): string {
  return path
    .map((step, index) => (typeof step === "number" ? `[${step}]` : `${index > 0 ? "." : ""}${String(step)}`))
    .join("");
}

/** The keys that a schema knows at a path, looking through defaults, options and unions. */
function keysAt(schema: z.core.$ZodType, path: readonly PropertyKey[]): string[] {
  const found = schemasAt(schema, path).flatMap((one) => {
    const def = (one as z.core.$ZodTypes)._zod.def;
    return def.type === "object" ? Object.keys(def.shape) : [];
  });
  return [...new Set(found)];
}

function schemasAt(schema: z.core.$ZodType, path: readonly PropertyKey[]): z.core.$ZodType[] {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  if ("innerType" in def) {
    return schemasAt(def.innerType, path);
  }
  if (def.type === "pipe") {
    return schemasAt(def.in, path);
  }
  if (def.type === "union") {
    return def.options.flatMap((option) => schemasAt(option, path));
  }
  const [step, ...rest] = path;
  if (step === undefined) {
    return [schema];
  }
  if (def.type === "object") {
    const inner = def.shape[String(step)];
    return inner === undefined ? [] : schemasAt(inner, rest);
  }
  if (def.type === "array") {
    return schemasAt(def.element, rest);
  }
  return def.type === "record" ? schemasAt(def.valueType, rest) : [];
}
