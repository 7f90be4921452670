/**
 * The `resources` of a task file: every way in which it may be served (`any_of`, `ordered`, sets and lists of
 * accelerators) and what holds for the whole job. Reads a YAML tree into TaskResources and writes it back. Called by
 * shared/task-file.ts, which both the client and the coordinator use, so it trusts nothing. It must never accept a field
 * that nothing honours.
 */
import { formatAccelerator, readAccelerators } from "./accelerator-request.ts";
import { SkyError } from "./errors.ts";
import { labelsSchema } from "./job.ts";
import { type Amount, type TaskResources, type TaskWay, waysOf } from "./task.ts";
import { type FieldNames, isNull, shownText, type TaskFields } from "./task-fields.ts";
import { recoveryRefusals, resourceRefusals } from "./task-refusals.ts";
import { readPlace } from "./task-place.ts";
import { readImage, readPorts, readRunOptions } from "./task-settings.ts";
import { formatAmount, formatTime, readCpus, readMemory, readPriority, readTime } from "./units.ts";
import type { YamlEntry, YamlNode } from "./yaml11.ts";

/** As many as a job's shape holds. */
const waysMax = 64;
const labelsMax = 32;

/** What each way may say for itself. */
const wayFields = ["accelerators", "gpus", "cpus", "memory", "labels", "cloud", "infra"];
const jobFields = ["job_recovery", "priority", "time", "exclusive", "preemptible", "image_id", "ports"];
/** SkyPilot's client moves the task's `config` there. */
const overridesField = "_cluster_config_overrides";
const jobNames = [...jobFields, overridesField];
const nestedChoice = { reason: "A choice cannot stand inside another; write its items into the outer list." };
const choiceFields = ["any_of", "ordered"];
const resourcesNames: FieldNames = {
  what: "'resources'",
  path: "resources.",
  supported: [...wayFields, ...jobFields, overridesField, ...choiceFields],
  refused: resourceRefusals,
};
const recoveryNames: FieldNames = {
  what: "'job_recovery'",
  path: "resources.job_recovery.",
  supported: ["strategy"],
  refused: recoveryRefusals,
};
/** SkyPilot's; they differ in where it looks for another machine, which on one's own machines is the same. */
const recoveryStrategies = ["EAGER_NEXT_REGION", "FAILOVER"];

export const noResources: TaskResources = { accelerators: null, cpus: null, memoryGb: null };

/** The fields of one way before they are understood; `accelerators` stands for its alias as well. */
type WaySource = ReadonlyMap<string, YamlEntry>;
interface Ways {
  ways: TaskWay[];
  anyOrder: boolean;
}

/** What stands under `resources`, but is of the task. */
export interface ReadResources {
  resources: TaskResources;
  clusterName: string | null;
  image: string | null;
  ports: string[];
  runOptions: string[] | null;
}

/** The `resources` of a task; what is wrong with them goes to `fields`. */
export function readResources(fields: TaskFields, entry: YamlEntry | undefined): ReadResources {
  return entry === undefined
    ? { resources: noResources, clusterName: null, image: null, ports: [], runOptions: null }
    : new ResourcesReader(fields).read(entry.node);
}

class ResourcesReader {
  private readonly fields: TaskFields;
  /** Clusters that the ways name. */
  private readonly places = new Set<string>();

  constructor(fields: TaskFields) {
    this.fields = fields;
  }

  read(node: YamlNode): ReadResources {
    const entries = this.fields.of(node, resourcesNames);
    const { ways, anyOrder } = this.choice(this.waySource(entries), entries.get("any_of"), entries.get("ordered"));
    const job = this.jobSource(entries, entries.get("any_of") ?? entries.get("ordered"));
    const recovery = job.get("job_recovery");
    const recovers = this.recovers(recovery);
    const preemptible = this.fields.flag(job.get("preemptible"));
    if (preemptible && recovery !== undefined && !recovers) {
      this.fields.fault(
        recovery,
        "A preemptible job is started again after it was stopped, so it cannot have `job_recovery: none`.",
      );
    }
    const priority = this.fields.parsed(job.get("priority"), readPriority);
    const timeLimitSeconds = this.fields.parsedSource(job.get("time"), readTime);
    const resources: TaskResources = {
      ...withWays(noResources, ways, anyOrder),
      ...(recovers || preemptible ? { recovers: true } : {}),
      ...(priority === null || priority === 0 ? {} : { priority }),
      ...(timeLimitSeconds === null ? {} : { timeLimitSeconds }),
      ...(this.fields.flag(job.get("exclusive")) ? { exclusive: true } : {}),
      ...(preemptible ? { preemptible: true } : {}),
    };
    const [clusterName = null, other] = this.places;
    if (other !== undefined) {
      this.fields.faultAt(node.line, "'infra' names several clusters; a task runs on the one that it is sent to.");
    }
    return {
      resources,
      clusterName,
      image: this.fields.parsed(job.get("image_id"), readImage),
      ports: this.fields.parsed(job.get("ports"), readPorts) ?? [],
      runOptions: readRunOptions(this.fields, job.get(overridesField)),
    };
  }

  /** `gpus` is another name for `accelerators`. */
  private waySource(entries: ReadonlyMap<string, YamlEntry>): Map<string, YamlEntry> {
    const gpus = entries.get("gpus");
    const source = new Map([...entries].filter(([name]) => name !== "gpus"));
    if (gpus !== undefined && entries.has("accelerators")) {
      this.fields.fault(gpus, "Cannot specify both `accelerators` and its alias `gpus`.");
    } else if (gpus !== undefined) {
      source.set("accelerators", gpus);
    }
    return source;
  }

  /** The ways of the base alone, or of each item over the base. */
  private choice(base: WaySource, anyOf: YamlEntry | undefined, ordered: YamlEntry | undefined): Ways {
    const own = this.ways(base);
    if (anyOf !== undefined && ordered !== undefined) {
      this.fields.fault(ordered, 'Cannot specify both "any_of" and "ordered" in resources.');
    }
    const chosen = anyOf ?? ordered;
    const items = this.items(chosen);
    if (chosen === undefined || items.length === 0) {
      return own;
    }
    this.checkBase(own, chosen, anyOf !== undefined);
    const ways: TaskWay[] = [];
    for (const item of items) {
      ways.push(...this.ways(this.itemSource(base, item, chosen.key)).ways);
      if (ways.length > waysMax) {
        this.fields.fault(chosen, `'${chosen.key}' makes more than ${waysMax} ways to run the task; shorten it.`);
        return own;
      }
    }
    return { ways, anyOrder: anyOf !== undefined };
  }

  /** What holds for the whole job: it may stand in the items too (SkyPilot's client writes it there), alike in all. */
  private jobSource(base: WaySource, chosen: YamlEntry | undefined): Map<string, YamlEntry> {
    const source = new Map([...base].filter(([name]) => jobNames.includes(name)));
    const items = chosen?.node.kind === "list" ? chosen.node.items.slice(0, waysMax) : [];
    for (const name of jobNames) {
      const given = items.map((item) => (item.kind === "map" ? item.entries.get(name) : undefined) ?? base.get(name));
      const [first, ...others] = given;
      const text = jobText(first);
      if (chosen !== undefined && others.some((entry) => jobText(entry) !== text)) {
        const where = given.find((entry) => entry !== undefined) ?? chosen;
        this.fields.fault(where, `'${name}' holds for the whole job: write it beside '${chosen.key}', not in an item.`);
      } else if (first !== undefined && !isNull(first.node)) {
        source.set(name, first);
      } else if (items.length > 0) {
        source.delete(name);
      }
    }
    return source;
  }

  private items(entry: YamlEntry | undefined): YamlNode[] {
    if (entry === undefined) {
      return [];
    }
    if (entry.node.kind !== "list") {
      this.fields.fault(entry, `'${entry.key}' must be a list of resources, each with fields of its own.`);
      return [];
    }
    return entry.node.items.slice(0, waysMax + 1);
  }

  private checkBase(own: Ways, chosen: YamlEntry, isAny: boolean): void {
    if (own.ways.length > 1 && !isAny) {
      this.fields.fault(chosen, 'Cannot specify multiple "accelerators" with "ordered" in resources.');
    }
    if (own.ways.length > 1 && isAny && !own.anyOrder) {
      const what = 'Cannot specify multiple "accelerators" with preferred order (i.e., list of accelerators)';
      this.fields.fault(chosen, `${what} with "any_of" in resources.`);
    }
  }

  /** An item's fields in place of the base's: a null takes one away, labels are added to the base's. */
  private itemSource(base: WaySource, item: YamlNode, choice: string): WaySource {
    const path = `resources.${choice}[].`;
    const nested = Object.fromEntries(choiceFields.map((name) => [name, nestedChoice]));
    const refused = { ...resourceRefusals, ...nested };
    const names = { what: `an item of '${choice}'`, path, supported: [...wayFields, ...jobNames], refused };
    const own = this.waySource(this.fields.of(item, names));
    const merged = new Map(base);
    for (const name of wayFields) {
      const given = item.kind === "map" ? item.entries.get(name) : undefined;
      if (given !== undefined && isNull(given.node)) {
        merged.delete(name === "gpus" ? "accelerators" : name);
      }
    }
    for (const [name, entry] of own) {
      merged.set(name, name === "labels" ? labelsOver(merged.get(name), entry) : entry);
    }
    return merged;
  }

  private ways(source: WaySource): Ways {
    const place = readPlace(this.fields, source.get("cloud"), source.get("infra"));
    if (place !== null) {
      this.places.add(place);
    }
    const labels = this.labels(source.get("labels"));
    const rest = {
      cpus: this.fields.parsed<Amount>(source.get("cpus"), readCpus),
      memoryGb: this.fields.parsed<Amount>(source.get("memory"), readMemory),
      ...(labels === null ? {} : { labels }),
    };
    const entry = source.get("accelerators");
    const choice = this.fields.parsed(entry, readAccelerators);
    if (choice === null || choice.requests.length === 0) {
      return { ways: [{ accelerators: null, ...rest }], anyOrder: false };
    }
    if (entry !== undefined && choice.requests.length > waysMax) {
      this.fields.fault(entry, `'${entry.key}' names more than ${waysMax} kinds; shorten it.`);
    }
    return { ways: choice.requests.map((accelerators) => ({ accelerators, ...rest })), anyOrder: choice.anyOrder };
  }

  private labels(entry: YamlEntry | undefined): Record<string, string> | null {
    if (entry === undefined) {
      return null;
    }
    if (entry.node.kind !== "map") {
      this.fields.fault(entry, "'labels' must be a mapping of names to values.");
      return null;
    }
    const labels = new Map<string, string>();
    for (const label of entry.node.entries.values()) {
      const value = this.fields.text(label);
      const problem = value === null ? null : labelProblem(label.key, value);
      if (problem !== null) {
        this.fields.fault(label, problem);
      } else if (value !== null) {
        labels.set(label.key, value);
      }
    }
    if (labels.size > labelsMax) {
      this.fields.fault(entry, `'labels' has more than ${labelsMax} entries.`);
    }
    return labels.size === 0 ? null : Object.fromEntries(labels);
  }

  /** Whether the job is to be started elsewhere when its machine is lost. */
  private recovers(entry: YamlEntry | undefined): boolean {
    if (entry === undefined) {
      return false;
    }
    if (entry.node.kind === "map") {
      const strategy = this.fields.of(entry.node, recoveryNames).get("strategy");
      return strategy === undefined || this.recovers(strategy);
    }
    const name = this.fields.text(entry);
    if (name === null || name.toUpperCase() === "NONE") {
      return false;
    }
    if (!recoveryStrategies.includes(name.toUpperCase())) {
      const known = `Known strategies: ${recoveryStrategies.join(", ")}, none.`;
      this.fields.fault(entry, `'${entry.key}: ${shownText(name)}' is no strategy. ${known}`);
    }
    return true;
  }
}

/** By which fields of items are compared. */
function jobText(entry: YamlEntry | undefined): string {
  return entry === undefined || isNull(entry.node) ? "" : nodeText(entry.node);
}

function nodeText(node: YamlNode): string {
  switch (node.kind) {
    case "scalar":
      return JSON.stringify(node.text);
    case "list":
      return `[${node.items.map(nodeText).join()}]`;
    case "map":
      return `{${[...node.entries.values()].map((entry) => `${JSON.stringify(entry.key)}:${nodeText(entry.node)}`).join()}}`;
  }
}

function labelsOver(base: YamlEntry | undefined, own: YamlEntry): YamlEntry {
  if (base?.node.kind !== "map" || own.node.kind !== "map") {
    return own;
  }
  return { ...own, node: { ...own.node, entries: new Map([...base.node.entries, ...own.node.entries]) } };
}

/** What is wrong with a label; null when it is well formed. */
function labelProblem(name: string, value: string): string | null {
  if (labelsSchema.keyType.safeParse(name).success && labelsSchema.valueType.safeParse(value).success) {
    return null;
  }
  return (
    `Invalid label '${shownText(name)}=${shownText(value)}': names and values are at most 63 letters, digits, ` +
    "'.', '_', '-' and '/' (values also ':' and spaces), with a letter or digit at both ends."
  );
}

/** `NAME=VALUE` as a flag gives it. Throws SkyError("ValueError"). */
export function readLabel(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at < 0) {
    throw new SkyError("ValueError", `--label ${shownText(text)}: expected NAME=VALUE.`);
  }
  const [name, value] = [text.slice(0, at).trim(), text.slice(at + 1).trim()];
  const problem = labelProblem(name, value);
  if (problem !== null) {
    throw new SkyError("ValueError", `--label: ${problem}`);
  }
  return [name, value];
}

/** The same resources with other ways, each of them once; a priority of 0 is none. No way at all counts as one that asks for nothing. */
export function withWays(resources: TaskResources, ways: readonly TaskWay[], anyOrder: boolean): TaskResources {
  const distinct = new Map(ways.map((way) => [JSON.stringify(wayText(way)), way]));
  const [first = { accelerators: null, cpus: null, memoryGb: null }, ...others] = distinct.values();
  const { recovers, priority, timeLimitSeconds, exclusive, preemptible } = resources;
  return {
    ...first,
    ...(others.length === 0 ? {} : { others }),
    ...(others.length > 0 && anyOrder ? { anyOrder: true } : {}),
    ...(recovers === undefined ? {} : { recovers }),
    ...(priority === undefined || priority === 0 ? {} : { priority }),
    ...(timeLimitSeconds === undefined ? {} : { timeLimitSeconds }),
    ...(exclusive === undefined ? {} : { exclusive }),
    ...(preemptible === undefined ? {} : { preemptible }),
  };
}

function wayText({ accelerators, cpus, memoryGb, labels }: TaskWay): Record<string, unknown> {
  const sorted = Object.entries(labels ?? {}).sort(([one], [other]) => (one < other ? -1 : 1));
  return {
    ...(accelerators === null ? {} : { accelerators: formatAccelerator(accelerators) }),
    ...(cpus === null ? {} : { cpus: formatAmount(cpus) }),
    ...(memoryGb === null ? {} : { memory: formatAmount(memoryGb) }),
    ...(labels === undefined ? {} : { labels: Object.fromEntries(sorted) }),
  };
}

/** As a value that JSON writes and `readResources` reads back. */
export function resourcesValue(resources: TaskResources): Record<string, unknown> {
  const ways = waysOf(resources).map(wayText);
  const choice = resources.anyOrder === true ? "any_of" : "ordered";
  return {
    ...(ways.length === 1 ? ways[0] : { [choice]: ways }),
    ...(resources.recovers === true ? { job_recovery: "EAGER_NEXT_REGION" } : {}),
    ...(resources.priority === undefined ? {} : { priority: resources.priority }),
    ...(resources.timeLimitSeconds === undefined ? {} : { time: formatTime(resources.timeLimitSeconds) }),
    ...(resources.exclusive === true ? { exclusive: true } : {}),
    ...(resources.preemptible === true ? { preemptible: true } : {}),
  };
}
