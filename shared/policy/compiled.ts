/**
 * A policy after reading, whichever dialect it was written in: canonical paths, checked rules, typed defaults. Made by
 * policy/read/, put together by policy/together/ and applied by policy/evaluate/. Types only. It must never keep anything
 * of the document that has no effect, but for how the author spells a field.
 */
import type { FieldRules, Item, ItemRules, PlainValue, PolicySource, WorkloadKind } from "./words.ts";

/** Items that a policy brings along, and attributes that every item gets. */
export interface ItemDefaults {
  /** In order; an item with `exclude: true` drops an inherited one of its key. Each carries its key's attribute (V1: `name` is the label). */
  instances: readonly Item[];
  attributes: Item;
}

/**
 * One policy for its kinds of workloads. Paths of scalars, arrays and objects: `compute.cpuCoreRequest`; of itemized
 * fields: `storage.git`; of their attributes: `storage.git[].branch`. For `distributed` workloads the parts under
 * `master:` and `worker:` are two compiled policies, told apart by `role`; null: for all nodes.
 */
export interface CompiledPolicy {
  source: PolicySource;
  /** `fallback`: for kinds that no other policy is for. */
  kinds: readonly (WorkloadKind | "fallback")[];
  role: "master" | "worker" | null;
  defaults: ReadonlyMap<string, PlainValue>;
  rules: ReadonlyMap<string, FieldRules>;
  items: ReadonlyMap<string, ItemDefaults>;
  itemRules: ReadonlyMap<string, ItemRules>;
  /** Ids of assets. */
  imposed: readonly string[];
  /** How the author spells a canonical path where that is another: `compute.gpuDevicesRequest` → `gpu`. */
  spelled: ReadonlyMap<string, string>;
}

/** What stands around a policy document; given on the command line for a bare one. Envelope: design of the policies, A.1. */
export interface PolicyHead {
  name: string;
  owner: string | null;
  description: string | null;
  target: {
    level: "tenant" | "cluster" | "department" | "project";
    id: string | null;
    kinds: readonly (WorkloadKind | "fallback")[];
  };
  mode: "enforce" | "warn" | "audit";
  dialect: "v1" | "v2";
}

/** A document that was read. Reading throws SkyError("InvalidPolicyError") with file, line and every fault at once. */
export interface PolicyDocument {
  head: PolicyHead;
  compiled: readonly CompiledPolicy[];
  /** What was read as something else than it says: `"memory" is outside spec; read as spec.memory`. */
  warnings: string[];
}

/** All policies that bind one workload, put together; made once for each revision, kind and set of scopes. */
export interface EffectivePolicy {
  kind: WorkloadKind;
  /** In order: ancestors first. V1's one policy for the kind, if any, is the last and stands for itself. */
  parts: readonly CompiledPolicy[];
  combine: "tighten" | "exclusive";
}
