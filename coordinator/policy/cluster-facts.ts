/**
 * What the machines can do, in numbers, for the grades of a policy: read from the last reports of the nodes. Pure. Used
 * by the routes for policies.
 */
import type { Mechanism } from "../../shared/launch-spec.ts";
import type { ClusterFacts } from "../../shared/policy/grades.ts";
import type { CoordinatorConfig } from "../config.ts";
import type { State } from "../core/state.ts";

/** `A100-MIG-1g.10gb` */
const migKind = /-MIG-(.+)$/;

/** Nodes that are removed are not counted. */
export function factsOf(state: State, { volumes }: Pick<CoordinatorConfig, "volumes">): ClusterFacts {
  const present = [...state.nodes.values()].filter(({ admin }) => admin.state !== "removed");
  const nodes = present.flatMap(({ inventory, labels }) => (inventory === null ? [] : [{ inventory, labels }]));
  const mechanisms: Partial<Record<Mechanism, number>> = {};
  const mig: Record<string, number> = {};
  const labelled: Record<string, number> = {};
  for (const { inventory, labels } of nodes) {
    for (const mechanism of new Set(inventory.mechanisms ?? [])) {
      mechanisms[mechanism] = (mechanisms[mechanism] ?? 0) + 1;
    }
    const profiles = inventory.accelerators.flatMap(({ kind }) => migKind.exec(kind)?.[1] ?? []);
    for (const profile of new Set(profiles)) {
      mig[profile] = (mig[profile] ?? 0) + 1;
    }
    for (const [name, value] of Object.entries(labels)) {
      labelled[`${name}=${value}`] = (labelled[`${name}=${value}`] ?? 0) + 1;
    }
  }
  const containers = nodes.filter(({ inventory }) => (inventory.containers ?? []).length > 0).length;
  return {
    ...{ nodes: nodes.length, unseen: present.length - nodes.length, mechanisms, containers, mig, labels: labelled },
    volumes: volumes.map(({ name }) => name),
  };
}
