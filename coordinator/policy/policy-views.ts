/**
 * What the API shows of policies: rows, documents, what binds a user. Computed when asked for; changes nothing. An
 * ordinary user is shown what binds them and nothing else. Used by the routes for policies.
 */
import { SkyError } from "../../shared/errors.ts";
import type { PolicyGetResult, PolicyHistoryResult, PolicyRow } from "../../shared/policy-api.ts";
import { builtinName, builtinScope, builtinText } from "../../shared/policy/builtin.ts";
import { type ClusterFacts, gradesOf } from "../../shared/policy/grades.ts";
import { workloadKinds } from "../../shared/policy/words.ts";
import type { Account } from "../../shared/users-policy.ts";
import { unknownPolicy } from "./policy-changes.ts";
import { type ActivePolicy, type PolicyPlace, type PolicySet, readPlaced } from "./policy-set.ts";
import type { PolicyStore } from "./policy-store.ts";
import { isSame, scopesOfUser } from "./projects.ts";

/** Who looks; null: an admin, who sees everything. */
export type Onlooker = Pick<Account, "groups"> | null;

/** The product's own rules, as a row. */
const builtinRow: PolicyRow = {
  ...{ name: builtinName, scope: builtinScope.level, scope_id: builtinScope.id, workloads: [...workloadKinds] },
  ...{ mode: "enforce", dialect: "v2", owner: null, description: "Rules of the product itself.", revision: 0 },
  ...{ created_by: null, created_at: null, updated_by: null, updated_at: null },
};

function rowOf({ document, revision, scope }: ActivePolicy): PolicyRow {
  const { head } = document;
  return {
    ...{ name: revision.name, scope: scope.level, scope_id: scope.id, workloads: [...head.target.kinds] },
    ...{ mode: head.mode, dialect: head.dialect, owner: head.owner, description: head.description },
    ...{ revision: revision.revision, created_by: revision.createdBy, created_at: revision.createdAt / 1000 },
    ...{ updated_by: revision.by, updated_at: revision.at / 1000 },
  };
}

function binds(policy: ActivePolicy, onlooker: Onlooker, place: PolicyPlace): boolean {
  return onlooker === null || scopesOfUser(onlooker, place).some((scope) => isSame(scope, policy.scope));
}

/** The widest scopes first, by name within one. */
export function rowsOf(set: PolicySet, onlooker: Onlooker, place: PolicyPlace): PolicyRow[] {
  const levels = ["system", "tenant", "cluster", "department", "project"];
  const own = [...set.policies.values()].filter((policy) => binds(policy, onlooker, place)).map(rowOf);
  const key = (row: PolicyRow): string => `${levels.indexOf(row.scope)} ${row.scope_id} ${row.name}`;
  return [builtinRow, ...own.sort((a, b) => (key(a) < key(b) ? -1 : 1))];
}

/** Throws SkyError for one that is not there, or does not bind the onlooker. `number`: an older revision, for admins. */
export async function documentOf(
  set: PolicySet,
  { name, number }: { name: string; number: number | null },
  {
    onlooker,
    place,
    facts,
    store,
  }: { onlooker: Onlooker; place: PolicyPlace; facts: ClusterFacts; store: PolicyStore },
): Promise<PolicyGetResult> {
  if (name === builtinRow.name && !set.newest.has(name)) {
    return { ...builtinRow, text: builtinText(place.grace_seconds), warnings: [], grades: [] };
  }
  const present = set.policies.get(name);
  const isSeen = present !== undefined && binds(present, onlooker, place);
  if (isSeen && (number === null || number === present.revision.revision)) {
    const { document, revision } = present;
    const grades = gradesOf(document, facts, set.assets).lines;
    return { ...rowOf(present), text: revision.text ?? "", warnings: document.warnings, grades };
  }
  if (number === null || onlooker !== null) {
    const seen = new Map([...set.policies].filter(([, policy]) => binds(policy, onlooker, place)));
    throw unknownPolicy(name, { policies: seen });
  }
  const { revisions } = await store.revisions(name);
  const found = revisions.find(({ revision }) => revision === number);
  if (found === undefined || found.text === null) {
    throw new SkyError("ValueError", `There is no text of revision ${number} of policy '${name.slice(0, 100)}'.`);
  }
  const placed = readPlaced(found.text, { ...found.given, name }, place, "saved");
  const row = rowOf({ ...placed, revision: found, compiled: [] });
  const grades = gradesOf(placed.document, facts, set.assets).lines;
  return { ...row, text: found.text, warnings: placed.document.warnings, grades };
}

export async function historyOf(set: PolicySet, name: string, store: PolicyStore): Promise<PolicyHistoryResult> {
  const { revisions } = await store.revisions(name);
  if (revisions.length === 0 && name !== builtinRow.name) {
    throw unknownPolicy(name, set);
  }
  const shown = revisions.map(({ revision, at, by, what, text }) => ({ revision, at: at / 1000, by, what, text }));
  return { name, revisions: shown };
}
