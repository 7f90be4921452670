/**
 * The whole answer about one job, as `sky explain` and dry runs show it: where it stands, every constraint with who holds
 * what, when it starts, and what would make it start. Computed from one plan of this moment; it starts and changes
 * nothing. Called by the API's routes.
 */
import type { Constraint, ExplainPlace, ExplainResult } from "../../shared/explain-api.ts";
import { explainLimits } from "../../shared/explain-api.ts";
import type { JobId } from "../../shared/ids.ts";
import { type JobRecord, type RankGrant, type Shape, statusOf } from "../../shared/job.ts";
import { allBlockersOf, type Blockers, wallSeconds } from "./blockers.ts";
import { shapeText } from "./demand-text.ts";
import { sentenceOf } from "./explain.ts";
import { nextCommands, warningsOfJob } from "./explain-started.ts";
import { type Facts, factsOf } from "./facts.ts";
import { changesThatHelp, eventsThatHelp, type Forecast, forecastOf } from "./forecast.ts";
import { durationText } from "./limits.ts";
import { dequeue, enqueue } from "./order.ts";
import { countWaiting, placeOfOwn, placesOverAll } from "./positions.ts";
import { planOn } from "./schedule.ts";
import { type ActiveJob, jobKey, type State } from "./state.ts";
import type { Viewer } from "./viewer.ts";

/** Who asks, what they call the cluster, and when (ms since 1970). */
export interface Reader {
  viewer: Viewer;
  cluster: string;
  now: number;
}

/** Of jobs that are not there: a dry run's, and one that is tried in another shape; later than all of their user's. */
const dryrunId = 2 ** 31;
const triedId = dryrunId + 1;
/** Turns that are walked to find a place over all. */
const placesMax = 100_000;

function needsText({ shape }: JobRecord): string {
  const limit = shape.timeLimitSeconds;
  return `${shapeText(shape)}${limit === undefined ? "" : `, for ${durationText(limit)} at most`}`;
}

/** What is the same for all answers about a record. */
function common(record: JobRecord, id: JobId | null, reader: Reader): ExplainResult {
  const seconds = (time: number | null): number | null => (time === null ? null : time / 1000);
  return {
    cluster: reader.cluster,
    user: record.user,
    job_id: id,
    name: record.name,
    resources: record.resourcesText,
    needs: needsText(record),
    status: id === null ? null : statusOf(record),
    submitted_at: seconds(record.submittedAt),
    started_at: seconds(record.startedAt),
    ended_at: seconds(record.endedAt),
    ...{ reason: null, starts_now: false, position: null, waiting: 0, position_over_all: null, waiting_over_all: 0 },
    ...{ constraints: [], earliest_start: null, is_reserved: false, places: [], ends_at: null },
    ...{ time_limit_seconds: record.shape.timeLimitSeconds ?? null, warnings: [], actions: [] },
  };
}

function placesOf(state: State, ranks: readonly RankGrant[]): ExplainPlace[] {
  return ranks.map((grant) => {
    const accelerators = state.nodes.get(grant.node)?.inventory?.accelerators ?? [];
    const kind = accelerators.find((one) => one.index === grant.devices[0])?.kind ?? null;
    const { node, devices, share, cpus } = grant;
    return { node, kind, devices, share, cpus, memory_gb: grant.memoryGb };
  });
}

/** A job that the state knows: waiting, started, or just ended. */
export function explainJob(state: State, job: ActiveJob, reader: Reader): ExplainResult {
  const { phase } = job.record;
  if (phase === "ended") {
    return explainEnded(job.id, job.record, reader);
  }
  return phase === "waiting" ? explainWaiting(state, job, reader) : explainStarted(state, job, reader);
}

/** A job that has ended, from its record alone. */
export function explainEnded(id: JobId, record: JobRecord, reader: Reader): ExplainResult {
  const actions = nextCommands(record, id, reader.cluster);
  return { ...common(record, id, reader), reason: record.reason, actions };
}

function explainStarted(state: State, job: ActiveJob, reader: Reader): ExplainResult {
  const { viewer, now } = reader;
  const warnings = warningsOfJob(state, viewer, job, now);
  const ends = job.endsAt === null ? null : Math.round((now + job.endsAt - state.uptime) / 1000);
  return {
    ...common(job.record, job.id, reader),
    reason: warnings[0] ?? null,
    starts_now: true,
    started_at: (job.record.startedAt ?? job.grantedAt ?? now) / 1000,
    places: placesOf(
      state,
      (job.record.attempt?.ranks ?? []).map((rank) => rank.grant),
    ),
    ends_at: ends,
    warnings,
    actions: nextCommands(job.record, job.id, reader.cluster),
  };
}

/** What an admin or the user can do about constraints that no change of the job removes. */
function remedies(job: ActiveJob, constraints: readonly Constraint[], reader: Reader): string[] {
  const texts: string[] = [];
  const { cluster, viewer } = reader;
  if (job.record.restoredFrom !== undefined) {
    const who = viewer.isAdmin
      ? `let it start: sky admin release ${job.record.user}/${job.id}`
      : "an admin releases it";
    texts.push(who, `or cancel it: sky cancel ${cluster} ${job.id}`);
  }
  if (constraints.some((one) => one.type === "quota")) {
    texts.push("a job that counts under the quota ends, or an admin raises it (sky admin quota)");
  }
  const closed = constraints.filter((one) => one.type === "node").flatMap((one) => one.nodes);
  if (closed.length > 0) {
    texts.push(`${closed.slice(0, 4).join(", ")} come${closed.length === 1 ? "s" : ""} back, with enough room`);
  }
  const windows = constraints.filter((one) => one.type === "window").flatMap((one) => one.nodes);
  if (windows.length > 0) {
    texts.push(`what an admin has set for ${windows.slice(0, 4).join(", ")} is over (sky admin windows)`);
  }
  return texts;
}

function actionsFor(facts: Facts, job: ActiveJob, blockers: Blockers, reader: Reader): string[] {
  const { constraints, nodes } = blockers;
  const isNext = constraints.every((one) => one.type !== "order");
  const isHeld = constraints.some((one) => one.type === "held");
  const events = eventsThatHelp(job, nodes, isNext);
  const offers = isHeld ? [] : changesThatHelp(facts, job);
  // Last: each makes a plan of its own, after which `facts` holds no longer.
  const changes = offers.filter(({ shape }) => startsInstead(facts.state, job, shape, facts.now));
  const all = [...events, ...changes.map((one) => one.text), ...remedies(job, constraints, reader)];
  return all.slice(0, explainLimits.actions);
}

/** Cancelled and sent again in this shape, behind what its user has sent since, the job would start at once. */
function startsInstead(state: State, job: ActiveJob, shape: Shape, now: number): boolean {
  const tried: ActiveJob = { ...job, id: triedId, record: { ...job.record, shape } };
  const key = jobKey(tried.uid, tried.id);
  dequeue(state, job);
  state.jobs.set(key, tried);
  enqueue(state, tried);
  try {
    return planOn(state, now).plan.starts.some((one) => one.key === key);
  } finally {
    dequeue(state, tried);
    state.jobs.delete(key);
    enqueue(state, job);
  }
}

/** What a job that waits, or would wait, is told. */
function waitingPart(facts: Facts, job: ActiveJob, reader: Reader): Partial<ExplainResult> {
  const blockers = allBlockersOf(facts, job);
  const isHeld = blockers.constraints.some((one) => one.type === "held");
  const forecast: Forecast = isHeld ? { start: null, ranks: [], isKept: false } : forecastOf(facts, job);
  const { start } = forecast;
  return {
    reason: sentenceOf(job, blockers),
    constraints: blockers.constraints.slice(0, explainLimits.constraints),
    earliest_start: start === null ? null : wallSeconds(facts, start),
    is_reserved: forecast.isKept,
    places: start === null ? [] : placesOf(facts.state, forecast.ranks),
    actions: actionsFor(facts, job, blockers, reader),
  };
}

/** The job starts with the next look of the plan, which comes before anything else is answered. */
function startingPart(facts: Facts, ranks: readonly RankGrant[]): Partial<ExplainResult> {
  return { starts_now: true, earliest_start: Math.round(facts.now / 1000), places: placesOf(facts.state, ranks) };
}

function explainWaiting(state: State, job: ActiveJob, reader: Reader): ExplainResult {
  const { viewer, now, cluster } = reader;
  const key = jobKey(job.uid, job.id);
  const facts = factsOf(state, viewer, now);
  const starts = facts.plan.starts.find((one) => one.key === key);
  const places = placesOverAll(state, new Set([key]), now, placesMax);
  const part = starts === undefined ? waitingPart(facts, job, reader) : startingPart(facts, starts.ranks);
  const { position, waiting } = placeOfOwn(state, job);
  return {
    ...common(job.record, job.id, reader),
    position,
    waiting,
    position_over_all: places.get(key) ?? null,
    waiting_over_all: countWaiting(state),
    ...part,
    actions: [...(part.actions ?? []), `stop waiting: sky cancel ${cluster} ${job.id}`],
  };
}

/**
 * What would become of a job with this record if it were sent now. It stands in its line while the plan is made, so its
 * turn is the one that it would have, and is taken out again before anything else looks.
 */
export function explainDryrun(state: State, record: JobRecord, reader: Reader): ExplainResult {
  const job: ActiveJob = {
    ...{ uid: record.uid, id: dryrunId, record, commit: "clean", startedOn: [], former: [], readAtStart: false },
    ...{ grantedAt: null, endsAt: null, warned: false, preempted: null },
  };
  const key = jobKey(job.uid, job.id);
  state.jobs.set(key, job);
  enqueue(state, job);
  try {
    const answer = explainWaiting(state, job, reader);
    const place = answer.starts_now ? { position: null, position_over_all: null } : {};
    // Nobody can cancel what was not sent.
    return {
      ...answer,
      ...place,
      ...{ job_id: null, status: null, submitted_at: null },
      actions: answer.actions.slice(0, -1),
    };
  } finally {
    dequeue(state, job);
    state.jobs.delete(key);
  }
}
