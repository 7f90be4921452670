/**
 * Reads files of cases: a list, each with its policies, what is submitted and what must come of it. Every fault is told
 * with file and line, all at once. Pure. It knows the form of a case and nothing of policies. Used by cases.ts only.
 */
import { messageOf, SkyError } from "../errors.ts";
import { didYouMean } from "../near-match.ts";
import { readYaml, type YamlEntry, type YamlMapping, type YamlNode } from "../yaml11.ts";
import { kindNamed } from "./fields/fields.ts";
import {
  type CombineMode,
  combineModes,
  type PlainValue,
  policyModes,
  type PolicyMode,
  scopeLevels,
  type ScopeLevel,
  violationRules,
  type WorkloadKind,
  workloadKinds,
} from "./words.ts";

export interface CasePolicy {
  dialect: "v1" | "v2";
  level: ScopeLevel;
  id: string;
  mode: PolicyMode;
  tree: PlainValue;
}

export interface ExpectedError {
  field: string;
  rule: string | null;
  message: string | null;
}

export interface PolicyCase {
  id: string;
  kind: WorkloadKind | null;
  policies: readonly CasePolicy[];
  combine: CombineMode;
  assets: readonly { id: string; field: string; spec: PlainValue; credentials: boolean }[];
  submit: PlainValue;
  /** A task file in place of a submission. */
  task: PlainValue;
  effective: readonly (readonly [path: string, value: PlainValue])[];
  absent: readonly string[];
  errors: readonly ExpectedError[];
  warnings: readonly string[];
  applyError: string | null;
}

const keys = [
  ...["id", "from", "note", "kind", "v1", "v1_scopes", "policy", "scopes", "combine", "assets", "submit", "task"],
  ...["effective", "absent", "errors", "warnings", "apply_error"],
];
const casesMax = 5_000;

class Faults {
  readonly file: string;
  readonly #lines: string[] = [];

  constructor(file: string) {
    this.file = file;
  }

  add(line: number, text: string): void {
    this.#lines.push(`${this.file}:${line}: ${text}`);
  }

  refuse(): void {
    if (this.#lines.length > 0) {
      throw new SkyError("InvalidPolicyError", this.#lines.slice(0, 20).join("\n"));
    }
  }
}

/** The text of a file that a case names, in place of a policy; null: it cannot be read. */
export type OpenPolicy = (name: string) => string | null;

/** Throws SkyError("InvalidPolicyError") with `file:line: …` for every fault. */
export function readCases(text: string, file: string, open: OpenPolicy): PolicyCase[] {
  let documents: YamlNode[];
  try {
    documents = readYaml(text, file);
  } catch (thrown) {
    throw new SkyError("InvalidPolicyError", messageOf(thrown));
  }
  const faults = new Faults(file);
  const [root, second] = documents;
  if (root?.kind !== "list" || second !== undefined || root.items.length === 0) {
    faults.add(root?.line ?? 1, "a file of cases is one list: - id: …");
    faults.refuse();
  }
  const items = root?.kind === "list" ? root.items : [];
  if (items.length > casesMax) {
    faults.add(1, `has more than ${casesMax} cases`);
    faults.refuse();
  }
  const ids = new Map<string, number>();
  const cases = items.flatMap((node) => readCase(node, ids, faults, open) ?? []);
  faults.refuse();
  return cases;
}

function readCase(node: YamlNode, ids: Map<string, number>, faults: Faults, open: OpenPolicy): PolicyCase | null {
  if (node.kind !== "map") {
    faults.add(node.line, "a case is a mapping with an id");
    return null;
  }
  for (const { key, keyLine } of node.entries.values()) {
    if (!keys.includes(key)) {
      faults.add(keyLine, `unknown key "${key}" of a case${hintFor(key, keys)}`);
    }
  }
  const id = textOf(node.entries.get("id"));
  if (id === null || id === "") {
    faults.add(node.line, "the case has no id");
    return null;
  }
  const earlier = ids.get(id);
  if (earlier !== undefined) {
    faults.add(node.line, `the id "${id}" is that of the case in line ${earlier}`);
  }
  ids.set(id, node.line);
  const read = new CaseReader(node, id, faults, open);
  return read.read();
}

function hintFor(key: string, known: readonly string[]): string {
  const hint = didYouMean(key, known);
  return hint === null ? "" : `; ${hint}`;
}

class CaseReader {
  readonly #map: YamlMapping;
  readonly #id: string;
  readonly #faults: Faults;
  readonly #open: OpenPolicy;

  constructor(map: YamlMapping, id: string, faults: Faults, open: OpenPolicy) {
    this.#map = map;
    this.#id = id;
    this.#faults = faults;
    this.#open = open;
  }

  read(): PolicyCase {
    const policies = [...this.#first(), ...this.#later()];
    if (policies.length === 0) {
      this.#fault(this.#map.line, "has none of v1, v1_scopes, policy and scopes");
    }
    const applyError = textOf(this.#map.entries.get("apply_error"));
    const [submit, task] = [this.#plain("submit"), this.#plain("task")];
    if ((submit === null) === (task === null) && (submit !== null || applyError === null)) {
      this.#fault(this.#map.line, submit === null ? "has neither submit nor task" : "has both submit and task");
    }
    for (const key of applyError === null ? [] : ["effective", "absent", "errors"]) {
      if (this.#map.entries.has(key)) {
        this.#fault(this.#map.line, `has apply_error, so nothing is submitted and ${key} says nothing`);
      }
    }
    return {
      id: this.#id,
      kind: this.#kind(),
      policies,
      combine: this.#word("combine", combineModes, this.#map) ?? "exclusive",
      assets: this.#assets(),
      submit,
      task,
      effective: this.#mapping("effective").map(({ key, node }) => [key, plainOf(node)] as const),
      absent: this.#texts("absent"),
      errors: this.#list("errors").flatMap((node) => this.#error(node)),
      warnings: this.#texts("warnings"),
      applyError,
    };
  }

  #fault(line: number, text: string): void {
    this.#faults.add(line, `${this.#id}: ${text}`);
  }

  #kind(): WorkloadKind | null {
    const entry = this.#map.entries.get("kind");
    if (entry === undefined) {
      return null;
    }
    const kind = kindNamed(textOf(entry) ?? "");
    if (kind === null) {
      this.#fault(entry.keyLine, `kind must be one of: ${workloadKinds.join(", ")}`);
    }
    return kind;
  }

  #first(): CasePolicy[] {
    const first = (entry: YamlEntry, level: ScopeLevel, id: string): CasePolicy => {
      return { dialect: "v1", level, id, mode: "enforce", tree: this.#policy(entry.node) };
    };
    const own = this.#map.entries.get("v1");
    const found = own === undefined ? [] : [first(own, "project", "p")];
    for (const entry of this.#mapping("v1_scopes")) {
      if (entry.key === "global" || entry.key === "project") {
        found.push(first(entry, entry.key === "global" ? "cluster" : "project", entry.key === "global" ? "c" : "p"));
      } else {
        this.#fault(entry.keyLine, `v1_scopes holds global and project, not "${entry.key}"`);
      }
    }
    return found;
  }

  /** The policy itself, or that of the file which is named in its place. */
  #policy(node: YamlNode | undefined): PlainValue {
    const name = node?.kind === "scalar" ? scalarText(node) : null;
    if (name === null || node === undefined) {
      return plainOf(node);
    }
    const text = this.#open(name);
    if (text === null) {
      this.#fault(node.line, `the policy's file "${name}" cannot be read`);
      return null;
    }
    try {
      return plainOf(readYaml(text, name)[0]);
    } catch (thrown) {
      this.#fault(node.line, messageOf(thrown));
      return null;
    }
  }

  #later(): CasePolicy[] {
    const own = this.#map.entries.get("policy");
    const found: CasePolicy[] = [];
    if (own !== undefined) {
      found.push({ dialect: "v2", level: "project", id: "p", mode: "enforce", tree: this.#policy(own.node) });
    }
    for (const node of this.#list("scopes")) {
      const level = node.kind === "map" ? this.#word("scope", scopeLevels, node) : null;
      if (node.kind !== "map" || level === null) {
        this.#fault(node.line, `scopes holds mappings with scope (${scopeLevels.join(", ")}), id and policy`);
        continue;
      }
      this.#onlyKnown(node, ["scope", "id", "mode", "policy", "v1"], "scopes");
      const mode = this.#word("mode", policyModes, node) ?? "enforce";
      for (const [key, dialect] of [
        ["policy", "v2"],
        ["v1", "v1"],
      ] as const) {
        const entry = node.entries.get(key);
        if (entry !== undefined) {
          found.push({
            dialect,
            level,
            id: textOf(node.entries.get("id")) ?? level,
            mode,
            tree: this.#policy(entry.node),
          });
        }
      }
    }
    return found;
  }

  #assets(): PolicyCase["assets"] {
    return this.#mapping("assets").flatMap(({ key, keyLine, node }) => {
      const field = node.kind === "map" ? textOf(node.entries.get("field")) : null;
      if (node.kind !== "map" || field === null) {
        this.#fault(keyLine, `assets: "${key}" needs a field, such as storage.nfs, and a spec`);
        return [];
      }
      this.#onlyKnown(node, ["field", "spec", "credentials"], "assets");
      const spec = node.entries.get("spec");
      const credentials = plainOf(node.entries.get("credentials")?.node) === true;
      return [{ id: key, field, spec: plainOf(spec?.node) ?? {}, credentials }];
    });
  }

  #error(node: YamlNode): ExpectedError[] {
    const field = node.kind === "map" ? textOf(node.entries.get("field")) : null;
    if (node.kind !== "map" || field === null) {
      this.#fault(node.line, "errors holds mappings with field, rule and message");
      return [];
    }
    this.#onlyKnown(node, ["field", "rule", "message"], "errors");
    return [{ field, rule: this.#word("rule", violationRules, node), message: textOf(node.entries.get("message")) }];
  }

  #onlyKnown(map: YamlMapping, known: readonly string[], place: string): void {
    for (const { key, keyLine } of map.entries.values()) {
      if (!known.includes(key)) {
        this.#fault(keyLine, `unknown key "${key}" in ${place}${hintFor(key, known)}`);
      }
    }
  }

  #word<T extends string>(key: string, known: readonly T[], map: YamlMapping): T | null {
    const entry = map.entries.get(key);
    const word = known.find((one) => one === textOf(entry));
    if (entry !== undefined && word === undefined) {
      this.#fault(entry.keyLine, `${key} must be one of: ${known.join(", ")}`);
    }
    return word ?? null;
  }

  #plain(key: string): PlainValue {
    const entry = this.#map.entries.get(key);
    return entry === undefined ? null : (plainOf(entry.node) ?? {});
  }

  #mapping(key: string): YamlEntry[] {
    const entry = this.#map.entries.get(key);
    const node = entry?.node;
    if (entry === undefined || node === undefined || isNothing(node)) {
      return [];
    }
    if (node.kind !== "map") {
      this.#fault(entry.keyLine, `${key} must be a mapping`);
      return [];
    }
    return [...node.entries.values()];
  }

  #list(key: string): YamlNode[] {
    const entry = this.#map.entries.get(key);
    const node = entry?.node;
    if (entry === undefined || node === undefined || isNothing(node)) {
      return [];
    }
    if (node.kind !== "list") {
      this.#fault(entry.keyLine, `${key} must be a list`);
      return [];
    }
    return node.items;
  }

  #texts(key: string): string[] {
    return this.#list(key).flatMap((node) => {
      const text = node.kind === "scalar" ? scalarText(node) : null;
      if (text === null) {
        this.#fault(node.line, `${key} must be a list of texts`);
      }
      return text ?? [];
    });
  }
}

function isNothing(node: YamlNode): boolean {
  return node.kind === "scalar" && node.value === null;
}

function scalarText(node: YamlNode & { kind: "scalar" }): string | null {
  return node.value === null ? null : node.quoted ? node.text : node.source;
}

function textOf(entry: YamlEntry | undefined): string | null {
  return entry?.node.kind === "scalar" ? scalarText(entry.node) : null;
}

/** As the author wrote it: numbers that JavaScript would print in another way stay text. */
function plainOf(node: YamlNode | undefined): PlainValue {
  if (node === undefined) {
    return null;
  }
  if (node.kind === "list") {
    return node.items.map(plainOf);
  }
  if (node.kind === "map") {
    return Object.fromEntries([...node.entries.values()].map(({ key, node: inner }) => [key, plainOf(inner)]));
  }
  const { value, quoted, text, source } = node;
  if (quoted) {
    return text;
  }
  if (value === null || typeof value === "boolean") {
    return value;
  }
  return typeof value === "number" && String(value) === source ? value : source;
}
