/**
 * What binds each field, for forms: its default, whether it may be edited, its limits, and who says so. Pure. It must
 * never name a field that no policy speaks of. Served by the coordinator's routes for policies.
 */
import type { PolicyEffectiveResult } from "../policy-api.ts";
import type { EffectivePolicy } from "./compiled.ts";

export function formOf(policy: EffectivePolicy): PolicyEffectiveResult["fields"] {
  const fields: PolicyEffectiveResult["fields"] = {};
  for (const { defaults, source } of policy.parts) {
    for (const [path, value] of defaults) {
      const sources = { default: source };
      fields[path] = { type: "string", default: value, canEdit: true, required: false, blocked: false, sources };
    }
  }
  return fields;
}
