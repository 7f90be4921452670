/**
 * Names of people in an admin's words, checked against the head's accounts: a user who does not exist is a mistake, since
 * nobody without an account can send jobs; a group may be made later. Used by the routes for quotas and windows.
 */
import { SkyError } from "../../shared/errors.ts";
import { didYouMean } from "../../shared/near-match.ts";
import type { State } from "../core/state.ts";
import { isKnownName } from "../names.ts";

/** Throws for a user who has no account on the head. A name service that does not answer hinders nobody. */
export async function requireUser(state: State, name: string): Promise<void> {
  if ((await isKnownName("passwd", name)) === false) {
    const users = [...state.people.values()].map((person) => person.user);
    const hint = didYouMean(name, users) ?? `\`getent passwd ${name}\` on the head finds nobody.`;
    throw new SkyError("ValueError", `User '${name}' has no account on the head machine.`, hint);
  }
}

/** What an admin should know of a group that the head does not know; null: it does. `so`: what follows from it. */
export async function groupNote(state: State, name: string, so: string): Promise<string | null> {
  if ((await isKnownName("group", name)) !== false) {
    return null;
  }
  const groups = new Set([...state.people.values()].flatMap((person) => person.groups));
  const near = didYouMean(name, groups);
  return `The head machine knows no group '${name}', so ${so} until there is one.${near === null ? "" : ` ${near}`}`;
}
