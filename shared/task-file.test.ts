/** Task files: what is understood, and what is refused with its line. */
import { describe, expect, test } from "vitest";
import { SkyError } from "./errors.ts";
import type { Task } from "./task.ts";
import { readTask, writeTask } from "./task-file.ts";

function read(text: string, envOverrides: Record<string, string> = {}): Task {
  return readTask(text, { file: "t.yaml", envOverrides });
}

function faultOf(text: string, envOverrides: Record<string, string> = {}): SkyError {
  try {
    read(text, envOverrides);
  } catch (error) {
    if (error instanceof SkyError) {
      return error;
    }
    throw error;
  }
  throw new Error("accepted");
}

const empty: Task = {
  name: null,
  numNodes: 1,
  resources: { accelerators: null, cpus: null, memoryGb: null },
  envs: {},
  setup: null,
  run: null,
};

describe("readTask", () => {
  test("every supported field", () => {
    const text = [
      "name: train",
      "num_nodes: 2",
      "resources:",
      "  cloud: local",
      "  gpus: V100:4",
      "  cpus: 4+",
      "  memory: 16GB",
      "envs: {DEBUG: yes, MODE: 010, RATE: 1.10, DAY: 2024-01-01, NAME: 'a b', NONE: ''}",
      "setup: pip list",
      "run: |",
      "  echo $MODE",
      "",
    ].join("\n");
    expect(read(text)).toEqual({
      name: "train",
      numNodes: 2,
      resources: {
        accelerators: { kind: "V100", count: 4 },
        cpus: { value: 4, exact: false },
        memoryGb: { value: 16, exact: true },
      },
      envs: { DEBUG: "True", MODE: "8", RATE: "1.1", DAY: "2024-01-01", NAME: "a b", NONE: "" },
      setup: "pip list",
      run: "echo $MODE\n",
    });
  });

  test.each([
    ["EAGER_NEXT_REGION", true],
    ["failover", true],
    ["{strategy: FAILOVER}", true],
    ["{}", true],
    ["{strategy: none}", undefined],
    ["none", undefined],
    ["", undefined],
  ])("job_recovery: %s", (value, recovers) => {
    const task = read(`resources: {job_recovery: ${value}}\nrun: a\n`);
    expect(task.resources.recovers).toBe(recovers);
    expect(read(writeTask(task))).toEqual(task);
  });

  test.each([
    [
      "SOMEWHERE",
      "t.yaml:1: 'job_recovery: SOMEWHERE' is no strategy. Known strategies: EAGER_NEXT_REGION, FAILOVER, none.",
    ],
    ["{max_restarts_on_errors: 3}", "'resources.job_recovery.max_restarts_on_errors' cannot be used here. Only lost"],
    ["{recover_on_exit_codes: [3]}", "'resources.job_recovery.recover_on_exit_codes' cannot be used here. Only lost"],
    ["{stratgy: FAILOVER}", "unknown field 'resources.job_recovery.stratgy'"],
    ["3", "'job_recovery' must be text"],
  ])("refused job_recovery: %s", (value, text) => {
    expect(faultOf(`resources: {job_recovery: ${value}}\nrun: a\n`).message).toContain(text);
  });

  test.each([
    ["run:\nsetup: ''\nresources:\nenvs:\nname: x\n", { ...empty, name: "x" }],
    [
      "resources: {infra: local, accelerators: {V100: 1}}\n",
      { ...empty, resources: { ...empty.resources, accelerators: { kind: "V100", count: 1 } } },
    ],
    ["name: dag\n---\nname: task\nrun: a\n", { ...empty, name: "task", run: "a" }],
    ["name: dag\n---\nrun: a\n", { ...empty, name: "dag", run: "a" }],
    ["---\nrun: a\n---\n", { ...empty, run: "a" }],
    ["workdir:\nsecrets: ~\nrun: a\n", { ...empty, run: "a" }],
  ])("%j", (text, task) => {
    expect(read(text)).toEqual(task);
  });

  test("overrides win, give values to nulls and add names", () => {
    expect(read("envs: {A: 1, B: , C: 3}\n", { A: "x", B: "y", D: "z" }).envs).toEqual({
      A: "x",
      B: "y",
      C: "3",
      D: "z",
    });
  });

  test.each([" a\n ", " a\n \n", " a\n  \n\n", "a\n\t", "\n a"])("the blanks at the ends of a script: %j", (run) => {
    expect(read(writeTask({ ...empty, run }))).toEqual({ ...empty, run });
  });

  test("a script of 200,000 lines", () => {
    const script = "echo 'one more line'\n".repeat(200_000);
    const text = writeTask({ ...empty, setup: script, run: script });
    expect(read(text)).toEqual({ ...empty, setup: script, run: script });
  });
});

describe("refused", () => {
  test.each([
    ["", "t.yaml is empty or contains no task definition. Add at least a `run:` (or `setup:`) field."],
    ["# nothing\n---\n", "t.yaml is empty or contains no task definition. Add at least a `run:` (or `setup:`) field."],
    ["- run\n", "Invalid task YAML: t.yaml:1: the task must be a mapping of fields to values."],
    [
      "run: a\nservice: {readiness_probe: /}\n",
      "Invalid task YAML: t.yaml:2: 'service' cannot be used here. Services are not run here yet; ",
    ],
    [
      "resources:\n  image_id: ami-0123\n",
      "Invalid task YAML: t.yaml:2: 'image_id' must be docker:IMAGE, the image of a container: ",
    ],
    ["run: a\nrunn: b\n", "Invalid task YAML: t.yaml:2: unknown field 'runn'. Did you mean 'run'?"],
    [
      "resources:\n  acelerators: V100\n",
      "Invalid task YAML: t.yaml:2: unknown field 'resources.acelerators'. Did you mean 'accelerators'?",
    ],
    [
      "zzzzzz: 1\n",
      "Invalid task YAML: t.yaml:1: unknown field 'zzzzzz'. Known fields: name, workdir, num_nodes, resources, envs, ",
    ],
    ["name: -x-\n", "Invalid task YAML: t.yaml:1: Invalid name '-x-': "],
    ["name: 010\n", "Invalid task YAML: t.yaml:1: 'name' must be text; YAML reads this as 8. Put it in quotes."],
    ["num_nodes: 0\n", "Invalid task YAML: t.yaml:1: 'num_nodes' must be a whole number from 1 to 10000."],
    ["num_nodes: two\n", "Invalid task YAML: t.yaml:1: 'num_nodes' must be a whole number"],
    ["run: [a]\n", "Invalid task YAML: t.yaml:1: 'run' must be text."],
    ["run: on\n", "Invalid task YAML: t.yaml:1: 'run' must be text; YAML reads this as True. Put it in quotes."],
    ['run: "a\\0b"\n', "Invalid task YAML: t.yaml:1: 'run' contains a NUL character"],
    [
      "resources:\n  cpus: many\n",
      'Invalid task YAML: t.yaml:2: The "cpus" field should be either a number or a string "<number>+". Found: \'many\'',
    ],
    [
      "resources:\n  gpus: V100\n  accelerators: V100\n",
      "Invalid task YAML: t.yaml:2: Cannot specify both `accelerators` and its alias `gpus`.",
    ],
    [
      "resources: {cloud: aws}\n",
      "Invalid task YAML: t.yaml:1: 'cloud: aws' names no place that exists here. Must specify `cloud: local` or no cloud in YAML or CLI args.",
    ],
    [
      "resources: {cloud: local, infra: local}\n",
      "Invalid task YAML: t.yaml:1: Cannot specify both `infra` and `cloud`.",
    ],
    ["envs: [A]\n", "Invalid task YAML: t.yaml:1: 'envs' must be a mapping of names to values."],
    [
      "envs:\n  A: 1\n  B:\n",
      "Invalid task YAML: t.yaml:3: Environment variable 'B' is None. Please set a value for it in task YAML or with --env flag.",
    ],
    ["envs:\n  1A: x\n", "Invalid task YAML: t.yaml:2: Environment variable '1A' has an invalid name"],
    ["envs:\n  A: [1]\n", "Invalid task YAML: t.yaml:2: Environment variable 'A' must have one value, not a list."],
    ['envs: {A: "\\0"}\n', "Invalid task YAML: t.yaml:1: Environment variable 'A' contains a NUL character"],
    [
      'envs: {A: "\\ud800"}\n',
      "Invalid task YAML: t.yaml:1: Environment variable 'A' contains half of a Unicode character",
    ],
    [
      `envs: {A: ${"x".repeat(131_072)}}\n`,
      "Invalid task YAML: t.yaml:1: Environment variable 'A' is larger than 127 KiB",
    ],
    [`run: ${"x".repeat(8 * 1024 * 1024 + 1)}\n`, "Invalid task YAML: t.yaml:1: 'run' is larger than 8 MB."],
    ["run: a\n---\nrun: b\n", "YAML specifies a DAG which is only supported by `sky jobs launch`."],
    ["name: p\n---\nrun: a\n---\nrun: b\n", "YAML specifies a DAG which is only supported by `sky jobs launch`."],
  ])("%#", (text, start) => {
    const fault = faultOf(text);
    expect(fault.message.slice(0, start.length)).toBe(start);
    expect(fault.type).toBe("InvalidTaskError");
  });

  test("several faults at once, in the file's order", () => {
    expect(faultOf("num_nodes: 0\nenvs:\n  A:\nworkdir: s3://x\n").message.split("\n")).toHaveLength(3);
  });

  test("text that is no YAML keeps its line", () => {
    const fault = faultOf("run: a\nrun: b\n");
    expect(fault.type).toBe("ValueError");
    expect(fault.message).toBe("t.yaml:2: duplicate key 'run' (first in line 1)");
  });

  test("a bad override names the variable", () => {
    expect(faultOf("run: a\n", { "A-B": "1" }).message).toBe(
      "Environment variable 'A-B' has an invalid name: use letters, digits and '_', not starting with a digit.",
    );
  });

  test("variables that are too large together", () => {
    const envs = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`A${index}`, "x".repeat(100_000)]));
    expect(faultOf("run: a\n", envs).message).toContain("the limit is 1048576");
  });
});
