/**
 * What is to be said of a job that has started, and of one that has ended: what warns, and what to type next. Computed
 * from the state and the record alone. Pure; called by explain-result.ts and, for the one sentence of `sky queue`, by
 * explain.ts.
 */
import type { JobId } from "../../shared/ids.ts";
import { type JobRecord, statusOf } from "../../shared/job.ts";
import { adminText, silenceText, span } from "./node-texts.ts";
import type { ActiveJob, NodeState, State } from "./state.ts";
import { jobFor, type Viewer } from "./viewer.ts";
import { isOn, nextWindowFor } from "./windows.ts";

/** A window that is further away is not worth a warning, in ms. */
const windowAheadMs = 24 * 3_600_000;

interface Place {
  node: NodeState;
  devices: readonly number[];
}

function placesOf(state: State, job: ActiveJob): Place[] {
  return (job.record.attempt?.ranks ?? []).flatMap(({ grant }) => {
    const node = state.nodes.get(grant.node);
    return node === undefined ? [] : [{ node, devices: grant.devices }];
  });
}

function faultTexts({ node, devices }: Place): string[] {
  const faulty = (node.inventory?.accelerators ?? []).filter((one) => one.fault !== undefined);
  return faulty
    .filter((one) => devices.includes(one.index))
    .map((one) => `${one.kind} ${one.index} on ${node.name}, which it holds, is out of order: ${one.fault}`);
}

/** What hinders a start that a node tries again. */
function troubleTexts(state: State, job: ActiveJob): string[] {
  const attempt = job.record.attempt;
  return (attempt?.ranks ?? []).flatMap((rank) => {
    const report = attempt === null ? undefined : state.nodes.get(rank.grant.node)?.attempts.get(attempt.id);
    const isTried = report?.state === "starting" && report.fault !== null;
    return isTried ? [`it is being tried again: ${report.fault}`.slice(0, 1000)] : [];
  });
}

function preemptedText(state: State, viewer: Viewer, job: ActiveJob): string | null {
  if (job.preempted === null) {
    return null;
  }
  const [uid = 0, id = 0] = job.preempted.by.split("/").map(Number);
  const seconds = Math.max(0, Math.ceil((job.preempted.at - state.uptime) / 1000));
  const other = jobFor(state, viewer, uid, id);
  return `it makes room for ${other}, which has a higher priority: it is stopped in ${seconds} s and waits again`;
}

function windowTexts(state: State, job: ActiveJob, places: readonly Place[], now: number): string[] {
  return places.flatMap(({ node }) => {
    const window = nextWindowFor(state, node.name, job.record, now);
    if (window === null || window.from - now > windowAheadMs) {
      return [];
    }
    const what = window.kind === "maintenance" ? "maintenance" : "a reservation of others";
    const when = isOn(window, now) ? "has begun" : `begins in ${span(window.from - now)}`;
    const fate = window.endJobs ? "; what runs there then is ended" : "; what runs there goes on";
    return [`${what} of ${node.name} ${when}${fate}`];
  });
}

function endText(state: State, job: ActiveJob): string | null {
  if (job.endsAt === null || !job.warned) {
    return null;
  }
  return `its time limit ends it in ${span(job.endsAt - state.uptime)}; it has been warned`;
}

/** What a person should know of a job that has started, most urgent first. `now` in ms since 1970. */
export function warningsOfJob(state: State, viewer: Viewer, job: ActiveJob, now: number): string[] {
  const places = placesOf(state, job);
  const silent = places.flatMap(({ node }) => {
    const text = silenceText(node, now);
    return text === null ? [] : [`${node.name} ${text}; what the job does there is not known`];
  });
  const ending = places.flatMap(({ node }) => {
    const isEnding = node.admin.state === "draining" && node.admin.deadline !== null;
    return isEnding ? [`${node.name} ${adminText(node, now)}`] : [];
  });
  const single = [preemptedText(state, viewer, job), endText(state, job)].filter((text) => text !== null);
  const faults = places.flatMap(faultTexts);
  return [
    ...silent,
    ...troubleTexts(state, job),
    ...faults,
    ...single,
    ...ending,
    ...windowTexts(state, job, places, now),
  ];
}

/** What to type next about a job that has started or ended. */
export function nextCommands(record: JobRecord, id: JobId, cluster: string): string[] {
  const logs = `sky logs ${cluster} ${id}`;
  const again = record.kind === "launch" ? `sky launch -c ${cluster} …` : `sky exec ${cluster} …`;
  const hasLogs = record.attempt !== null;
  switch (statusOf(record)) {
    case "SUCCEEDED":
      return [`its output: ${logs}`];
    case "FAILED":
      return [`its output: ${logs}`, `send it again: ${again}`];
    case "FAILED_SETUP":
      return [`what setup printed: ${logs}`, `send it again, with its setup: sky launch -c ${cluster} …`];
    case "FAILED_DRIVER":
      return [
        ...(hasLogs ? [`what it had printed by then: ${logs}`] : []),
        `send it again: ${again}`,
        "let the cluster start it again by itself the next time: job_recovery in its resources",
      ];
    case "CANCELLED":
      return [...(hasLogs ? [`what it had printed by then: ${logs}`] : []), `send it again: ${again}`];
    default:
      return [`its output: ${logs}`, `stop it: sky cancel ${cluster} ${id}`];
  }
}
