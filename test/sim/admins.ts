/**
 * Admins in the simulator: they drain, remove and resume nodes at any moment, also while the coordinator is about to be
 * killed. The checkers beside it know what must then hold: nothing is planned on a node that is not open, and a job ends
 * for an admin's reason only when that reason holds. Driven by world.ts and coordinator.ts.
 */
import type { State } from "../../coordinator/core/state.ts";
import type { JobRecord } from "../../shared/job.ts";
import { checkAllotted, checkSetAside } from "./allotments.ts";
import type { SimCoordinator } from "./coordinator.ts";
import type { Truth } from "./truth.ts";

/** Draws what an admin does next; `nodes` are all names. */
export function actAsAdmin(truth: Truth, coordinator: SimCoordinator, nodes: string[]): void {
  const { chance } = truth;
  const node = chance.pick(nodes);
  const kind = chance.between(1, 100);
  const by = "admin";
  const reason = chance.happens(0.7) ? "new disks" : null;
  if (kind <= 30) {
    return wish(coordinator, node, { state: "draining", reason, by, deadline: null });
  }
  if (kind <= 50) {
    const deadline = truth.wallClock() + chance.between(0, 15_000) * truth.pace;
    return wish(coordinator, node, { state: "draining", reason, by, deadline });
  }
  if (kind <= 65) {
    return wish(coordinator, node, { state: "removed", reason, by, deadline: null });
  }
  return resume(coordinator, node);
}

type Wish = Extract<Parameters<SimCoordinator["dispatch"]>[0], { type: "nodeAdminChanged" }>["wish"];

function wish(coordinator: SimCoordinator, node: string, value: Wish): void {
  coordinator.dispatch({ type: "nodeAdminChanged", node, wish: value });
}

export function resume(coordinator: SimCoordinator, node: string): void {
  wish(coordinator, node, { state: "open", reason: null, by: "admin", deadline: null });
}

/** A start was decided. What nodes had begun already is taken over wherever it is. */
export function checkPlanned(truth: Truth, state: State | null, record: JobRecord): void {
  let isAnyTakenOver = false;
  for (const { grant } of record.attempt?.ranks ?? []) {
    const node = state?.nodes.get(grant.node);
    const isTakenOver = node?.attempts.has(record.attempt?.id ?? "") === true;
    isAnyTakenOver ||= isTakenOver;
    if (node !== undefined && node.admin.state !== "open" && !isTakenOver) {
      truth.violated(`${record.attempt?.id} was planned on ${node.name}, which is ${node.admin.state}`);
    }
  }
  if (state !== null && !isAnyTakenOver) {
    checkAllotted(truth, state, record);
  }
}

/** An end was decided: one for an admin's reason is allowed if it holds. */
export function checkEnded(truth: Truth, state: State | null, record: JobRecord): void {
  const [, aside, id] = /^(n\d+) was set aside for .*\(window (w\d+)\)$/.exec(record.reason ?? "") ?? [];
  if (state !== null && aside !== undefined && id !== undefined) {
    checkSetAside(truth, state, record, aside, id);
    truth.disturb(record.attempt?.id ?? "");
  }
  const [, name, what] = /^(n\d+) was (drained|removed)/.exec(record.reason ?? "") ?? [];
  if (record.end !== "FAILED_DRIVER" || name === undefined) {
    return;
  }
  const admin = state?.nodes.get(name)?.admin;
  const isDue = admin?.state === "draining" && admin.deadline !== null && admin.deadline <= truth.wallClock();
  if (what === "removed" ? admin?.state !== "removed" : !isDue) {
    truth.violated(`a job ended because "${record.reason}", but ${name} is ${JSON.stringify(admin)}`);
  }
  truth.disturb(record.attempt?.id ?? "");
}
