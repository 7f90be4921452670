/**
 * Plays a list of jobs through the real core of the coordinator on virtual time: jobs are submitted when they come,
 * nodes report what ends, and the core's own plan decides. What differs between the orders is only how the jobs reach
 * it, so all of them share fit, packing and reservations. Called by placement.ts.
 */
import { initialState } from "../../../coordinator/core/initial.ts";
import { reduce } from "../../../coordinator/core/reduce.ts";
import type { CoreEffect, CoreEvent, State } from "../../../coordinator/core/state.ts";
import { agentProtocol, type AttemptReport, type Inventory } from "../../../shared/agent-wire.ts";
import type { JobRecord, Shape } from "../../../shared/job.ts";
import { recordOf } from "../../../test/sim/scenario.ts";
import { assumed, type TraceJob } from "./helios.ts";

/**
 * `fair share`: as delivered. `backfill alone`: all jobs are one user's, so they stand in the order in which they came, and
 * pass only by backfill. `FIFO`: the core is given one job at a time, the next one when that has started.
 */
export type Order = "fifo" | "backfill" | "fairShare";

export interface Played {
  job: TraceJob;
  /** Seconds since the beginning; null: it did not start before the replay was over. */
  startedAt: number | null;
}

const devicesPerNode = 8;
/** Uids of the trace's users begin here. */
const firstUid = 5000;
/** When the replay begins, ms since 1970. */
const beginning = Date.UTC(2020, 3, 6);

interface Ending {
  at: number;
  index: number;
}

/** Ends to come, the next one first. */
class Endings {
  readonly #heap: Ending[] = [];

  next(): Ending | undefined {
    return this.#heap[0];
  }

  add(ending: Ending): void {
    const heap = this.#heap;
    let at = heap.push(ending) - 1;
    while (at > 0 && (heap[(at - 1) >> 1] as Ending).at > ending.at) {
      heap[at] = heap[(at - 1) >> 1] as Ending;
      at = (at - 1) >> 1;
    }
    heap[at] = ending;
  }

  take(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) {
      return;
    }
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child + 1 < heap.length && (heap[child + 1] as Ending).at < (heap[child] as Ending).at) {
        child += 1;
      }
      if (child >= heap.length || (heap[child] as Ending).at >= last.at) {
        break;
      }
      heap[at] = heap[child] as Ending;
      at = child;
    }
    heap[at] = last;
  }
}

function inventoryOf(kind: string): Inventory {
  const accelerators = Array.from({ length: devicesPerNode }, (_, index) => ({ index, kind, memoryMb: null }));
  const { cpusPerNode: cpus } = assumed;
  return { address: "10.0.0.1", cpus, memoryGb: 256, accelerators, source: "trace", mixedAllowed: false };
}

function shapeOf(job: TraceJob): Shape {
  const count = Math.min(job.devices, devicesPerNode);
  const kinds = job.kind === null ? [...assumed.kinds] : [job.kind];
  const cpus = count * assumed.cpusPerDevice;
  const [first, ...others] = kinds.map((kind) => ({ accelerators: { kind, count }, cpus, memoryGb: 0 }));
  return {
    nodes: job.nodes,
    ...(first as NonNullable<typeof first>),
    ...(others.length === 0 ? {} : { others, anyOrder: true as const }),
    ...(job.limitSeconds === null ? {} : { timeLimitSeconds: job.limitSeconds }),
  };
}

/** A coordinator's core with its nodes, driven through virtual time. */
class Player {
  readonly state: State;
  /** Seconds since the beginning. */
  time = 0;
  readonly played: Played[];
  readonly endings = new Endings();
  readonly #order: Order;
  readonly #there = new Map<string, Map<string, AttemptReport>>();
  readonly #inventories = new Map<string, Inventory>();
  /** Index of the job that a record belongs to, by its task. */
  readonly #indices = new Map<string, number>();
  readonly #ids = new Map<number, number>();

  constructor(jobs: readonly TraceJob[], nodes: number, order: Order) {
    this.#order = order;
    this.played = jobs.map((job) => ({ job, startedAt: null }));
    const names = Array.from({ length: nodes }, (_, index) => `n${index + 1}`);
    names.forEach((name, index) => {
      this.#inventories.set(name, inventoryOf(assumed.kinds[index % assumed.kinds.length] as string));
      this.#there.set(name, new Map());
    });
    const config = { nodes: names.map((name) => ({ name, address: null })), graceSeconds: 5 };
    const start = { stateId: "a".repeat(16), epoch: 1, nonce: "noncenon", jobs: [], setups: [] };
    this.state = initialState(config, { ...start, uptime: 0, now: beginning });
    for (const node of names) {
      const facts = { version: "0", node, stateId: "a".repeat(16), epoch: 0, bootId: "b" };
      this.#dispatch({ type: "nodeConnected", node, hello: { type: "hello", protocol: agentProtocol, ...facts } });
      this.#report(node);
    }
  }

  #dispatch(event: CoreEvent): void {
    const effects = reduce(this.state, event, beginning + Math.round(this.time * 1000), Math.round(this.time * 1000));
    for (const effect of effects) {
      this.#carryOut(effect);
    }
  }

  #carryOut(effect: CoreEffect): void {
    if (effect.type === "commitStart") {
      const { uid, id, record } = effect;
      this.#begin(record, uid, id);
      this.#dispatch({ type: "startCommitted", uid, id, attempt: record.attempt?.id ?? "" });
    } else if (effect.type === "commitEnd") {
      this.#dispatch({ type: "endCommitted", uid: effect.uid, id: effect.id });
    }
  }

  #begin(record: JobRecord, uid: number, jobId: number): void {
    const index = this.#indices.get(record.taskRef);
    const { attempt } = record;
    if (index === undefined || attempt === null) {
      throw new Error(`a job that was never submitted has started: ${record.taskRef}`);
    }
    const played = this.played[index] as Played;
    played.startedAt = this.time;
    this.endings.add({ at: this.time + played.job.seconds, index });
    const nothing = { setupExit: null, runExit: null, logDir: null, fault: null, jobName: null };
    attempt.ranks.forEach(({ grant }, rank) => {
      const facts = {
        attempt: attempt.id,
        uid,
        user: record.user,
        jobId,
        submittedAt: record.submittedAt,
        rank,
        grant,
      };
      this.#there.get(grant.node)?.set(record.taskRef, { ...facts, ...nothing, state: "running", pid: index + 2 });
    });
  }

  #report(node: string): void {
    const { stateId, epoch } = this.state;
    const seq = this.state.nodes.get(node)?.desiredSeq ?? 0;
    const attempts = [...(this.#there.get(node)?.values() ?? [])];
    const inventory = this.#inventories.get(node) as Inventory;
    const report = { type: "report" as const, stateId, epoch, seq, inventory, attempts, warnings: [] };
    this.#dispatch({ type: "nodeReported", node, report });
  }

  submit(index: number): void {
    const { job } = this.played[index] as Played;
    const uid = this.#order === "fairShare" ? firstUid + job.user : firstUid;
    const id = (this.#ids.get(uid) ?? 0) + 1;
    this.#ids.set(uid, id);
    const taskRef = `task${String(index).padStart(12, "0")}`;
    this.#indices.set(taskRef, index);
    const user = `user${uid}`;
    const submittedAt = beginning + Math.round(this.time * 1000);
    const record: JobRecord = { ...recordOf({ uid, taskRef }, submittedAt), user, shape: shapeOf(job) };
    this.#dispatch({ type: "personSeen", uid, user, groups: [] });
    this.#dispatch({ type: "jobSubmitted", uid, id, record });
  }

  /** The job's script is over on all of its nodes, and then nothing of it is left there. */
  end(index: number): void {
    const taskRef = `task${String(index).padStart(12, "0")}`;
    const nodes = [...this.#there].filter(([, attempts]) => attempts.has(taskRef)).map(([node]) => node);
    for (const node of nodes) {
      const attempts = this.#there.get(node);
      const report = attempts?.get(taskRef);
      if (attempts !== undefined && report !== undefined) {
        attempts.set(taskRef, { ...report, state: "exited", runExit: 0 });
        this.#report(node);
      }
    }
    for (const node of nodes) {
      this.#there.get(node)?.delete(taskRef);
      this.#report(node);
    }
  }

  tick(): void {
    this.#dispatch({ type: "ticked" });
  }
}

/** Virtual seconds after which time alone is looked at again: reservations, ends of limits. */
const tickSeconds = 600;
/** What has not started so long after the last job came counts as never started. */
const patienceSeconds = 60 * 86_400;

/** All jobs, with the times at which they started. */
export function replay(jobs: readonly TraceJob[], nodes: number, order: Order): Played[] {
  const player = new Player(jobs, nodes, order);
  const { played, endings } = player;
  const last = (jobs.at(-1)?.at ?? 0) + patienceSeconds;
  /** The next job to come, and the next to be handed over; they differ under FIFO. */
  let coming = 0;
  let handed = 0;
  let started = 0;
  let nextTick = tickSeconds;
  const handOver = (): void => {
    while (handed < coming) {
      const before = played[handed - 1];
      if (order === "fifo" && before !== undefined && before.startedAt === null) {
        return;
      }
      player.submit(handed);
      handed += 1;
    }
  };
  while (started < jobs.length && player.time < last) {
    const arrival = jobs[coming]?.at ?? Number.POSITIVE_INFINITY;
    const ending = endings.next();
    const at = Math.min(arrival, ending?.at ?? Number.POSITIVE_INFINITY, nextTick);
    player.time = at;
    if (at === nextTick) {
      nextTick += tickSeconds;
      player.tick();
      started = played.filter((one) => one.startedAt !== null).length;
    } else if (ending !== undefined && ending.at === at) {
      endings.take();
      player.end(ending.index);
    } else {
      coming += 1;
    }
    handOver();
  }
  return played;
}
