/**
 * The violations of one evaluation while it goes on: each with the place it is at, and whether it is about what the user
 * may write at all. What lies at such a place besides is held back, and told when an exception lifts what stood before it.
 * It must never lose a finding. Used by evaluate.ts and its neighbours only.
 */
import type { CompiledPolicy } from "../compiled.ts";
import type { Said } from "../together/limits.ts";
import { type Place, placeText, repeatable, spelling } from "./messages.ts";
import type { Breach } from "./rules.ts";
import { compareTexts } from "../together/scope-order.ts";
import { type HeldBack, type PlainValue, type Violation, type ViolationRule, violationRules } from "../words.ts";

interface Finding {
  violation: Violation;
  /** Canonical places; more than one where values contradict each other. */
  at: readonly string[];
  isPermission: boolean;
  /** The same said by another policy before. */
  after: Violation | null;
}

export class Findings {
  readonly #all: Finding[] = [];

  /**
   * About what the user may write: `blocked`, `canEdit`, `locked`, `canAdd`, by each policy that says so. Answers the
   * first one; `after`: one that was told of the same already.
   */
  forbid(
    place: Place,
    { rule, message, ...values }: Forbidding,
    saying: readonly Said<unknown>[],
    after: Violation | null = null,
  ): Violation | null {
    let before = after;
    for (const { part, note } of saying) {
      const text = note === null ? message : `${message}; ${note}`;
      const violation = violationOf(place, rule, text, part, values);
      this.#all.push({ violation, at: [placeText(place)], isPermission: true, after: before });
      before ??= violation;
    }
    return before;
  }

  /** A value breaks a limit. `because`: places that it was computed from. */
  breach(
    place: Place,
    { also, ...first }: Breach,
    value: PlainValue | undefined,
    because: readonly string[] = [],
  ): void {
    const at = [placeText(place), ...because];
    let after: Violation | null = null;
    for (const { rule, message, limit, said } of [first, ...also]) {
      const violation = violationOf(place, rule, message, said.part, { value, limit });
      this.#all.push({ violation, at, isPermission: false, after });
      after ??= violation;
    }
  }

  /** A rule of the product itself; a field spelled as `field`. */
  product(at: readonly string[], violation: Omit<Violation, "source" | "limit"> & { limit?: PlainValue }): void {
    this.#all.push({ violation: { limit: null, ...violation, source: null }, at, isPermission: false, after: null });
  }

  /** Something about a policy as a whole. */
  policy(violation: Violation): void {
    this.#all.push({ violation, at: [], isPermission: false, after: null });
  }

  /** Sorted by field, then rule, then text; of equal lines the first. */
  told(): { violations: Violation[]; heldBack: HeldBack[] } {
    const open: Violation[] = [];
    const heldBack: HeldBack[] = [];
    for (const { violation, at, isPermission, after } of this.#all) {
      const before = after === null ? this.#forbidding(at, isPermission).map((one) => one.violation) : [];
      const behind = after === null ? before : [after];
      if (behind.length === 0) {
        open.push(violation);
      } else {
        heldBack.push({ violation, behind });
      }
    }
    const violations: Violation[] = [];
    for (const violation of open.sort(compareViolations)) {
      const last = violations.at(-1);
      if (last !== undefined && isSameLine(last, violation)) {
        heldBack.push({ violation, behind: [last] });
      } else {
        violations.push(violation);
      }
    }
    return { violations, heldBack: heldBack.sort((a, b) => compareViolations(a.violation, b.violation)) };
  }

  /** What was forbidden at these places, or (`onlyAround`: only) at the item that one of them is in. */
  #forbidding(places: readonly string[], onlyAround = false): Finding[] {
    return this.#all.filter(
      ({ isPermission, after, at: [own = ""] }) =>
        isPermission &&
        after === null &&
        places.some((place) => (!onlyAround && place === own) || place.startsWith(`${own}.`)),
    );
  }
}

interface Forbidding extends Values {
  rule: ViolationRule;
  message: string;
}

interface Values {
  value?: PlainValue | undefined;
  limit?: PlainValue;
}

function violationOf(
  place: Place,
  rule: ViolationRule,
  message: string,
  part: CompiledPolicy,
  { value, limit }: Values,
): Violation {
  const field = spelling(place, part);
  return { field, rule, message, source: part.source, value: repeatable(place, value), limit: limit ?? null };
}

function isSameLine(a: Violation, b: Violation): boolean {
  return a.field === b.field && a.rule === b.rule && a.message === b.message;
}

function compareViolations(a: Violation, b: Violation): number {
  return (
    compareTexts(a.field, b.field) ||
    violationRules.indexOf(a.rule) - violationRules.indexOf(b.rule) ||
    compareTexts(a.message, b.message) ||
    compareTexts(a.source?.policy ?? "", b.source?.policy ?? "")
  );
}

/** Sorted, and each line once. */
export function distinct(violations: readonly Violation[]): Violation[] {
  const sorted = [...violations].sort(compareViolations);
  return sorted.filter((one, index) => {
    const before = sorted[index - 1];
    return before === undefined || !isSameLine(before, one);
  });
}
