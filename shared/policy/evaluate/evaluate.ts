/**
 * What the policies make of one workload: its effective values and every violation at once. Pure and deterministic: the
 * same input gives the same bytes. It must never throw on anything that a user can write. Called for every submission and
 * every change of a queued job by the coordinator, and offline by the client.
 */
import type { EffectivePolicy } from "../compiled.ts";
import { checkPresence, checkValues, checkWrittenFields, setFields } from "./fields.ts";
import { type LiveItem, liveItems } from "./items.ts";
import { fieldAt } from "../fields/fields.ts";
import { distinct, Findings } from "./findings.ts";
import { imposedItems } from "./imposed.ts";
import { contradictions } from "./invariants.ts";
import { type Combined, combined, type Role } from "../together/merge.ts";
import { type Place, placeText, shown, spelling } from "./messages.ts";
import type { Pass } from "./pass.ts";
import { readSubmission, type Submission } from "./submission.ts";
import type { Asset, Evaluation, PlainValue, PolicyMode, ValueOrigin, Violation, Workload } from "../words.ts";

/**
 * `submitted`: as policy/read/workload.ts gives it. Of a distributed workload with policies of their own for master and
 * worker: `role`, or the same submission for both, as a task has it.
 */
export function evaluate(
  policy: EffectivePolicy,
  submitted: Workload,
  assets: ReadonlyMap<string, Asset>,
  role: Role = null,
): Evaluation {
  const hasRoles = policy.kind === "distributed" && policy.parts.some((part) => part.role !== null);
  if (role !== null || !hasRoles) {
    return evaluateRole(policy, submitted, assets, role);
  }
  const worker = evaluateRole(policy, submitted, assets, "worker");
  return joined(worker, evaluateRole(policy, submitted, assets, "master"));
}

function evaluateRole(
  policy: EffectivePolicy,
  submitted: Workload,
  assets: ReadonlyMap<string, Asset>,
  role: Role,
): Evaluation {
  const served = combined(policy, "enforce", role).items.get("storage.nfs")?.instances ?? [];
  const submission = readSubmission(
    submitted,
    policy.kind,
    served.map(({ item }) => item),
  );
  const passFor = (mode: PolicyMode): Pass => runPass(combined(policy, mode, role), submission, assets);
  const binding = passFor("enforce");
  addProduct(binding, policy);
  const { violations, heldBack } = binding.findings.told();
  const watched = (mode: PolicyMode): Violation[] =>
    policy.parts.some(({ source }) => source.mode === mode)
      ? passFor(mode)
          .findings.told()
          .violations.filter(({ source }) => source?.mode === mode)
      : [];
  return {
    ...effectiveOf(binding),
    violations,
    heldBack,
    warned: watched("warn"),
    audited: watched("audit"),
    excepted: [],
    notices: [...new Set(binding.notices)].sort(),
  };
}

function runPass(own: Combined, submission: Submission, assets: ReadonlyMap<string, Asset>): Pass {
  const { items, missing } = imposedItems(own, assets);
  const pass: Pass = {
    combined: own,
    submission,
    imposed: items,
    findings: new Findings(),
    effective: new Map(),
    origins: new Map(),
    live: new Map(),
    because: new Map(),
    notices: [...submission.notices],
  };
  setFields(pass);
  checkWrittenFields(pass);
  for (const path of new Set([...own.items.keys(), ...submission.items.keys(), ...items.keys()])) {
    const spec = fieldAt(path);
    if (spec !== null) {
      pass.live.set(path, liveItems(pass, spec));
    }
  }
  checkPresence(pass);
  checkValues(pass);
  for (const violation of missing) {
    pass.findings.policy(violation);
  }
  return pass;
}

/** What the product itself refuses. */
function addProduct(pass: Pass, policy: EffectivePolicy): void {
  const { submission, findings } = pass;
  const spell = (place: Place): string => productSpelling(place, policy);
  for (const { place, rule, message, value } of submission.problems) {
    findings.product([placeText(place)], { field: spell(place), rule, message, value });
  }
  const value = (path: string): PlainValue | undefined =>
    submission.invalid.has(path) ? undefined : pass.effective.get(path);
  const items = (path: string): readonly LiveItem[] => pass.live.get(path) ?? [];
  for (const { message, with: others, ...place } of contradictions({ value, items })) {
    const places = [placeText(place), ...others];
    const because = places.flatMap((one) => pass.because.get(one) ?? []);
    findings.product([...places, ...because], { field: spell(place), rule: "constraint", message, value: null });
  }
}

/** As V1 calls it where only V1's policies speak of it; else as everybody does. */
function productSpelling(place: Place, { parts }: EffectivePolicy): string {
  const { path } = place;
  const speaks = parts.some(
    ({ source, rules, defaults, items, itemRules }) =>
      source.dialect === "v2" && [rules, defaults, items, itemRules].some((map) => map.has(path)),
  );
  const first = parts.find(({ source, spelled }) => source.dialect === "v1" && spelled.has(path));
  if (first !== undefined && !speaks) {
    return spelling(place, first);
  }
  const name = fieldAt(path)?.v1?.[0];
  const isFirst = parts.length > 0 && parts.every(({ source }) => source.dialect === "v1");
  return isFirst && name !== undefined ? placeText({ ...place, path: name }) : placeText(place);
}

function effectiveOf({ effective, origins, live }: Pass): Pick<Evaluation, "effective" | "origins"> {
  const values = new Map(effective);
  const from = new Map(origins);
  for (const [path, items] of live) {
    if (items.length > 0) {
      values.set(
        path,
        items.map(({ item }) => item),
      );
    }
    for (const one of items) {
      const place = { path, label: one.label };
      from.set(placeText(place), one.origin);
      for (const [attribute, origin] of one.origins) {
        from.set(placeText({ ...place, attribute }), origin);
      }
    }
  }
  return { effective: sortedMap(values), origins: sortedMap(from) };
}

function sortedMap<T>(map: ReadonlyMap<string, T>): Map<string, T> {
  return new Map([...map].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** One task for all nodes: what one of the roles has is there for both; where they differ, no task can say it. */
function joined(worker: Evaluation, master: Evaluation): Evaluation {
  const effective = new Map<string, PlainValue>([...master.effective, ...worker.effective]);
  const origins = new Map<string, ValueOrigin>([...master.origins, ...worker.origins]);
  const differing: Violation[] = [];
  for (const [path, value] of worker.effective) {
    const other = master.effective.get(path);
    if (other !== undefined && JSON.stringify(other) !== JSON.stringify(value)) {
      const values = fieldAt(path)?.type === "itemized" ? "" : ` (${shown(value)} and ${shown(other)})`;
      const message = `is set to something else for workers and for the master${values}; one task has one value for all nodes`;
      differing.push({ field: path, rule: "constraint", message, source: null, value: null, limit: null });
    }
  }
  const both = (pick: (evaluation: Evaluation) => readonly Violation[]): Violation[] =>
    distinct([...pick(worker), ...pick(master)]);
  return {
    effective: sortedMap(effective),
    origins: sortedMap(origins),
    violations: distinct([...both(({ violations }) => violations), ...differing]),
    heldBack: [...(worker.heldBack ?? []), ...(master.heldBack ?? [])],
    warned: both(({ warned }) => warned),
    audited: both(({ audited }) => audited),
    excepted: [],
    notices: [...new Set([...worker.notices, ...master.notices])].sort(),
  };
}
