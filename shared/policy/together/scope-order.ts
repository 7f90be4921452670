/**
 * The order of scopes, and how a scope is written in messages. Pure. Used wherever policies of several scopes meet.
 */
import { type Scope, scopeLevels } from "../words.ts";

/** Below zero: `a` is wider. */
export function compareScopes(a: Scope, b: Scope): number {
  return scopeLevels.indexOf(a.level) - scopeLevels.indexOf(b.level);
}

/** By code units, the same on every machine. */
export function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export function isSameScope(a: Scope, b: Scope): boolean {
  return a.level === b.level && a.id === b.id;
}

/** `cluster: "c1"` */
export function scopeText({ level, id }: Scope): string {
  return `${level}: "${id}"`;
}
