/** What flags make of a task file: they hold for every way in which the task may run. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { resourcesValue } from "../../shared/task-resources.ts";
import { type TaskFlags, taskOf } from "./entrypoint.ts";

const cwd = mkdtempSync(join(tmpdir(), "entrypoint-"));
afterAll(() => rmSync(cwd, { recursive: true, force: true }));

async function resources(yaml: string, flags: Partial<TaskFlags>): Promise<unknown> {
  writeFileSync(join(cwd, "t.yaml"), `resources: ${yaml}\nrun: a\n`);
  const task = await taskOf(["t.yaml"], { env: [], ...flags }, { cwd, env: {} });
  return resourcesValue(task.resources);
}

describe("flags over the file", () => {
  test.each<[string, Partial<TaskFlags>, unknown]>([
    ["{}", { gpus: "80GB+:2" }, { accelerators: "80GB+:2" }],
    ["{gpus: T4, cpus: 2}", { gpus: "L4:2" }, { accelerators: "L4:2", cpus: "2" }],
    ["{gpus: T4, cpus: 2}", { gpus: "none" }, { cpus: "2" }],
    [
      "{gpus: [T4, L4]}",
      { cpus: "4+" },
      {
        ordered: [
          { accelerators: "T4:1", cpus: "4+" },
          { accelerators: "L4:1", cpus: "4+" },
        ],
      },
    ],
    ["{gpus: {T4, L4}}", { gpus: "H100" }, { accelerators: "H100:1" }],
    [
      "{any_of: [{gpus: T4, labels: {a: x}}, {gpus: L4}]}",
      { memory: "16", label: ["a=y", "b=z"] },
      {
        any_of: [
          { accelerators: "T4:1", memory: "16", labels: { a: "y", b: "z" } },
          { accelerators: "L4:1", memory: "16", labels: { a: "y", b: "z" } },
        ],
      },
    ],
    [
      "{priority: 5, time: 1h}",
      { priority: "-5", time: "2h", exclusive: true, preemptible: true },
      { job_recovery: "EAGER_NEXT_REGION", priority: -5, time: "2h", exclusive: true, preemptible: true },
    ],
    ["{priority: 5}", { priority: "0" }, {}],
    ["{priority: 5, time: 90, exclusive: true}", {}, { priority: 5, time: "1h30m", exclusive: true }],
  ])("%s with %j", async (yaml, flags, expected) => {
    expect(await resources(yaml, flags)).toEqual(expected);
  });
});

describe("refused flags", () => {
  test.each<[Partial<TaskFlags>, string]>([
    [{ gpus: "[A100,H100]" }, 'The "accelerators" field as a str should be <name> or <name>:<cnt>'],
    [{ time: "soon" }, 'The "time" field should be like 2h'],
    [{ priority: "high" }, "Priority must be a whole number between -1000 and 1000. Found: 'high'"],
    [{ label: ["disk"] }, "--label disk: expected NAME=VALUE."],
    [{ label: ["-=x"] }, "--label: Invalid label '-=x'"],
    [{ cpus: "many" }, 'The "cpus" field should be either a number'],
  ])("%j", async (flags, text) => {
    await expect(resources("{}", flags)).rejects.toThrow(text);
  });
});
