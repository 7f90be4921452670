/**
 * Which policies bind a workload, in which order: ancestors first, by name within a scope, so that the order in which
 * they were saved never counts; and whether a set of policies may be saved. Pure. It must never drop a policy that
 * applies. Called by the coordinator's policy rooms and by the runner of cases; what the policies say together is
 * policy/together/merge.ts.
 */
import { SkyError } from "../../errors.ts";
import type { CompiledPolicy, EffectivePolicy } from "../compiled.ts";
import { compareTexts, isSameScope } from "./scope-order.ts";
import { assetFaults, doubleFaults, imposedFaults, ruleFaults } from "./together.ts";
import { brokenFaults, fixedFaults, idleWarnings } from "./together-defaults.ts";
import {
  type Asset,
  type CombineMode,
  policyModes,
  type Scope,
  type ScopeLevel,
  scopeLevels,
  type WorkloadKind,
  workloadKinds,
} from "../words.ts";

/** Of what is told; nobody reads more. */
const faultsMax = 50;

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
export function checkTogether(all: readonly CompiledPolicy[], options: TogetherOptions): string[] {
  const { combine, assets, chains = everyChain(all), saving = null } = options;
  const faults = assetFaults(all, assets);
  const warnings: string[] = [];
  const seen = new Set<string>();
  for (const scopes of chains) {
    for (const kind of workloadKinds) {
      const policy = effectiveFor(all, { kind, scopes, combine });
      const key = `${kind} ${policy.parts.map((part) => all.indexOf(part)).join(" ")}`;
      if (policy.parts.length > 0 && !seen.has(key)) {
        seen.add(key);
        faults.push(...faultsOf(policy, assets, saving));
        warnings.push(...idleWarnings(policy));
      }
    }
  }
  if (faults.length > 0) {
    throw new SkyError("InvalidPolicyError", [...new Set(faults)].slice(0, faultsMax).join("\n"));
  }
  return [...new Set(warnings)];
}

/** What breaks the rules of how policies meet is told alone: anything else may follow from it. */
function faultsOf(policy: EffectivePolicy, assets: ReadonlyMap<string, Asset>, saving: string | null): string[] {
  const meeting = [
    ...doubleFaults(policy),
    ...imposedFaults(policy, assets),
    ...policyModes.flatMap((mode) => ruleFaults(policy, mode, saving)),
    ...fixedFaults(policy),
  ];
  return meeting.length > 0 ? meeting : brokenFaults(policy, assets);
}

/** The scopes that policies name, each department with each project, and without one. */
function everyChain(all: readonly CompiledPolicy[]): Scope[][] {
  const ofLevel = (level: ScopeLevel): Scope[] =>
    all
      .map(({ source }) => source.scope)
      .filter(
        (scope, index, scopes) => scope.level === level && scopes.findIndex((one) => isSameScope(one, scope)) === index,
      );
  return scopeLevels.reduce<Scope[][]>(
    (chains, level) => {
      const own = ofLevel(level);
      const without = own.length === 0 || level === "department" || level === "project" ? chains : [];
      return [...chains.flatMap((chain) => own.map((scope) => [...chain, scope])), ...without];
    },
    [[]],
  );
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
