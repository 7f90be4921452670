/**
 * One machine's users' side in the simulator: skylets that come and go, runners that outlive them, the folders in /run
 * that a reboot empties. It behaves as the skylet's protocol promises (shared/skylet-wire.ts): every order can be
 * repeated, a blocked runner ends with the pipe of the skylet that started it. Driven by agent.ts.
 */
import { leaseFault, type WantedAttempt } from "../../shared/agent-wire.ts";
import type { AttemptId, Uid } from "../../shared/ids.ts";
import type { FromSkylet, SkyletAttempt, ToSkylet } from "../../shared/skylet-wire.ts";
import type { Truth } from "./truth.ts";

/** An attempt's folder and, while `pid` is set and it is not over, its runner. */
interface Folder {
  wanted: WantedAttempt;
  state: SkyletAttempt["state"];
  pid: number | null;
  started: boolean;
  mayRun: boolean;
  setupExit: number | null;
  runExit: number | null;
  /** When its runner ends it, in ms since boot; null: it has no lease, or none yet. */
  leaseUntil: number | null;
  warned: boolean;
  fault: string | null;
}

interface Skylet {
  life: number;
}

export class Machine {
  readonly name: string;
  readonly folders = new Map<AttemptId, Folder>();
  readonly skylets = new Map<Uid, Skylet>();
  /** Attempts whose cgroup has limits. */
  readonly limited = new Set<AttemptId>();
  boot = 1;
  /** Set by the agent while it lives: what a skylet says. */
  hear: ((uid: Uid, message: FromSkylet) => void) | null = null;
  readonly #truth: Truth;
  #pids = 100;

  constructor(truth: Truth, name: string) {
    this.#truth = truth;
    this.name = name;
    truth.machines.push(this);
  }

  /** Attempts of which user code lives. */
  living(): AttemptId[] {
    const isLive = (one: Folder): boolean => one.started && one.state !== "exited";
    return [...this.folders.values()].filter(isLive).map((one) => one.wanted.attempt);
  }

  get bootId(): string {
    return `boot-${this.boot}`;
  }

  /** Power loss: every process and everything in /run is gone. */
  reboot(): void {
    for (const id of this.folders.keys()) {
      this.#truth.disturb(id);
    }
    this.folders.clear();
    this.limited.clear();
    this.skylets.clear();
    this.boot += 1;
  }

  spawnSkylet(uid: Uid): void {
    this.skylets.set(uid, { life: (this.#pids += 1) });
  }

  /** The skylet dies, and with it the runners that are still blocked on its pipe. */
  killSkylet(uid: Uid): void {
    this.skylets.delete(uid);
    for (const folder of this.folders.values()) {
      if (folder.wanted.uid === uid && !folder.started) {
        folder.pid = null;
      }
    }
  }

  list(uid: Uid): SkyletAttempt[] {
    return [...this.folders.values()].filter((one) => one.wanted.uid === uid).map(viewOf);
  }

  /** An order reaches the user's skylet. */
  order(uid: Uid, message: ToSkylet): void {
    switch (message.type) {
      case "start":
        return this.#later(uid, 5, 60, () => this.#prepare(uid, message.wanted));
      case "go":
        return this.#go(message.attempt);
      case "mayRun":
        return this.#allowRun(message.attempt);
      case "stop":
        return this.#stop(uid, message.attempt);
      case "lease":
        return this.#extend(message.attempt, message.untilUptimeMs);
      case "warn":
        return this.#warn(message.attempt, true);
      case "unwarn":
        return this.#warn(message.attempt, false);
      case "forget":
        this.folders.delete(message.attempt);
        return undefined;
      case "retire":
        this.killSkylet(uid);
        return undefined;
      default:
        return undefined;
    }
  }

  /** Somebody kills the runner of this rank by hand while it waits for the other ranks' setup. */
  killWaitingRunner(id: AttemptId): void {
    const folder = this.folders.get(id);
    if (folder?.state === "setupDone") {
      folder.runExit = 143;
      this.#change(folder, "exited");
    }
  }

  /** No device is used by living runners above one in sum, and what has ended does not live on. */
  check(connectedSince: number | null): void {
    const used = new Map<number, number>();
    for (const folder of this.folders.values()) {
      if (!folder.started || folder.state === "exited") {
        continue;
      }
      if (connectedSince !== null) {
        this.#truth.livesOn(folder.wanted.attempt, connectedSince);
      }
      for (const device of folder.wanted.grant.devices) {
        const sum = (used.get(device) ?? 0) + folder.wanted.grant.share;
        used.set(device, sum);
        if (sum > 1.000001) {
          this.#truth.violated(`device ${device} of ${this.name} is used ${sum} times`);
        }
      }
    }
  }

  #later(uid: Uid, low: number, high: number, run: () => void): void {
    const life = this.skylets.get(uid)?.life;
    this.#truth.clock.after(this.#truth.chance.between(low, high), () => {
      if (life !== undefined && this.skylets.get(uid)?.life === life) {
        run();
      }
    });
  }

  #prepare(uid: Uid, wanted: WantedAttempt): void {
    const id = wanted.attempt;
    if (!this.#truth.calm && this.#truth.chance.happens(0.01) && !this.folders.has(id)) {
      this.#truth.disturb(id);
      this.hear?.(uid, { type: "failed", attempt: id, error: "The disk is full." });
      return;
    }
    const folder = this.folders.get(id) ?? {
      wanted,
      state: "starting",
      pid: null,
      started: false,
      mayRun: wanted.mayRun,
      setupExit: null,
      runExit: null,
      leaseUntil: null,
      warned: false,
      fault: null,
    };
    this.folders.set(id, folder);
    if (folder.started) {
      this.hear?.(uid, { type: "changed", attempt: viewOf(folder) });
      return;
    }
    folder.mayRun ||= wanted.mayRun;
    folder.pid ??= this.#pids += 1;
    this.hear?.(uid, { type: "prepared", attempt: id, pid: folder.pid, startTime: "1", logDir: `sky_logs/${id}` });
  }

  #go(id: AttemptId): void {
    const folder = this.folders.get(id);
    if (folder === undefined || folder.started || folder.pid === null) {
      return;
    }
    folder.started = true;
    if (folder.wanted.leaseSeconds !== undefined && (folder.leaseUntil ?? 0) <= this.#truth.clock.now) {
      folder.fault = leaseFault;
      this.#change(folder, "exited");
      return;
    }
    this.#truth.note(`${this.name} runs user code of ${id}`);
    this.#truth.begin(id, folder.wanted.rank, this.limited.has(id));
    if (folder.wanted.setup) {
      const { setupRef = null, taskRef = "" } = this.#truth.attempts.get(id) ?? {};
      // A state that was rolled back does not know which setup an attempt was to run that it takes over, and serves none.
      const none = this.#truth.rolledBack.has(taskRef) ? { setupMs: 0, setupExit: 0 } : null;
      const plan = this.#truth.plans.get(setupRef ?? "") ?? none ?? this.#truth.violated(`${id} runs an unnamed setup`);
      this.#change(folder, "setup");
      this.#runFor(folder, plan.setupMs, () => {
        folder.setupExit = plan.setupExit;
        const isOver = plan.setupExit !== 0 || !folder.wanted.hasRun;
        this.#change(folder, isOver ? "exited" : "setupDone");
        this.#run(folder);
      });
      return;
    }
    this.#change(folder, folder.wanted.hasRun ? "setupDone" : "exited");
    this.#run(folder);
  }

  /** A new skylet may be told again what the one before was; only what is running or over is ever warned. */
  #warn(id: AttemptId, warned: boolean): void {
    const folder = this.folders.get(id);
    if (folder !== undefined && folder.state !== "running" && folder.state !== "exited") {
      this.#truth.violated(`${id} was warned while it was in ${folder.state}`);
    }
    if (folder !== undefined && folder.warned !== warned) {
      folder.warned = warned;
      this.#truth.note(`${this.name} ${id} ${warned ? "is warned" : "is not warned any more"}`);
    }
  }

  #extend(id: AttemptId, until: number): void {
    const folder = this.folders.get(id);
    if (folder !== undefined) {
      folder.leaseUntil = Math.max(folder.leaseUntil ?? 0, until);
      this.#watch(folder);
    }
  }

  /** The runner looks at its lease now and then, and needs a while to end what ignores TERM. */
  #watch(folder: Folder): void {
    const { chance, clock } = this.#truth;
    const pause = chance.between(0, 5000) + chance.between(0, folder.wanted.graceSeconds * 1000 + 500);
    clock.after(Math.max(0, (folder.leaseUntil ?? 0) - clock.now) + pause, () => {
      const isOver = (folder.leaseUntil ?? 0) <= clock.now && this.folders.get(folder.wanted.attempt) === folder;
      if (isOver && folder.started && folder.state !== "exited") {
        this.#truth.note(`${this.name} the lease of ${folder.wanted.attempt} runs out`);
        folder.fault = leaseFault;
        this.#change(folder, "exited");
      }
    });
  }

  #allowRun(id: AttemptId): void {
    const folder = this.folders.get(id);
    if (folder !== undefined) {
      folder.mayRun = true;
      this.#run(folder);
    }
  }

  #run(folder: Folder): void {
    if (folder.state !== "setupDone" || !folder.mayRun) {
      return;
    }
    const task = this.#truth.attempts.get(folder.wanted.attempt)?.taskRef ?? "";
    const plan = this.#truth.plans.get(task);
    this.#change(folder, "running");
    this.#runFor(folder, plan?.runMs ?? 0, () => {
      folder.runExit = plan?.runExits[folder.wanted.rank] ?? 0;
      this.#change(folder, "exited");
    });
  }

  /** The runner goes on without its skylet, but not through a reboot or a stop. */
  #runFor(folder: Folder, ms: number, then: () => void): void {
    const state = folder.state;
    this.#truth.clock.after(ms, () => {
      if (this.folders.get(folder.wanted.attempt) === folder && folder.state === state) {
        then();
      }
    });
  }

  #change(folder: Folder, state: Folder["state"]): void {
    folder.state = state;
    const { uid } = folder.wanted;
    if (this.skylets.has(uid)) {
      this.hear?.(uid, { type: "changed", attempt: viewOf(folder) });
    }
  }

  #stop(uid: Uid, id: AttemptId): void {
    const before = this.folders.get(id);
    if (before?.started === true && before.state !== "exited") {
      this.#truth.stopped(id);
    }
    this.#later(uid, 1, 2000, () => {
      const folder = this.folders.get(id);
      if (folder !== undefined && folder.state !== "exited") {
        folder.started = true;
        this.#change(folder, "exited");
      }
      this.hear?.(uid, { type: "gone", attempt: id });
    });
  }
}

function viewOf(folder: Folder): SkyletAttempt {
  return {
    attempt: folder.wanted.attempt,
    state: folder.state,
    pid: folder.pid,
    startTime: folder.pid === null ? null : "1",
    setupExit: folder.setupExit,
    runExit: folder.runExit,
    logDir: `sky_logs/${folder.wanted.attempt}`,
    fault: folder.fault,
  };
}
