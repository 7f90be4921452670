/**
 * What everybody's unfinished jobs ask for and hold, as admin policies see it: what was granted where there is a grant,
 * what was asked for where a job waits. Read from the loop's state, so it is exact at the moment of asking. Pure. Called
 * by the API for each request that a policy looks at.
 */
import { demandsOf, type Shape, statusOf } from "../../shared/job.ts";
import type { ActiveJob, State } from "../core/state.ts";
import type { UserHoldings } from "./parts.ts";

interface Amount {
  accelerators: Record<string, number>;
  cpus: number;
  memoryGb: number;
}

/** Sums of fractions, without what adding them has left behind. */
function tidy(value: number): number {
  return Math.round(value * 1e6) / 1e6;
}

function add(counts: Record<string, number>, kind: string, count: number): void {
  counts[kind] = tidy((Object.hasOwn(counts, kind) ? (counts[kind] ?? 0) : 0) + count);
}

/** Of several ways the most that any could take. */
function asked(shape: Shape): Amount {
  const demands = demandsOf(shape);
  const accelerators: Record<string, number> = {};
  for (const { accelerators: wanted } of demands) {
    if (wanted !== null) {
      accelerators[wanted.kind] = Math.max(accelerators[wanted.kind] ?? 0, tidy(wanted.count * shape.nodes));
    }
  }
  const most = (read: (demand: (typeof demands)[number]) => number): number =>
    tidy(Math.max(...demands.map(read)) * shape.nodes);
  return { accelerators, cpus: most(({ cpus }) => cpus), memoryGb: most(({ memoryGb }) => memoryGb) };
}

/** Of the ranks' grants; a kind that its node does not say just now is the one that was asked for. */
function granted(state: State, { attempt, shape }: ActiveJob["record"]): Amount {
  const amount: Amount = { accelerators: {}, cpus: 0, memoryGb: 0 };
  for (const { grant } of attempt?.ranks ?? []) {
    const devices = state.nodes.get(grant.node)?.inventory?.accelerators ?? [];
    for (const index of grant.devices) {
      const kind = devices.find((device) => device.index === index)?.kind ?? shape.accelerators?.kind;
      if (kind !== undefined) {
        add(amount.accelerators, kind, grant.share);
      }
    }
    amount.cpus = tidy(amount.cpus + grant.cpus);
    amount.memoryGb = tidy(amount.memoryGb + grant.memoryGb);
  }
  return amount;
}

/** By user, in the order of their first job. */
export function holdingsOf(state: State): UserHoldings[] {
  const users = new Map<number, UserHoldings>();
  for (const { uid, id, record } of state.jobs.values()) {
    if (record.phase === "ended") {
      continue;
    }
    const amount = record.attempt === null ? asked(record.shape) : granted(state, record);
    const held = users.get(uid) ?? { user: record.user, accelerators: {}, cpus: 0, memoryGb: 0, jobs: [] };
    users.set(uid, held);
    for (const [kind, count] of Object.entries(amount.accelerators)) {
      add(held.accelerators, kind, count);
    }
    held.cpus = tidy(held.cpus + amount.cpus);
    held.memoryGb = tidy(held.memoryGb + amount.memoryGb);
    held.jobs.push({ id, name: record.name, status: statusOf(record), accelerators: amount.accelerators });
  }
  return [...users.values()];
}
