/**
 * The words of declared policies: kinds of workloads, scopes, rules, values, and what an evaluation answers. Types only,
 * with the few lists that give them. Every other file of this folder, the coordinator's policy rooms and the client speak
 * in these. It must never know a field by name: policy/fields/fields.ts does.
 */

/** A plain value as a document or a task holds it; the author's spelling stays (`64G`, `"1"`). */
export type PlainValue = string | number | boolean | null | PlainValue[] | { [key: string]: PlainValue };

/** Item of an itemized field, by attribute; `exclude: true` in a submission drops the policy's own item of that key. */
export type Item = Record<string, PlainValue>;

export const workloadKinds = ["workspace", "training", "distributed", "inference"] as const;
export type WorkloadKind = (typeof workloadKinds)[number];

/** From the widest to the narrowest. */
export const scopeLevels = ["system", "tenant", "cluster", "department", "project"] as const;
export type ScopeLevel = (typeof scopeLevels)[number];

export interface Scope {
  level: ScopeLevel;
  id: string;
}

export const policyModes = ["enforce", "warn", "audit"] as const;
export type PolicyMode = (typeof policyModes)[number];

export const combineModes = ["tighten", "exclusive"] as const;
/** How rules of several scopes on one field meet. Source: design of the policies, section B.6. */
export type CombineMode = (typeof combineModes)[number];

export const valueTypes = [
  "boolean",
  "string",
  "integer",
  "number",
  "quantity",
  "array",
  "itemized",
  "object",
] as const;
export type ValueType = (typeof valueTypes)[number];

/** What a violation can be of, in the order in which those of one field are told. */
export const violationRules = [
  "schema",
  "blocked",
  "canEdit",
  "locked",
  "canAdd",
  "required",
  "type",
  "min",
  "max",
  "step",
  "options",
  "pattern",
  "constraint",
] as const;
export type ViolationRule = (typeof violationRules)[number];

/** Which policy says something. */
export interface PolicySource {
  policy: string;
  scope: Scope;
  /** 0: built in, or not saved yet. */
  revision: number;
  mode: PolicyMode;
  dialect: "v1" | "v2";
}

/** The rules of one scalar, array or attribute, checked against its type; amounts in the author's spelling. */
export interface FieldRules {
  required?: boolean;
  canEdit?: boolean;
  blocked?: boolean;
  min?: string | number;
  max?: string | number;
  step?: string | number;
  options?: readonly { value: PlainValue; displayed?: string }[];
  /** An extension: a regular expression over the whole text, in a form that cannot take long. */
  pattern?: string;
  /** `field` is the full canonical path, or the attribute's name inside one item. */
  defaultFrom?: { field: string; factor: string | number };
  /** An extension: the admin's own words, shown after the message. */
  message?: string;
}

/** The rules of an itemized field as a whole. Keys are item keys (policy/fields/items.ts). */
export interface ItemRules {
  canAdd?: boolean;
  /** V1 only: at least one item. */
  required?: boolean;
  /** May be neither excluded, changed nor (without a default) added. */
  locked?: readonly string[];
  /** V1's `canRemove: false` alone. */
  notExcluded?: readonly string[];
  /** V1's item `canEdit: false` alone. */
  notChanged?: readonly string[];
}

export interface Violation {
  /** As the policy that carries the rule spells it: `gpu`, `storage.git[/src].branch`. */
  field: string;
  rule: ViolationRule;
  /** Without the field's name: `must be no greater than 4`. */
  message: string;
  /** Null: a rule of the product itself. */
  source: PolicySource | null;
  /** What was found and what was allowed, in their spelling; null where there is none. Never a secret. */
  value: PlainValue;
  limit: PlainValue;
}

/** By canonical path (`compute.cpuCoreRequest`, `storage.nfs`); an itemized field holds an array of items. */
export type Workload = ReadonlyMap<string, PlainValue>;

/** Where an effective value came from; `imposed` items are named by their asset. */
export type ValueOrigin =
  | { kind: "submitted" }
  | { kind: "default"; source: PolicySource }
  | { kind: "computed"; source: PolicySource; from: string }
  | { kind: "imposed"; source: PolicySource; asset: string };

/** A violation that is told only where an exception lifts all of `behind`: a range behind `canEdit`, one policy behind another. */
export interface HeldBack {
  violation: Violation;
  behind: readonly Violation[];
}

export interface Evaluation {
  effective: Workload;
  /** By path, for items by `path[key]` and `path[key].attribute`; what the user wrote may be left out. */
  origins: ReadonlyMap<string, ValueOrigin>;
  /** Of policies that enforce, sorted by field and rule. Any: the workload is refused. */
  violations: Violation[];
  /** Behind violations, for exceptions; nobody is shown them. */
  heldBack?: readonly HeldBack[];
  /** Of policies that warn, and of those that audit. */
  warned: Violation[];
  audited: Violation[];
  /** Would have refused it, but for an exception. */
  excepted: (Violation & { exception: string })[];
  /** Lines for the submitter: `environmentVariables[A]: nothing to exclude`. */
  notices: string[];
}

/** A stored definition of one item that policies may impose. */
export interface Asset {
  id: string;
  /** `storage.nfs` */
  field: string;
  spec: Item;
  /** It refers to credentials, and so cannot be imposed. */
  credentials: boolean;
}

/** Somebody may do what a policy refuses, for a time. It is still evaluated, and stays visible. */
export interface PolicyException {
  id: string;
  /** Name of the policy. */
  policy: string;
  /** Canonical path, and the rule; null: all. */
  field: string | null;
  rule: ViolationRule | null;
  /** Whose workloads: `user:NAME`, `group:NAME` or `project:NAME`. */
  subjects: readonly string[];
  /** Who answers for it, and why it was given. */
  owner: string;
  reason: string;
  /** Milliseconds since 1970. */
  expiresAt: number;
  createdBy: string;
  createdAt: number;
}
