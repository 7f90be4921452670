/** From task files to shapes, and the RESOURCES column that people see of them. */
import { describe, expect, test } from "vitest";
import type { SkyError } from "../../shared/errors.ts";
import { jobRecordSchema, type Shape } from "../../shared/job.ts";
import type { LaunchSpec } from "../../shared/launch-spec.ts";
import type { PlainValue } from "../../shared/policy/words.ts";
import { readTask } from "../../shared/task-file.ts";
import { resourcesTextOf, shapeOf } from "./job-shape.ts";

const noLimits = { defaultTimeSeconds: 0, maxTimeSeconds: 0, maxPriority: 1000 };

function shape(resources: string, limits = noLimits, nodes = 1): Shape {
  const text = `num_nodes: ${nodes}\nresources: ${resources}\nrun: a\n`;
  return jobRecordSchema.shape.shape.parse(shapeOf(readTask(text, { file: "t" }), limits));
}

describe("shapeOf", () => {
  const plain = { nodes: 1, accelerators: null, cpus: 0.5, memoryGb: 0 };
  test.each<[string, Shape]>([
    ["{}", plain],
    ["{cpus: 4+, memory: 16GB}", { ...plain, cpus: 4, memoryGb: 16 }],
    ["{gpus: 'h100-80gb:2'}", { ...plain, accelerators: { kind: "H100", count: 2 } }],
    ["{gpus: 'rtx 4090'}", { ...plain, accelerators: { kind: "RTX4090", count: 1 } }],
    ["{gpus: {A6000, RTXA6000}}", { ...plain, accelerators: { kind: "RTXA6000", count: 1 } }],
    [
      "{gpus: 'nvidia:80gb+:2'}",
      {
        ...plain,
        accelerators: { kind: "80GB", count: 2, memory: { gb: 80, orMore: true }, vendor: "NVIDIA" },
      },
    ],
    [
      "{gpus: [H100, A100], labels: {disk: ssd}}",
      {
        ...plain,
        accelerators: { kind: "H100", count: 1 },
        labels: { disk: "ssd" },
        others: [{ accelerators: { kind: "A100", count: 1 }, cpus: 0.5, memoryGb: 0, labels: { disk: "ssd" } }],
      },
    ],
    [
      "{gpus: {A100, H100}, exclusive: true, priority: -3, time: 2h, preemptible: true}",
      {
        ...plain,
        accelerators: { kind: "A100", count: 1 },
        others: [{ accelerators: { kind: "H100", count: 1 }, cpus: 0.5, memoryGb: 0 }],
        ...{ anyOrder: true, exclusive: true, priority: -3, timeLimitSeconds: 7200, preemptible: true, recovers: true },
      },
    ],
  ])("%s", (resources, expected) => {
    expect(shape(resources)).toEqual(expected);
  });

  test("what could not be read again is never queued", () => {
    const task = readTask("run: a\n", { file: "t" });
    const accelerators = { kind: "V100", count: 1e15 };
    const huge = { ...task, resources: { ...task.resources, accelerators } };
    expect(() => shapeOf(huge, noLimits)).toThrow("The task asks for what no node could have (accelerators.count: ");
    const cpus = { ...task, resources: { ...task.resources, cpus: { value: 1e15, exact: true } } };
    expect(() => shapeOf(cpus, noLimits)).toThrow("The task asks for what no node could have (cpus: ");
  });

  test.each([
    ["{}", 0, 0, undefined],
    ["{}", 3600, 0, 3600],
    ["{}", 3600, 7200, 3600],
    ["{}", 0, 7200, 7200],
    ["{time: 30m}", 3600, 7200, 1800],
    ["{time: 2h}", 3600, 7200, 7200],
    ["{time: 9d}", 3600, 0, 777_600],
  ])("the time of %s with default %s and longest %s", (resources, defaultTimeSeconds, maxTimeSeconds, seconds) => {
    expect(shape(resources, { ...noLimits, defaultTimeSeconds, maxTimeSeconds }).timeLimitSeconds).toBe(seconds);
  });

  test("more time than the cluster gives is refused with the limit and the way out", () => {
    const limits = { ...noLimits, maxTimeSeconds: 172_800 };
    expect(() => shape("{time: 3d}", limits)).toThrow(
      expect.objectContaining<Partial<SkyError>>({
        message: "The job asks for a time of 3d; on this cluster no job runs longer than 2d (scheduling.max_time).",
        hint: "Ask for less, e.g. with --time 2d, and let the job go on from a checkpoint.",
      }),
    );
  });

  test("a higher priority than the cluster gives is refused, also where none is asked for", () => {
    const limits = { ...noLimits, maxPriority: 5 };
    expect(shape("{priority: 5}", limits).priority).toBe(5);
    expect(shape("{}", { ...noLimits, maxPriority: 0 }).priority).toBeUndefined();
    expect(() => shape("{priority: 6}", limits)).toThrow(
      /priority of 6; .* 5 is the highest \(scheduling.max_priority\)/,
    );
  });

  test("ways that would not fit into a record are refused", () => {
    const labels = Array.from({ length: 30 }, (_, index) => `l${index}: ${"x".repeat(60)}`).join(", ");
    expect(() => shape(`{labels: {${labels}}, gpus: [A, B, C, D]}`)).toThrow(/too long together/);
    const kinds = Array.from({ length: 64 }, (_, index) => `RTX600${index}-Ada`).join(", ");
    expect(shape(`{gpus: [${kinds}]}`).others).toHaveLength(63);
  });
});

describe("the RESOURCES column", () => {
  test.each([
    ["{}", 1, "1x[CPU:0.5]"],
    ["{cpus: 4+, memory: 16}", 1, "1x[CPU:4, mem=16]"],
    ["{gpus: 'v100:4'}", 2, "2x[V100:4]"],
    ["{gpus: 'A100:0.5'}", 1, "1x[A100:0.5]"],
    ["{gpus: [H100, 'A100:2']}", 1, "1x[H100:1, A100:2]"],
    ["{gpus: 'NVIDIA:80GB+:2'}", 1, "1x[NVIDIA:80GB+:2]"],
    ["{any_of: [{gpus: T4}, {cpus: 8}], memory: 4}", 1, "1x[T4:1, CPU:8, mem=4]"],
    ["{any_of: [{gpus: T4, memory: 8}, {gpus: T4, memory: 16}]}", 1, "1x[T4:1]"],
  ])("%s on %s", (resources, nodes, text) => {
    expect(resourcesTextOf(shape(resources, noLimits, nodes))).toBe(text);
  });

  test("never longer than a record takes", () => {
    const kinds = Array.from({ length: 60 }, (_, index) => `RTX600${index}-Ada`).join(", ");
    const text = resourcesTextOf(shape(`{gpus: [${kinds}]}`));
    expect(text).toMatch(/^1x\[RTX6000-Ada:1, .*, …\]$/);
    expect(jobRecordSchema.shape.resourcesText.safeParse(text).success).toBe(true);
  });
});

describe("what policies say of a job", () => {
  const task = (launchSpec: LaunchSpec, fields: Record<string, PlainValue> = {}, image = ""): Shape => {
    const read = readTask(`${image}run: a\n`, { file: "t" });
    return jobRecordSchema.shape.shape.parse(shapeOf({ ...read, launchSpec, workload: { fields } }, noLimits));
  };

  test("becomes limits, needs of nodes, a grace time and the time that its record is kept", () => {
    expect(task({ cpuCoreLimit: 2, memoryLimitBytes: 4096, noNewPrivileges: true, graceSeconds: 0 })).toMatchObject({
      limits: { cpuCores: 2, memoryBytes: 4096 },
      mechanisms: ["cgroup-cpu", "cgroup-memory", "no-new-privileges"],
      graceSeconds: 0,
    });
    const fields = { terminateAfterPreemption: true, autoDeletionTimeAfterCompletionSeconds: 90 };
    expect(task({}, fields)).toMatchObject({ terminateAfterPreemption: true, keepSeconds: 90 });
    expect(task({}, { terminateAfterPreemption: false })).not.toHaveProperty("terminateAfterPreemption");
    expect(task({ workingDir: "/srv" })).not.toHaveProperty("mechanisms");
  });

  test("asks for namespaces only where no container makes the folders", () => {
    const scratch = { scratch: [{ path: "/scratch" }] };
    expect(task(scratch).mechanisms).toEqual(["mount-namespace"]);
    expect(task(scratch, {}, "resources: {image_id: docker:a}\n").mechanisms).toBeUndefined();
  });

  test("is refused where the kernel knows nothing so small", () => {
    expect(() => task({ cpuCoreLimit: 0.0001 })).toThrow(
      /compute\.cpuCoreLimit: 0\.0001 cores is less than the kernel/,
    );
  });
});
