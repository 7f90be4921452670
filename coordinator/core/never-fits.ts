/**
 * Whether a job could start on the empty cluster at all, and if not, what there is, in SkyPilot's words. Asked before a
 * job is queued. Machines count by what they last reported, also while they are unreachable; one that has never reported
 * may have anything. Pure; called by the API's submissions.
 */
import type { Inventory } from "../../shared/agent-wire.ts";
import { demandsOf, type Shape } from "../../shared/job.ts";
import { shapeText } from "./demand-text.ts";
import { lacksContainers } from "./eligible.ts";
import { isRefusedMix } from "./fit.ts";
import { mechanismLack, missingOf, mechanismsOn, tooFewCan } from "./mechanisms.ts";
import { couldServe } from "./shortage.ts";
import type { NodeState, State } from "./state.ts";

/** Machines that are listed one by one. */
const nodesListed = 8;

/** Nodes that an admin has removed are not there, until an admin resumes them; drained ones are. */
export function present(state: State): NodeState[] {
  return [...state.nodes.values()].filter((node) => node.admin.state !== "removed");
}

/** Why a job of this shape could not start even on the empty cluster; null when it could. */
export function neverFits(state: State, shape: Shape): string | null {
  const nodes = present(state);
  if (nodes.every((node) => node.inventory === null)) {
    return null;
  }
  const exclusive = shape.exclusive === true;
  const could = demandsOf(shape).some((demand) => {
    const possible = nodes.filter(
      (node) => node.inventory === null || (couldServe(node, demand, exclusive) && isAble(node, shape)),
    );
    return possible.length >= shape.nodes;
  });
  if (could) {
    return null;
  }
  const existing = nodes.slice(0, nodesListed).map((node) => {
    const programs = node.inventory?.containers ?? [];
    const containers = shape.container === true ? `, ${programs.join(" and ") || "neither podman nor docker"}` : "";
    const lack = mechanismLack(node, shape);
    const more = node.inventory === null ? "" : containers + (lack === null ? "" : `, ${lack}`);
    return `${node.name}: ${inventoryText(node.inventory)}${more}`;
  });
  const reason = tooFewCan(nodes, shape);
  const more = nodes.length > nodesListed ? `\n\t\t… and ${nodes.length - nodesListed} more nodes` : "";
  return (
    `Requested resources do not match the existing cluster${reason === null ? "" : `: ${reason}`}.\n` +
    `  Requested:\t${shapeText(shape)}\n` +
    `  Existing:\t${existing.join("\n\t\t")}${more}`
  );
}

function isAble(node: NodeState, shape: Shape): boolean {
  return !lacksContainers(node, shape) && missingOf(mechanismsOn(node), shape).length === 0;
}

function inventoryText(inventory: Inventory | null): string {
  if (inventory === null) {
    return "has not reported yet";
  }
  const counts = new Map<string, number>();
  let faulty = 0;
  for (const { kind, fault } of inventory.accelerators) {
    counts.set(kind, (counts.get(kind) ?? 0) + (fault === undefined ? 1 : 0));
    faulty += fault === undefined ? 0 : 1;
  }
  const accelerators = [...counts].map(([kind, count]) => `${count} x ${kind}`);
  const broken = faulty === 0 ? [] : [`${faulty} out of order`];
  const mixed = isRefusedMix(inventory) ? " (of several kinds, so it takes no accelerator jobs)" : "";
  return [...accelerators, ...broken, `${inventory.cpus} CPUs`, `${inventory.memoryGb} GiB`].join(", ") + mixed;
}
