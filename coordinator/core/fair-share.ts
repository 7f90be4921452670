/**
 * How much of the cluster each user has had, forgotten by half after each half-life: what the order of waiting jobs
 * compares. Use is in accelerator-seconds; a grant is charged from the moment it is made until nothing of it is left, so
 * a running job counts at every moment as if it ended now. It must never order anything itself. Pure; called by the order
 * of jobs, the accounting and the views.
 */
import type { RankGrant } from "../../shared/job.ts";
import { defaultScheduling, type Person, type SchedulingConfig } from "../../shared/scheduling.ts";
import type { State } from "./state.ts";

const msPerHour = 3_600_000;
const secondsPerHour = 3_600;

/** The config's part about order; what is not configured has its default. */
export function schedulingOf(state: State): SchedulingConfig {
  return state.config.scheduling ?? defaultScheduling;
}

/** What is left of an amount after `elapsedMs`; a clock that was set back forgets nothing. */
function remaining(elapsedMs: number, halfLifeHours: number): number {
  return halfLifeHours <= 0 ? 0 : 0.5 ** (Math.max(0, elapsedMs) / (halfLifeHours * msPerHour));
}

/** The person's use in accelerator-seconds as it is at `now`, without what runs. 0 for nobody and without a half-life. */
export function decayedUse(
  person: Pick<Person, "use" | "useAt"> | undefined,
  now: number,
  halfLifeHours: number,
): number {
  return person === undefined ? 0 : person.use * remaining(now - person.useAt, halfLifeHours);
}

/**
 * The use at `to` of what was charged at `rate` a second from `from` to `to`, decayed as it went: the integral in closed
 * form, so it is the same whether it is charged at once or piece by piece. Times in ms since 1970; never negative.
 */
export function accruedUse(rate: number, from: number, to: number, halfLifeHours: number): number {
  if (halfLifeHours <= 0) {
    return 0;
  }
  const meanLifeSeconds = (halfLifeHours * secondsPerHour) / Math.LN2;
  return rate * meanLifeSeconds * -Math.expm1(-Math.max(0, to - from) / 1000 / meanLifeSeconds);
}

/** Accelerator-seconds that one second of this grant costs: its accelerators, or its CPUs where they weigh more. */
export function chargePerSecond(grant: RankGrant, config: SchedulingConfig): number {
  const { cpusPerAccelerator } = config.fairShare;
  const byCpus = cpusPerAccelerator > 0 ? grant.cpus / cpusPerAccelerator : 0;
  return Math.max(grant.devices.length * grant.share, byCpus);
}
