/**
 * Which policies bind a workload, in which order: ancestors first, by name within a scope, so that the order in which
 * they were saved never counts; and whether a set of policies may be saved. Pure. It must never drop a policy that
 * applies. Called by the coordinator's policy rooms and by the runner of cases; what the policies say together is
 * policy/merge.ts.
 */
import { SkyError } from "../errors.ts";
import type { CompiledPolicy, EffectivePolicy } from "./compiled.ts";
import { compareTexts, isSameScope } from "./scope-order.ts";
import { assetFaults } from "./together.ts";
import { type Asset, type CombineMode, policyModes, type Scope, type WorkloadKind } from "./words.ts";

export interface TogetherOptions {
  combine: CombineMode;
  assets: ReadonlyMap<string, Asset>;
  /** Scopes that bind one workload, widest first, for each place of the tree. Absent: every scope meets every other. */
  chains?: readonly (readonly Scope[])[];
  /** Name of the policy that is being saved: a fault names the other's scope. */
  saving?: string;
}

/**
 * Whether policies may stand together: asked before one is saved, about all that would be there then. Throws
 * SkyError("InvalidPolicyError") with every fault, one a line. Returns warnings for the admin.
 */
export function checkTogether(all: readonly CompiledPolicy[], { assets }: TogetherOptions): string[] {
  const faults = assetFaults(all, assets);
  if (faults.length > 0) {
    throw new SkyError("InvalidPolicyError", [...new Set(faults)].join("\n"));
  }
  return [];
}

/** The policies of these scopes for one kind. `scopes`: widest first, with the built-in one where its rules count. */
export function effectiveFor(
  all: readonly CompiledPolicy[],
  { kind, scopes, combine }: { kind: WorkloadKind; scopes: readonly Scope[]; combine: CombineMode },
): EffectivePolicy {
  const ordered = scopes.map((scope) => all.filter(({ source }) => isSameScope(source.scope, scope)).sort(byName));
  const modern = ordered.flatMap((parts) =>
    forKind(
      parts.filter(({ source }) => source.dialect === "v2"),
      kind,
    ),
  );
  const old = ordered.map((parts) =>
    forKind(
      parts.filter(({ source }) => source.dialect === "v1"),
      kind,
    ),
  );
  return { kind, parts: [...modern, ...policyModes.flatMap((mode) => nearest(old, mode))], combine };
}

/** Those that name the kind; only where there is none, those for all other kinds. */
function forKind(parts: readonly CompiledPolicy[], kind: WorkloadKind): CompiledPolicy[] {
  const named = parts.filter(({ kinds }) => kinds.includes(kind));
  return named.length > 0 ? named : parts.filter(({ kinds }) => kinds.includes("fallback"));
}

/** V1 does not merge: the narrowest scope that has a policy counts alone. One that only watches replaces none that binds. */
function nearest(byScope: readonly (readonly CompiledPolicy[])[], mode: string): readonly CompiledPolicy[] {
  const ofMode = byScope.map((parts) => parts.filter(({ source }) => source.mode === mode));
  return ofMode.findLast((parts) => parts.length > 0) ?? [];
}

function byName(a: CompiledPolicy, b: CompiledPolicy): number {
  return compareTexts(a.source.policy, b.source.policy) || compareTexts(a.role ?? "", b.role ?? "");
}
