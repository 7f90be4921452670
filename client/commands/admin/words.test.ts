/** What admins type: subjects and limits of quotas, moments of windows. */
import { expect, it } from "vitest";
import { momentOf } from "./moments.ts";
import { limitsOf, subjectOf } from "./quota.ts";

const now = Date.UTC(2026, 10, 22, 12) / 1000;

it.each(["user:alice", "user:alice@example.org", "group:prof-ada", "group:dom\\domain users", "each"])(
  "%s is a subject",
  (text) => {
    expect(subjectOf(text)).toBe(text);
  },
);

it.each([
  ["alice", "'alice' is no subject."],
  ["", "'' is no subject."],
  ["user:", "'user:' has no valid user name."],
  ["user:al ice", "'user:al ice' has no valid user name."],
  ["user:-rf", "'user:-rf' has no valid user name."],
  ["group:a\u001b[31mb", "'group:a [31mb' has no valid group name."],
  ["group:a\nb", "'group:a b' has no valid group name."],
  [`user:${"x".repeat(500)}`, "has no valid user name."],
  ["each:alice", "'each:alice' is no subject."],
])("%j is none", (text, words) => {
  expect(() => subjectOf(text)).toThrow(words);
});

it("limits in all their forms", () => {
  const words = ["H100=8", "gpus=16", "cpus=1.5", "memory=1TB", "running=0", "waiting=none"];
  expect(limitsOf(words)).toEqual({
    accelerators: { H100: 8, "*": 16 },
    cpus: 1.5,
    memory_gb: 1024,
    running: 0,
    waiting: null,
  });
  expect(limitsOf(["A100-80GB=none", "memory=0", "accelerators=unlimited"])).toEqual({
    accelerators: { "A100-80GB": null, "*": null },
    memory_gb: 0,
  });
});

it.each(["H100", "H100=", "H100=x", "H100=-1", "running=1.5", "waiting=1e12", "a b=1", "=1", "memory=16+", "cpus=8+"])(
  "'%s' is no limit",
  (word) => {
    expect(() => limitsOf([word])).toThrow();
  },
);

it("moments: now, from now, with and without a zone", () => {
  expect(momentOf("now", now)).toBeNull();
  expect(momentOf("+90m", now)).toBe(now + 5_400);
  expect(momentOf("2026-12-01T08:00Z", now)).toBe(Date.UTC(2026, 11, 1, 8) / 1000);
  expect(momentOf("2026-12-01T08:00:30+01:00", now)).toBe(Date.UTC(2026, 11, 1, 7, 0, 30) / 1000);
  expect(momentOf("2026-12-01 08:00-0530", now)).toBe(Date.UTC(2026, 11, 1, 13, 30) / 1000);
  expect(momentOf("2026-12-01T08:00", now)).toBe(new Date(2026, 11, 1, 8).getTime() / 1000);
  expect(momentOf("2028-02-29", now)).toBe(new Date(2028, 1, 29).getTime() / 1000);
});

it.each([
  "",
  "soon",
  "tomorrow",
  "2026-02-30T08:00",
  "2026-13-01",
  "2026-12-01T24:00",
  "2026-12-01T08",
  "+2",
  "-2h",
  "+2w",
])("'%s' is no moment", (text) => {
  expect(() => momentOf(text, now)).toThrow("is not a moment");
});
