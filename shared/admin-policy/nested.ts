/**
 * Values in a tree by their path, as SkyPilot's Config finds and changes them: maps are merged deeply, everything else is
 * replaced, and lists of override keys say what may be replaced. Pure. Used by the public SDK's Config.
 */
import { SkyError } from "../errors.ts";

/** A mapping of plain values. */
export type Tree = Record<string, unknown>;

const forbidden = new Set(["__proto__", "constructor", "prototype"]);

export function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function has(tree: Tree, key: string): boolean {
  return Object.hasOwn(tree, key);
}

/** The value at the path, or the default where a step is missing or leads into something else than a mapping. */
export function nestedValue(tree: Tree, keys: readonly string[], missing: unknown): unknown {
  let value: unknown = tree;
  for (const key of keys) {
    if (!isTree(value) || !has(value, key)) {
      return missing;
    }
    value = value[key];
  }
  return value;
}

/** As `nestedValue`, and takes the value out of its mapping. */
export function popNestedValue(tree: Tree, keys: readonly string[], missing: unknown): unknown {
  const last = keys.at(-1);
  const parent = nestedValue(tree, keys.slice(0, -1), null);
  if (last === undefined || !isTree(parent) || !has(parent, last)) {
    return missing;
  }
  const value = parent[last];
  delete parent[last];
  return value;
}

/** Which paths an override may and may not touch; a path stands for everything below it. Null: no limit. */
export interface OverrideKeys {
  allowed: readonly (readonly string[])[] | null;
  disallowed: readonly (readonly string[])[] | null;
}
const anyKeys: OverrideKeys = { allowed: null, disallowed: null };

function startsWith(path: readonly string[], start: readonly string[]): boolean {
  return start.every((key, index) => path[index] === key);
}

function requireAllowed(path: readonly string[], { allowed, disallowed }: OverrideKeys): void {
  const shown = path.join(".");
  if (allowed !== null && !allowed.some((key) => startsWith(path, key))) {
    throw new SkyError("ValueError", `The key ${shown} is not among those that may be overridden.`);
  }
  if (disallowed?.some((key) => startsWith(path, key)) === true) {
    throw new SkyError("ValueError", `The key ${shown} may not be overridden.`);
  }
}

/** Lays the second over the first, in place. Throws SkyError("ValueError") for a key that may not be touched. */
export function updateRecursively(
  tree: Tree,
  over: Tree,
  keys: OverrideKeys = anyKeys,
  path: readonly string[] = [],
): void {
  for (const [key, value] of Object.entries(over)) {
    if (forbidden.has(key)) {
      throw new SkyError("ValueError", `'${key}' cannot be a key of a config.`);
    }
    const here = [...path, key];
    const before = has(tree, key) ? tree[key] : undefined;
    if (isTree(value) && Object.keys(value).length > 0) {
      const inner = isTree(before) ? before : {};
      tree[key] = inner;
      updateRecursively(inner, value, keys, here);
    } else {
      requireAllowed(here, keys);
      tree[key] = isTree(value) && isTree(before) ? before : value;
    }
  }
}

/** `{a: {b: value}}` of the path `a`, `b`. */
export function treeOfPath(keys: readonly string[], value: unknown): Tree {
  return keys.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value) as Tree;
}
