/**
 * What admins decide about nodes and what follows from it: a draining node gets nothing new and what still runs at its
 * deadline is ended; a removed one is cut off as soon as its jobs have their ends. Both are looked at after every event
 * and not only when something is said, so a restart in between loses nothing. Called by reduce.ts only.
 */
import type { NodeName } from "../../shared/ids.ts";
import { type Context, giveUp, planAgain } from "./jobs.ts";
import type { ActiveJob, AdminWish, NodeState, State } from "./state.ts";
import { touch } from "./usage.ts";

export function onNodeAdminChanged(context: Context, name: NodeName, wish: AdminWish): void {
  const node = context.state.nodes.get(name);
  if (node === undefined) {
    return;
  }
  const { key } = node.admin;
  const { state, reason, by } = wish;
  node.admin =
    state === "open"
      ? { state, reason: null, by: null, since: null, deadline: null, key }
      : { state, reason, by, since: context.now, deadline: state === "draining" ? wish.deadline : null, key };
  context.effects.push({ type: "saveNodeAdmin", node: name, admin: node.admin });
  touch(context.state, name);
  planAgain(context.state);
}

/** Unfinished jobs with a rank on this node. */
export function jobsOn(state: State, name: NodeName): ActiveJob[] {
  const jobs: ActiveJob[] = [];
  for (const id of state.nodes.get(name)?.held ?? []) {
    const job = state.jobs.get(state.attempts.get(id) ?? "0/0");
    if (job !== undefined && job.record.phase !== "waiting" && job.record.phase !== "ended") {
      jobs.push(job);
    }
  }
  return jobs;
}

/** Why what runs on this node must end now; null while it may go on. */
function endReason(node: NodeState, now: number): string | null {
  const { state, reason, by, deadline } = node.admin;
  const why = reason === null ? `by ${by ?? "an admin"}` : `: ${reason}`;
  if (state === "removed") {
    return `${node.name} was removed from the cluster${reason === null ? ` ${why}` : why}`;
  }
  const isDue = state === "draining" && deadline !== null && deadline <= now;
  return isDue ? `${node.name} was drained${reason === null ? ` ${why}` : why}` : null;
}

/** Ends what may not run on any longer. A job whose start is being written has its turn at the event that says so. */
export function settleNodes(context: Context): void {
  for (const node of context.state.nodes.values()) {
    const reason = endReason(node, context.now);
    if (reason === null) {
      continue;
    }
    for (const job of jobsOn(context.state, node.name)) {
      if (job.commit === "clean") {
        giveUp(context, job, reason);
      }
    }
  }
}

/** The next deadline, in ms since 1970; null: there is none to come. */
export function nextDeadline(state: State, now: number): number | null {
  let next: number | null = null;
  for (const { admin } of state.nodes.values()) {
    if (admin.state === "draining" && admin.deadline !== null && admin.deadline > now) {
      next = Math.min(next ?? admin.deadline, admin.deadline);
    }
  }
  return next;
}

/** Cuts removed nodes off once the ends of their jobs are on disk, so that the last picture that they get names them. */
export function cutRemoved(context: Context): void {
  for (const node of context.state.nodes.values()) {
    if (node.admin.state !== "removed" || !node.connected) {
      continue;
    }
    const open = [...node.held].some((id) => {
      const job = context.state.jobs.get(context.state.attempts.get(id) ?? "0/0");
      const isBegun = job?.record.phase !== "ended" && job?.record.phase !== "waiting";
      return job !== undefined && (job.commit !== "clean" || isBegun);
    });
    if (!open) {
      context.effects.push({ type: "cutNode", node: node.name, reason: "an admin has removed the node" });
    }
  }
}
