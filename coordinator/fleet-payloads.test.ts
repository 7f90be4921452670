/** Which payloads go ahead of orders: small ones that are at hand, once on a connection, of what has not begun. */
import { expect, it } from "vitest";
import type { Desired, GivenPayloads, WantedAttempt } from "../shared/agent-wire.ts";
import type { Payload } from "../shared/job.ts";
import { SentPayloads } from "./fleet-payloads.ts";
import { payloadAtHandBytesMax, PayloadCache } from "./payload-cache.ts";

const payload: Payload = { setup: null, run: "true", envs: {} };

function order(...wanted: { attempt: string; started?: boolean }[]): Desired {
  const attempts = wanted.map((one) => ({ started: false, ...one }) as WantedAttempt);
  return { type: "desired", stateId: "s4kd0q8w7e6r5t3z", epoch: 1, seq: 1, wanted: attempts, ended: [] };
}

const named = (sent: GivenPayloads | null): string[] => (sent?.payloads ?? []).map((one) => one.attempt);

it("sends each once, and none of what has begun", () => {
  const sent = new SentPayloads();
  const atHand = (): Payload => payload;
  expect(named(sent.before(order({ attempt: "a-1" }, { attempt: "a-2", started: true }), atHand))).toEqual(["a-1"]);
  const second = order({ attempt: "a-1" }, { attempt: "a-3" });
  expect(named(sent.before(second, atHand))).toEqual(["a-3"]);
  expect(sent.before(second, atHand)).toBeNull();
});

it("sends what is not at hand when it is", () => {
  const sent = new SentPayloads();
  const wanted = order({ attempt: "a-1" });
  expect(sent.before(wanted, () => null)).toBeNull();
  expect(named(sent.before(wanted, () => payload))).toEqual(["a-1"]);
});

it("keeps the frame short: the rest goes with the next order", () => {
  const sent = new SentPayloads();
  const large: Payload = { ...payload, run: "x".repeat(60_000) };
  const wanted = order(...Array.from({ length: 35 }, (_, at) => ({ attempt: `a-${at}` })));
  const first = named(sent.before(wanted, () => large));
  const second = named(sent.before(wanted, () => large));
  expect(first.length).toBeLessThan(30);
  expect([...first, ...second]).toEqual(wanted.wanted.map((one) => one.attempt));
});

it("has small payloads at hand, each user's own, until they are dropped or others take their place", () => {
  const cache = new PayloadCache();
  cache.put(1001, "ref", payload, JSON.stringify(payload));
  cache.put(1001, "large", payload, "x".repeat(payloadAtHandBytesMax + 1));
  expect([cache.get(1001, "ref"), cache.get(1002, "ref"), cache.get(1001, "large")]).toEqual([payload, null, null]);
  cache.drop(1001, "ref");
  expect(cache.get(1001, "ref")).toBeNull();
  for (let at = 0; at < 2_000; at += 1) {
    cache.put(1001, `ref${at}`, payload, "x".repeat(32 * 1024));
    cache.get(1001, "ref0");
  }
  expect([cache.get(1001, "ref0"), cache.get(1001, "ref1"), cache.get(1001, "ref1999")]).toEqual([
    payload,
    null,
    payload,
  ]);
});
