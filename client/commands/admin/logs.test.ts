/** A job's lines as a terminal gets them, and the words for a time. */
import pc from "picocolors";
import { expect, test } from "vitest";
import { lineText, parseSince } from "./logs.ts";

const colors = pc.createColors(false);
const line = { time: 1_790_000_000.25, machine: "n1", program: "agent" as const };

test("columns, text and the fields that are not columns", () => {
  const entry = {
    level: 30,
    time: 1,
    node: "n1",
    uid: 1001,
    job: 3,
    msg: "it has ended",
    attempt: "aaaaaaaa-1",
    runExit: 0,
    fault: null,
  };
  expect(lineText({ ...line, entry }, 4, colors)).toBe(
    "2026-09-21 14:13:20.250 n1   agent       info  it has ended attempt=aaaaaaaa-1 runExit=0",
  );
});

test("nothing of what users and machines chose reaches the terminal as it came", () => {
  const entry = {
    level: "warn\u001b[31m",
    msg: "a\u001b[2Jb\nforged line",
    "k\u0007": "x y\u202e=",
    long: "A".repeat(5_000),
    odd: { a: ["\u001b"] },
  };
  const text = lineText({ ...line, machine: "n\u001b1", entry }, 4, colors);
  expect(text).not.toMatch(/[\u0000-\u001f\u007f\u202e]/);
  expect(text.length).toBeLessThan(700);
});

test("times", () => {
  expect(parseSince("90m", 10_000)).toBe(4_600);
  expect(parseSince("2026-01-31T12:00:00Z", 0)).toBe(1_769_860_800);
  expect(() => parseSince("yesterday\u001b", 0)).toThrow("a span such as 90m");
});
