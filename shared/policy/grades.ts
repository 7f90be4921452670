/**
 * What a policy comes to on this cluster, told when it is saved: how well each field that it speaks of is held, and what
 * it demands that nothing here can do, which refuses it. Pure; the table of fields is grades-table.ts. It must never let a
 * demand pass that could never be met. Called by the coordinator's policy rooms and by `sky policy check`.
 */
import type { Mechanism } from "../launch-spec.ts";
import { didYouMean } from "../near-match.ts";
import type { GradeLine } from "../policy-api.ts";
import type { CompiledPolicy, PolicyDocument } from "./compiled.ts";
import { fieldAt } from "./fields/fields.ts";
import { onPremGrade, type OnPremGrade } from "./grades-table.ts";
import { itemKeys } from "./fields/items.ts";
import { itemsOf } from "./task/adapter-fields.ts";
import { refusedValues } from "./task/adapter-values.ts";
import { nodePoolLabel, nodeTypeLabel, textOf } from "./task/adapter-ways.ts";
import type { Asset, FieldRules, PlainValue } from "./words.ts";

export { onPremGrade } from "./grades-table.ts";

/** What the nodes can do, in numbers of nodes. */
export interface ClusterFacts {
  /** That have said what they can do. */
  nodes: number;
  /** That have not reported yet, and may be able to do anything; absent: none. */
  unseen?: number;
  mechanisms: Readonly<Partial<Record<Mechanism, number>>>;
  /** With podman or docker. */
  containers: number;
  /** With MIG instances, by profile (`1g.10gb`). */
  mig: Readonly<Record<string, number>>;
  /** By `NAME=VALUE`. */
  labels: Readonly<Record<string, number>>;
  /** Names that the coordinator's config publishes. */
  volumes: readonly string[];
}

export interface PolicyGrades {
  lines: GradeLine[];
  /** Sentences; any: the policy is not saved. */
  refusals: string[];
}

/** What a policy says of one path, in all of its parts. */
interface Said {
  path: string;
  /** As the author spells it. */
  field: string;
  /** `"required: true"`; empty: nothing of it asks for anything. */
  demands: string[];
  hasRules: boolean;
  /** Every value that the policy sets there. */
  defaults: PlainValue[];
}

/** `assets`: those that the policy may impose. */
export function gradesOf(
  document: PolicyDocument,
  facts: ClusterFacts,
  assets: ReadonlyMap<string, Asset> = new Map(),
): PolicyGrades {
  const said = new Map<string, Said>();
  for (const part of document.compiled) {
    collect(part, assets, (path) => {
      const there = said.get(path);
      const own = there ?? { path, field: fieldText(part, path), demands: [], hasRules: false, defaults: [] };
      said.set(path, own);
      return own;
    });
  }
  const isService = document.compiled.every(({ kinds }) => kinds.every((kind) => kind === "inference"));
  const graded = [...said.values()].map((one) => lineOf(one, facts, isService));
  return {
    lines: graded.map(({ line }) => line).sort((one, other) => (one.field < other.field ? -1 : 1)),
    refusals: [...new Set(graded.flatMap(({ refusals }) => refusals))].sort(),
  };
}

function fieldText({ spelled }: CompiledPolicy, path: string): string {
  return spelled.get(path) ?? path;
}

/** Everything that one part says, by path; an item's attributes have paths of their own. */
function collect(part: CompiledPolicy, assets: ReadonlyMap<string, Asset>, at: (path: string) => Said): void {
  for (const [path, value] of part.defaults) {
    at(path).defaults.push(value);
  }
  for (const [path, rules] of part.rules) {
    const own = at(path);
    own.hasRules = true;
    own.demands.push(...demandsOf(rules, part, path));
  }
  for (const [path, { instances, attributes }] of part.items) {
    const given = instances.filter((item) => item["exclude"] !== true);
    if (given.length > 0) {
      at(path).defaults.push(given);
    }
    for (const item of [attributes, ...given]) {
      for (const [name, value] of Object.entries(item)) {
        if (name !== "name" && onPremGrade(`${path}[].${name}`) !== onPremGrade(path)) {
          at(`${path}[].${name}`).defaults.push(value);
        }
      }
    }
  }
  for (const [path, rules] of part.itemRules) {
    const own = at(path);
    own.hasRules = true;
    const spec = fieldAt(path);
    const there = itemsOf(own.defaults.flatMap((value) => value)).flatMap((item) =>
      spec === null ? [] : itemKeys(spec, item),
    );
    const fixed = [...(rules.locked ?? []), ...(rules.notExcluded ?? [])].filter((key) => there.includes(key));
    own.demands.push(
      ...fixed.map((key) => `"locked: [${key}]"`),
      ...(rules.required === true ? ['"required: true"'] : []),
    );
  }
  for (const id of part.imposed) {
    const asset = assets.get(id);
    if (asset !== undefined) {
      const own = at(asset.field);
      own.defaults.push([asset.spec]);
      own.demands.push(`the imposed asset "${id}"`);
    }
  }
}

function demandsOf(
  { required, min, canEdit }: FieldRules,
  { defaults, items }: CompiledPolicy,
  path: string,
): string[] {
  const [field = "", attribute] = path.split("[].");
  const inside = attribute === undefined ? undefined : items.get(field)?.attributes[attribute];
  const hasValue = defaults.has(path) || (inside !== undefined && inside !== null);
  return [
    ...(required === true ? ['"required: true"'] : []),
    ...(min === undefined ? [] : [`"min: ${min}"`]),
    ...(canEdit === false && hasValue ? ['"canEdit: false" with a value'] : []),
  ];
}

function lineOf(said: Said, facts: ClusterFacts, isService: boolean): { line: GradeLine; refusals: string[] } {
  const { path, field, demands, hasRules, defaults } = said;
  const found = onPremGrade(path);
  const held: OnPremGrade = isService ? { grade: "no effect", note: "services are not run here yet" } : found;
  if (held.grade === "no effect") {
    const [parent = ""] = path.split("[].");
    // Of items that no task can have, nothing is ever missing.
    const isEmpty = parent !== path && onPremGrade(parent).grade === "no effect";
    const refusals = (isEmpty ? [] : demands).map(
      (demand) => `${field}: ${held.note}; ${demand} could never be met. ${held.remedy ?? "Remove the rule."}`,
    );
    const line: GradeLine = hasRules
      ? { field, grade: "always satisfied", note: `${held.note}; the rule is always satisfied.` }
      : { field, grade: "no effect", note: `${held.note}.` };
    return { line, refusals };
  }
  const { note, refusals } = factsOn(said, held, facts);
  const texts = [...note, held.note].filter((text) => text !== "");
  return {
    line: { field, grade: held.grade, note: texts.length === 0 ? "" : `${texts.join("; ")}.` },
    refusals: [...defaults.flatMap((value) => valueRefusals(path, field, value, facts)), ...refusals],
  };
}

/** How many nodes can do it; none at all is only for rules that ask for nothing. */
function factsOn(
  { path, field, demands, defaults }: Said,
  { needs }: OnPremGrade,
  facts: ClusterFacts,
): { note: string[]; refusals: string[] } {
  const able = needs === undefined ? null : needs === "containers" ? facts.containers : (facts.mechanisms[needs] ?? 0);
  const isAsked = demands.length > 0 || defaults.some((value) => asksNode(path, value));
  const note = able === null || facts.nodes === 0 ? [] : [`on ${able} of ${facts.nodes} nodes`];
  const isMissing = able === 0 && facts.nodes > 0 && (facts.unseen ?? 0) === 0 && isAsked;
  const what = needs === "containers" ? "has podman or docker" : `can do this (${needs ?? ""})`;
  return {
    note: [...note, ...placesOn(path, defaults, facts)],
    refusals: isMissing
      ? [`${field}: no node of this cluster ${what}, so that no job could be held to it. Remove the rule.`]
      : [],
  };
}

/** Whether a default needs the node's means: `false` and the like are met without. */
function asksNode(path: string, value: PlainValue): boolean {
  const isActive = /allowPrivilegeEscalation$|hostIpc$|hostNetwork$/.test(path);
  return isActive ? value === false : value !== false && value !== null;
}

/** Of what names nodes: on how many there are any. */
function placesOn(path: string, defaults: readonly PlainValue[], facts: ClusterFacts): string[] {
  const label = { nodeType: nodeTypeLabel, nodePools: nodePoolLabel }[path];
  const values = defaults.flatMap((value) => (Array.isArray(value) ? value : [value]));
  if (label !== undefined) {
    return values.map(
      (value) =>
        `${label}=${textOf(value)} on ${facts.labels[`${label}=${textOf(value)}`] ?? 0} of ${facts.nodes} nodes`,
    );
  }
  if (path === "compute.migProfile") {
    return values.map((value) => `${textOf(value)} on ${migNodes(textOf(value), facts)} of ${facts.nodes} nodes`);
  }
  return [];
}

/** A node tells the profile `1g.10gb+me` as `1g.10gb.me`. */
function migNodes(profile: string, { mig }: ClusterFacts): number {
  return mig[profile.toLowerCase().replace("+", ".")] ?? mig[profile.toLowerCase()] ?? 0;
}

const ownIds = "a job runs as the user who sends it, and one value for everybody would make jobs run as somebody else";

/** What a policy sets and no job could ever have. */
function valueRefusals(path: string, field: string, value: PlainValue, { volumes }: ClusterFacts): string[] {
  const why = refusedValues[path]?.(value) ?? null;
  if (why !== null) {
    return [`${field}: ${why} Remove the value ${JSON.stringify(value)}.`];
  }
  if (path === "security.runAsUid" || path === "security.runAsGid") {
    return [`${field}: ${ownIds}. Remove the value.`];
  }
  if (path === "security.supplementalGroups" && value !== "") {
    return [`${field}: a job has the groups of the user who sends it and no others. Remove the value.`];
  }
  const name = { "storage.pvc": "claimName", "storage.dataVolume": "id" }[path];
  return name === undefined
    ? []
    : itemsOf(value).flatMap((item): string[] => {
        const volume = item[name];
        if (typeof volume !== "string" || volumes.includes(volume)) {
          return [];
        }
        const hint =
          didYouMean(volume, volumes) ?? "An admin publishes volumes in the coordinator's config (`volumes`).";
        return [`${field}: there is no volume '${volume.slice(0, 80)}' on this cluster. ${hint}`];
      });
}
