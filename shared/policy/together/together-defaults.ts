/**
 * What defaults of several policies may not do: undo what a wider scope has fixed, break a rule, or be computed in a
 * circle. Pure. Called by policy/together/combine.ts when a policy is saved, for every place of the tree.
 */
import type { CompiledPolicy, EffectivePolicy } from "../compiled.ts";
import { evaluate } from "../evaluate/evaluate.ts";
import { fieldAt } from "../fields/fields.ts";
import { itemKeys, sameItem } from "../fields/items.ts";
import { combined, type Combined, labelOf, type Role, voicesOf } from "./merge.ts";
import { shown, spelling, texts } from "../evaluate/messages.ts";
import { breachesOf } from "../evaluate/rules.ts";
import { compareScopes, compareTexts, scopeText } from "./scope-order.ts";
import { meetInRole } from "./together.ts";
import { sameValue } from "../fields/values.ts";
import type { Asset, Item, PlainValue, Violation } from "../words.ts";

/** Narrower defaults of what a wider scope has fixed, locked or blocked. Only policies that enforce set anything. */
export function fixedFaults({ parts }: EffectivePolicy): string[] {
  const setting = parts.filter(({ source }) => source.dialect === "v2" && source.mode === "enforce");
  const rules = voicesOf(setting, (part) => part.rules);
  const wider = (part: CompiledPolicy) => (other: CompiledPolicy) =>
    compareScopes(other.source.scope, part.source.scope) < 0 && meetInRole(other, part);
  return setting.flatMap((part) => {
    const above = setting.filter(wider(part));
    const fault = (path: string, said: CompiledPolicy, what: string): string =>
      `Default "${path}" is ${what} in ${scopeText(said.source.scope)}`;
    const saying = (path: string, says: (rules: { canEdit?: boolean; blocked?: boolean }) => boolean) =>
      rules.get(path)?.find((voice) => says(voice.rules) && (wider(part)(voice.part) || voice.part === part))?.part;
    const check = (path: string, shownPath: string, value: PlainValue | null): string[] => {
      const blocking = saying(path, ({ blocked }) => blocked === true);
      const fixing = saying(path, ({ canEdit }) => canEdit === false);
      const builtin = fieldAt(path)?.builtin;
      const spec = fieldAt(path);
      const isSet =
        above.some((other) => setsPath(other, path)) ||
        (builtin !== undefined && spec !== null && (value === null || !sameValue(value, builtin, spec)));
      return [
        ...(blocking === undefined ? [] : [fault(shownPath, blocking, "blocked")]),
        ...(fixing === undefined || fixing === part || !isSet ? [] : [fault(shownPath, fixing, "fixed")]),
      ];
    };
    const computed = [...part.rules].filter(([, { defaultFrom }]) => defaultFrom !== undefined).map(([path]) => path);
    return [
      ...[...part.defaults].flatMap(([path, value]) => check(path, path, value)),
      ...computed.flatMap((path) => check(path, path, null)),
      ...[...part.items].flatMap(([path, { attributes }]) =>
        Object.entries(attributes).flatMap(([name, value]) => check(`${path}[].${name}`, `${path}[].${name}`, value)),
      ),
      ...lockedFaults(part, above, check),
    ];
  });
}

function setsPath(part: CompiledPolicy, path: string): boolean {
  const [field = "", attribute] = path.split("[].");
  return attribute === undefined ? part.defaults.has(path) : part.items.get(field)?.attributes[attribute] !== undefined;
}

function lockedFaults(
  part: CompiledPolicy,
  above: readonly CompiledPolicy[],
  check: (path: string, shownPath: string, value: PlainValue) => string[],
): string[] {
  return [...part.items].flatMap(([path, { instances }]) => {
    const spec = fieldAt(path);
    if (spec === null) {
      return [];
    }
    return instances.flatMap((item, index) => {
      const inherited = above.flatMap((other) => other.items.get(path)?.instances ?? []);
      const same = inherited.filter((one) => sameItem(spec, one, item));
      const keys = [item, ...same].flatMap((one) => itemKeys(spec, one));
      const label = labelOf(spec, item, index);
      const locking = above.find(({ itemRules }) => itemRules.get(path)?.locked?.some((key) => keys.includes(key)));
      const attributes = Object.entries(item).flatMap(([name, value]) => {
        const set = above.findLast((other) => setsPath(other, `${path}[].${name}`))?.items.get(path)?.attributes[name];
        const attribute = fieldAt(`${path}[].${name}`);
        const isSame = set !== undefined && attribute !== null && sameValue(value, set, attribute);
        return name === "exclude" || isSame ? [] : check(`${path}[].${name}`, `${path}[${label}].${name}`, value);
      });
      return locking === undefined
        ? attributes
        : [`Default "${path}[${label}]" is fixed in ${scopeText(locking.source.scope)}`, ...attributes];
    });
  });
}

/** Defaults that a workload without a word of its own would be refused for. `required` is what users are to give. */
export function brokenFaults(policy: EffectivePolicy, assets: ReadonlyMap<string, Asset>): string[] {
  const roles: readonly Role[] = policy.parts.some(({ role }) => role !== null) ? ["worker", "master"] : [null];
  return roles.flatMap((role) => {
    const binding = evaluate(policy, new Map(), assets, role).violations;
    const watching = policy.parts
      .filter(({ source }) => source.mode !== "enforce")
      .flatMap((part) => {
        const { warned, audited } = evaluate({ ...policy, parts: [part] }, new Map(), assets, role);
        return [...warned, ...audited];
      });
    const own = combined(policy, "enforce", role);
    const faults = [...binding, ...watching].filter((one) => one.field !== "imposedAssets" && !isUpToUsers(one));
    return [...faults.map(faultText), ...attributeFaults(own), ...circleFaults(own)];
  });
}

/** A value is missing that users are to give; one that is there and blank breaks its rule. */
function isUpToUsers({ rule, message }: Violation): boolean {
  return (rule === "required" || rule === "constraint") && message.startsWith(texts.required);
}

/** `compute.cpuCoreRequest: default 8 is greater than max 4` */
function faultText({ field, rule, message, value, limit }: Violation): string {
  const said = value === null || shown(value) === "" ? "the default" : `default ${shown(value)}`;
  switch (rule) {
    case "max":
      return `${field}: ${said} is greater than max ${shown(limit)}`;
    case "min":
      return `${field}: ${said} is less than min ${shown(limit)}`;
    case "constraint":
      return `${field}: ${message}, by its default`;
    default:
      return `${field}: ${said} ${message}`;
  }
}

/** Attributes' defaults, which no item may have yet. */
function attributeFaults({ items, limits }: Combined): string[] {
  return [...items].flatMap(([path, { attributes }]) =>
    [...attributes].flatMap(([attribute, { value }]) =>
      (limits.get(`${path}[].${attribute}`) ?? []).flatMap((one) =>
        breachesOf(value, { ...one, required: [] }).map(({ rule, message, limit, said }) => {
          const field = spelling({ path, attribute }, said.part);
          return faultText({ field, rule, message, value, limit, source: null });
        }),
      ),
    ),
  );
}

function circleFaults({ circles }: Combined): string[] {
  return circles.map(
    (paths) => `${paths[0] ?? ""}: defaultFrom goes in a circle: ${[...paths].sort(compareTexts).join(", ")}`,
  );
}

/** Static defaults that make a computed one of the same field idle. */
export function idleWarnings({ parts }: EffectivePolicy): string[] {
  return parts.flatMap((part) =>
    [...part.rules].flatMap(([path, { defaultFrom }]) => {
      const winning = parts.find(
        (other) =>
          setsPath(other, path) &&
          compareScopes(other.source.scope, part.source.scope) >= 0 &&
          other.source.mode === part.source.mode &&
          meetInRole(other, part),
      );
      if (defaultFrom === undefined || winning === undefined) {
        return [];
      }
      const [field = "", attribute] = path.split("[].");
      const items: Item = winning.items.get(field)?.attributes ?? {};
      const value = attribute === undefined ? winning.defaults.get(path) : items[attribute];
      return [
        `${path}: the default ${shown(value ?? null)} of policy "${winning.source.policy}" wins over defaultFrom`,
      ];
    }),
  );
}
