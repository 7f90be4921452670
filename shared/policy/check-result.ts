/**
 * A judgement as the API and `sky policy check` show it. Pure. It must never show a secret, and shortens long texts. Used
 * by the coordinator's policy rooms and offline by the client.
 */
import type { PolicyCheckResult, PolicyViolation } from "../policy-api.ts";
import { writeTask } from "../task-file.ts";
import type { Task } from "../task.ts";
import { onPremGrade } from "./grades.ts";
import type { Judgement } from "./judge.ts";
import { hiddenSecret, type Submitter, taskWith } from "./task/adapter.ts";
import type { PlainValue, ValueOrigin, Violation } from "./words.ts";

/** Characters of one text, items of one list. */
const shownMax = 1_000;

/** A value with its texts cut to what is shown and kept. */
export function shortened(value: PlainValue): PlainValue {
  if (typeof value === "string") {
    return value.slice(0, shownMax);
  }
  if (Array.isArray(value)) {
    return value.slice(0, shownMax).map(shortened);
  }
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, shortened(one)]));
  }
  return value;
}

/** A violation as the API and the log show it. */
export function shownViolation(violation: Violation & { exception?: string }): PolicyViolation {
  const { field, rule, message, source, value, limit, exception } = violation;
  return {
    ...{ field, rule, details: message, sourceOfRule: source, value: shortened(value), limit: shortened(limit) },
    ...(exception === undefined ? {} : { exception }),
  };
}

/** What would happen to this task; throws SkyError where nothing here can carry what the policies set. */
export function checkOf(task: Task, judgement: Judgement, who: Submitter): PolicyCheckResult {
  const { kind, project } = judgement.case;
  const accepted = judgement.violations.length === 0;
  const [effective = new Map<string, PlainValue>()] = judgement.effective;
  const origins = [...judgement.origins].map(([path, origin]) => [path, originText(origin)]);
  const paths = [...effective.keys()].sort();
  return {
    ...{ kind, project, accepted, notices: judgement.notices },
    ...{ violations: judgement.violations.map(shownViolation), warned: judgement.warned.map(shownViolation) },
    ...{ audited: judgement.audited.map(shownViolation), excepted: judgement.excepted.map(shownViolation) },
    effective: Object.fromEntries(effective),
    origins: Object.fromEntries(origins),
    grades: paths.map((path) => ({ field: path, ...onPremGrade(path) })),
    task: accepted ? writeTask(withoutSecrets(taskWith(task, judgement.effective, who))) : null,
  };
}

function originText(origin: ValueOrigin): string {
  switch (origin.kind) {
    case "submitted":
      return "the task";
    case "default":
      return `policy ${origin.source.policy}`;
    case "computed":
      return `policy ${origin.source.policy}, from ${origin.from}`;
    case "imposed":
      return `policy ${origin.source.policy}, asset ${origin.asset}`;
  }
}

function withoutSecrets(task: Task): Task {
  if (task.secrets === undefined) {
    return task;
  }
  return { ...task, secrets: Object.fromEntries(Object.keys(task.secrets).map((name) => [name, hiddenSecret])) };
}
