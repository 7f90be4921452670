/**
 * The rules that the product brings along, as one policy of the widest scope: no job is privileged, and none asks for
 * more time to end than five minutes. A tenant's or the cluster's policy may say otherwise. Pure. Used by the
 * coordinator's policy rooms and by `sky policy check -f`.
 */
import type { CompiledPolicy } from "./compiled.ts";
import { type Scope, workloadKinds } from "./words.ts";

/** The longest that a job may ask for between TERM and KILL. Source: design of the policies, A.5. */
const graceSecondsMax = 300;

/** Id of the scope of these rules. */
export const builtinScope: Scope = { level: "system", id: "builtin" };

/** No policy of an admin may be called that. */
export const builtinName = "builtin";

/** The same as a document, for people. */
export function builtinText(graceSeconds: number): string {
  const longest = Math.max(graceSecondsMax, graceSeconds);
  return [
    "# Rules of the product itself; a policy of the tenant or of the cluster may replace them.",
    "defaults:\n  privileged: false",
    `rules:\n  privileged: {canEdit: false}\n  terminationGracePeriodSeconds: {max: ${longest}}\n`,
  ].join("\n");
}

/** `graceSeconds`: the cluster's own, which may be longer. */
export function builtinPolicies(graceSeconds: number): CompiledPolicy[] {
  const source = {
    ...{ policy: builtinName, scope: builtinScope, revision: 0, mode: "enforce" as const, dialect: "v2" as const },
  };
  return [
    {
      ...{ source, kinds: workloadKinds, role: null },
      defaults: new Map([["privileged", false]]),
      rules: new Map([
        ["privileged", { canEdit: false }],
        ["terminationGracePeriodSeconds", { max: Math.max(graceSecondsMax, graceSeconds) }],
      ]),
      ...{ items: new Map(), itemRules: new Map(), imposed: [], spelled: new Map() },
    },
  ];
}
