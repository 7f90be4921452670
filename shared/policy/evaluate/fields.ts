/**
 * Scalars, arrays and objects of one workload: what the user wrote over the policies' defaults, what is computed from them,
 * and whether the user may write it. Then every limit on every effective value, items included. Pure but for the pass that
 * it adds to. Used by evaluate.ts only.
 */
import { computedValue } from "./computed.ts";
import { fieldAt } from "../fields/fields.ts";
import type { Limits } from "../together/limits.ts";
import { type Place, placeText, spelledValue, texts } from "./messages.ts";
import type { Pass } from "./pass.ts";
import { breachesOf } from "./rules.ts";
import { sameValue } from "../fields/values.ts";
import { devicesPath, gpuOf, portionPath } from "../together/virtual.ts";
import type { PlainValue } from "../words.ts";

/** Defaults, what was submitted over them, and what is computed. */
export function setFields(pass: Pass): void {
  const { combined, submission, effective, origins } = pass;
  const { fields, invalid } = submission;
  const wrote = (path: string): boolean => fields.has(path) || invalid.has(path);
  const asksForGpu = ["gpu", devicesPath, portionPath].some(wrote);
  for (const [path, { value, part, virtual }] of combined.defaults) {
    if (!wrote(path) && !(virtual && asksForGpu)) {
      effective.set(path, value);
      origins.set(path, { kind: "default", source: part.source });
    }
  }
  for (const [path, value] of fields) {
    effective.set(path, value);
    origins.set(path, { kind: "submitted" });
  }
  for (const { path, field, part } of combined.derived) {
    const value = wrote(path) || effective.has(path) ? undefined : derivedValue(pass, path);
    if (value !== undefined) {
      effective.set(path, value);
      origins.set(path, { kind: "computed", source: part.source, from: field });
      pass.because.set(path, [field, ...(pass.because.get(field) ?? [])]);
    }
  }
}

function derivedValue({ combined, effective }: Pass, path: string): PlainValue | undefined {
  const derived = combined.derived.find((one) => one.path === path);
  const to = fieldAt(path);
  return derived === undefined || to === null
    ? undefined
    : computedValue(effective.get(derived.field), derived.factor, { from: fieldAt(derived.field), to });
}

/** What a field would be if the user had not written it. */
function otherwise(pass: Pass, path: string): PlainValue | undefined {
  const { defaults } = pass.combined;
  if (path === "gpu") {
    return gpuOf(new Map([...defaults].map(([place, { value }]) => [place, value] as const)));
  }
  return defaults.get(path)?.value ?? derivedValue(pass, path) ?? fieldAt(path)?.builtin;
}

/** `blocked` and `canEdit`, whether or not the value fits its field: who may not write it is told that. */
export function checkWrittenFields(pass: Pass): void {
  const { fields, mistyped } = pass.submission;
  for (const [path, all] of pass.combined.limits) {
    const value = path === "gpu" ? gpuOf(fields) : (fields.get(path) ?? mistyped.get(path));
    if (path.includes("[].") || value === undefined) {
      continue;
    }
    for (const { spec, blocked, fixed } of all) {
      const first = pass.findings.forbid({ path }, { rule: "blocked", message: texts.blocked, value }, blocked);
      const set = fixed.length === 0 ? undefined : otherwise(pass, path);
      if (fixed.length > 0 && (set === undefined || mistyped.has(path) || !sameValue(value, set, spec))) {
        const limit = set === undefined ? null : spelledValue(path, set, fixed[0]?.part);
        const message = limit === null ? texts.notSettable : texts.fixed(limit);
        pass.findings.forbid({ path }, { rule: "canEdit", message, value, limit }, fixed, first);
      }
    }
  }
}

/** Every limit against every effective value, whatever it came from. */
export function checkValues(pass: Pass): void {
  for (const [path, all] of pass.combined.limits) {
    const [field = "", attribute] = path.split("[].");
    for (const limits of all) {
      if (attribute === undefined) {
        checkValue(pass, { path }, path === "gpu" ? gpuOf(pass.effective) : pass.effective.get(path), limits);
      } else {
        for (const { label, item } of pass.live.get(field) ?? []) {
          checkValue(pass, { path: field, label, attribute }, item[attribute] ?? undefined, limits);
        }
      }
    }
  }
}

function checkValue(pass: Pass, place: Place, value: PlainValue | undefined, limits: Limits): void {
  if (pass.submission.invalid.has(placeText(place))) {
    return;
  }
  const because = place.path === "gpu" ? [devicesPath, portionPath] : (pass.because.get(place.path) ?? []);
  for (const breach of breachesOf(value, limits)) {
    pass.findings.breach(place, breach, value, because);
  }
}

/** `required` of an itemized field as a whole: at least one item. V1's volumes are one field of two. */
export function checkPresence(pass: Pass): void {
  for (const [path, all] of pass.combined.itemLimits) {
    for (const { required } of all) {
      const ofVolumes = required.filter(({ part }) => part.spelled.get(path) === "volumes");
      const others = required.filter((said) => !ofVolumes.includes(said));
      checkItems(pass, path, [path], others);
      if (path === "storage.hostPath") {
        checkItems(pass, path, [path, "storage.nfs"], ofVolumes);
      }
    }
  }
}

function checkItems(pass: Pass, path: string, paths: readonly string[], required: Limits["required"]): void {
  const [said, ...others] = required;
  if (said === undefined || paths.some((one) => (pass.live.get(one) ?? []).length > 0)) {
    return;
  }
  const isEmptied = paths.some((one) => pass.submission.items.has(one));
  const message = isEmptied ? texts.blank : texts.required;
  const breach = { rule: "required", message, limit: null } as const;
  const also = others.map((one) => ({ ...breach, said: one, also: [] }));
  pass.findings.breach({ path }, { ...breach, said, also }, undefined);
}
