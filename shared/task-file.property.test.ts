/** A written task is read back unchanged, whatever stands in it. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { anyTask } from "../test/help/any-task.ts";
import { readTask, writeTask } from "./task-file.ts";

test("a written task is read back unchanged", () => {
  fc.assert(
    fc.property(anyTask, (original) => {
      const again = readTask(writeTask(original), { file: "t.yaml" });
      expect(again).toEqual(original);
      expect(Object.keys(again.envs)).toEqual(Object.keys(original.envs));
    }),
    { numRuns: 400 },
  );
});
