/** Payloads that were sent ahead of orders: given out once, and forgotten with their attempt. */
import { expect, it } from "vitest";
import type { Desired, WantedAttempt } from "../shared/agent-wire.ts";
import { Payloads } from "./payloads.ts";

const text = '{"setup":null,"run":"true","envs":{}}';

function order(...wanted: string[]): Desired {
  const attempts = wanted.map((attempt) => ({ attempt }) as WantedAttempt);
  return { type: "desired", stateId: "s4kd0q8w7e6r5t3z", epoch: 1, seq: 1, ended: [], wanted: attempts };
}

function keeping(...attempts: string[]): Payloads {
  const payloads = new Payloads();
  payloads.keep({ type: "payloads", payloads: attempts.map((attempt) => ({ attempt, text })) });
  return payloads;
}

it("gives a payload out once", () => {
  const payloads = keeping("a-1");
  expect([payloads.take("a-2"), payloads.take("a-1"), payloads.take("a-1")]).toEqual([null, text, null]);
});

it("keeps it for as long as the attempt is wanted", () => {
  const payloads = keeping("a-1", "a-2");
  payloads.prune(order("a-1", "a-3"));
  expect([payloads.take("a-1"), payloads.take("a-2")]).toEqual([text, null]);
});

it("forgets all with the connection, and takes no more than some thousands", () => {
  const payloads = keeping(...Array.from({ length: 5_000 }, (_, at) => `a-${at}`));
  expect([payloads.take("a-0"), payloads.take("a-4999")]).toEqual([text, null]);
  payloads.clear();
  expect(payloads.take("a-1")).toBeNull();
});
