/** The judge is judged: each fault that a soak looks for is found in made-up facts, and good facts are good. */
import { expect, it } from "vitest";
import { faultsOf, linesOf, type Told } from "./verdict.ts";

const told = (recovers: boolean): Told => ({
  user: "alice",
  acknowledged: new Map([["alice-1", { id: 1, recovers }]]),
  refused: [],
});
const row = (status: string) => [{ job_id: 1, status, reason: null }];
const line = (what: string, at: number, attempt = "a-1", rank = "0") =>
  `${what} alice-1 ${rank} ${attempt} ${1_790_000_000_000_000_000n + BigInt(at)}\n`;
const once = line("start", 1) + line("beat", 2) + line("end", 3);

it("finds nothing where all is well", () => {
  expect(faultsOf(told(false), row("SUCCEEDED"), linesOf(once))).toEqual([]);
  expect(faultsOf(told(false), row("CANCELLED"), linesOf(line("start", 1)))).toEqual([]);
  expect(faultsOf(told(false), row("FAILED_DRIVER"), [])).toEqual([]);
  const moved = line("start", 1) + line("beat", 2) + line("start", 5, "a-2") + line("end", 9, "a-2");
  expect(faultsOf(told(true), row("SUCCEEDED"), linesOf(moved))).toEqual([]);
});

it.each([
  ["a lost job", told(false), [], "", /is lost/],
  ["a job that never ended", told(false), row("RUNNING"), once, /no good end: RUNNING/],
  ["a rank that began twice", told(false), row("SUCCEEDED"), once + once, /began 2 times/],
  ["a second start", told(false), row("SUCCEEDED"), once + line("start", 9, "a-2"), /declares no recovery/],
  [
    "two copies at one time",
    told(true),
    row("SUCCEEDED"),
    line("start", 1) + line("start", 2, "a-2") + line("beat", 3) + line("end", 4, "a-2"),
    /ran at the same time/,
  ],
  ["a success that was none", told(false), row("SUCCEEDED"), line("start", 1), /did not come to its end/],
] as const)("finds %s", (_what, who, queue, text, fault) => {
  expect(faultsOf(who, queue, linesOf(text)).join("\n")).toMatch(fault);
});

it("leaves out half lines", () => {
  expect(linesOf("start alice-1 0 a-1 17900000\nstart ali")).toEqual([]);
});
