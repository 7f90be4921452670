/**
 * What admins change of policies, one change at a time: saving, deleting and rolling back, assets, exceptions and the
 * secrets of projects. Everything is checked before it is on disk, and counts from the moment it is. The same request
 * makes one change, also when it is carried out again after a restart. It must never touch a job that was queued. Called
 * by the routes for policies.
 */
import { SkyError } from "../../shared/errors.ts";
import type { RequestId } from "../../shared/ids.ts";
import { didYouMean } from "../../shared/near-match.ts";
import type { PolicyApplyResult } from "../../shared/policy-api.ts";
import { builtinName } from "../../shared/policy/builtin.ts";
import { fieldAt } from "../../shared/policy/fields/fields.ts";
import { type ClusterFacts, gradesOf } from "../../shared/policy/grades.ts";
import { Gate } from "../gate.ts";
import type { Store } from "../parts.ts";
import type { GivenHead, PolicyRevision, SecretName, StoredAsset, StoredException } from "./policy-store.ts";
import { type ActivePolicy, activeOf, type PolicySet, readPlaced } from "./policy-set.ts";
import type { WorkloadPolicies } from "./workload-policies.ts";

const policiesMax = 1_000;
const assetsMax = 1_000;
const exceptionsMax = 1_000;
const secretsMax = 1_000;
const keysMax = 100;
const dayMs = 86_400_000;
/** Expired exceptions stay in sight for so long. */
const expiredKeptMs = 90 * dayMs;
const exceptionMsMax = 366 * dayMs;

/** Who asks, by which request, and where it is written. */
export interface Change {
  by: string;
  requestId: RequestId;
  /** It was begun before, so what it is to take away may be gone already. */
  isAgain: boolean;
  /** Aborted while others have their turn, it changes nothing. */
  signal: AbortSignal;
  store: Store;
}

/** A document that may be saved: the next set, and what it comes to on this cluster. */
export interface Prepared extends Pick<PolicyApplyResult, "warnings" | "grades" | "changed"> {
  policy: ActivePolicy;
  before: PolicySet;
  after: PolicySet;
}

export class PolicyChanges {
  readonly #policies: WorkloadPolicies;
  readonly #turn = new Gate(1);

  constructor(policies: WorkloadPolicies) {
    this.#policies = policies;
  }

  /**
   * Checks a document as if it were saved now. Throws SkyError("InvalidPolicyError") with every fault: of the document, of
   * the set that it would stand in, and of what it demands that no machine here can do.
   */
  async prepare(
    text: string,
    given: GivenHead,
    { by, requestId, store }: Change,
    facts: ClusterFacts,
    what: PolicyRevision["what"] | null = null,
  ): Promise<Prepared> {
    const before = await this.#policies.set();
    const { place } = this.#policies;
    const placed = readPlaced(text, given, place, "new");
    const { name } = placed.document.head;
    if (name === builtinName) {
      const hint = "Call it otherwise; it replaces those rules all the same.";
      throw new SkyError("InvalidPolicyError", `'${builtinName}' is the name of the product's own rules.`, hint);
    }
    const present = before.newest.get(name);
    const isThere = present !== undefined && present.text !== null;
    const isSame = isThere && present.text === text && JSON.stringify(present.given) === JSON.stringify(given);
    const at = Date.now();
    const revision: PolicyRevision = isSame
      ? present
      : {
          ...{ format: 1, name, revision: await this.#nextNumber(before, name, store), at, by, requestId, text, given },
          what: what ?? (isThere ? "changed" : "created"),
          createdBy: isThere ? present.createdBy : by,
          createdAt: isThere ? present.createdAt : at,
        };
    const policy = activeOf(revision, placed);
    if (!isThere && before.policies.size >= policiesMax) {
      throw new SkyError("ValueError", `There are ${policiesMax} policies, which is the limit.`, "Delete some.");
    }
    const after = isSame ? before : before.with(revision);
    const { lines, refusals } = gradesOf(policy.document, facts, after.assets);
    if (refusals.length > 0) {
      throw new SkyError("InvalidPolicyError", refusals.join("\n"));
    }
    return { policy, before, after, warnings: policy.document.warnings, grades: lines, changed: !isSame };
  }

  /** Saves what `prepare` accepts. */
  apply(
    text: string,
    given: GivenHead,
    change: Change,
    facts: ClusterFacts,
    what: PolicyRevision["what"] | null = null,
  ): Promise<Prepared> {
    return this.#inTurn(change.signal, async () => {
      const before = await this.#policies.set();
      const done = await this.#madeBefore(text, given, change);
      if (done !== null) {
        // Saved at a time of which its client was not told.
        const { warnings } = done.document;
        const grades = gradesOf(done.document, facts, before.assets).lines;
        return { policy: done, before, after: before, warnings, grades, changed: true };
      }
      const prepared = await this.prepare(text, given, change, facts, what);
      if (prepared.changed) {
        await change.store.policies.save(prepared.policy.revision);
        this.#policies.replace(change.store, prepared.after);
      }
      return prepared;
    });
  }

  /** Resolves with the deletion's revision. */
  remove(name: string, { by, requestId, store, isAgain, signal }: Change): Promise<PolicyRevision> {
    return this.#inTurn(signal, async () => {
      const before = await this.#policies.set();
      const present = before.newest.get(name);
      const made = isAgain ? (await store.policies.revisions(name)).revisions : [];
      const done = made.find((revision) => revision.requestId === requestId);
      if (done !== undefined) {
        return done;
      }
      const isDamaged = before.loaded.damaged.includes(name);
      if (!isDamaged && (present === undefined || present.text === null)) {
        throw unknownPolicy(name, before);
      }
      const at = Date.now();
      const revision: PolicyRevision = {
        ...{ format: 1, name, revision: await this.#nextNumber(before, name, store), at, by, what: "deleted" },
        ...{ requestId, text: null, given: {} },
        ...{ createdBy: present?.createdBy ?? by, createdAt: present?.createdAt ?? at },
      };
      const after = before.with(revision);
      await store.policies.save(revision);
      this.#policies.replace(store, after);
      return revision;
    });
  }

  /** Saves the text of an older revision as a new one. */
  async rollback(name: string, number: number, change: Change, facts: ClusterFacts): Promise<Prepared> {
    const { revisions } = await change.store.policies.revisions(name);
    if (revisions.length === 0) {
      throw unknownPolicy(name, await this.#policies.set());
    }
    const found = revisions.find(({ revision }) => revision === number);
    if (found === undefined || found.text === null) {
      const usable = revisions.filter(({ text }) => text !== null).map(({ revision }) => revision);
      const text =
        found === undefined
          ? `Policy '${name}' has no revision ${number}.`
          : `Revision ${number} of policy '${name}' is its deletion.`;
      throw new SkyError("ValueError", text, `There are: ${usable.slice(0, 20).join(", ")}.`);
    }
    return this.apply(found.text, { ...found.given, name }, change, facts, "rolled back");
  }

  setAsset(asset: StoredAsset, { store, signal }: Change): Promise<void> {
    return this.#inTurn(signal, async () => {
      const before = await this.#policies.set();
      const field = fieldAt(asset.field);
      if (field?.type !== "itemized" || !field.path.startsWith("storage.")) {
        throw new SkyError("ValueError", `'${asset.field}' is no field of a storage.`, "For example: storage.nfs");
      }
      const others = before.loaded.assets.filter(({ id }) => id !== asset.id);
      if (others.length >= assetsMax) {
        throw new SkyError("ValueError", `There are ${assetsMax} assets, which is the limit.`);
      }
      const after = before.changed({ assets: [...others, asset] });
      if (after.fault !== null && before.fault === null) {
        throw new SkyError("InvalidPolicyError", after.fault);
      }
      await store.policies.saveAsset(asset.id, asset);
      this.#policies.replace(store, after);
    });
  }

  deleteAsset(id: string, { store, isAgain, signal }: Change): Promise<void> {
    return this.#inTurn(signal, async () => {
      const before = await this.#policies.set();
      if (!before.assets.has(id) && !isAgain) {
        throw new SkyError("ValueError", `There is no asset '${id}'.`, didYouMean(id, before.assets.keys()));
      }
      const imposers = imposersOf(before, id);
      if (imposers.length > 0) {
        const text = `Asset '${id}' is imposed by ${imposers.join(", ")}.`;
        throw new SkyError("ValueError", text, "Change those policies first.");
      }
      const assets = before.loaded.assets.filter((asset) => asset.id !== id);
      await store.policies.saveAsset(id, null);
      this.#policies.replace(store, before.changed({ assets }));
    });
  }

  /** Resolves with the exception's id. */
  addException(
    body: Omit<StoredException, "id" | "created_by" | "created_at" | "requestId">,
    { by, requestId, store, signal }: Change,
  ): Promise<string> {
    return this.#inTurn(signal, async () => {
      const before = await this.#policies.set();
      const all = before.loaded.exceptions;
      const made = all.find((one) => one.requestId === requestId);
      if (made !== undefined) {
        return made.id;
      }
      const now = Date.now();
      requireException(body, before, now);
      const old = all.filter(({ expires_at }) => expires_at * 1000 < now - expiredKeptMs);
      const kept = all.filter((one) => !old.includes(one));
      if (kept.length >= exceptionsMax) {
        throw new SkyError("ValueError", `There are ${exceptionsMax} exceptions, which is the limit.`, "Remove some.");
      }
      const number = Math.max(0, ...all.map(({ id }) => Number(id.slice(1)))) + 1;
      const exception: StoredException = {
        ...body,
        id: `e${number}`,
        created_by: by,
        created_at: now / 1000,
        requestId,
      };
      await store.policies.saveException(exception.id, exception);
      for (const { id } of old) {
        await store.policies.saveException(id, null);
      }
      this.#policies.replace(store, before.changed({ exceptions: [...kept, exception] }));
      return exception.id;
    });
  }

  removeException(id: string, { store, isAgain, signal }: Change): Promise<void> {
    return this.#inTurn(signal, async () => {
      const before = await this.#policies.set();
      if (!before.loaded.exceptions.some((one) => one.id === id) && !isAgain) {
        throw new SkyError("ValueError", `There is no exception '${id}'.`);
      }
      const exceptions = before.loaded.exceptions.filter((one) => one.id !== id);
      await store.policies.saveException(id, null);
      this.#policies.replace(store, before.changed({ exceptions }));
    });
  }

  /** Null takes a key away; a secret without keys is gone. */
  setSecret(name: SecretName, values: Record<string, string | null>, { store, signal }: Change): Promise<void> {
    return this.#inTurn(signal, async () => {
      const before = await store.policies.secret(name);
      const all = Object.entries({ ...before, ...values });
      const kept = Object.fromEntries(all.filter((entry): entry is [string, string] => entry[1] !== null));
      if (Object.keys(kept).length > keysMax) {
        throw new SkyError("ValueError", `A secret has at most ${keysMax} keys.`);
      }
      if (before === null && (await store.policies.secretNames()).length >= secretsMax) {
        throw new SkyError("ValueError", `There are ${secretsMax} secrets, which is the limit.`);
      }
      await store.policies.saveSecret(name, Object.keys(kept).length === 0 ? null : kept);
    });
  }

  deleteSecret(name: SecretName, { store, isAgain, signal }: Change): Promise<void> {
    return this.#inTurn(signal, async () => {
      const all = await store.policies.secretNames();
      if (!all.some((one) => one.name === name.name && one.project === name.project) && !isAgain) {
        const place = name.project === null ? "" : ` in project '${name.project}'`;
        throw new SkyError("ValueError", `There is no secret '${name.name}'${place}.`);
      }
      await store.policies.saveSecret(name, null);
    });
  }

  #inTurn<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    return this.#turn.run(async () => {
      signal.throwIfAborted();
      return work();
    });
  }

  /** What this very request has saved before a restart; another may have changed the policy since. */
  async #madeBefore(
    text: string,
    given: GivenHead,
    { isAgain, requestId, store }: Change,
  ): Promise<ActivePolicy | null> {
    if (!isAgain) {
      return null;
    }
    const placed = readPlaced(text, given, this.#policies.place, "saved");
    const { revisions } = await store.policies.revisions(placed.document.head.name);
    const made = revisions.find((revision) => revision.requestId === requestId);
    return made === undefined ? null : activeOf(made, placed);
  }

  async #nextNumber({ newest, loaded }: PolicySet, name: string, store: Store): Promise<number> {
    if (!loaded.damaged.includes(name)) {
      return (newest.get(name)?.revision ?? 0) + 1;
    }
    const { revisions, damaged } = await store.policies.revisions(name);
    return Math.max(0, ...revisions.map(({ revision }) => revision), ...damaged) + 1;
  }
}

/** Names of the policies that impose the asset. */
export function imposersOf({ policies }: PolicySet, id: string): string[] {
  return [...policies.values()]
    .filter(({ compiled }) => compiled.some(({ imposed }) => imposed.includes(id)))
    .map(({ revision }) => revision.name);
}

export function unknownPolicy(name: string, { policies }: Pick<PolicySet, "policies">): SkyError {
  const hint = didYouMean(name, policies.keys()) ?? "`sky policy list` shows those that there are.";
  return new SkyError("ValueError", `There is no policy '${name.slice(0, 100)}'.`, hint);
}

function requireException(
  { policy, field, expires_at: until }: Pick<StoredException, "policy" | "field" | "expires_at">,
  set: PolicySet,
  now: number,
): void {
  if (!set.policies.has(policy)) {
    throw unknownPolicy(policy, set);
  }
  const plain = field?.replace(/\[[^\]]*\]/g, "[]") ?? null;
  const isNamed = (name: string): boolean =>
    set.policies.get(policy)?.compiled.some(({ spelled }) => [...spelled.values()].includes(name)) === true;
  if (plain !== null && fieldAt(plain) === null && !isNamed(plain)) {
    throw new SkyError("ValueError", `There is no field '${plain}'.`, "`sky policy explain` shows the fields.");
  }
  if (until * 1000 <= now) {
    throw new SkyError("ValueError", "The exception would have expired already.");
  }
  if (until * 1000 > now + exceptionMsMax) {
    throw new SkyError("ValueError", "An exception lasts a year at most.");
  }
}
