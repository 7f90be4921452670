/**
 * SkyPilot's layered config: what `~/.sky/config.yaml`, `.sky.yaml`, `--config`, a task's `config` and the server's config
 * say together, and where each value came from. Pure: it is given texts and trees, and opens no file. Used by
 * client/local/config-files.ts for what a user's machine says, and by coordinator/api for what the server makes of it.
 */
import { SkyError } from "./errors.ts";
import { configSections } from "./config-sections.ts";
import { didYouMean } from "./near-match.ts";
import { readOptionWords } from "./run-options.ts";
import { plainValue, readYaml, type YamlMapping, type YamlNode } from "./yaml11.ts";

/** A tree of plain values. Lists and scalars are leaves. */
export interface ConfigTree {
  [key: string]: unknown;
}

/** `origin`: as people call it, such as a file's path or `server`. */
export interface ConfigLayer {
  origin: string;
  tree: ConfigTree;
}

export interface MergedConfig {
  tree: ConfigTree;
  /** By the dotted path of each leaf. */
  origins: Map<string, string>;
}

/** Set by the server alone; a client's values are left out, with a warning where they differ. Source: SkyPilot. */
const serverPaths: readonly (readonly string[])[] = [
  ["api_server"],
  ["admin_policy"],
  ["allowed_clouds"],
  ["workspaces"],
  ["db"],
  ["daemons"],
  ["metrics"],
  ["jobs", "controller", "consolidation_mode"],
  ["jobs", "controller", "controller_logs_gc_retention_hours"],
  ["jobs", "controller", "task_logs_gc_retention_hours"],
  ["serve", "controller", "consolidation_mode"],
  ["slurm", "cluster_configs"],
];

/** In kubernetes.pod_config lists are appended; items of these are matched by the key beside them. */
const matchedLists: Readonly<Record<string, string>> = {
  containers: "name",
  initContainers: "name",
  volumes: "name",
  volumeMounts: "name",
  env: "name",
};
const replacedLists: readonly string[] = ["args", "command"];

function isTree(value: unknown): value is ConfigTree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * A config file's tree. Nothing in it is an empty tree. Throws SkyError("ValueError") `Invalid config YAML …` that names
 * file, line, key and near match.
 */
export function readConfig(text: string, file: string): ConfigTree {
  const [node, ...others] = readYaml(text, file);
  if (others.length > 0) {
    throw fault(`${file}: it must be one document.`);
  }
  if (node === undefined || (node.kind === "scalar" && node.value === null)) {
    return {};
  }
  if (node.kind !== "map") {
    throw fault(`${file}:${node.line}: it must be a mapping of keys to values.`);
  }
  checkSections(node, file);
  return treeOf(node);
}

function fault(text: string): SkyError {
  return new SkyError("ValueError", `Invalid config YAML ${text}`);
}

function checkSections(node: YamlMapping, file: string): void {
  for (const entry of node.entries.values()) {
    const section = configSections.get(entry.key);
    if (section === undefined) {
      throw unknownKey(`${file}:${entry.keyLine}`, entry.key, [...configSections.keys()]);
    }
    if (section.keys === undefined) {
      continue;
    }
    if (entry.node.kind !== "map") {
      throw fault(`${file}:${entry.keyLine}: '${entry.key}' must be a mapping of keys to values.`);
    }
    for (const inner of entry.node.entries.values()) {
      if (!section.keys.includes(inner.key)) {
        throw unknownKey(`${file}:${inner.keyLine}`, `${entry.key}.${inner.key}`, full(entry.key, section.keys));
      }
      checkValue(`${file}:${inner.keyLine}`, `${entry.key}.${inner.key}`, plainValue(inner.node));
    }
  }
}

function full(section: string, keys: readonly string[]): string[] {
  return keys.map((key) => `${section}.${key}`);
}

function unknownKey(place: string, key: string, known: readonly string[]): SkyError {
  const hint = didYouMean(key, known) ?? `Known keys: ${known.join(", ")}.`;
  return fault(`${place}: unknown key '${key.slice(0, 100)}'. ${hint}`);
}

/** The keys that have an effect here are checked where they stand, so that the message can say where that is. */
function checkValue(place: string, path: string, value: unknown): void {
  const words = path === "docker.run_options" ? readOptionWords(value) : [];
  if ("fault" in words) {
    throw fault(`${place}: '${path}' ${words.fault}`);
  }
}

function treeOf(node: YamlNode): ConfigTree {
  const value = plainValue(node);
  return isTree(value) ? value : {};
}

/**
 * The tree of `--config key.path=value` options; later ones win. Values are YAML. Throws SkyError("ValueError")
 * `Invalid config override: …`.
 */
export function readOverrides(options: readonly string[]): ConfigTree {
  let tree: ConfigTree = {};
  for (const option of options) {
    const at = option.indexOf("=");
    const path = option.slice(0, Math.max(0, at)).trim();
    const keys = path.split(".");
    if (at < 1 || keys.some((key) => !/^[A-Za-z0-9_-]+$/.test(key) || key === "__proto__")) {
      throw new SkyError(
        "ValueError",
        `Invalid config override: ${option.slice(0, 200)}. Please use the format: key=value`,
        "For example --config docker.run_options='--shm-size=8g', or --config FILE for a whole file.",
      );
    }
    const [node] = readYaml(option.slice(at + 1), `--config ${path}`);
    const value = node === undefined ? null : plainValue(node);
    const one = keys.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value) as ConfigTree;
    readConfig(JSON.stringify(one), `--config ${path}`);
    tree = mergeTrees(tree, one);
  }
  return tree;
}

/** The second over the first: maps deeply, lists replaced, but for those of kubernetes.pod_config. Neither is changed. */
export function mergeTrees(under: ConfigTree, over: ConfigTree): ConfigTree {
  return merged(under, over, []);
}

function merged(under: ConfigTree, over: ConfigTree, path: readonly string[]): ConfigTree {
  const result = new Map(Object.entries(under));
  for (const [key, value] of Object.entries(over)) {
    const before = result.get(key);
    const here = [...path, key];
    if (isTree(before) && isTree(value)) {
      result.set(key, merged(before, value, here));
    } else if (Array.isArray(before) && Array.isArray(value) && isPodList(here)) {
      result.set(key, appended(before, value, here));
    } else {
      result.set(key, value);
    }
  }
  return Object.fromEntries(result);
}

function isPodList(path: readonly string[]): boolean {
  return path[0] === "kubernetes" && path.includes("pod_config") && !replacedLists.includes(path.at(-1) ?? "");
}

function appended(under: readonly unknown[], over: readonly unknown[], path: readonly string[]): unknown[] {
  const key = matchedLists[path.at(-1) ?? ""];
  const result: unknown[] = [...under];
  for (const item of over) {
    const name = key !== undefined && isTree(item) ? item[key] : undefined;
    const at = name === undefined ? -1 : result.findIndex((one) => isTree(one) && one[key ?? ""] === name);
    const before = result[at];
    if (isTree(before) && isTree(item)) {
      result[at] = merged(before, item, path);
    } else {
      result.push(item);
    }
  }
  return result;
}

/** All layers together, the lowest first, with the origin of every leaf. */
export function mergeLayers(layers: readonly ConfigLayer[]): MergedConfig {
  let tree: ConfigTree = {};
  const origins = new Map<string, string>();
  for (const layer of layers) {
    const before = leavesOf(tree);
    tree = mergeTrees(tree, layer.tree);
    const after = leavesOf(tree);
    const said = leavesOf(layer.tree);
    for (const path of before.keys()) {
      if (!after.has(path)) {
        origins.delete(path);
      }
    }
    for (const path of after.keys()) {
      if (said.has(path)) {
        const was = origins.get(path);
        const isJoined = was !== undefined && isPodList(path.split("."));
        origins.set(path, isJoined ? `${was}, ${layer.origin}` : layer.origin);
      }
    }
  }
  return { tree, origins };
}

/** Every leaf by its dotted path, in order; an empty mapping is a leaf. */
export function leavesOf(tree: ConfigTree, path: readonly string[] = []): Map<string, unknown> {
  const leaves = new Map<string, unknown>();
  for (const [key, value] of Object.entries(tree)) {
    const here = [...path, key];
    const inner = isTree(value) ? leavesOf(value, here) : new Map<string, unknown>();
    if (inner.size === 0) {
      leaves.set(here.join("."), value);
    }
    for (const [name, leaf] of inner) {
      leaves.set(name, leaf);
    }
  }
  return leaves;
}

/** Without what only the server may say: what a client sends along. */
export function withoutServerKeys(tree: ConfigTree): ConfigTree {
  return serverPaths.reduce((rest, path) => without(rest, path), tree);
}

function without(tree: ConfigTree, path: readonly string[]): ConfigTree {
  const [key = "", ...inner] = path;
  const value = Object.hasOwn(tree, key) ? tree[key] : undefined;
  if (value === undefined) {
    return tree;
  }
  const { [key]: _, ...rest } = tree;
  if (inner.length === 0 || !isTree(value)) {
    return inner.length === 0 ? rest : tree;
  }
  return { ...rest, [key]: without(value, inner) };
}

/** What counts for a request: the server's config with the client's over it, and SkyPilot's warning when something was left out. */
export function configForRequest(server: ConfigTree, client: ConfigTree): { tree: ConfigTree; warning: string | null } {
  const leaves = leavesOf(server);
  const kept = withoutServerKeys(client);
  const keptLeaves = leavesOf(kept);
  const ignored = [...leavesOf(client)]
    .filter(([path, value]) => !keptLeaves.has(path) && JSON.stringify(leaves.get(path)) !== JSON.stringify(value))
    .map(([path]) => `'${path}'`);
  const warning =
    ignored.length === 0
      ? null
      : `The following keys ([${ignored.join(", ")}]) have different values in the client SkyPilot config with the ` +
        "server and will be ignored. Remove them from your config to silence this warning.";
  return { tree: mergeTrees(server, kept), warning };
}

/** The words of `docker.run_options`; none: empty. */
export function runOptionsOf(tree: ConfigTree): string[] {
  const docker = tree["docker"];
  const words = isTree(docker) ? readOptionWords(docker["run_options"] ?? null) : [];
  return "fault" in words ? [] : words;
}
