/**
 * The judgement of a set of policies on a task, or on a workload that was kept (shared/policy/judge.ts), and the lines
 * that tell it. Pure. It must never print the value of an environment variable that a user gave. Used by the gate, by
 * `check` and by the replay.
 */
import { SkyError } from "../../shared/errors.ts";
import { type Case, caseFor, judgeBy, type Judgement } from "../../shared/policy/judge.ts";
import type { PlainValue, Violation } from "../../shared/policy/words.ts";
import type { Task } from "../../shared/task.ts";
import type { Account } from "../../shared/users-policy.ts";
import { type DecisionLine, isOfUsersText } from "./decision-line.ts";
import type { PolicySet } from "./policy-set.ts";
import { type Place, projectFor } from "./projects.ts";

/** Lines about one task; what is beyond is counted. */
const linesMax = 50;
const shownMax = 200;

/** What the policies see of a task. Throws SkyError for a project that is not the user's and for what no task may ask. */
export function caseOf(set: PolicySet, task: Task, account: Account, place: Place): Case {
  const project = projectFor(account, task.workload?.project ?? null, place);
  return caseFor(task, account, project, (kind, of) => set.effective(kind, of));
}

/** `now`: milliseconds since 1970. */
export function judge(set: PolicySet, asked: Case, now: number): Judgement {
  const policy = set.effective(asked.kind, asked.project);
  return judgeBy({ policy, assets: set.assets, exceptions: set.lifts() }, asked, now);
}

/** The judgement where there is nothing to judge by. */
export function unbound(asked: Case): Judgement {
  return {
    case: asked,
    effective: asked.ways.map(({ workload }) => workload),
    origins: new Map(),
    ...{ violations: [], warned: [], audited: [], excepted: [], notices: [], policies: [], changed: [] },
  };
}

export function outcomeOf({ violations, warned, audited, excepted }: Judgement): DecisionLine["outcome"] {
  if (violations.length > 0) {
    return "rejected";
  }
  if (excepted.length > 0) {
    return "excepted";
  }
  return warned.length > 0 ? "warned" : audited.length > 0 ? "would have been rejected" : "accepted";
}

/** The refusal, one line a violation. */
export function rejection({ violations, case: { kind, project } }: Judgement): SkyError {
  const count = violations.length === 1 ? "1 violation" : `${violations.length} violations`;
  const see = `${by(violations)}See: sky policy explain ${kind}${project === null ? "" : ` --project ${project}`}`;
  const lines = [`User request rejected by policy: ${count}`, ...limited(violations.map(violationText))];
  return new SkyError("UserRequestRejectedByPolicy", [...lines, see].join("\n"));
}

/** `By policy nlp-training (project nlp, rev 7). `, so that one knows whom to ask; nothing for the product's own rules. */
function by(violations: readonly Violation[]): string {
  const names = new Set(
    violations.flatMap(({ source }) =>
      source === null ? [] : [`${source.policy} (${source.scope.level} ${source.scope.id}, rev ${source.revision})`],
    ),
  );
  return names.size === 0 ? "" : `By ${names.size === 1 ? "policy" : "policies"} ${[...names].join(", ")}. `;
}

/** `compute.gpuDevicesRequest: must be no greater than 4 (asked: 5)` */
function violationText({ field, message, value }: Violation): string {
  const asked = value === null || isOfUsersText(field) ? null : valueText(value);
  return `${field}: ${message}${asked === null ? "" : ` (asked: ${asked})`}`;
}

function valueText(value: PlainValue): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > shownMax ? `${text.slice(0, shownMax)}…` : text;
}

/** What the submitter is told of an accepted task. */
export function linesOf({ warned, excepted, notices, changed, origins, effective }: Judgement): string[] {
  const set = changed.flatMap((path) => {
    const origin = origins.get(path);
    if (origin === undefined || origin.kind === "submitted") {
      return [];
    }
    const value = effective[0]?.get(path);
    const to = value === undefined || Array.isArray(value) ? "" : ` to ${valueText(value)}`;
    return [`Policy '${origin.source.policy}' sets ${path}${to}.`];
  });
  return [
    ...limited(set),
    ...limited(excepted.map((one) => `Exception ${one.exception} lets this pass: ${violationText(one)}`)),
    ...limited(warned.map((one) => `Warning of policy '${one.source?.policy ?? ""}': ${violationText(one)}`)),
    ...limited(notices),
  ];
}

function limited(lines: readonly string[]): string[] {
  const rest = lines.length - linesMax;
  return rest > 0 ? [...lines.slice(0, linesMax), `and ${rest} more`] : [...lines];
}
