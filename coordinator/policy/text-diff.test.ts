/** Unified diffs: what `patch` would take, checked by applying them. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { unifiedDiff } from "./text-diff.ts";

const names = { before: "a", after: "b" };

/** Applies a diff as `patch` does; throws where a line is not as it says. */
function applied(before: string, diff: string): string {
  const lines = before === "" ? [] : before.split("\n");
  const out: string[] = [];
  let at = 0;
  for (const line of diff.split("\n").slice(2)) {
    const hunk = /^@@ -(\d+),(\d+) \+\d+,\d+ @@$/.exec(line);
    if (hunk !== null) {
      const start = Number(hunk[1]) - (hunk[2] === "0" ? 0 : 1);
      out.push(...lines.slice(at, start));
      at = start;
    } else if (line.startsWith("+")) {
      out.push(line.slice(1));
    } else {
      expect(lines[at]).toBe(line.slice(1));
      at += 1;
      out.push(...(line.startsWith(" ") ? [line.slice(1)] : []));
    }
  }
  return [...out, ...lines.slice(at)].join("\n");
}

test("equal texts have none; a changed line stands between its neighbours", () => {
  expect(unifiedDiff("a\nb", "a\nb", names)).toBe("");
  expect(unifiedDiff("1\n2\n3\n4\n5\n6\n7\n8\n9", "1\n2\n3\n4\nfive\n6\n7\n8\n9", names)).toBe(
    "--- a\n+++ b\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8",
  );
  expect(unifiedDiff("", "x\ny", names)).toBe("--- a\n+++ b\n@@ -0,0 +1,2 @@\n+x\n+y");
});

test("applied to the old text it gives the new one", () => {
  const text = fc.array(fc.constantFrom("a", "b", "c", "dd", " "), { minLength: 1, maxLength: 30 });
  fc.assert(
    fc.property(text, text, (olds, youngs) => {
      const [before, after] = [olds.join("\n"), youngs.join("\n")];
      const diff = unifiedDiff(before, after, names);
      expect(diff === "" ? before : applied(before, diff)).toBe(after);
    }),
  );
});

test("documents that are long and differ everywhere are shown as one replacement", () => {
  const many = (word: string): string => Array.from({ length: 3_000 }, (_, index) => `${word}${index}`).join("\n");
  const diff = unifiedDiff(many("a"), many("b"), names);
  expect(applied(many("a"), diff)).toBe(many("b"));
});
