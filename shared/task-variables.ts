/**
 * The variables of a task: `envs` and `secrets` with what `--env` and `--secret` say over them, and the textual
 * replacement of `$VAR` and `${VAR}` in the fields that name paths. Called by shared/task-reader.ts. No message may hold
 * a secret's value, whatever is wrong with it.
 */
import { SkyError } from "./errors.ts";
import { shownText, type TaskFields } from "./task-fields.ts";
import type { YamlEntry, YamlNode } from "./yaml11.ts";

/** Linux takes no single argument or variable above 128 KiB, name and end mark included. */
const envBytesMax = 128 * 1024 - 1;
/** All variables together: Linux gives a new program about 2 MiB for arguments and environment. */
const envsBytesMax = 1024 * 1024;
/** What a managed secret of SkyPilot's server is called by. */
const managedPrefix = "secrets:";
/** All three, or SkyPilot logs in to no registry. */
const registryNames = ["SKYPILOT_DOCKER_USERNAME", "SKYPILOT_DOCKER_PASSWORD", "SKYPILOT_DOCKER_SERVER"];

/** Values by name; those from flags win over the file's and may give a value to a null. */
export type Overrides = Readonly<Record<string, string>>;

interface Words {
  /** At the beginning of messages. */
  what: string;
  flag: "--env" | "--secret";
}
const envWords: Words = { what: "Environment variable", flag: "--env" };
const secretWords: Words = { what: "Secret variable", flag: "--secret" };

/** The task's `envs` in the file's order, then those that only flags name. */
export function readEnvs(
  fields: TaskFields,
  entry: YamlEntry | undefined,
  overrides: Overrides,
): Record<string, string> {
  return readVariables(fields, entry, overrides, envWords);
}

/** The task's `secrets`, as `readEnvs`. */
export function readSecrets(
  fields: TaskFields,
  entry: YamlEntry | undefined,
  overrides: Overrides,
): Record<string, string> {
  if (entry?.node.kind === "list") {
    fields.fault(entry, `'secrets' as a list names secrets that a server keeps. ${managedHint}`);
    return {};
  }
  return readVariables(fields, entry, overrides, secretWords);
}

const managedHint = "No secrets are kept under names here: write NAME: null, and give the value with --secret NAME.";

function readVariables(
  fields: TaskFields,
  entry: YamlEntry | undefined,
  overrides: Overrides,
  words: Words,
): Record<string, string> {
  const values = new Map<string, string>();
  if (entry !== undefined && entry.node.kind !== "map") {
    fields.fault(entry, `'${entry.key}' must be a mapping of names to values.`);
  } else if (entry?.node.kind === "map") {
    for (const variable of entry.node.entries.values()) {
      const value = readVariable(fields, variable, overrides, words);
      if (value !== null) {
        values.set(variable.key, value);
      }
    }
  }
  for (const [name, value] of Object.entries(overrides)) {
    const problem = variableProblem(name, value);
    if (problem !== null) {
      throw new SkyError("InvalidTaskError", `${words.what} '${shownText(name)}' ${problem}`);
    }
    values.set(name, value);
  }
  return Object.fromEntries(values);
}

function readVariable(fields: TaskFields, entry: YamlEntry, overrides: Overrides, words: Words): string | null {
  const name = entry.key;
  const override = Object.hasOwn(overrides, name) ? overrides[name] : undefined;
  if (override !== undefined) {
    return override;
  }
  if (words.flag === "--secret" && isManaged(entry)) {
    fields.fault(entry, `'secrets.${shownText(name)}' names a secret that a server keeps. ${managedHint}`);
    return null;
  }
  if (entry.node.kind !== "scalar") {
    fields.fault(entry, `${words.what} '${shownText(name)}' must have one value, not a ${entry.node.kind}.`);
    return null;
  }
  const problem = variableProblem(name, entry.node.text);
  if (problem !== null) {
    fields.fault(entry, `${words.what} '${shownText(name)}' ${problem}`);
    return null;
  }
  if (entry.node.value === null) {
    fields.fault(
      entry,
      `${words.what} '${name}' is None. Please set a value for it in task YAML or with ${words.flag} flag. ` +
        `To set it to be empty, use an empty string (${name}: "" in task YAML or ${words.flag} ${name}="" in CLI).`,
    );
    return null;
  }
  return entry.node.text;
}

function isManaged({ key, node }: YamlEntry): boolean {
  return key.startsWith(managedPrefix) || (node.kind === "scalar" && node.text.startsWith(managedPrefix));
}

/** Why no program can be given this variable; null when it can. */
export function variableProblem(name: string, value: string): string | null {
  if (!/^[a-zA-Z_][a-zA-Z0-9_]{0,254}$/.test(name)) {
    return "has an invalid name: use letters, digits and '_', not starting with a digit.";
  }
  if (byteLength(name) + byteLength(value) + 1 > envBytesMax) {
    return `is larger than ${Math.floor(envBytesMax / 1024)} KiB, which Linux refuses. Put the value in a file.`;
  }
  return textProblem(value);
}

/** Throws SkyError("InvalidTaskError") when they are too large together for a new program. `file` for the message. */
export function requireVariablesFit(file: string, ...variables: readonly Record<string, string>[]): void {
  const all = variables.flatMap((group) => Object.entries(group));
  const bytes = all.reduce((sum, [name, value]) => sum + byteLength(name) + byteLength(value) + 2, 0);
  if (bytes > envsBytesMax) {
    throw new SkyError(
      "InvalidTaskError",
      `${file}: the environment variables take ${bytes} bytes together; the limit is ${envsBytesMax}. Put large values in a file.`,
    );
  }
}

/** What names a registry to log in to, when it is there in part only; null when all is well. */
export function registryProblem(envs: Record<string, string>, secrets: Record<string, string>): string | null {
  const given = [envs, secrets].map((group) => registryNames.filter((name) => Object.hasOwn(group, name)));
  return given.every(({ length }) => length === 0 || length === registryNames.length)
    ? null
    : `A registry's login needs ${registryNames.join(", ")}: all three in 'envs' or all three in 'secrets'.`;
}

/** Why no program can be given this text; null when it can. */
export function textProblem(text: string): string | null {
  if (text.includes("\0")) {
    return "contains a NUL character, which no program can be given.";
  }
  return /\p{Surrogate}/u.test(text) ? "contains half of a Unicode character (a lone surrogate)." : null;
}

export function byteLength(text: string): number {
  return new TextEncoder().encode(text).byteLength;
}

/** Characters of a field whose variables are replaced: a short text could name a long value very often. */
const replacedMax = 4 * 1024 * 1024;
const variablePattern = /\$(?:\{([a-zA-Z_][a-zA-Z0-9_]*)\}|([a-zA-Z_][a-zA-Z0-9_]*))/g;

/** At most so long is the text once its variables are replaced. */
function lengthOf(text: string, values: ReadonlyMap<string, string>): number {
  let length = text.length;
  for (const [, braced, plain] of text.matchAll(variablePattern)) {
    length += values.get(braced ?? plain ?? "")?.length ?? 0;
  }
  return length;
}

/**
 * The entry with `$VAR` and `${VAR}` replaced in all its text, keys too; names without a value stay as written. A value
 * that names another variable is a fault: it would be replaced again by the next reader of the task.
 */
export function withVariables(fields: TaskFields, entry: YamlEntry, values: ReadonlyMap<string, string>): YamlEntry {
  let left = replacedMax;
  const replaced = (text: string): string => {
    left -= text.includes("$") ? lengthOf(text, values) : 0;
    if (left < 0) {
      fields.fault(entry, `'${entry.key}' is too long once its variables are replaced.`);
      return text;
    }
    const result = text.replaceAll(variablePattern, (whole, braced?: string, plain?: string) => {
      return values.get(braced ?? plain ?? "") ?? whole;
    });
    if (result !== text) {
      const again = [...result.matchAll(variablePattern)].find(([, braced, plain]) =>
        values.has(braced ?? plain ?? ""),
      );
      if (again !== undefined) {
        fields.fault(entry, `'${entry.key}' still names ${again[0]} after its variables were replaced. Write it out.`);
      }
    }
    return result;
  };
  const visit = (node: YamlNode): YamlNode => {
    switch (node.kind) {
      case "scalar":
        return typeof node.value === "string"
          ? { ...node, value: replaced(node.value), text: replaced(node.text) }
          : node;
      case "list":
        return { ...node, items: node.items.map(visit) };
      case "map":
        return { ...node, entries: visitEntries(node.entries) };
    }
  };
  const visitEntries = (entries: ReadonlyMap<string, YamlEntry>): Map<string, YamlEntry> => {
    const visited = new Map<string, YamlEntry>();
    for (const inner of entries.values()) {
      const key = replaced(inner.key);
      if (visited.has(key)) {
        fields.fault(inner, `'${shownText(inner.key)}' stands here twice once its variables are replaced.`);
      }
      visited.set(key, { ...inner, key, node: visit(inner.node) });
    }
    return visited;
  };
  return values.size === 0 ? entry : { ...entry, node: visit(entry.node) };
}
