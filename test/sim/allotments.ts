/**
 * Admins in the simulator who say who may use how much and when: quotas and windows of nodes, at any moment, also while
 * the coordinator is about to be killed. The checkers beside it know by themselves what must then hold of every start and
 * of every end that names a window. Driven by world.ts, admins.ts and coordinator.ts.
 */
import type { State } from "../../coordinator/core/state.ts";
import type { Uid } from "../../shared/ids.ts";
import type { JobRecord } from "../../shared/job.ts";
import type { NodeWindow, Quota, QuotaSubject } from "../../shared/scheduling.ts";
import type { Chance } from "./clock.ts";
import type { SimCoordinator } from "./coordinator.ts";
import type { Truth } from "./truth.ts";

const groups = ["blue", "green"];
const subjects: QuotaSubject[] = ["each", "group:blue", "group:green"];

/** The Unix groups of each user, as the head would say. */
export function groupsOf(uid: Uid): string[] {
  return [["blue"], ["blue", "green"], []][uid % 3] ?? [];
}

/** Draws what an admin allots next; `nodes` are all names. */
export function allot(truth: Truth, coordinator: SimCoordinator, nodes: string[]): void {
  const { chance } = truth;
  if (chance.happens(0.4)) {
    const quota = chance.happens(0.4) ? null : drawnQuota(chance);
    coordinator.dispatch({ type: "quotaChanged", subject: chance.pick(subjects), quota });
  } else if (chance.happens(0.3)) {
    coordinator.dispatch({ type: "windowChanged", id: `w${chance.between(1, 4)}`, window: null });
  } else {
    const window = drawnWindow(truth, nodes);
    coordinator.dispatch({ type: "windowChanged", id: window.id, window });
  }
}

function drawnQuota(chance: Chance): Quota {
  return chance.pick<Quota>([
    { running: chance.between(0, 3) },
    { accelerators: { "*": chance.between(0, 4) } },
    { accelerators: { V100: chance.between(0, 2), H100: 1 } },
    { cpus: chance.pick([0.5, 1, 2]), memoryGb: chance.pick([0, 4, 8]) },
  ]);
}

function drawnWindow(truth: Truth, nodes: string[]): NodeWindow {
  const { chance } = truth;
  const from = truth.wallClock() + chance.pick([0, chance.between(0, 30_000)]) * truth.pace;
  const isReservation = chance.happens(0.5);
  return {
    id: `w${chance.between(1, 4)}`,
    kind: isReservation ? "reservation" : "maintenance",
    nodes: nodes.filter((_, index) => index === 0 || chance.happens(0.5)),
    ...{
      from,
      to: from + chance.between(1, 40_000) * truth.pace,
      users: [],
      groups: isReservation ? [chance.pick(groups)] : [],
    },
    ...{ endJobs: chance.happens(0.5), reason: null, by: "admin" },
  };
}

/** Nothing is limited and no node is set aside any more. */
export function allotNothing(coordinator: SimCoordinator): void {
  for (const subject of subjects) {
    coordinator.dispatch({ type: "quotaChanged", subject, quota: null });
  }
  for (const id of [...(coordinator.state?.windows.keys() ?? [])]) {
    coordinator.dispatch({ type: "windowChanged", id, window: null });
  }
}

function mayRunIn(window: NodeWindow, uid: Uid): boolean {
  return window.kind === "reservation" && groupsOf(uid).some((group) => window.groups.includes(group));
}

/** A start was decided, and not taken over from its nodes. */
export function checkAllotted(truth: Truth, state: State, record: JobRecord): void {
  const now = truth.wallClock();
  const limit = record.shape.timeLimitSeconds;
  const end = limit === undefined ? Number.POSITIVE_INFINITY : now + limit * 1000;
  for (const { grant } of record.attempt?.ranks ?? []) {
    for (const window of state.windows.values()) {
      const touches = window.nodes.includes(grant.node) && now < window.to && end > window.from;
      if (touches && !mayRunIn(window, record.uid)) {
        truth.violated(`${record.attempt?.id} was planned on ${grant.node} into ${JSON.stringify(window)} at ${now}`);
      }
    }
  }
  for (const [subject, quota] of state.quotas) {
    const group = subject.replace("group:", "");
    if (subject === "each" || groupsOf(record.uid).includes(group)) {
      const isBound = (uid: Uid): boolean => (subject === "each" ? uid === record.uid : groupsOf(uid).includes(group));
      checkQuota(truth, state, quota, isBound, record);
    }
  }
}

/** Amounts by what a quota limits. */
type Amounts = Record<string, number>;

function addJob(state: State, sum: Amounts, record: JobRecord): void {
  const add = (what: string, amount: number): void => {
    sum[what] = (sum[what] ?? 0) + amount;
  };
  add("running", 1);
  for (const { grant } of record.attempt?.ranks ?? []) {
    const kind = state.nodes.get(grant.node)?.inventory?.accelerators[grant.devices[0] ?? 0]?.kind ?? "?";
    add("cpus", grant.cpus);
    add("memoryGb", grant.memoryGb);
    add(kind, grant.devices.length * grant.share);
    add("*", grant.devices.length * grant.share);
  }
}

/** What has a grant and no end on disk is held; a start counts against the limits of what it takes. */
function checkQuota(
  truth: Truth,
  state: State,
  quota: Quota,
  isBound: (uid: Uid) => boolean,
  started: JobRecord,
): void {
  const [held, taken]: Amounts[] = [{}, {}];
  for (const { record, commit } of state.jobs.values()) {
    if (isBound(record.uid) && record.phase !== "waiting" && (record.phase !== "ended" || commit === "ending")) {
      addJob(state, held ?? {}, record);
    }
  }
  addJob(state, taken ?? {}, started);
  const { accelerators, ...others } = quota;
  for (const [what, limit] of Object.entries({ ...accelerators, ...others })) {
    if ((taken?.[what] ?? 0) > 0 && (held?.[what] ?? 0) > (limit ?? 0) + 1e-6) {
      truth.violated(`${started.attempt?.id} broke the quota ${JSON.stringify(quota)}: held ${JSON.stringify(held)}`);
    }
  }
}

/** An end or a restart was decided because of a window: it must be on, end jobs, and not be for this user. */
export function checkSetAside(truth: Truth, state: State, record: JobRecord, node: string, id: string): void {
  const window = state.windows.get(id);
  const now = truth.wallClock();
  const isOn = window !== undefined && window.from <= now && now < window.to && window.nodes.includes(node);
  if (!isOn || !window.endJobs || mayRunIn(window, record.uid)) {
    truth.violated(`a job ended because "${record.reason}", but ${id} is ${JSON.stringify(window)} at ${now}`);
  }
}
