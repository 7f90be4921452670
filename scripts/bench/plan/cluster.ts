/**
 * A virtual cluster for the planner's benchmark: nodes of several kinds, users and a mixed backlog of about two hundred
 * different demands, all drawn from a seed, driven through the real core without any process or clock. Used by
 * scripts/bench/plan.ts.
 */
import { initialState } from "../../../coordinator/core/initial.ts";
import { onJobSubmitted, onStartCommitted } from "../../../coordinator/core/jobs.ts";
import { reduce } from "../../../coordinator/core/reduce.ts";
import type { CoreEffect, CoreEvent, State } from "../../../coordinator/core/state.ts";
import type { AttemptReport, Inventory } from "../../../shared/agent-wire.ts";
import type { JobRecord, Shape } from "../../../shared/job.ts";
import { defaultScheduling } from "../../../shared/scheduling.ts";
import { Chance } from "../../../test/sim/clock.ts";

export interface Size {
  nodes: number;
  users: number;
  waiting: number;
}

const kinds = ["H100", "A100-80GB", "A100", "V100"];
const hour = 3600;

function inventoryOf(index: number): Inventory {
  const kind = kinds[index % kinds.length] as string;
  const accelerators = Array.from({ length: 8 }, (_, at) => ({ index: at, kind, memoryMb: null }));
  const cpus = kind === "V100" ? 64 : 128;
  return { address: "10.0.0.1", cpus, memoryGb: cpus * 8, accelerators, source: "bench", mixedAllowed: false };
}

/** The demands of which the backlog is made: kinds, counts, gangs, memory forms, ways, limits, priorities, labels. */
function shapesOf(chance: Chance, count: number): Shape[] {
  const shapes: Shape[] = [];
  for (let at = 0; at < count; at += 1) {
    const draw = chance.between(1, 100);
    const kind = chance.pick(kinds);
    const devices = chance.pick([1, 1, 1, 2, 2, 4, 8]);
    const cpus = chance.pick([2, 4, 6, 8, 8, 12]) * (draw <= 25 ? 1 : Math.min(devices, 4));
    const base = { nodes: 1, cpus, memoryGb: cpus * chance.pick([2, 4, 6]) };
    const accelerators = { kind, count: devices };
    const shape: Shape =
      draw <= 25
        ? { ...base, accelerators: null }
        : draw <= 32
          ? { ...base, cpus: 2, memoryGb: 8, accelerators: { kind, count: chance.pick([0.25, 0.5]) } }
          : draw <= 42
            ? { ...base, accelerators: { kind: "80GB", count: devices, memory: { gb: 80, orMore: true } } }
            : draw <= 50
              ? {
                  ...base,
                  accelerators,
                  others: [{ ...base, accelerators: { kind: chance.pick(kinds), count: devices } }],
                }
              : draw <= 60
                ? { ...base, nodes: chance.pick([2, 2, 4, 8, 16]), accelerators: { kind, count: 8 }, cpus: 32 }
                : { ...base, accelerators };
    const limit = chance.pick([null, null, 1, 4, 12, 24, 48]);
    shapes.push({
      ...shape,
      ...(limit === null ? {} : { timeLimitSeconds: limit * hour }),
      ...(chance.happens(0.1) ? { priority: chance.pick([-100, 100, 500]) } : {}),
      ...(chance.happens(0.05) ? { labels: { rack: String(chance.between(1, 8)) } } : {}),
      ...(shape.others !== undefined && chance.happens(0.5) ? { anyOrder: true } : {}),
      ...(shape.nodes === 1 && chance.happens(0.02) ? { exclusive: true } : {}),
    });
  }
  return shapes;
}

function recordOf(uid: number, shape: Shape, now: number, taskRef: string): string {
  const record: JobRecord = {
    ...{ format: 1, uid, user: `user${uid}`, requestId: "00000000-0000-4000-8000-000000000000", kind: "exec" },
    ...{ name: "train", cluster: "lab", taskRef, shape, resourcesText: "1x[V100:4]", hasSetup: false, hasRun: true },
    ...{ submittedAt: now, phase: "waiting", attempt: null, startedAt: null, cancelRequestedAt: null, endedAt: null },
    ...{ end: null, reason: null },
  };
  return JSON.stringify(record);
}

export class BenchCluster {
  readonly state: State;
  readonly chance: Chance;
  now = 1_800_000_000_000;
  uptime = 1_000_000;
  readonly #shapes: Shape[];
  readonly #users: number;
  readonly #ids = new Map<number, number>();
  #jobs = 0;

  /** All nodes are up and empty, nobody waits. */
  constructor(size: Size, seed = 7) {
    this.chance = new Chance(seed);
    this.#shapes = shapesOf(this.chance, 200);
    this.#users = size.users;
    const names = Array.from({ length: size.nodes }, (_, index) => `n${index}`);
    const nodes = names.map((name, index) => ({ name, address: null, labels: { rack: String(1 + (index % 8)) } }));
    const scheduling = { ...defaultScheduling, fairShare: { ...defaultScheduling.fairShare, groupWeights: { g1: 2 } } };
    const people = Array.from({ length: size.users }, (_, at) => {
      const known = { uid: 2000 + at, user: `user${2000 + at}`, groups: [`g${at % 10}`], useAt: this.now };
      return { ...known, use: this.chance.between(0, 5_000_000) };
    });
    const config = { nodes, graceSeconds: 10, scheduling };
    const quotas = new Map([
      ["each" as const, { accelerators: { "*": 256 }, running: 500 }],
      ["group:g3" as const, { accelerators: { H100: 128 } }],
    ]);
    this.state = initialState(config, {
      ...{ stateId: "a".repeat(16), epoch: 1, nonce: "benchmrk", jobs: [], setups: [], people, quotas },
      ...{ uptime: this.uptime, now: this.now },
    });
    for (const node of names) {
      const hello = { type: "hello", protocol: 2, version: "0", node, stateId: null, epoch: 0, bootId: "b" } as const;
      this.dispatch({ type: "nodeConnected", node, hello });
      this.report(node);
    }
  }

  dispatch(event: CoreEvent): CoreEffect[] {
    return reduce(this.state, event, this.now, this.uptime);
  }

  pass(ms: number): void {
    this.now += ms;
    this.uptime += ms;
  }

  /** A job as it comes from the API; few users send much, many send little. */
  draw(): Extract<CoreEvent, { type: "jobSubmitted" }> {
    this.#jobs += 1;
    const part = this.chance.between(0, 1_000_000) / 1_000_000;
    const uid = 2000 + Math.floor(this.#users * part * part);
    const id = (this.#ids.get(uid) ?? 0) + 1;
    this.#ids.set(uid, id);
    const taskRef = `t${String(this.#jobs).padStart(15, "0")}`;
    const record = JSON.parse(recordOf(uid, this.chance.pick(this.#shapes), this.now, taskRef)) as JobRecord;
    return { type: "jobSubmitted", uid, id, record };
  }

  /** Puts jobs into the queue without planning for each. */
  fill(count: number): void {
    for (let done = 0; done < count; done += 1) {
      const { uid, id, record } = this.draw();
      this.now += 1;
      onJobSubmitted({ state: this.state, effects: [], now: this.now }, uid, id, record);
    }
  }

  /** Every start that these effects ask for is on disk. */
  commitStarts(effects: readonly CoreEffect[]): number {
    let count = 0;
    for (const effect of effects) {
      if (effect.type === "commitStart") {
        const context = { state: this.state, effects: [], now: this.now };
        onStartCommitted(context, effect.uid, effect.id, effect.record.attempt?.id ?? "");
        count += 1;
      }
    }
    return count;
  }

  reportEvent(node: string, ended: string | null = null, gone: string | null = null): CoreEvent {
    const known = this.state.nodes.get(node);
    const attempts: AttemptReport[] = [];
    for (const id of known?.held ?? []) {
      const job = this.state.jobs.get(this.state.attempts.get(id) ?? "0/0");
      const rank = job?.record.attempt?.ranks.findIndex((one) => one.grant.node === node) ?? -1;
      const own = job?.record.attempt?.ranks[rank];
      if (job === undefined || own === undefined || id === gone) {
        continue;
      }
      const exited = id === ended;
      attempts.push({
        ...{ attempt: id, uid: job.uid, user: job.record.user, jobId: job.id, jobName: job.record.name, rank },
        ...{ submittedAt: job.record.submittedAt, grant: own.grant, state: exited ? "exited" : "running", pid: 7 },
        ...{ setupExit: null, runExit: exited ? 0 : null, logDir: "sky_logs/1-train", fault: null },
      });
    }
    const { stateId, epoch } = this.state;
    const inventory = inventoryOf(known?.index ?? 0);
    const report = { type: "report", stateId, epoch, seq: known?.desiredSeq ?? 0, inventory, attempts, warnings: [] };
    return { type: "nodeReported", node, report: report as Extract<CoreEvent, { type: "nodeReported" }>["report"] };
  }

  report(node: string): CoreEffect[] {
    return this.dispatch(this.reportEvent(node));
  }

  /** A running job of one rank, drawn at random; null: there is none on the nodes that were looked at. */
  drawRunning(): { uid: number; id: number; node: string; attempt: string } | null {
    for (let tries = 0; tries < 1000; tries += 1) {
      const node = `n${this.chance.between(0, this.state.nodes.size - 1)}`;
      for (const attempt of this.state.nodes.get(node)?.held ?? []) {
        const job = this.state.jobs.get(this.state.attempts.get(attempt) ?? "0/0");
        if (job?.record.attempt?.ranks.length === 1 && job.record.phase === "running") {
          return { uid: job.uid, id: job.id, node, attempt };
        }
      }
    }
    return null;
  }

  /** The next plan tries every class and looks at every node for its reservations, as if there had been none before. */
  forget(): void {
    const { indexes, blocked, waiting } = this.state;
    blocked.clear();
    indexes.moments.clear();
    indexes.shares.step = -1;
    for (const room of indexes.rooms) {
      room.timeline = null;
    }
    for (const own of waiting.values()) {
      own.optionsOf = -1;
    }
  }

  /** The next plan derives what is in use on every node from the attempts, too. */
  forgetNodes(): void {
    this.forget();
    for (const node of this.state.nodes.keys()) {
      this.state.indexes.touched.add(node);
    }
  }
}
