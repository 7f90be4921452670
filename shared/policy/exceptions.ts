/**
 * Exceptions: what a policy refuses and an admin has let somebody do for a time. The violation stays visible as excepted.
 * Pure. It must never lift a rule of the product itself, nor one that stood behind the lifted one. Called after every
 * evaluation by the coordinator.
 */
import type { Evaluation, PolicyException, Violation } from "./words.ts";

export interface ExceptionSubject {
  user: string;
  groups: readonly string[];
  project: string | null;
}

/** `now`: milliseconds since 1970. */
export function applyExceptions(
  evaluation: Evaluation,
  exceptions: readonly PolicyException[],
  who: ExceptionSubject,
  now: number,
): Evaluation {
  const names = [`user:${who.user}`, ...who.groups.map((group) => `group:${group}`)];
  const mine = new Set(who.project === null ? names : [...names, `project:${who.project}`]);
  const valid = exceptions.filter(
    ({ expiresAt, subjects }) => now < expiresAt && subjects.some((one) => mine.has(one)),
  );
  const lifting = (violation: Violation) => valid.find((exception) => covers(exception, violation));
  const excepted = evaluation.violations.flatMap((violation) => {
    const exception = lifting(violation);
    return exception === undefined ? [] : [{ ...violation, exception: exception.id }];
  });
  const violations = evaluation.violations.filter((violation) => lifting(violation) === undefined);
  return { ...evaluation, violations, excepted: [...evaluation.excepted, ...excepted] };
}

function covers({ policy, field, rule }: PolicyException, violation: Violation): boolean {
  return (
    violation.source?.policy === policy &&
    (rule === null || rule === violation.rule) &&
    (field === null || field === violation.field)
  );
}
