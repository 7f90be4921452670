/**
 * Exceptions: what a policy refuses and an admin has let somebody do for a time. The violation stays visible as excepted,
 * and what stood behind it is told. Pure. It must never lift a rule of the product itself. Called after every evaluation by
 * the coordinator.
 */
import { knownName } from "./fields/fields.ts";
import { distinct } from "./evaluate/findings.ts";
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
  if (valid.length === 0 || evaluation.violations.length === 0) {
    return evaluation;
  }
  const lifted = new Set<string>();
  const excepted: Evaluation["excepted"] = [];
  const violations: Violation[] = [];
  let waiting = evaluation.heldBack ?? [];
  for (let open: readonly Violation[] = evaluation.violations; open.length > 0; ) {
    for (const violation of open) {
      const exception = valid.find((one) => covers(one, violation));
      if (exception === undefined) {
        violations.push(violation);
      } else {
        lifted.add(lineOf(violation));
        excepted.push({ ...violation, exception: exception.id });
      }
    }
    const isOpen = ({ behind }: { behind: readonly Violation[] }): boolean =>
      behind.every((one) => lifted.has(lineOf(one)));
    open = waiting.filter(isOpen).map(({ violation }) => violation);
    waiting = waiting.filter((held) => !isOpen(held));
  }
  return {
    ...evaluation,
    violations: distinct(violations),
    heldBack: waiting,
    excepted: [...evaluation.excepted, ...excepted],
  };
}

function lineOf({ field, rule, message, source }: Violation): string {
  return JSON.stringify([field, rule, message, source?.policy ?? null]);
}

function covers({ policy, field, rule }: PolicyException, violation: Violation): boolean {
  const { source } = violation;
  return (
    source?.policy === policy &&
    (rule === null || rule === violation.rule) &&
    (field === null || isAt(violation, field))
  );
}

/** Whether a violation is at a field or below it, however either is spelled: `storage.git` covers `storage.git[/src].branch`. */
function isAt({ field, source }: Violation, wanted: string): boolean {
  const plain = field.replace(/^[a-z_]+\[\d+\] /, "").replace(/^(master|worker)\./, "");
  const open = plain.indexOf("[");
  const close = plain.lastIndexOf("]");
  const path = open < 0 || close < open ? plain : `${plain.slice(0, open)}[]${plain.slice(close + 1)}`;
  const canonical = (source === null ? null : knownName(path.replace(/\[\]$/, ""), source.dialect)?.spec?.path) ?? path;
  const below = (place: string): boolean =>
    place === wanted || place.startsWith(`${wanted}.`) || place.startsWith(`${wanted}[`);
  return [field, plain, path, canonical].some(below);
}
