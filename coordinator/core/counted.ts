/**
 * What is counted just now, read from the accounts that accounting.ts keeps: which ranks, up to when, and as lines like
 * those of the usage history. It changes nothing. Pure; called by accounting.ts and the API's answers.
 */
import type { AttemptId, NodeName } from "../../shared/ids.ts";
import type { JobRecord, RankGrant } from "../../shared/job.ts";
import type { UsageLine } from "../../shared/scheduling.ts";
import type { Account, HeldRank, State } from "./state.ts";

/** Shown for devices of which neither the node nor the job says what they are. */
const unknownKind = "unknown";

/** What the granted devices are: as the node spells it, else as the job asked for it; null without devices. */
export function kindOf(state: State, grant: RankGrant, record: JobRecord | null): string | null {
  if (grant.devices.length === 0) {
    return null;
  }
  const there = state.nodes.get(grant.node)?.inventory?.accelerators.find((one) => one.index === grant.devices[0]);
  const asked = record?.shape.accelerators ?? null;
  return there?.kind ?? (asked === null || asked.memory !== undefined ? unknownKind : asked.kind);
}

/**
 * Up to when a rank counts, at `now`. One that has ended but is not cleaned away yet counts as long as its node is
 * heard; a machine that is away with what is left of it costs its user nothing.
 */
export function heldUntil(state: State, account: Account, node: NodeName, now: number): number {
  return account.endedAt === null || state.nodes.get(node)?.heard === true ? now : account.endedAt;
}

export function lineOf(state: State, attempt: AttemptId, account: Account, rank: HeldRank, to: number): UsageLine {
  const { uid, user, jobId } = account;
  const { grant } = rank;
  const device = rank.kind === unknownKind ? kindOf(state, grant, null) : rank.kind;
  return {
    ...{ attempt, node: grant.node, uid, user, groups: state.people.get(uid)?.groups ?? [], jobId, kind: device },
    ...{ accelerators: grant.devices.length * grant.share, cpus: grant.cpus, memoryGb: grant.memoryGb },
    ...{ from: rank.from, to },
  };
}

/** The line's rank is counted on: another line of it will come. */
export function isCounted(state: State, line: UsageLine): boolean {
  return state.accounts.get(line.attempt)?.ranks.has(line.node) === true;
}

/** What is held at `now`, each as if it ended now: for the history's readers and for people. */
export function heldLines(state: State, now: number): UsageLine[] {
  const lines: UsageLine[] = [];
  for (const [attempt, account] of state.accounts) {
    for (const [node, rank] of account.ranks) {
      const to = heldUntil(state, account, node, now);
      if (to > rank.from) {
        lines.push(lineOf(state, attempt, account, rank, to));
      }
    }
  }
  return lines;
}
