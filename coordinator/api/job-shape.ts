/**
 * From a task to what the plan sees of it: names of accelerators in their one spelling, the cluster's defaults filled in,
 * its limits held; and the words of the RESOURCES column. Pure. It must never look at nodes: whether the job fits
 * anywhere is the core's to say. Called by routes-submit.ts.
 */
import { canonicalKind } from "../../shared/accelerators.ts";
import { SkyError } from "../../shared/errors.ts";
import { type AcceleratorDemand, type Demand, demandsOf, jobRecordSchema, type Shape } from "../../shared/job.ts";
import { type LaunchSpec, limitsOf, limitsSchema, type Mechanism, mechanismsOf } from "../../shared/launch-spec.ts";
import type { SchedulingConfig } from "../../shared/scheduling.ts";
import { type AcceleratorRequest, type Task, type TaskWay, waysOf } from "../../shared/task.ts";
import { formatAccelerator } from "../../shared/accelerator-request.ts";
import { formatTime } from "../../shared/units.ts";

/** CPUs that a rank takes when its task does not say. Source: SkyPilot, so that two such tasks share one core. */
const cpusDefault = 0.5;
/** Characters of a shape as JSON: it lies in the job's record, and every waiting job's record in memory. */
const shapeLengthMax = 6_000;
/** As in the record's schema. */
const textLengthMax = 200;

type Limits = Pick<SchedulingConfig, "defaultTimeSeconds" | "maxTimeSeconds" | "maxPriority">;

/**
 * What the job asks for on this cluster. Throws SkyError("ResourcesMismatchError") when it asks for more time than the
 * cluster gives or for a higher priority, "InvalidTaskError" when its ways are too long to be kept.
 */
export function shapeOf(task: Task, limits: Limits): Shape {
  const { resources } = task;
  const [first, ...others] = distinct(waysOf(resources).map(demandOf));
  const time = timeLimitOf(resources.timeLimitSeconds, limits);
  requirePriority(resources.priority ?? 0, limits);
  const shape: Shape = {
    nodes: task.numNodes,
    ...(first ?? demandOf({ accelerators: null, cpus: null, memoryGb: null })),
    ...(others.length === 0 ? {} : { others }),
    ...(others.length > 0 && resources.anyOrder === true ? { anyOrder: true } : {}),
    ...(resources.exclusive === true ? { exclusive: true } : {}),
    ...(resources.priority === undefined ? {} : { priority: resources.priority }),
    ...(resources.preemptible === true ? { preemptible: true } : {}),
    ...(time === null ? {} : { timeLimitSeconds: time }),
    ...(resources.recovers === true || resources.preemptible === true ? { recovers: true } : {}),
    ...boundsOf(task),
  };
  requireReadable(shape);
  if (JSON.stringify(shape).length > shapeLengthMax) {
    throw new SkyError(
      "InvalidTaskError",
      `The ways in which this task may run are too long together (more than ${shapeLengthMax} characters).`,
      "Name fewer accelerators or fewer labels.",
    );
  }
  return shape;
}

/** A record that cannot be read again would be lost with the next start: amounts may come from policy fields, too. */
function requireReadable(shape: Shape): void {
  const issue = jobRecordSchema.shape.shape.safeParse(shape).error?.issues[0];
  if (issue !== undefined) {
    throw new SkyError(
      "InvalidTaskError",
      `The task asks for what no node could have (${issue.path.join(".")}: ${issue.message}).`,
    );
  }
}

/** Seconds for which a record may be kept at most. Source: the shape's schema. */
const keepSecondsMax = 31_536_000;

/** What policies and `workload:` say of limits, of stops, and of the time after the end. */
function boundsOf({ launchSpec = {}, workload, image }: Task): Partial<Shape> {
  const needed = neededFor(launchSpec, image !== undefined);
  const limits = limitsOf(launchSpec);
  if (limits !== null && !limitsSchema.safeParse(limits).success) {
    throw new SkyError(
      "InvalidTaskError",
      `compute.cpuCoreLimit: ${limits.cpuCores} cores is less than the kernel can hold a job to.`,
      "Allow at least 0.001 cores.",
    );
  }
  const keep = workload?.fields["autoDeletionTimeAfterCompletionSeconds"];
  const isKept = typeof keep !== "number" || !Number.isSafeInteger(keep) || keep < 0;
  return {
    ...(needed.length === 0 ? {} : { mechanisms: needed }),
    ...(limits === null ? {} : { limits }),
    ...(launchSpec.graceSeconds === undefined ? {} : { graceSeconds: launchSpec.graceSeconds }),
    ...(workload?.fields["terminateAfterPreemption"] === true ? { terminateAfterPreemption: true } : {}),
    ...(isKept ? {} : { keepSeconds: Math.min(keep, keepSecondsMax) }),
  };
}

/** In a container its engine makes the folders. */
function neededFor(spec: LaunchSpec, inContainer: boolean): Mechanism[] {
  return mechanismsOf(spec).filter((one) => !inContainer || one !== "mount-namespace");
}

/** Two spellings of one kind are one way. */
function distinct(demands: Demand[]): Demand[] {
  return [...new Map(demands.map((demand) => [JSON.stringify(demand), demand])).values()];
}

function demandOf({ accelerators, cpus, memoryGb, labels }: TaskWay): Demand {
  return {
    accelerators: accelerators === null ? null : acceleratorsOf(accelerators),
    cpus: cpus?.value ?? cpusDefault,
    memoryGb: memoryGb?.value ?? 0,
    ...(labels === undefined ? {} : { labels }),
  };
}

function acceleratorsOf({ kind, count, memory, vendor }: AcceleratorRequest): AcceleratorDemand {
  if (memory === undefined) {
    return { kind: canonicalKind(kind), count };
  }
  return { kind, count, memory, ...(vendor === undefined ? {} : { vendor }) };
}

function requirePriority(priority: number, { maxPriority }: Limits): void {
  if (priority > maxPriority) {
    throw new SkyError(
      "ResourcesMismatchError",
      `The job asks for a priority of ${priority}; on this cluster ${maxPriority} is the highest (scheduling.max_priority).`,
      "Ask for less, or ask an admin to send it.",
    );
  }
}

function timeLimitOf(asked: number | undefined, { defaultTimeSeconds, maxTimeSeconds }: Limits): number | null {
  const seconds = asked ?? (defaultTimeSeconds > 0 ? defaultTimeSeconds : maxTimeSeconds);
  if (maxTimeSeconds > 0 && seconds > maxTimeSeconds) {
    throw new SkyError(
      "ResourcesMismatchError",
      `The job asks for a time of ${formatTime(seconds)}; on this cluster no job runs longer than ` +
        `${formatTime(maxTimeSeconds)} (scheduling.max_time).`,
      `Ask for less, e.g. with --time ${formatTime(maxTimeSeconds)}, and let the job go on from a checkpoint.`,
    );
  }
  return seconds > 0 ? seconds : null;
}

/** The RESOURCES column: `2x[V100:4]`, `1x[CPU:0.5]`, `1x[H100:1, A100:1, mem=16]`. Several ways stand as SkyPilot writes them. */
export function resourcesTextOf(shape: Shape): string {
  const demands = demandsOf(shape);
  const mains = new Set(demands.map(mainText));
  const memories = new Set(demands.map((demand) => demand.memoryGb));
  const memory = memories.size === 1 && shape.memoryGb > 0 ? [`mem=${shape.memoryGb}`] : [];
  return `${shape.nodes}x[${shortened([...mains, ...memory], textLengthMax - 10)}]`;
}

function mainText({ accelerators, cpus }: Demand): string {
  return accelerators === null ? `CPU:${cpus}` : formatAccelerator(accelerators);
}

/** As many of the words as there is room for. */
function shortened(words: readonly string[], lengthMax: number): string {
  const kept: string[] = [];
  let length = 0;
  for (const word of words) {
    length += word.length + 2;
    if (length > lengthMax - 3) {
      return `${kept.join(", ")}, …`;
    }
    kept.push(word);
  }
  return kept.join(", ");
}
