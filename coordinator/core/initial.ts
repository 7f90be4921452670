/**
 * The coordinator's state at its start: the configured nodes, of which nothing is known yet, and the unfinished jobs as
 * their records say. Nothing is decided here; the loop dispatches `ticked` once afterwards and the nodes' first reports
 * do the rest. Called by the coordinator's start-up and by tests.
 */
import type { Job, RankRecord } from "../../shared/job.ts";
import { type NodeAdmin, openNode } from "../../shared/node-admin.ts";
import type { NodeWindow, Person, Quota, QuotaSubject } from "../../shared/scheduling.ts";
import { openAccount } from "./accounting.ts";
import { emptyIndexes } from "./indexes.ts";
import { leaseMs, leaseNow } from "./leases.ts";
import { limitOf } from "./limits.ts";
import { compareJobs, enqueue } from "./order.ts";
import { enterAttempt } from "./usage.ts";
import { type ActiveJob, type CoreConfig, jobKey, type NodeState, type SetupState, type State } from "./state.ts";

/** What start-up has read. `jobs`: the unfinished ones; `nonce`: eight characters that no start before has used. */
export interface Recovered {
  stateId: string;
  epoch: number;
  nonce: string;
  /** `takenAt`: when its present attempt was granted, ms since 1970. */
  jobs: (Job & { takenAt?: number | null })[];
  setups: SetupState[];
  /** Milliseconds of a clock that never jumps. */
  uptime: number;
  /** Milliseconds since 1970. */
  now: number;
  /** What admins have decided, by node, already brought in line with the config; absent: nothing. */
  admins?: ReadonlyMap<string, NodeAdmin>;
  people?: readonly Person[];
  quotas?: ReadonlyMap<QuotaSubject, Quota>;
  windows?: readonly NodeWindow[];
}

function newNode(
  { name, labels: configured }: CoreConfig["nodes"][number],
  index: number,
  admin: NodeAdmin,
  uptime: number,
): NodeState {
  const labels = { ...configured, node: name };
  return {
    name,
    index,
    connected: false,
    welcomed: false,
    heard: false,
    stale: false,
    reported: false,
    inventory: null,
    held: new Set(),
    attempts: new Map(),
    lastReportAt: null,
    silentSince: uptime,
    renewedAt: null,
    gaveUp: "nothing",
    desiredSeq: 0,
    wantedSince: new Map(),
    ended: new Map(),
    unknown: new Set(),
    warnings: [],
    epochRaises: 0,
    faultLines: { since: uptime, count: 0 },
    refusal: null,
    protocol: null,
    version: null,
    vitals: null,
    idleSince: new Map(),
    labels,
    admin,
    keyOnDisk: admin.key?.key ?? null,
  };
}

export function initialState(config: CoreConfig, recovered: Recovered): State {
  const state: State = {
    config,
    stateId: recovered.stateId,
    epoch: recovered.epoch,
    nonce: recovered.nonce,
    attemptCounter: 0,
    nodes: new Map(
      config.nodes.map((node, index) => {
        const admin = recovered.admins?.get(node.name) ?? openNode;
        return [node.name, newNode(node, index, admin, recovered.uptime)];
      }),
    ),
    jobs: new Map(),
    setups: new Map(recovered.setups.map((setup) => [setup.uid, setup])),
    attempts: new Map(),
    waiting: new Map(),
    planDue: false,
    blocked: new Set(),
    indexes: emptyIndexes(),
    reservations: [],
    replanAt: null,
    unsettled: new Set(),
    wakeAsked: null,
    limitsAt: recovered.uptime,
    former: new Map(),
    accounts: new Map(),
    people: new Map((recovered.people ?? []).map((person) => [person.uid, person])),
    quotas: new Map(recovered.quotas ?? []),
    windows: new Map((recovered.windows ?? []).map((window) => [window.id, window])),
    windowsSettledAt: null,
    uptime: recovered.uptime,
    startedAt: recovered.uptime,
    startHoldUntil: null,
  };
  const jobs: ActiveJob[] = [];
  for (const { id, record, takenAt } of recovered.jobs) {
    if (record.phase === "ended") {
      continue;
    }
    const ranks = record.phase === "waiting" ? [] : (record.attempt?.ranks ?? []);
    // A pid is recorded only once the runner exists, so it stands for "seen started". An older copy cannot know what was
    // seen since, so everything in it counts as started.
    const wasSeen = (rank: RankRecord): boolean => rank.pid !== null || record.restoredFrom !== undefined;
    const startedOn = ranks.filter(wasSeen).map((rank) => rank.grant.node);
    const grantedAt = record.phase === "waiting" ? null : (takenAt ?? record.startedAt ?? recovered.now);
    const endsAt = grantedAt === null ? null : limitOf(state, record.shape, recovered.now - grantedAt);
    const rest = { former: [], readAtStart: true, grantedAt, endsAt, warned: false, preempted: null };
    const job: ActiveJob = { uid: record.uid, id, record, commit: "clean", startedOn, ...rest };
    jobs.push(job);
    state.jobs.set(jobKey(job.uid, id), job);
    if (record.cancelRequestedAt !== null || ranks.some((rank) => !state.nodes.has(rank.grant.node))) {
      state.unsettled.add(jobKey(job.uid, id));
    }
    if (record.phase !== "waiting" && record.attempt !== null) {
      enterAttempt(state, jobKey(job.uid, id), record.attempt);
      openAccount(state, job.uid, id, record, grantedAt ?? recovered.now);
    }
  }
  for (const job of jobs.sort((a, b) => a.record.submittedAt - b.record.submittedAt || compareJobs(a, b))) {
    if (job.record.phase === "waiting") {
      enqueue(state, job);
    }
  }
  rememberGivenUp(state);
  return state;
}

/** What was given up before this start is named as ended to the nodes, and what recovers waits until they have reported. */
function rememberGivenUp(state: State): void {
  for (const [key, { record }] of state.jobs) {
    if (record.shape.recovers === true) {
      const leases = [
        leaseNow(state, record.shape),
        record.attempt?.lease,
        ...(record.givenUp ?? []).map((one) => one.lease),
      ];
      const waits = leases.map((lease) => (lease === undefined ? 0 : leaseMs(lease)));
      state.startHoldUntil = Math.max(state.startHoldUntil ?? 0, state.startedAt + Math.max(...waits));
    }
    for (const { attempt, nodes } of record.givenUp ?? []) {
      state.former.set(attempt, key);
      for (const name of nodes) {
        state.nodes.get(name)?.ended.set(attempt, 1);
      }
    }
  }
}
