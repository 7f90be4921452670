/**
 * A coordinator's core driven by hand: nodes, jobs and reports in a few words, so that tests of decisions read like
 * sentences. Commits are answered at once unless a test holds them. Used by the tests beside coordinator/core.
 */
import { initialState } from "../../coordinator/core/initial.ts";
import { reduce } from "../../coordinator/core/reduce.ts";
import { violationsOf } from "../../coordinator/core/sanity.ts";
import {
  type ActiveJob,
  type CoreEffect,
  type CoreEvent,
  jobKey,
  type SetupState,
  type State,
} from "../../coordinator/core/state.ts";
import { agentProtocol, type AttemptReport, type Desired, type Inventory } from "../../shared/agent-wire.ts";
import type { AcceleratorDemand, Job, JobRecord, Shape } from "../../shared/job.ts";
import type { Mechanism } from "../../shared/launch-spec.ts";
import {
  defaultScheduling,
  type NodeWindow,
  type Person,
  type Quota,
  type QuotaSubject,
  type SchedulingConfig,
} from "../../shared/scheduling.ts";

export interface NodeWords {
  /** `V100:4`, `V100:2,H100:2` or `-`. */
  accelerators?: string;
  cpus?: number;
  memoryGb?: number;
  labels?: Record<string, string>;
  /** Several kinds are allowed. */
  mixed?: boolean;
  /** Indices of devices in quarantine. */
  faulty?: number[];
  /** It has podman. */
  containers?: boolean;
  mechanisms?: Mechanism[];
}

export interface JobWords {
  uid?: number;
  user?: string;
  labels?: Record<string, string>;
  /** The other accelerators would do as well. */
  any?: boolean;
  /** `V100:2`, `V100:0.5`, by memory `16GB+:1`; default none. */
  accelerators?: string;
  nodes?: number;
  cpus?: number;
  memoryGb?: number;
  kind?: "launch" | "exec";
  setup?: boolean;
  run?: boolean;
  taskRef?: string;
  /** It has files or secrets. */
  brings?: boolean;
  /** It runs in a container. */
  container?: boolean;
  image?: string;
  /** `job_recovery`. */
  recovers?: boolean;
  /** Time limit in seconds. */
  time?: number;
  priority?: number;
  /** Recovers, too. */
  preemptible?: boolean;
  /** Nobody else on its nodes. */
  exclusive?: boolean;
  /** Further accelerators that would do, e.g. `H100:2`; earlier ones are preferred. */
  others?: string[];
  /** It is held to so many bytes, and needs nodes that can do that. */
  memoryLimit?: number;
  mechanisms?: Mechanism[];
  /** From TERM to KILL, in seconds. */
  grace?: number;
  /** Preempted, it ends. */
  terminates?: boolean;
}

function inventoryOf(words: NodeWords): Inventory {
  const accelerators: Inventory["accelerators"] = [];
  for (const part of (words.accelerators ?? "-").split(",").filter((one) => one !== "-")) {
    const [kind = "", count] = part.split(":");
    for (let left = Number(count); left > 0; left -= 1) {
      const index = accelerators.length;
      const fault = words.faulty?.includes(index) === true ? { fault: "it fell off the bus" } : {};
      accelerators.push({ index, kind, memoryMb: null, ...fault });
    }
  }
  const { cpus = 8, memoryGb = 64 } = words;
  const containers = words.containers === true ? { containers: ["podman" as const] } : {};
  const able = words.mechanisms === undefined ? {} : { mechanisms: words.mechanisms };
  const rest = { source: "test", mixedAllowed: words.mixed ?? false, ...containers, ...able };
  return { address: "10.0.0.1", cpus, memoryGb, accelerators, ...rest };
}

function acceleratorsOf(text: string): AcceleratorDemand {
  const [kind = "", count] = text.split(":");
  const memory = /^(\d+)GB(\+?)$/.exec(kind);
  const form = memory === null ? {} : { memory: { gb: Number(memory[1]), orMore: memory[2] === "+" } };
  return { kind: kind.replace("+", ""), count: Number(count), ...form };
}

/** What policies have said of it. */
function boundsOf({ memoryLimit, mechanisms, grace, terminates }: JobWords): Partial<Shape> {
  const needed = mechanisms ?? (memoryLimit === undefined ? undefined : ["cgroup-memory" as const]);
  return {
    ...(memoryLimit === undefined ? {} : { limits: { memoryBytes: memoryLimit } }),
    ...(needed === undefined ? {} : { mechanisms: needed }),
    ...(grace === undefined ? {} : { graceSeconds: grace }),
    ...(terminates === true ? { terminateAfterPreemption: true } : {}),
  };
}

export function shapeOf(words: JobWords): Shape {
  const rest = { cpus: words.cpus ?? 0.5, memoryGb: words.memoryGb ?? 0 };
  const { labels } = words;
  const chosen = labels === undefined ? {} : { labels };
  const others = (words.others ?? []).map((text) => ({ accelerators: acceleratorsOf(text), ...rest, ...chosen }));
  return {
    nodes: words.nodes ?? 1,
    accelerators: words.accelerators === undefined ? null : acceleratorsOf(words.accelerators),
    ...rest,
    ...chosen,
    ...(others.length === 0 ? {} : { others }),
    ...(words.any === true ? { anyOrder: true as const } : {}),
    ...(words.exclusive === true ? { exclusive: true as const } : {}),
    ...(words.priority === undefined ? {} : { priority: words.priority }),
    ...(words.preemptible === true ? { preemptible: true as const } : {}),
    ...(words.brings === true ? { brings: true as const } : {}),
    ...(words.container === true ? { container: true as const } : {}),
    ...(words.time === undefined ? {} : { timeLimitSeconds: words.time }),
    ...(words.recovers === true || words.preemptible === true ? { recovers: true as const } : {}),
    ...boundsOf(words),
  };
}

/** Starts of coordinators so far: each draws attempt ids of its own. */
let lives = 0;

export class Scenario {
  state: State;
  now = 1_000_000;
  /** Of the clock that never jumps. */
  uptime = 5_000;
  /** Commits are kept here, unanswered, while it is not null. */
  held: CoreEffect[] | null = null;
  effects: CoreEffect[] = [];
  /** Look for violations after every event; off where thousands of jobs would make that slow. */
  checked = true;
  readonly #inventories: Map<string, Inventory>;
  #ids = new Map<number, number>();

  constructor(
    nodes: Record<string, NodeWords>,
    recovered: {
      jobs?: (Job & { takenAt?: number | null })[];
      setups?: SetupState[];
      epoch?: number;
      now?: number;
      scheduling?: Partial<SchedulingConfig>;
      people?: Person[];
      quotas?: Record<string, Quota>;
      windows?: NodeWindow[];
    } = {},
  ) {
    this.#inventories = new Map(Object.entries(nodes).map(([name, words]) => [name, inventoryOf(words)]));
    const scheduling = { ...defaultScheduling, ...recovered.scheduling };
    const named = Object.entries(nodes).map(([name, { labels = {} }]) => ({ name, address: null, labels }));
    const config = { nodes: named, graceSeconds: 5, scheduling };
    const { jobs = [], setups = [], epoch = 3 } = recovered;
    this.now = recovered.now ?? this.now;
    this.state = initialState(config, {
      stateId: "a".repeat(16),
      epoch,
      nonce: `life${String((lives += 1)).padStart(4, "0")}`,
      jobs,
      setups,
      uptime: this.uptime,
      now: this.now,
      people: recovered.people ?? [],
      quotas: new Map(Object.entries(recovered.quotas ?? {}) as [QuotaSubject, Quota][]),
      windows: recovered.windows ?? [],
    });
  }

  dispatch(event: CoreEvent): void {
    const effects = reduce(this.state, event, this.now, this.uptime);
    const violations = this.checked ? violationsOf(this.state) : [];
    if (violations.length > 0) {
      throw new Error(violations.join("; "));
    }
    this.effects.push(...effects);
    for (const effect of effects) {
      if (effect.type === "commitStart" || effect.type === "commitEnd" || effect.type === "commitRequeue") {
        if (this.held === null) {
          this.answer(effect);
        } else {
          this.held.push(effect);
        }
      }
    }
  }

  /** The commit is on disk. */
  answer(effect: CoreEffect): void {
    if (effect.type === "commitStart") {
      const { uid, id, record } = effect;
      this.dispatch({ type: "startCommitted", uid, id, attempt: record.attempt?.id ?? "" });
    } else if (effect.type === "commitEnd") {
      this.dispatch({ type: "endCommitted", uid: effect.uid, id: effect.id });
    } else if (effect.type === "commitRequeue") {
      this.dispatch({ type: "requeueCommitted", uid: effect.uid, id: effect.id });
    }
  }

  connect(node: string, hello: { stateId?: string | null; epoch?: number; protocol?: 1 | 2 } = {}): this {
    const { stateId = this.state.stateId, epoch = 0, protocol = agentProtocol } = hello;
    const frame = { type: "hello", protocol, version: "0", node, stateId, epoch, bootId: "b" } as const;
    this.dispatch({ type: "nodeConnected", node, hello: frame });
    return this;
  }

  /** The node takes the last picture into account (or `seq`) and has exactly these attempts. */
  report(node: string, attempts: AttemptReport[] = [], seq = this.state.nodes.get(node)?.desiredSeq ?? 0): this {
    const inventory = this.#inventories.get(node) ?? inventoryOf({});
    const { stateId, epoch } = this.state;
    this.dispatch({
      type: "nodeReported",
      node,
      report: { type: "report", stateId, epoch, seq, inventory, attempts, warnings: [] },
    });
    return this;
  }

  /** Every node is connected and has reported that it is empty. */
  up(): this {
    for (const name of this.state.nodes.keys()) {
      this.connect(name).report(name, [], 0);
    }
    return this;
  }

  submit(words: JobWords = {}): number {
    const uid = words.uid ?? 1001;
    const id = (this.#ids.get(uid) ?? 0) + 1;
    this.#ids.set(uid, id);
    this.now += 1;
    this.dispatch({ type: "jobSubmitted", uid, id, record: recordOf(words, this.now) });
    return id;
  }

  /** A job ends on all its nodes, which let go of it; everything else there goes on. */
  finish(id: number, uid = 1001): this {
    const nodes = (this.job(id, uid).record.attempt?.ranks ?? []).map((rank) => rank.grant.node);
    this.dispatch({ type: "cancelRequested", uid, ids: [id] });
    for (const node of nodes) {
      this.report(node, this.running(node));
    }
    return this;
  }

  /** What this node runs of the jobs that have begun and not ended. */
  running(node: string): AttemptReport[] {
    return [...this.state.jobs.values()]
      .filter(({ record }) => record.phase !== "waiting" && record.phase !== "ended")
      .filter(({ record }) => record.attempt?.ranks.some((rank) => rank.grant.node === node) === true)
      .map((job) => this.rank(job.id, node, { state: "running" }, job.uid));
  }

  /** The record that `submit` would make of these words. */
  recordFor(words: JobWords): JobRecord {
    return recordOf(words, this.now + 1);
  }

  job(id: number, uid = 1001): ActiveJob {
    const job = this.state.jobs.get(jobKey(uid, id));
    if (job === undefined) {
      throw new Error(`there is no job ${uid}/${id}`);
    }
    return job;
  }

  /** Whether the job is waiting or on which nodes it is. */
  place(id: number, uid = 1001): string {
    const { record } = this.job(id, uid);
    return record.phase === "waiting" ? "waiting" : (record.attempt?.ranks.map((rank) => rank.grant.node).join() ?? "");
  }

  /** How a node reports a rank of this job. */
  rank(
    id: number,
    node: string,
    parts: Partial<AttemptReport> & Pick<AttemptReport, "state">,
    uid = 1001,
  ): AttemptReport {
    const { attempt, name, submittedAt, shape } = this.job(id, uid).record;
    const rank = attempt?.ranks.findIndex((one) => one.grant.node === node) ?? -1;
    const grant = attempt?.ranks[rank]?.grant;
    if (attempt === null || attempt === undefined || grant === undefined) {
      throw new Error(`job ${uid}/${id} has no rank on ${node}`);
    }
    const nothing = { pid: null, setupExit: null, runExit: null, logDir: null, fault: null };
    return {
      attempt: attempt.id,
      uid,
      user: "alice",
      jobId: id,
      jobName: name,
      submittedAt,
      rank,
      grant,
      ...nothing,
      ...(shape.limits === undefined ? {} : { limits: shape.limits }),
      ...parts,
    };
  }

  /** Time passes on both clocks, and the coordinator looks. */
  pass(seconds: number): this {
    this.now += seconds * 1000;
    this.uptime += seconds * 1000;
    this.dispatch({ type: "ticked" });
    return this;
  }

  /** The last picture that this node was sent; null when there was none. */
  told(node: string): Desired | null {
    const messages = this.effects.flatMap((one) => (one.type === "tellNode" && one.node === node ? [one.message] : []));
    return messages.findLast((message): message is Desired => message.type === "desired") ?? null;
  }
}

export function recordOf(words: JobWords, submittedAt: number): JobRecord {
  return {
    format: 1,
    uid: words.uid ?? 1001,
    user: words.user ?? "alice",
    requestId: "00000000-0000-4000-8000-000000000000",
    kind: words.kind ?? "launch",
    name: null,
    cluster: "local",
    taskRef: words.taskRef ?? "t".repeat(16),
    shape: shapeOf(words),
    resourcesText: "",
    ...(words.image === undefined ? {} : { image: words.image }),
    hasSetup: words.setup ?? false,
    hasRun: words.run ?? true,
    submittedAt,
    phase: "waiting",
    attempt: null,
    startedAt: null,
    cancelRequestedAt: null,
    endedAt: null,
    end: null,
    reason: null,
  };
}
