/**
 * What really happened, as nobody in the simulated cluster can know it: which jobs were acknowledged, whose user code
 * began where, which ends were ever on disk, and what a fault has touched. The checkers ask it after every step; the
 * models tell it. A violation throws at once, so that the log ends where the fault happened.
 */
import type { AttemptId } from "../../shared/ids.ts";
import type { EndStatus, JobRecord } from "../../shared/job.ts";
import type { Chance, Clock } from "./clock.ts";
import { UsageTruth } from "./usage-truth.ts";

/** What a job will do, by its taskRef. Milliseconds of virtual time. */
export interface JobPlan {
  setupMs: number;
  setupExit: number;
  runMs: number;
  runExits: number[];
}

/** Virtual ms within which a connected node must have stopped what has ended, faults of its skylets included. */
const stopMsMax = 20_000;

export class Truth {
  readonly plans = new Map<string, JobPlan>();
  readonly attempts = new Map<AttemptId, { taskRef: string; setupRef: string | null }>();
  /** By taskRef: jobs that must not run without a limit. */
  readonly limited = new Set<string>();
  readonly begun = new Map<string, number>();
  readonly usage = new UsageTruth();
  /** Nobody sets the wall clock. */
  isClockRight = false;
  /** When an end of the attempt was first on disk. */
  readonly #ends = new Map<AttemptId, number>();
  /** By taskRef. */
  readonly cancelled = new Set<string>();
  readonly disturbed = new Set<string>();
  readonly rolledBack = new Set<string>();
  readonly recoverable = new Set<string>();
  /** Time limits of attempts: in ms, and when they were granted. */
  readonly #limits = new Map<AttemptId, { ms: number; from: number }>();
  #coordinatorSince = 0;
  /** How often a job was stopped for another, and how many ended at their limits. */
  gaveWay = 0;
  terminated = 0;
  overdue = 0;
  /** Nodes that were away for long. */
  readonly absent = new Set<string>();
  readonly machines: { living(): AttemptId[] }[] = [];
  readonly log: string[] = [];
  #skewMs = 0;
  #isSkewed = false;
  readonly clock: Clock;
  readonly chance: Chance;
  /** No more faults: everything must come to its end. */
  calm = false;

  /** People, their jobs and faults take so many times as long as in the quick histories; messages do not. */
  readonly pace: number;

  constructor(clock: Clock, chance: Chance, pace = 1) {
    this.clock = clock;
    this.chance = chance;
    this.pace = pace;
  }

  /** What the coordinator's wall clock says. */
  wallClock(): number {
    return Math.max(0, this.clock.now + this.#skewMs);
  }

  /** Somebody may set the wall clock back or forth. */
  disturbClock(): void {
    if (!this.calm && !this.isClockRight && this.chance.happens(0.02)) {
      this.#isSkewed = true;
      this.#skewMs = this.chance.between(-600_000, 3_600_000);
    }
  }

  note(text: string): void {
    this.log.push(`${this.clock.now - 1_000_000} ${text}`);
  }

  violated(text: string): never {
    throw new Error(`violated: ${text}`);
  }

  coordinatorStarts(): void {
    this.#coordinatorSince = this.clock.now;
  }

  /** A start was decided. */
  granted(attempt: AttemptId, { shape, taskRef }: JobRecord): void {
    this.usage.granted(attempt, this.clock.now);
    if (shape.timeLimitSeconds !== undefined && !this.rolledBack.has(taskRef)) {
      this.#limits.set(attempt, { ms: shape.timeLimitSeconds * 1000, from: this.clock.now });
    }
  }

  /** An end was decided. One for a time limit must not come early, whatever the wall clock has done meanwhile. */
  endDecided(record: JobRecord): void {
    this.usage.endDecided(record, this.clock.now);
    const { attempt, reason, taskRef } = record;
    const limit = this.#limits.get(attempt?.id ?? "");
    if (reason?.startsWith("its time limit of ") !== true || this.rolledBack.has(taskRef)) {
      return;
    }
    if (limit === undefined) {
      this.violated(`${attempt?.id} has no time limit but ended because "${reason}"`);
    }
    this.overdue += 1;
    // Over a restart only the wall clock tells.
    const isMisled = this.#isSkewed && this.#coordinatorSince > limit.from;
    if (!isMisled && this.clock.now - limit.from < limit.ms - 1) {
      this.violated(`${attempt?.id} ended ${this.clock.now - limit.from} ms after its grant because "${reason}"`);
    }
  }

  /** User code of a rank begins; `isLimited`: its cgroup has limits. */
  begin(attempt: AttemptId, rank: number, isLimited: boolean): void {
    const task = this.attempts.get(attempt)?.taskRef ?? this.violated(`attempt ${attempt} began but was never planned`);
    if (isLimited !== this.limited.has(task)) {
      this.violated(
        `user code of ${attempt} begins ${isLimited ? "with limits that nobody set" : "without its limits"}`,
      );
    }
    const key = `${task}/${rank}`;
    const times = (this.begun.get(key) ?? 0) + 1;
    this.begun.set(key, times);
    this.#aloneInTime(task, attempt);
    if (times > 1 && !this.rolledBack.has(task) && !this.recoverable.has(task)) {
      this.violated(`user code of ${key} began ${times} times`);
    }
  }

  /** What no fault may ever cause for a job that recovers: two of its attempts have living user code at one moment. */
  #aloneInTime(task: string, attempt: AttemptId): void {
    if (!this.recoverable.has(task)) {
      return;
    }
    for (const other of this.machines.flatMap((machine) => machine.living())) {
      if (other !== attempt && this.attempts.get(other)?.taskRef === task) {
        this.violated(`user code of ${task} begins as ${attempt} while it lives as ${other}`);
      }
    }
  }

  endDurable(attempt: AttemptId): void {
    this.usage.endDurable(attempt);
    if (!this.#ends.has(attempt)) {
      this.#ends.set(attempt, this.clock.now);
    }
  }

  /** User code of this attempt lives on a node that has been connected since then: its end must not be long ago. */
  livesOn(attempt: AttemptId, connectedSince: number): void {
    const task = this.attempts.get(attempt)?.taskRef ?? "";
    this.#livesInTime(attempt, task, connectedSince);
    const end = this.#ends.get(attempt);
    if (end !== undefined && !this.rolledBack.has(task) && this.clock.now - Math.max(end, connectedSince) > stopMsMax) {
      this.violated(`user code of ${attempt} lives although its end has long been on disk`);
    }
  }

  #livesInTime(attempt: AttemptId, task: string, connectedSince: number): void {
    const limit = this.#limits.get(attempt);
    if (limit === undefined || this.rolledBack.has(task)) {
      return;
    }
    // A clock that was set back may give the whole limit anew at each start of the coordinator.
    const from = this.#isSkewed ? Math.max(limit.from, this.#coordinatorSince) : limit.from;
    const overdueMs = this.clock.now - Math.max(from + limit.ms, connectedSince, this.#coordinatorSince);
    if (overdueMs > stopMsMax) {
      this.violated(`user code of ${attempt} lives ${overdueMs} ms after its time limit`);
    }
  }

  /** A node ends living processes of this attempt by order. */
  stopped(attempt: AttemptId): void {
    if (!this.#ends.has(attempt)) {
      this.violated(`attempt ${attempt} was stopped although no end of it was ever on disk`);
    }
  }

  /** A fault has hit something that this attempt may depend on: it may end as FAILED_DRIVER. */
  disturb(attempt: AttemptId): void {
    const task = this.attempts.get(attempt)?.taskRef;
    if (task !== undefined) {
      this.disturbed.add(task);
    }
  }

  /** Whether this end is one that the job's plan and the faults allow. */
  allows(record: JobRecord): boolean {
    const task = record.taskRef;
    const setupRef = record.attempt?.setupRef ?? null;
    const own = this.plans.get(task);
    if (own === undefined || this.rolledBack.has(task)) {
      return true;
    }
    const setupFails = setupRef !== null && this.plans.get(setupRef)?.setupExit !== 0;
    const runFails = record.hasRun && own.runExits.slice(0, record.shape.nodes).some((code) => code !== 0);
    const planned: EndStatus = setupFails ? "FAILED_SETUP" : runFails ? "FAILED" : "SUCCEEDED";
    const end = record.end;
    return (
      end === planned ||
      (end === "FAILED" && record.reason?.startsWith("its time limit of ") === true) ||
      (end === "FAILED" && runFails && !record.attempt?.ranks.every((rank) => rank.setup)) ||
      (end === "CANCELLED" && (this.cancelled.has(task) || this.#wasTerminated(record))) ||
      (end === "FAILED_DRIVER" && (this.disturbed.has(task) || this.#wasLost(record)))
    );
  }

  /** It was preempted, and is one that ends then. */
  #wasTerminated({ shape, reason }: JobRecord): boolean {
    const isReason = /^It was stopped for job \d+ of higher priority\. It is not started again/.test(reason ?? "");
    const may = shape.terminateAfterPreemption === true && shape.preemptible === true;
    this.terminated += isReason && may ? 1 : 0;
    return isReason && may;
  }

  #wasLost(record: JobRecord): boolean {
    const node = /^(\S+) was lost: /.exec(record.reason ?? "")?.[1];
    return node !== undefined && this.absent.has(node) && record.shape.recovers !== true;
  }
}
