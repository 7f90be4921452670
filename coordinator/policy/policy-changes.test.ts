/**
 * Changes of policies that are carried out again after a restart, or cancelled while they wait: each is made once, whatever
 * has happened since, or not at all.
 */
import { randomUUID } from "node:crypto";
import { pino } from "pino";
import { expect, test } from "vitest";
import { until } from "../../test/help/until.ts";
import { MemoryPolicyStore } from "../../test/help/memory-policy-store.ts";
import { coordinatorConfigSchema } from "../config.ts";
import type { ApiParts, Store } from "../parts.ts";
import { DecisionLog } from "./decision-log.ts";
import { type Change, PolicyChanges } from "./policy-changes.ts";
import { WorkloadPolicies } from "./workload-policies.ts";

const place = coordinatorConfigSchema.parse({
  ...{ cluster: "lab", host_key: "/k", redis: { socket: "/r" }, state_dir: "/s", nodes: [{ name: "n", key: "k" }] },
});
const facts = { nodes: 1, mechanisms: {}, containers: 1, mig: {}, labels: {}, volumes: [] };
const given = { name: "p", scope: "cluster" as const, workloads: ["training"] };

/** The rooms as another life of the coordinator finds them. */
function lifeOver(policies: MemoryPolicyStore): { changes: PolicyChanges; store: Store } {
  const store = { policies } as unknown as Store;
  const parts = { current: () => ({ store }), onLive: () => undefined } as unknown as ApiParts;
  const log = pino({ level: "silent" });
  const gate = new WorkloadPolicies(parts, place, new DecisionLog("/s", 1, log), async (_uid, work) => work(), log);
  return { changes: new PolicyChanges(gate), store };
}

test("the same request saves, deletes and excepts once, over a restart", async () => {
  const kept = new MemoryPolicyStore();
  const requests = Array.from({ length: 4 }, () => randomUUID());
  const by = (store: Store, at: number, isAgain: boolean): Change => ({
    ...{ by: "root", requestId: requests[at] ?? "", isAgain, store, signal: new AbortController().signal },
  });
  const body = {
    ...{ policy: "p", field: null, rule: null, subjects: ["user:ada"], owner: "ops", reason: "paper" },
    expires_at: Date.now() / 1000 + 3_600,
  };
  const first = lifeOver(kept);
  await first.changes.apply("rules: {image: {required: true}}", given, by(first.store, 0, false), facts);
  expect(await first.changes.addException(body, by(first.store, 1, false))).toBe("e1");
  const second = lifeOver(kept);
  const again = await second.changes.apply("rules: {image: {required: true}}", given, by(second.store, 0, true), facts);
  expect([again.changed, again.policy.revision.revision]).toEqual([true, 1]);
  expect(await second.changes.addException(body, by(second.store, 1, true))).toBe("e1");
  // Somebody else's change in between is not undone.
  await second.changes.apply("rules: {image: {blocked: true}}", given, by(second.store, 3, false), facts);
  await second.changes.apply("rules: {image: {required: true}}", given, by(second.store, 0, true), facts);
  expect(kept.all.get("p")?.[0]?.text).toContain("blocked");
  expect((await second.changes.remove("p", by(second.store, 2, false))).revision).toBe(3);
  const third = lifeOver(kept);
  expect((await third.changes.remove("p", by(third.store, 2, true))).revision).toBe(3);
  await third.changes.removeException("e1", by(third.store, 1, false));
  await third.changes.removeException("e1", by(third.store, 1, true));
  await expect(third.changes.removeException("e1", by(third.store, 1, false))).rejects.toThrow("no exception 'e1'");
  expect([kept.all.get("p")?.map(({ what }) => what), kept.exceptions.size]).toEqual([
    ["deleted", "changed", "created"],
    0,
  ]);
});

test("a change that is cancelled while another has its turn changes nothing", async () => {
  const kept = new MemoryPolicyStore();
  const { changes, store } = lifeOver(kept);
  const cancel = new AbortController();
  const by = (signal: AbortSignal): Change => ({ by: "root", requestId: randomUUID(), isAgain: false, store, signal });
  let go: (() => void) | null = null;
  const save = kept.save.bind(kept);
  kept.save = async (revision) => {
    await new Promise<void>((resolve) => {
      go = resolve;
    });
    return save(revision);
  };
  const first = changes.apply("rules: {image: {required: true}}", given, by(new AbortController().signal), facts);
  const saved = await until(() => go, "the first change's turn");
  const second = changes.apply("rules: {image: {blocked: true}}", given, by(cancel.signal), facts);
  const third = changes.remove("p", by(cancel.signal));
  const refused = Promise.allSettled([second, third]);
  cancel.abort(new Error("cancelled"));
  saved();
  await first;
  expect((await refused).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(kept.all.get("p")?.map(({ text }) => text)).toEqual(["rules: {image: {required: true}}"]);
});
