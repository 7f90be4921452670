/**
 * Leases, as the coordinator counts them: how long something of an attempt may still run on a machine that is not heard
 * of. The runner ends itself when its lease has run out; here only the time is known after which that must have happened,
 * counted on a clock that never jumps. It derives and changes nothing. Called by the plan, the start-up and recovery.ts.
 */
import type { NodeName } from "../../shared/ids.ts";
import type { Lease, Shape } from "../../shared/job.ts";
import type { ActiveJob, CoreConfig, State } from "./state.ts";

const leaseSecondsDefault = 120;
const lostNodeSecondsDefault = 3600;
/**
 * Beyond lease and grace time: the pause until the runner looks at its lease again (at most 5 s), the time that killing
 * takes, and clocks that do not run equally fast.
 */
const marginSeconds = 15;

/** What an attempt that starts now is told; without a shape: one that says nothing of its grace time. */
export function leaseNow({ config }: State, shape?: Shape): Lease {
  const graceSeconds = shape?.graceSeconds ?? config.graceSeconds;
  return { seconds: config.leaseSeconds ?? leaseSecondsDefault, graceSeconds };
}

/** Milliseconds after the last renewal within which something of an attempt with this lease may still run. */
export function leaseMs(lease: Lease): number {
  return (lease.seconds + lease.graceSeconds + marginSeconds) * 1000;
}

/** Milliseconds of silence after which a node's jobs are given up: those that recover, and all. Infinite: never. */
export function lostAfterMs(config: CoreConfig, lease: Lease): { recoverable: number; all: number } {
  const seconds = config.lostNodeSeconds ?? lostNodeSecondsDefault;
  const all = seconds === 0 ? Number.POSITIVE_INFINITY : seconds * 1000;
  return { recoverable: Math.min(all, leaseMs(lease)), all };
}

/** Where something of an attempt that was given up may still run; `until`: the uptime from which it cannot, null: until the node says so. */
export interface Remains {
  node: NodeName;
  until: number | null;
}

/** Null when nothing of this job's earlier attempts can run any more. */
export function remainsOf(state: State, job: ActiveJob): Remains | null {
  let last: Remains | null = null;
  for (const { attempt, lease, nodes } of job.record.givenUp ?? []) {
    for (const name of nodes) {
      const node = state.nodes.get(name);
      if (node !== undefined && node.reported && !node.ended.has(attempt) && job.commit === "clean") {
        continue;
      }
      if (node?.connected === true && node.heard) {
        return { node: name, until: null };
      }
      const until = (node?.renewedAt ?? state.startedAt) + leaseMs(lease);
      if (until > state.uptime && until > (last?.until ?? 0)) {
        last = { node: name, until };
      }
    }
  }
  return last;
}

/** The job was read from a state that may be an older copy, and it is not known yet what runs of it. */
export function isHeldAtStart(state: State, job: ActiveJob): boolean {
  return state.startHoldUntil !== null && job.readAtStart && job.record.shape.recovers === true;
}
