/**
 * What another set of policies would do to jobs that were submitted before, from what the decision log keeps of them.
 * What the log leaves out (values of variables, scripts) cannot be judged, and so is never a reason here. It must never
 * change anything, and pauses often: many jobs are looked at. Used by `diff` and when a policy is saved.
 */
import type { PolicyApplyResult, PolicyDiffResult } from "../../shared/policy-api.ts";
import { shownViolation } from "../../shared/policy/check-result.ts";
import type { Case, Judgement } from "../../shared/policy/judge.ts";
import type { PlainValue, Violation } from "../../shared/policy/words.ts";
import { jobKey, type State } from "../core/state.ts";
import { type DecisionLine, leftOut } from "./decision-line.ts";
import type { DecisionLog } from "./decision-log.ts";
import { eachDecision } from "./decision-reader.ts";
import { judge } from "./judge.ts";
import type { PolicySet } from "./policy-set.ts";

/** Milliseconds of work between two pauses, and of all. */
const sliceMs = 5;
const limitMs = 60_000;
/** Jobs, violations and paths of each in an answer. */
const shownMax = 1_000;
const eachMax = 20;

type Changed = PolicyDiffResult["changed"][number];

/** The last `jobs` submissions whose workload was kept, under the present set and the next one. */
export async function replay(
  log: DecisionLog,
  state: State,
  { before, after, jobs }: { before: PolicySet; after: PolicySet; jobs: number },
): Promise<Pick<PolicyDiffResult, "looked" | "same" | "changed">> {
  const lines: DecisionLine[] = [];
  await eachDecision(log, "", (line) => {
    if (line.ways !== null && line.kind !== null && (line.request === "launch" || line.request === "exec")) {
      lines.push(line);
    }
    return lines.length < jobs;
  });
  const pause = pauses();
  const changed: Changed[] = [];
  let [looked, same] = [0, 0];
  for (const line of lines) {
    const asked = caseIn(line, state);
    if (asked === null || !(await pause())) {
      continue;
    }
    looked += 1;
    const change = changeOf(line, judge(before, asked, line.time), judge(after, asked, line.time));
    if (change === null) {
      same += 1;
    } else if (changed.length < shownMax) {
      changed.push(change);
    }
  }
  return { looked, same, changed };
}

/** Unfinished jobs that the set would refuse if they were submitted now. */
export async function refusedNow(
  log: DecisionLog,
  state: State,
  set: PolicySet,
): Promise<PolicyApplyResult["refuses"]> {
  const open = new Set(
    [...state.jobs.values()].filter(({ record }) => record.phase !== "ended").map(({ uid, id }) => jobKey(uid, id)),
  );
  const refused: PolicyApplyResult["refuses"] = [];
  if (open.size === 0) {
    return refused;
  }
  const lines: DecisionLine[] = [];
  await eachDecision(log, `"format":1`, (line) => {
    if (line.job_id !== null && open.delete(jobKey(line.uid, line.job_id))) {
      lines.push(line);
    }
    return open.size > 0;
  });
  const pause = pauses();
  for (const line of lines) {
    const asked = caseIn(line, state);
    if (asked === null || !(await pause())) {
      continue;
    }
    const violations = judge(set, asked, Date.now()).violations.filter(isJudged);
    if (violations.length > 0 && refused.length < shownMax) {
      const shown = violations.slice(0, eachMax).map(shownViolation);
      refused.push({ user: line.user, job_id: line.job_id ?? 0, violations: shown });
    }
  }
  return refused.sort((a, b) => (a.user < b.user ? -1 : a.user > b.user ? 1 : a.job_id - b.job_id));
}

/** The workload as it was kept; null: it was not. Groups are those that its user was last seen in. */
function caseIn({ kind, project, user, uid, ways }: DecisionLine, state: State): Case | null {
  if (kind === null || ways === null) {
    return null;
  }
  return {
    ...{ kind, project, user, groups: state.people.get(uid)?.groups ?? [], options: [] },
    ways: ways.map(({ label, workload }) => ({
      label,
      workload: new Map(Object.entries(workload) as [string, PlainValue][]),
    })),
  };
}

/** Whether what a violation speaks of was kept. */
function isJudged({ field, rule, value }: Violation): boolean {
  const isValue = /^(\S+\[\d+\] )?environment\w*\[.*\]\.value$/.test(field);
  return !(isValue && rule === "required") && !JSON.stringify(value ?? null).includes(JSON.stringify(leftOut));
}

/** Null: it makes no difference. */
function changeOf(line: DecisionLine, before: Judgement, after: Judgement): Changed | null {
  const [old, young] = [before.violations.filter(isJudged), after.violations.filter(isJudged)];
  const fields = young.length > 0 ? [] : changedPaths(before, after);
  if (old.length > 0 === young.length > 0 && fields.length === 0) {
    return null;
  }
  return {
    ...{ at: line.at, user: line.user, project: line.project, job_id: line.job_id, job_name: line.job_name },
    before: old.length > 0 ? "rejected" : "accepted",
    after: young.length > 0 ? "rejected" : "accepted",
    violations: young.slice(0, eachMax).map(shownViolation),
    fields: fields.slice(0, eachMax),
  };
}

function changedPaths(before: Judgement, after: Judgement): string[] {
  const paths = new Set<string>();
  for (const [at, young] of after.effective.entries()) {
    const old = before.effective[at] ?? new Map();
    for (const path of [...old.keys(), ...young.keys()]) {
      if (JSON.stringify(old.get(path) ?? null) !== JSON.stringify(young.get(path) ?? null)) {
        paths.add(path);
      }
    }
  }
  return [...paths].sort();
}

/** Lets others have their turn every few milliseconds; false: it has taken too long. */
function pauses(): () => Promise<boolean> {
  const begun = performance.now();
  let since = begun;
  return async () => {
    const now = performance.now();
    if (now - since >= sliceMs) {
      await new Promise<void>((resolve) => {
        setImmediate(resolve);
      });
      since = performance.now();
    }
    return now - begun < limitMs;
  };
}
