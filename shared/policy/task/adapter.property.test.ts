/** Whatever a task says, going through the adapter without a policy leaves it as it was. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { anyTask } from "../../../test/help/any-task.ts";
import { readTask, writeTask } from "../../task-file.ts";
import { taskWith, workloadsOf } from "./adapter.ts";

const who = { uid: 1000, gid: 1000, groups: ["people"] };

test("there and back without a policy it is the same task, but for the launch spec of its workload block", () => {
  fc.assert(
    fc.property(anyTask, (task) => {
      const there = workloadsOf(task, who).map(({ workload }) => workload);
      const { launchSpec, ...back } = taskWith(task, there, who);
      expect(back).toEqual(task);
      if (task.workload === undefined) {
        expect(launchSpec).toBeUndefined();
      }
    }),
    { numRuns: 200 },
  );
});

test("a task with what policies have set can be written, read and looked at again", () => {
  fc.assert(
    fc.property(anyTask, fc.constantFrom("2Gi", "1.5G"), (task, memory) => {
      const there = workloadsOf(task, who).map(
        ({ workload }) => new Map([...workload, ["compute.cpuMemoryLimit", memory], ["compute.cpuCoreRequest", 2]]),
      );
      const { launchSpec, ...set } = taskWith(task, there, who);
      expect(launchSpec?.memoryLimitBytes).toBe(memory === "2Gi" ? 2 ** 31 : 1.5e9);
      expect(readTask(writeTask(set), { file: "t.yaml" })).toEqual(set);
      const again = workloadsOf(set, who).map(({ workload }) => workload);
      expect(taskWith(set, again, who)).toEqual({ ...set, launchSpec });
    }),
    { numRuns: 50 },
  );
});
