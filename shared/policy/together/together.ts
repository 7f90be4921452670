/**
 * Whether the policies that bind one workload may stand together: what is found wrong when one is saved. Pure. It must
 * never let through a set that no workload could satisfy, nor a narrower policy that undoes what a wider one has fixed.
 * Called by policy/together/combine.ts for every place of the tree; what defaults may not do is policy/together/together-defaults.ts.
 */
import type { CompiledPolicy, EffectivePolicy } from "../compiled.ts";
import { fieldAt } from "../fields/fields.ts";
import { type FieldVoice, type Limits, limitsOf, sameStep } from "./limits.ts";
import { refersToCredentials } from "../evaluate/imposed.ts";
import { sameItem } from "../fields/items.ts";
import { labelOf, voicesOf } from "./merge.ts";
import { shown } from "../evaluate/messages.ts";
import { compareAmounts, parseDecimal } from "../fields/quantity.ts";
import { compareScopes, isSameScope, scopeText } from "./scope-order.ts";
import { samePlain } from "../fields/values.ts";
import type { Asset, PolicyMode } from "../words.ts";

/** One line for each asset that cannot be imposed. */
export function assetFaults(all: readonly CompiledPolicy[], assets: ReadonlyMap<string, Asset>): string[] {
  return all.flatMap(({ imposed }) =>
    imposed.flatMap((id) => {
      const asset = assets.get(id);
      if (asset === undefined) {
        return [`imposedAssets: "${id}" does not exist`];
      }
      return refersToCredentials(asset) ? [`imposedAssets: "${id}" refers to credentials and cannot be imposed`] : [];
    }),
  );
}

/** Two assets that are one item, and differ: one of them would be lost. */
export function imposedFaults({ parts }: EffectivePolicy, assets: ReadonlyMap<string, Asset>): string[] {
  const all = [...new Set(parts.flatMap(({ imposed }) => imposed))].flatMap((id) => assets.get(id) ?? []);
  return all.flatMap((asset, index) => {
    const spec = fieldAt(asset.field);
    const earlier = all
      .slice(0, index)
      .find((one) => one.field === asset.field && spec !== null && sameItem(spec, one.spec, asset.spec));
    return spec === null || earlier === undefined || samePlain(earlier.spec, asset.spec)
      ? []
      : [
          `imposedAssets: "${earlier.id}" and "${asset.id}" are the same item, ${asset.field}[${labelOf(spec, asset.spec, 0)}]`,
        ];
  });
}

/** Whether the nodes that two policies are for have any in common. */
export function meetInRole(a: CompiledPolicy, b: CompiledPolicy): boolean {
  return a.role === null || b.role === null || a.role === b.role;
}

/** Of rules that meet on one field. `saving`: name of the policy that is being saved. */
export function ruleFaults({ parts, combine }: EffectivePolicy, mode: PolicyMode, saving: string | null): string[] {
  const modern = parts.filter(({ source }) => source.dialect === "v2" && source.mode === mode);
  const units = [...voicesOf(modern, ({ rules }) => rules), ...voicesOf(modern, ({ itemRules }) => itemRules)] as [
    string,
    { rules: unknown; part: CompiledPolicy }[],
  ][];
  const taken = units.flatMap(([path, voices]) => (combine === "exclusive" ? takenFaults(path, voices, saving) : []));
  if (taken.length > 0) {
    return taken;
  }
  return [...voicesOf(modern, ({ rules }) => rules)].flatMap(([path, voices]) => limitFaults(path, voices));
}

function takenFaults(path: string, voices: readonly { part: CompiledPolicy }[], saving: string | null): string[] {
  return voices.flatMap(({ part }, index) =>
    voices.slice(0, index).flatMap((earlier) => {
      const isOne =
        earlier.part.source.policy === part.source.policy && isSameScope(earlier.part.source.scope, part.source.scope);
      if (isOne || !meetInRole(earlier.part, part)) {
        return [];
      }
      const there = earlier.part.source.policy === saving ? part : earlier.part;
      return [`Field "${path}" already has rules in ${scopeText(there.source.scope)}`];
    }),
  );
}

function limitFaults(path: string, voices: readonly FieldVoice[]): string[] {
  const spec = fieldAt(path);
  if (spec === null || voices.length < 2) {
    return [];
  }
  const limits = limitsOf(voices, spec);
  return [
    ...rangeFaults(path, limits),
    ...stepFaults(path, limits),
    ...optionFaults(path, limits),
    ...sourceFaults(path, voices),
  ];
}

function rangeFaults(path: string, { min: [min], max: [max] }: Limits): string[] {
  return min !== undefined && max !== undefined && compareAmounts(min.value.amount, max.value.amount) > 0
    ? [
        `${path}: min ${shown(min.value.said)} is greater than max ${shown(max.value.said)}${elsewhere(min.part, max.part)}`,
      ]
    : [];
}

/** Where the wider of two stands, if they stand in different places. */
function elsewhere(a: CompiledPolicy, b: CompiledPolicy): string {
  const [wider] = [a, b].sort((one, other) => compareScopes(one.source.scope, other.source.scope));
  return wider === undefined || isSameScope(a.source.scope, b.source.scope)
    ? ""
    : ` in ${scopeText(wider.source.scope)}`;
}

function stepFaults(path: string, { step: [first, ...others] }: Limits): string[] {
  return others.flatMap((other) => {
    if (first === undefined || !meetInRole(first.part, other.part) || sameStep(first.value, other.value)) {
      return [];
    }
    const base = first.value.base.amount.digits === 0n ? "" : ` from ${shown(first.value.base.said)}`;
    return [`${path}: step must be ${shown(first.value.said)}${base}, as in ${scopeText(first.part.source.scope)}`];
  });
}

function optionFaults(path: string, { options, common }: Limits): string[] {
  const [first, ...others] = options;
  const last = others.at(-1);
  return first === undefined || last === undefined || common === null || common.length > 0
    ? []
    : [`${path}: no option is left of those in ${scopeText(first.part.source.scope)}`];
}

function sourceFaults(path: string, voices: readonly FieldVoice[]): string[] {
  const [first, ...others] = voices.filter(({ rules }) => rules.defaultFrom !== undefined);
  const factorOf = ({ rules }: FieldVoice) => parseDecimal(rules.defaultFrom?.factor);
  return others.flatMap((other) => {
    const [one, two] = first === undefined ? [null, null] : [factorOf(first), factorOf(other)];
    const isSame =
      first?.rules.defaultFrom?.field === other.rules.defaultFrom?.field &&
      one !== null &&
      two !== null &&
      compareAmounts(one, two) === 0;
    return first === undefined || isSame || !meetInRole(first.part, other.part)
      ? []
      : [`${path}: defaultFrom must be the same as in ${scopeText(first.part.source.scope)}`];
  });
}

/** Two policies of one scope and kind that say the same thing once each: nobody could tell which counts. */
export function doubleFaults({ parts, kind }: EffectivePolicy): string[] {
  return parts.flatMap((part, index) =>
    parts.slice(0, index).flatMap((earlier) => {
      const { source } = part;
      const isOther =
        earlier.source.policy !== source.policy &&
        earlier.source.mode === source.mode &&
        earlier.source.dialect === source.dialect &&
        isSameScope(earlier.source.scope, source.scope) &&
        meetInRole(earlier, part);
      const where = `of policy "${earlier.source.policy}" in ${scopeText(source.scope)}`;
      if (!isOther) {
        return [];
      }
      return source.dialect === "v1"
        ? [`${kind} workloads have rules ${where} already; one V1 policy counts for a kind and scope`]
        : sharedDefaults(earlier, part).map((path) => `Default "${path}" is one ${where} already`);
    }),
  );
}

function sharedDefaults(a: CompiledPolicy, b: CompiledPolicy): string[] {
  const fields = [...b.defaults.keys()].filter((path) => a.defaults.has(path));
  const items = [...b.items].flatMap(([path, { instances, attributes }]) => {
    const other = a.items.get(path);
    const spec = fieldAt(path);
    if (other === undefined || spec === null) {
      return [];
    }
    const names = Object.keys(attributes).filter((name) => other.attributes[name] !== undefined);
    const shared = instances.filter((item) => other.instances.some((one) => sameItem(spec, item, one)));
    return [
      ...names.map((name) => `${path}[].${name}`),
      ...shared.map((item, index) => `${path}[${labelOf(spec, item, index)}]`),
    ];
  });
  return [...fields, ...items];
}
