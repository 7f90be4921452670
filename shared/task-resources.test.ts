/** The `resources` of task files: every form with the ways that it stands for, every refusal with its line and text. */
import { describe, expect, test } from "vitest";
import { SkyError } from "./errors.ts";
import { type TaskResources, type TaskWay, waysOf } from "./task.ts";
import { readTask, writeTask } from "./task-file.ts";

function read(resources: string): TaskResources {
  const task = readTask(`resources:${resources}\nrun: a\n`, { file: "t.yaml" });
  expect(readTask(writeTask(task), { file: "again" })).toEqual(task);
  return task.resources;
}

function faultOf(resources: string): string {
  try {
    read(resources);
  } catch (error) {
    if (error instanceof SkyError) {
      return error.message;
    }
    throw error;
  }
  throw new Error("accepted");
}

/** A way in short: `H100:2 cpus=4+ memory=16 disk=ssd`. */
function short({ accelerators, cpus, memoryGb, labels }: TaskWay): string {
  const parts = [
    accelerators === null ? "none" : `${accelerators.kind}${accelerators.memory?.orMore === true ? "+" : ""}`,
    ...(accelerators === null || accelerators.count === 1 ? [] : [`x${accelerators.count}`]),
    ...(accelerators?.vendor === undefined ? [] : [accelerators.vendor]),
    ...(cpus === null ? [] : [`cpus=${cpus.value}${cpus.exact ? "" : "+"}`]),
    ...(memoryGb === null ? [] : [`memory=${memoryGb.value}${memoryGb.exact ? "" : "+"}`]),
    ...Object.entries(labels ?? {}).map(([name, value]) => `${name}=${value}`),
  ];
  return parts.join(" ");
}

describe("ways", () => {
  test.each<[string, string[], boolean]>([
    [" {accelerators: H100}", ["H100"], false],
    [" {gpus: 'H100:2', cpus: 4+, memory: 16}", ["H100 x2 cpus=4+ memory=16"], false],
    [" {accelerators: {H100:1, A100:2}}", ["H100", "A100 x2"], true],
    [" {accelerators: {H100: 1, A100: 2}}", ["H100", "A100 x2"], true],
    [" {accelerators: [H100, 'A100:2']}", ["H100", "A100 x2"], false],
    [" {accelerators: [H100, H100]}", ["H100"], false],
    [" {accelerators: 80GB+}", ["80GB+"], false],
    [" {accelerators: 'NVIDIA:80GB+:2'}", ["80GB+ x2 NVIDIA"], false],
    [" {accelerators: {80GB+: 2}}", ["80GB+ x2"], false],
    [" {labels: {disk: ssd}}", ["none disk=ssd"], false],
    [" {cpus: 2, any_of: [{gpus: H100}, {gpus: A100, cpus: 8}]}", ["H100 cpus=2", "A100 cpus=8"], true],
    [" {cpus: 2, ordered: [{gpus: H100}, {cpus: 64}]}", ["H100 cpus=2", "none cpus=64"], false],
    [
      " {labels: {a: x, b: y}, any_of: [{labels: {b: z}}, {gpus: T4, labels: {c: w}}]}",
      ["none a=x b=z", "T4 a=x b=y c=w"],
      true,
    ],
    [" {gpus: T4, cpus: 4, ordered: [{accelerators: L4}, {gpus: null}]}", ["L4 cpus=4", "none cpus=4"], false],
    [
      " {accelerators: {H100, A100}, any_of: [{cpus: 2}, {cpus: 4}]}",
      ["H100 cpus=2", "A100 cpus=2", "H100 cpus=4", "A100 cpus=4"],
      true,
    ],
    [" {ordered: [{accelerators: [H100, A100]}, {accelerators: T4}]}", ["H100", "A100", "T4"], false],
    [" {any_of: [{cpus: 2}, {cpus: 2}]}", ["none cpus=2"], false],
    [" {any_of: [], gpus: T4}", ["T4"], false],
    [" {infra: local, any_of: [{gpus: T4}, {infra: Local, gpus: L4}]}", ["T4", "L4"], true],
    [" {any_of: [{infra: '*'}, {infra: ssh, gpus: T4}, {infra: local/*, gpus: L4}]}", ["none", "T4", "L4"], true],
    ["", ["none"], false],
  ])("%s", (resources, ways, anyOrder) => {
    const found = read(resources);
    expect(waysOf(found).map(short)).toEqual(ways);
    expect(found.anyOrder === true).toBe(anyOrder);
  });
});

describe("for the whole job", () => {
  test.each<[string, Partial<TaskResources>]>([
    [" {priority: 10}", { priority: 10 }],
    [" {priority: 0}", {}],
    [" {priority: -1000}", { priority: -1000 }],
    [" {time: 2h}", { timeLimitSeconds: 7200 }],
    [" {time: 90}", { timeLimitSeconds: 5400 }],
    ["\n  time: 1:30:00", { timeLimitSeconds: 5400 }],
    ["\n  time: 010:00:00", { timeLimitSeconds: 36_000 }],
    [" {exclusive: true}", { exclusive: true }],
    [" {exclusive: no}", {}],
    [" {preemptible: yes}", { preemptible: true, recovers: true }],
    [" {preemptible: true, job_recovery: FAILOVER}", { preemptible: true, recovers: true }],
    [" {job_recovery: EAGER_NEXT_REGION}", { recovers: true }],
    [
      " {any_of: [{gpus: T4, priority: 5, time: 1:30:00, job_recovery: null}, {gpus: T4, priority: 5, time: 1:30:00}]}",
      { accelerators: { kind: "T4", count: 1 }, priority: 5, timeLimitSeconds: 5400 },
    ],
    [" {priority: 3, any_of: [{gpus: null, priority: null}]}", {}],
    [
      " {exclusive: true, any_of: [{gpus: T4}, {gpus: T4, exclusive: true}]}",
      { accelerators: { kind: "T4", count: 1 }, exclusive: true },
    ],
    [
      " {time: 1d, priority: 5, any_of: [{gpus: T4}, {gpus: L4}]}",
      {
        accelerators: { kind: "T4", count: 1 },
        others: [{ accelerators: { kind: "L4", count: 1 }, cpus: null, memoryGb: null }],
        anyOrder: true,
        priority: 5,
        timeLimitSeconds: 86_400,
      },
    ],
  ])("%s", (resources, found) => {
    expect(read(resources)).toEqual({ accelerators: null, cpus: null, memoryGb: null, ...found });
  });
});

const manyItems = `[${Array.from({ length: 65 }, (_, index) => `{cpus: ${index + 1}}`).join(", ")}]`;
const manyKinds = `[${Array.from({ length: 65 }, (_, index) => `K${index}`).join(", ")}]`;
const manyLabels = `{${Array.from({ length: 33 }, (_, index) => `l${index}: x`).join(", ")}}`;

describe("refused", () => {
  test.each([
    [
      " {any_of: [{cpus: 1}], ordered: [{cpus: 2}]}",
      't.yaml:1: Cannot specify both "any_of" and "ordered" in resources.',
    ],
    [
      " {gpus: {A, B}, ordered: [{cpus: 1}]}",
      't.yaml:1: Cannot specify multiple "accelerators" with "ordered" in resources.',
    ],
    [
      " {gpus: [A, B], any_of: [{cpus: 1}]}",
      't.yaml:1: Cannot specify multiple "accelerators" with preferred order (i.e., list of accelerators) with "any_of" in resources.',
    ],
    [
      "\n  any_of:\n    - cpus: 1\n    - ordered: []",
      "t.yaml:4: 'resources.any_of[].ordered' cannot be used here. A choice",
    ],
    ["\n  any_of:\n    - cpu: 1", "t.yaml:3: unknown field 'resources.any_of[].cpu'. Did you mean 'cpus'?"],
    ["\n  ordered:\n    - cpus: x", 't.yaml:3: The "cpus" field should be either a number'],
    [
      "\n  ordered:\n    - cpus: 1\n    - priority: 3",
      "t.yaml:4: 'priority' holds for the whole job: write it beside 'ordered', not in an item.",
    ],
    [" {any_of: {cpus: 1}}", "t.yaml:1: 'any_of' must be a list of resources, each with fields of its own."],
    [" {any_of: [1]}", "t.yaml:1: an item of 'any_of' must be a mapping of fields to values."],
    [" {any_of: [{infra: aws}]}", "t.yaml:1: 'infra: aws' names no place that exists here."],
    [" {any_of: [{infra: 'ssh/-x'}]}", "t.yaml:1: 'infra: ssh/-x' names no place that exists here."],
    [" {cloud: ssh/lab}", "t.yaml:1: 'cloud: ssh/lab' names no place that exists here."],
    [" {any_of: [{infra: ssh/a}, {infra: ssh/b}]}", "t.yaml:1: 'infra' names several clusters; a task runs on the one"],
    [" {cloud: local, any_of: [{infra: local}]}", "t.yaml:1: Cannot specify both `infra` and `cloud`."],
    [" {gpus: T4, any_of: [{gpus: T4, accelerators: L4}]}", "Cannot specify both `accelerators` and its alias `gpus`."],
    [` {any_of: ${manyItems}}`, "t.yaml:1: 'any_of' makes more than 64 ways to run the task; shorten it."],
    [` {accelerators: ${manyKinds}}`, "t.yaml:1: 'accelerators' names more than 64 kinds; shorten it."],
    [` {labels: ${manyLabels}}`, "t.yaml:1: 'labels' has more than 32 entries."],
    [" {labels: [a]}", "t.yaml:1: 'labels' must be a mapping of names to values."],
    [" {labels: {a: 1}}", "t.yaml:1: 'a' must be text; YAML reads this as 1. Put it in quotes."],
    [" {labels: {a b: x}}", "t.yaml:1: Invalid label 'a b=x': names and values are at most 63 letters"],
    [" {labels: {__proto__: x}}", "t.yaml:1: Invalid label '__proto__=x'"],
    [" {labels: {a: '-x'}}", "t.yaml:1: Invalid label 'a=-x'"],
    [" {priority: high}", "t.yaml:1: Priority must be a whole number between -1000 and 1000. Found: 'high'"],
    [" {priority: 99999999999999999999}", "t.yaml:1: Priority must be a whole number between"],
    [" {any_of: [{priority: 99999999999999999999}, {cpus: 1}]}", "'priority' holds for the whole job"],
    [" {cpus: [99999999999999999999]}", 't.yaml:1: The "cpus" field should be either a number'],
    [" {priority: 1001}", "t.yaml:1: Priority must be a whole number between -1000 and 1000. Found: 1001"],
    [" {time: soon}", `t.yaml:1: The "time" field should be like 2h, 90m, 1d12h or 1:30:00`],
    ["\n  time: 1:30", `t.yaml:2: The "time" field should be like 2h, 90m, 1d12h or 1:30:00`],
    [" {exclusive: 1}", "t.yaml:1: 'exclusive' must be true or false."],
    [" {preemptible: true, job_recovery: none}", "t.yaml:1: A preemptible job is started again after it was stopped"],
    [" {preemptable: true}", "t.yaml:1: unknown field 'resources.preemptable'. Did you mean 'preemptible'?"],
    [" {use_spot: true}", "t.yaml:1: 'resources.use_spot' cannot be used here. Nobody"],
  ])("%s", (resources, text) => {
    expect(faultOf(resources)).toContain(text);
  });

  test("what several ways inherit is said once", () => {
    const text = faultOf("\n  cpus: many\n  any_of:\n    - gpus: T4\n    - gpus: L4");
    expect(text.split("\n")).toHaveLength(1);
    expect(text).toContain("t.yaml:2: ");
  });
});

test("a cluster that is named stays named, whichever word stands before it", () => {
  const task = readTask("resources: {any_of: [{infra: ssh/lab}, {infra: local/lab, gpus: T4}]}\n", { file: "t.yaml" });
  expect(task.clusterName).toBe("lab");
  expect(readTask(writeTask(task), { file: "again" })).toEqual(task);
});
