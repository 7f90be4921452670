/**
 * What a node must be able to do so that a job can be held to its policies there: which of it a node lacks, and in what
 * words people are told. A node says itself what it can, tried at its agent's start; one that says nothing can nothing.
 * Pure; called by the plan, the explanations, the submissions and the reports.
 */
import type { AttemptReport } from "../../shared/agent-wire.ts";
import type { Shape } from "../../shared/job.ts";
import type { Mechanism } from "../../shared/launch-spec.ts";
import type { NodeState } from "./state.ts";

/** To follow `can` or `cannot`. */
const texts: Record<Mechanism, string> = {
  "cgroup-cpu": "limit CPU time (cgroup v2)",
  "cgroup-memory": "limit memory (cgroup v2)",
  "no-new-privileges": "keep a job from gaining privileges (setpriv)",
  "mount-namespace": "give a job folders of its own (user namespaces)",
};

function joined(mechanisms: readonly Mechanism[]): string {
  return mechanisms.map((one) => texts[one]).join(" and ");
}

export function mechanismsOn({ inventory }: NodeState): readonly Mechanism[] {
  return inventory?.mechanisms ?? [];
}

/** What the job needs and these are not; empty: nothing. */
export function missingOf(mechanisms: readonly Mechanism[], shape: Shape): Mechanism[] {
  return (shape.mechanisms ?? []).filter((one) => !mechanisms.includes(one));
}

/** `cannot limit memory (cgroup v2)`, of one node; null: it lacks nothing. */
export function mechanismLack(node: NodeState, shape: Shape): string | null {
  const missing = missingOf(mechanismsOn(node), shape);
  return missing.length === 0 ? null : `cannot ${joined(missing)}`;
}

/** `that can limit memory (cgroup v2)`, of the nodes that the job needs; empty: any will do. */
export function mechanismDemand({ mechanisms }: Shape): string {
  return mechanisms === undefined ? "" : ` that can ${joined(mechanisms)}`;
}

/**
 * `no node of this cluster can limit memory (cgroup v2)`; null when enough of them can. A node that has never reported may
 * be able to.
 */
export function tooFewCan(nodes: readonly NodeState[], shape: Shape): string | null {
  const isAble = (node: NodeState, wanted: readonly Mechanism[]): boolean =>
    node.inventory === null || wanted.every((one) => mechanismsOn(node).includes(one));
  const wanted = shape.mechanisms ?? [];
  const count = nodes.filter((node) => isAble(node, wanted)).length;
  if (wanted.length === 0 || count >= shape.nodes) {
    return null;
  }
  const nobodys = wanted.filter((one) => !nodes.some((node) => isAble(node, [one])));
  const what = joined(nobodys.length === 0 ? wanted : nobodys);
  return count === 0
    ? `no node of this cluster can ${what}`
    : `only ${count} of ${shape.nodes} nodes can ${joined(wanted)}`;
}

/**
 * Why what runs is not held to what was ordered, by the node's own word; null: it is. The kernel rounds memory down to
 * whole pages, so less than asked is as good.
 */
export function unboundText({ limits }: Shape, report: AttemptReport): string | null {
  const { cpuCores, memoryBytes } = limits ?? {};
  const found = report.limits ?? {};
  const isLoose = (asked: number | undefined, set: number | undefined): boolean =>
    asked !== undefined && (set === undefined || set > asked * (1 + 1e-9));
  const loose = [
    ...(isLoose(cpuCores, found.cpuCores) ? ["CPU time"] : []),
    ...(isLoose(memoryBytes, found.memoryBytes) ? ["memory"] : []),
  ];
  return loose.length === 0 ? null : `it ran without its limit of ${loose.join(" and ")}, and so was stopped.`;
}
