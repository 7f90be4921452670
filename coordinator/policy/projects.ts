/**
 * Projects and departments: names that the config gives to Unix groups, and the scopes whose policies bind a user's
 * workload. Membership is what the name service says of the caller, never what a request says. Pure but for the warning
 * at the start, which asks the name service. Used by the gate and by the routes for policies.
 */
import { SkyError } from "../../shared/errors.ts";
import { didYouMean } from "../../shared/near-match.ts";
import { builtinScope } from "../../shared/policy/builtin.ts";
import type { PolicyHead } from "../../shared/policy/compiled.ts";
import type { Scope } from "../../shared/policy/words.ts";
import type { Account } from "../../shared/users-policy.ts";
import type { CoordinatorConfig } from "../config.ts";
import type { Log } from "../log.ts";
import { isKnownName } from "../names.ts";

export type Place = Pick<CoordinatorConfig, "cluster" | "policies">;

const listMax = 20;

/** The user's projects in the config's order. */
export function projectsOf(account: Pick<Account, "groups">, { policies }: Place): string[] {
  return policies.projects.filter(({ name, group }) => account.groups.includes(group ?? name)).map(({ name }) => name);
}

/**
 * Whose policies bind a workload of this user: the named project, else the user's first. Throws SkyError
 * ("PermissionDeniedError") for one that the user is not in; whether it exists is not said then.
 */
export function projectFor(account: Account, named: string | null, place: Place): string | null {
  const own = projectsOf(account, place);
  if (named === null) {
    return own[0] ?? null;
  }
  if (!own.includes(named)) {
    const list = own.length === 0 ? "You are in none." : `You are in: ${listed(own)}.`;
    const text = `Project '${named.slice(0, 100)}' is none of ${account.name}'s.`;
    throw new SkyError("PermissionDeniedError", text, didYouMean(named, own) ?? list);
  }
  return named;
}

/** The scopes that bind a workload of this project (null: of none), widest first. */
export function scopesOf(project: string | null, place: Place): Scope[] {
  const found = place.policies.projects.find(({ name }) => name === project);
  const department = found?.department;
  return [
    builtinScope,
    { level: "tenant", id: place.policies.tenant },
    { level: "cluster", id: place.cluster },
    ...(department === undefined ? [] : [{ level: "department", id: department } as const]),
    ...(found === undefined ? [] : [{ level: "project", id: found.name } as const]),
  ];
}

/** The scopes that bind any workload of this user. */
export function scopesOfUser(account: Pick<Account, "groups">, place: Place): Scope[] {
  const all = [null, ...projectsOf(account, place)].flatMap((project) => scopesOf(project, place));
  return all.filter((scope, index) => all.findIndex((one) => isSame(one, scope)) === index);
}

export function isSame(a: Scope, b: Scope): boolean {
  return a.level === b.level && a.id === b.id;
}

/** The scope that a document names, or that stands for its level here. Throws SkyError for one that the config has not. */
export function scopeFor({ level, id }: PolicyHead["target"], place: Place): Scope {
  const known = idsOf(level, place);
  const wanted = id ?? (level === "tenant" || level === "cluster" ? known[0] : undefined);
  const list = known.length === 0 ? "The config names none (policies.projects)." : `There are: ${listed(known)}.`;
  if (wanted === undefined) {
    throw new SkyError("InvalidPolicyError", `target: say which ${level} the policy is for.`, list);
  }
  if (!known.includes(wanted)) {
    const text = `target: there is no ${level} '${wanted}' here.`;
    throw new SkyError("InvalidPolicyError", text, didYouMean(wanted, known) ?? list);
  }
  return { level, id: wanted };
}

export function isKnownScope({ level, id }: Scope, place: Place): boolean {
  return level === "system" || idsOf(level, place).includes(id);
}

/** Every scope of this level that the config has. */
function idsOf(level: PolicyHead["target"]["level"], { policies, cluster }: Place): string[] {
  switch (level) {
    case "tenant":
      return [policies.tenant];
    case "cluster":
      return [cluster];
    case "department":
      return [...new Set(policies.projects.flatMap(({ department }) => department ?? []))];
    case "project":
      return policies.projects.map(({ name }) => name);
  }
}

function listed(names: readonly string[]): string {
  const rest = names.length - listMax;
  return names.length === 0 ? "none" : `${names.slice(0, listMax).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
}

/** Once at the start: a project whose group nobody knows has no members. */
export async function warnOfUnknownGroups({ policies }: Place, log: Log): Promise<void> {
  for (const { name, group } of policies.projects) {
    if ((await isKnownName("group", group ?? name)) === false) {
      log.warn({ project: name, group: group ?? name }, "the head machine knows no such group: the project is empty");
    }
  }
}
