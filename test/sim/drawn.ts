/**
 * What the simulated cluster is drawn from: machines with their accelerators, and the jobs that users send. Called by
 * world.ts, one number of the seed at a time.
 */
import type { Inventory } from "../../shared/agent-wire.ts";
import type { Uid } from "../../shared/ids.ts";
import type { JobRecord, Shape } from "../../shared/job.ts";
import { defaultScheduling, type SchedulingConfig } from "../../shared/scheduling.ts";
import type { Chance } from "./clock.ts";

export const users: Uid[] = [1001, 1002, 1003];

export function inventory(chance: Chance): Inventory {
  const kind = chance.pick(["V100", "H100"]);
  const count = chance.pick([0, 1, 2, 4]);
  const accelerators = Array.from({ length: count }, (_, index) => ({ index, kind, memoryMb: null }));
  return {
    address: "10.0.0.1",
    cpus: chance.pick([2, 4]),
    memoryGb: 16,
    accelerators,
    source: "sim",
    mixedAllowed: false,
    ...(chance.happens(0.6) ? { mechanisms: ["cgroup-memory"] } : {}),
  };
}

/** How urgent a job is, how long it may take, and whether it gives way. */
function urgencyOf(chance: Chance, pace: number): Partial<Shape> {
  return {
    ...(chance.happens(0.4) ? { priority: chance.pick([-10, 5, 10, 1000]) } : {}),
    ...(chance.happens(0.3) ? { timeLimitSeconds: chance.between(1, 60) * pace } : {}),
    ...(chance.happens(0.4) ? { preemptible: true, recovers: true } : {}),
  };
}

/** What policies have said: a limit, which not every machine can set, its own grace time, and what preemption means. */
function boundsOf(chance: Chance): Partial<Shape> {
  return {
    ...(chance.happens(0.2) ? { limits: { memoryBytes: 2 ** 30 }, mechanisms: ["cgroup-memory"] } : {}),
    ...(chance.happens(0.2) ? { graceSeconds: chance.pick([0, 1, 4]) } : {}),
    ...(chance.happens(0.3) ? { terminateAfterPreemption: true } : {}),
  };
}

/** What admins have configured about order and limits. */
export function schedulingOf(chance: Chance): SchedulingConfig {
  const preemption = chance.happens(0.7);
  const seconds = { warningSeconds: chance.pick([0, 5]), preemptionWarningSeconds: chance.pick([0, 1, 5]) };
  return { ...defaultScheduling, preemption, ...seconds };
}

export function recordOf(
  chance: Chance,
  now: number,
  task: { taskRef: string; hasSetup: boolean; nodes: number; pace: number },
): JobRecord {
  const kind = chance.happens(0.6) ? "launch" : "exec";
  const count = chance.pick([0.5, 1, 1, 2, 4]);
  const hasRun = kind === "exec" || !task.hasSetup || chance.happens(0.85);
  return {
    format: 1,
    uid: chance.pick(users),
    user: "alice",
    requestId: "00000000-0000-4000-8000-000000000000",
    kind,
    name: null,
    cluster: "local",
    taskRef: task.taskRef,
    shape: {
      nodes: task.nodes,
      accelerators: chance.happens(0.5) ? { kind: chance.pick(["V100", "H100"]), count } : null,
      cpus: chance.pick([0.5, 0.5, 2]),
      memoryGb: chance.pick([0, 4]),
      ...(chance.happens(0.5) ? { recovers: true } : {}),
      ...urgencyOf(chance, task.pace),
      ...boundsOf(chance),
    },
    resourcesText: "",
    hasSetup: kind === "launch" && task.hasSetup,
    hasRun,
    submittedAt: now,
    phase: "waiting",
    attempt: null,
    startedAt: null,
    cancelRequestedAt: null,
    endedAt: null,
    end: null,
    reason: null,
  };
}

/** Enough of these machines could serve it, as far as is known; `state`: null while the machine's agent is dead. */
export function canEverFit(
  { shape }: JobRecord,
  agents: readonly { inventory: Inventory; state: { inventory: Inventory } | null }[],
): boolean {
  const { accelerators, nodes, mechanisms } = shape;
  const fitting = agents.filter(({ inventory: own, state }) => {
    const have = state?.inventory.accelerators ?? [];
    const isServed =
      accelerators === null || have.filter((one) => one.kind === accelerators.kind).length >= accelerators.count;
    return isServed && (mechanisms === undefined || own.mechanisms !== undefined);
  });
  return fitting.length >= nodes;
}
