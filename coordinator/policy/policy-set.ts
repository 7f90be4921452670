/**
 * All policies as they count at one moment: what was stored, read and put together, with the effective policy of each
 * kind and project at hand. Never changed: a change makes another set. A set in which anything cannot be read or does not
 * fit together has a fault, and then no submission passes. Made by workload-policies.ts and policy-changes.ts.
 */
import { messageOf, SkyError } from "../../shared/errors.ts";
import { didYouMean } from "../../shared/near-match.ts";
import { builtinPolicies } from "../../shared/policy/builtin.ts";
import { checkTogether, effectiveFor } from "../../shared/policy/together/combine.ts";
import type { CompiledPolicy, EffectivePolicy, PolicyDocument, PolicyHead } from "../../shared/policy/compiled.ts";
import { kindNamed } from "../../shared/policy/fields/fields.ts";
import { readPolicy } from "../../shared/policy/read/document.ts";
import {
  type Asset,
  type Item,
  type PolicyException,
  type Scope,
  type WorkloadKind,
  workloadKinds,
} from "../../shared/policy/words.ts";
import type { CoordinatorConfig } from "../config.ts";
import type { GivenHead, LoadedPolicies, PolicyRevision } from "./policy-store.ts";
import { isKnownScope, scopeFor, scopesOf } from "./projects.ts";

export type PolicyPlace = Pick<CoordinatorConfig, "cluster" | "policies" | "grace_seconds">;

/** A policy that counts. */
export interface ActivePolicy {
  revision: PolicyRevision;
  document: PolicyDocument;
  scope: Scope;
  compiled: readonly CompiledPolicy[];
}

/** A document and where it counts. */
export type PlacedDocument = Pick<ActivePolicy, "document" | "scope">;

/**
 * Throws SkyError("InvalidPolicyError") with every fault. One that is saved may be for a project that the config does not
 * have any more: nobody is in that.
 */
export function readPlaced(text: string, given: GivenHead, place: PolicyPlace, state: "new" | "saved"): PlacedDocument {
  const document = readPolicy(text, { file: given.name ?? "policy", head: headOf(given) });
  const { level, id } = document.head.target;
  const isOrphan = state === "saved" && (level === "project" || level === "department") && id !== null;
  return { document, scope: isOrphan ? { level, id } : scopeFor(document.head.target, place) };
}

/** The same as the revision that it is. */
export function activeOf(revision: PolicyRevision, { document, scope }: PlacedDocument): ActivePolicy {
  const compiled = document.compiled.map((one) => ({
    ...one,
    source: { ...one.source, policy: revision.name, scope, revision: revision.revision },
  }));
  return { revision, document, scope, compiled };
}

function kindOf(word: string): WorkloadKind | "fallback" {
  const kind = word === "fallback" ? word : kindNamed(word);
  if (kind === null) {
    const hint = didYouMean(word, workloadKinds) ?? `There are: ${workloadKinds.join(", ")} and fallback.`;
    throw new SkyError("InvalidPolicyError", `workloads: '${word}' is no kind of workload.`, hint);
  }
  return kind;
}

/** What was said beside the document, in the words of its head. */
function headOf(given: GivenHead): Partial<PolicyHead> {
  const { name, scope, scope_id: id, workloads, mode } = given;
  const target =
    scope === undefined ? undefined : { level: scope, id: id ?? null, kinds: (workloads ?? []).map(kindOf) };
  return {
    ...(name === undefined ? {} : { name }),
    ...(target === undefined ? {} : { target }),
    ...(mode === undefined ? {} : { mode }),
  };
}

export class PolicySet {
  readonly policies: ReadonlyMap<string, ActivePolicy>;
  /** What it was made from. */
  readonly loaded: LoadedPolicies;
  /** The newest revision of each name, deletions included. */
  readonly newest: ReadonlyMap<string, PolicyRevision>;
  readonly assets: ReadonlyMap<string, Asset>;
  /** What an admin should know: policies of projects that the config does not have. */
  readonly warnings: readonly string[];
  /** Why no submission can be judged, as a sentence; null: all is well. */
  readonly fault: string | null;
  readonly #place: PolicyPlace;
  readonly #compiled: readonly CompiledPolicy[];
  readonly #effective = new Map<string, EffectivePolicy>();

  /** `known`: policies that were read before and need not be read again. */
  constructor(loaded: LoadedPolicies, place: PolicyPlace, known: ReadonlyMap<string, ActivePolicy> = new Map()) {
    this.#place = place;
    this.loaded = loaded;
    this.newest = new Map(loaded.newest.map((revision) => [revision.name, revision]));
    this.assets = new Map(loaded.assets.map((asset) => [asset.id, { ...asset, spec: asset.spec as Item }]));
    const { policies, faults, warnings } = readAll(loaded, place, known);
    this.policies = policies;
    this.warnings = warnings;
    const saved = [...policies.values()].flatMap(({ compiled }) => compiled);
    this.#compiled = [...builtinPolicies(place.grace_seconds), ...saved];
    this.fault = faults[0] ?? this.#faultTogether();
  }

  /** All that count, the product's own first. */
  get compiled(): readonly CompiledPolicy[] {
    return this.#compiled;
  }

  /** What binds a workload of this kind in this project (null: in none). */
  effective(kind: WorkloadKind, project: string | null): EffectivePolicy {
    const key = `${kind}/${project ?? ""}`;
    const known = this.#effective.get(key);
    if (known !== undefined) {
      return known;
    }
    const scopes = scopesOf(project, this.#place);
    const made = effectiveFor(this.#compiled, { kind, scopes, combine: this.#place.policies.combine });
    this.#effective.set(key, made);
    return made;
  }

  /** The exceptions in the engine's words. */
  lifts(): PolicyException[] {
    return this.loaded.exceptions.map((one) => ({
      ...{ id: one.id, policy: one.policy, field: one.field, rule: one.rule, subjects: one.subjects },
      ...{ owner: one.owner, reason: one.reason, expiresAt: one.expires_at * 1000 },
      ...{ createdBy: one.created_by, createdAt: one.created_at * 1000 },
    }));
  }

  /** The next set, with some of what this one was made from exchanged. */
  changed(changes: Partial<LoadedPolicies>): PolicySet {
    return new PolicySet({ ...this.loaded, ...changes }, this.#place, this.policies);
  }

  /**
   * The next set, with this revision as its policy's newest. Throws SkyError("InvalidPolicyError") when it cannot stand
   * beside the others. What another policy's damage hides does not hinder a change: else nothing could be mended.
   */
  with(revision: PolicyRevision): PolicySet {
    const isOther = ({ name }: PolicyRevision): boolean => name !== revision.name;
    const next = this.changed({
      newest: [...this.loaded.newest.filter(isOther), revision],
      damaged: this.loaded.damaged.filter((name) => name !== revision.name),
    });
    if (revision.text !== null) {
      next.#requireTogether(revision.name);
    }
    if (next.fault !== null && this.fault === null) {
      throw new SkyError("InvalidPolicyError", next.fault);
    }
    return next;
  }

  /** For each project, and for those who are in none: policies of two departments never meet. */
  #requireTogether(saving?: string): void {
    const { combine, projects } = this.#place.policies;
    const chains = [null, ...projects.map(({ name }) => name)].map((project) => scopesOf(project, this.#place));
    const named = saving === undefined ? {} : { saving };
    checkTogether(this.#compiled, { combine, assets: this.assets, chains, ...named });
  }

  #faultTogether(): string | null {
    try {
      this.#requireTogether();
      return null;
    } catch (error) {
      return `The policies that are saved do not fit together: ${messageOf(error)}`;
    }
  }
}

function readAll(
  { newest, damaged }: LoadedPolicies,
  place: PolicyPlace,
  known: ReadonlyMap<string, ActivePolicy>,
): { policies: Map<string, ActivePolicy>; faults: string[]; warnings: string[] } {
  const policies = new Map<string, ActivePolicy>();
  const warnings: string[] = [];
  const faults = damaged.map((name) => `What is stored of policy '${name.slice(0, 100)}' is damaged.`);
  for (const revision of newest.filter(({ text }) => text !== null)) {
    const before = known.get(revision.name);
    try {
      const policy =
        before?.revision === revision
          ? before
          : activeOf(
              revision,
              readPlaced(revision.text ?? "", { ...revision.given, name: revision.name }, place, "saved"),
            );
      policies.set(revision.name, policy);
      const { level, id } = policy.scope;
      if (!isKnownScope(policy.scope, place)) {
        warnings.push(`Policy '${revision.name}' binds nobody: the config has no ${level} '${id}'.`);
      }
    } catch (error) {
      faults.push(`Policy '${revision.name}' (revision ${revision.revision}) cannot be read: ${messageOf(error)}`);
    }
  }
  return { policies, faults, warnings };
}
