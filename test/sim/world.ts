/**
 * The simulated cluster: users, faults and the end. For a while users submit and cancel while anything may fail; then
 * nothing fails any more, and every job must come to an end that its plan and the faults allow, with every grant free.
 * One seed is one history. Called by sim.test.ts.
 */
import { jobsToCancel } from "../../coordinator/core/views.ts";
import type { AttemptId } from "../../shared/ids.ts";
import { actAsAdmin, resume } from "./admins.ts";
import { SimAgent } from "./agent.ts";
import { allot, allotNothing, groupsOf } from "./allotments.ts";
import { Chance, Clock } from "./clock.ts";
import { SimCoordinator } from "./coordinator.ts";
import { canEverFit, inventory, recordOf, schedulingOf, users } from "./drawn.ts";
import { Link } from "./network.ts";
import { DurableStore } from "./store.ts";
import { Truth } from "./truth.ts";

/** Virtual milliseconds with faults, and the limit for everything to end afterwards. */
const stormMs = 60_000;
const calmMs = 1_200_000;

export class World {
  readonly truth: Truth;
  readonly coordinator: SimCoordinator;
  readonly links: Link[] = [];
  readonly #chance: Chance;
  readonly #clock: Clock;
  #backup: DurableStore | null = null;
  #real: DurableStore;
  #jobs = 0;

  /**
   * `isCounted`: usage is compared at the end; nobody sets a clock, and no state is lost or rolled back. `pace`: see truth.ts.
   */
  constructor(seed: number, { isCounted = false, pace = 1 }: { isCounted?: boolean; pace?: number } = {}) {
    this.#clock = new Clock();
    this.#chance = new Chance(seed);
    this.truth = new Truth(this.#clock, this.#chance, pace);
    this.truth.isClockRight = isCounted;
    this.#real = new DurableStore(this.#chance.word(16));
    const names = ["n1", "n2", "n3"].slice(0, this.#chance.between(1, 3));
    const lostNodeSeconds = this.#chance.pick([0, 10, 40]) * Math.min(pace, 90);
    const times = { graceSeconds: 2, leaseSeconds: pace === 1 ? 5 : 120, lostNodeSeconds };
    const scheduling = schedulingOf(this.#chance);
    const config = { nodes: names.map((name) => ({ name, address: null })), scheduling, ...times };
    const linkOf = (node: string): Link | undefined => this.links.find((link) => link.agent.name === node);
    this.coordinator = new SimCoordinator(this.truth, config, this.#real, {
      send: (node, message) => linkOf(node)?.toAgent(message),
      // The coordinator lets go of it, and hears of its own doing as an event of its own.
      cut: (node) => {
        this.#clock.after(0, () => linkOf(node)?.cut());
      },
    });
    for (const name of names) {
      const make = (link: Link): SimAgent =>
        new SimAgent(this.truth, name, inventory(this.#chance), (message) => link.fromAgent(message));
      this.links.push(new Link(this.truth, this.coordinator, make));
    }
  }

  /** Plays the whole history; throws at the first violation. */
  run(): void {
    this.coordinator.start();
    for (const link of this.links) {
      link.agent.start();
    }
    this.#redial();
    this.#live();
    if (this.#chance.happens(0.5)) {
      this.#administer();
    }
    const intensity = this.#chance.pick([0, 0.3, 1, 2]);
    if (intensity > 0) {
      this.#fail(intensity);
    }
    const end = this.#clock.now + stormMs * this.truth.pace;
    while (this.#clock.step(end)) {
      this.#checkMachines();
    }
    this.#recover();
    const limit = this.#clock.now + calmMs * this.truth.pace;
    while (!this.#isDone()) {
      if (!this.#clock.step(limit)) {
        this.truth.violated(`not done: ${this.#remains()}`);
      }
      this.#checkMachines();
    }
    this.#checkEnds();
  }

  #checkMachines(): void {
    for (const link of this.links) {
      link.agent.machine.check(link.up && this.coordinator.store === this.#real ? link.upSince : null);
    }
  }

  #redial(): void {
    for (const link of this.links) {
      link.dial();
    }
    this.#clock.after(this.#chance.between(50, 300) * Math.min(this.truth.pace, 30), () => this.#redial());
  }

  /** Users submit and cancel until the storm is over. */
  #live(): void {
    if (this.truth.calm) {
      return;
    }
    if (this.coordinator.store === this.#real && this.coordinator.state !== null) {
      if (this.#chance.happens(0.75) && this.#jobs < 40) {
        this.#submit();
      } else {
        this.#cancel();
      }
    }
    this.#clock.after(this.#chance.between(50, 3000) * this.truth.pace, () => this.#live());
  }

  /** Admins take nodes out and put them back until the storm is over. */
  #administer(): void {
    if (this.truth.calm) {
      return;
    }
    if (this.coordinator.store === this.#real) {
      const act = this.#chance.happens(0.5) ? allot : actAsAdmin;
      act(
        this.truth,
        this.coordinator,
        this.links.map((link) => link.agent.name),
      );
    }
    this.#clock.after(this.#chance.between(500, 15_000) * this.truth.pace, () => this.#administer());
  }

  #submit(): void {
    const chance = this.#chance;
    this.#jobs += 1;
    const taskRef = `task${String(this.#jobs).padStart(12, "0")}`;
    const hasSetup = chance.happens(0.4);
    const nodes = chance.between(1, this.links.length);
    this.truth.plans.set(taskRef, {
      setupMs: chance.between(1, 3000),
      setupExit: chance.happens(0.15) ? 1 : 0,
      runMs:
        chance.pick([0, chance.between(1, 8000), chance.between(1, 8000), chance.between(1, 90_000)]) * this.truth.pace,
      runExits: [1, 2, 3].map(() => (chance.happens(0.1) ? chance.between(1, 255) : 0)),
    });
    const record = recordOf(chance, this.#clock.now, { taskRef, hasSetup, nodes, pace: this.truth.pace });
    if (record.shape.recovers === true) {
      this.truth.recoverable.add(taskRef);
    }
    if (record.shape.limits !== undefined) {
      this.truth.limited.add(taskRef);
    }
    if (
      !canEverFit(
        record,
        this.links.map(({ agent }) => agent),
      )
    ) {
      return;
    }
    const id = this.coordinator.store.add(record);
    this.truth.note(`user ${record.uid} submits ${record.uid}/${id} as ${taskRef}, ${JSON.stringify(record.shape)}`);
    const { uid, user } = record;
    this.coordinator.dispatch({ type: "personSeen", uid, user, groups: groupsOf(uid) });
    this.coordinator.dispatch({ type: "jobSubmitted", uid, id, record });
  }

  #cancel(): void {
    const { state } = this.coordinator;
    const uid = this.#chance.pick(users);
    if (state === null) {
      return;
    }
    const isDown = this.#chance.happens(0.1);
    const ids = jobsToCancel(state, uid, { ids: null, all: isDown });
    for (const id of ids) {
      const job = state.jobs.get(`${uid}/${id}`);
      this.truth.cancelled.add(job?.record.taskRef ?? "");
    }
    if (isDown) {
      this.coordinator.dispatch({ type: "userDowned", uid });
    } else if (ids.length > 0) {
      this.coordinator.dispatch({ type: "cancelRequested", uid, ids });
    }
  }

  #fail(intensity: number): void {
    if (this.truth.calm) {
      return;
    }
    const chance = this.#chance;
    const link = chance.pick(this.links);
    const kind = chance.between(1, 100);
    if (kind <= 25) {
      link.cut();
      link.severed = true;
      const isLong = chance.happens(0.3);
      if (isLong) {
        this.truth.absent.add(link.agent.name);
      }
      this.#clock.after(chance.between(10, isLong ? 70_000 * Math.min(this.truth.pace, 90) : 5000), () => {
        link.severed = false;
      });
    } else if (kind <= 50) {
      this.#killCoordinator(() => undefined);
    } else if (kind <= 70) {
      this.#restartAgent(link, () => link.agent.kill());
    } else if (kind <= 85) {
      link.agent.killSkylet(chance.pick(users));
    } else if (kind <= 90) {
      this.#restartAgent(link, () => link.agent.reboot());
    } else if (this.truth.isClockRight) {
      link.cut();
    } else if (kind <= 94) {
      this.#backup ??= this.#real.copy();
    } else if (kind <= 97 && this.#backup !== null) {
      this.#killCoordinator(() => this.#restoreBackup());
    } else if (this.links.every((one) => one.agent.identity !== null)) {
      this.#loseState();
    }
    this.#clock.after((chance.between(20, 6000) * this.truth.pace) / intensity, () => this.#fail(intensity));
  }

  #killCoordinator(meanwhile: () => void): void {
    if (this.coordinator.state === null) {
      return;
    }
    this.coordinator.kill();
    for (const link of this.links) {
      link.cut();
    }
    meanwhile();
    this.#clock.after(this.#chance.between(1, 3000), () => {
      if (this.coordinator.state === null) {
        this.coordinator.start();
      }
    });
  }

  #restartAgent(link: Link, kill: () => void): void {
    if (link.agent.state === null) {
      return;
    }
    link.cut();
    kill();
    const isLong = this.#chance.happens(0.15);
    if (isLong) {
      this.truth.absent.add(link.agent.name);
    }
    this.#clock.after(this.#chance.between(1, isLong ? 60_000 : 4000), () => {
      if (link.agent.state === null) {
        link.agent.start();
      }
    });
  }

  /** The coordinator comes back with an older copy: what has happened since is unknown to it. */
  #restoreBackup(): void {
    const backup = this.#backup;
    if (backup === null || this.coordinator.store !== this.#real) {
      return;
    }
    this.truth.note("the store is rolled back");
    for (const [key, { record }] of this.#real.records) {
      if (JSON.stringify(record) !== JSON.stringify(backup.records.get(key)?.record)) {
        this.truth.rolledBack.add(record.taskRef);
      }
    }
    this.#backup = null;
    this.#real = backup;
    this.coordinator.store = backup;
  }

  /** The coordinator comes back on an empty state for a while: nobody may follow it. */
  #loseState(): void {
    if (this.coordinator.store !== this.#real) {
      return;
    }
    this.truth.note("the state is lost");
    this.#killCoordinator(() => {
      this.coordinator.store = new DurableStore(this.#chance.word(16));
    });
    this.#clock.after(this.#chance.between(3000, 15_000), () => this.#findState());
  }

  #findState(): void {
    if (this.coordinator.store === this.#real) {
      return;
    }
    this.coordinator.kill();
    for (const link of this.links) {
      link.cut();
    }
    this.truth.note("the state is back");
    this.coordinator.store = this.#real;
    this.coordinator.start();
  }

  #recover(): void {
    this.truth.note("calm");
    this.truth.calm = true;
    this.#findState();
    for (const link of this.links) {
      link.severed = false;
      if (link.agent.state === null) {
        link.agent.start();
      }
    }
    if (this.coordinator.state === null) {
      this.coordinator.start();
    }
    for (const link of this.links) {
      resume(this.coordinator, link.agent.name);
    }
    allotNothing(this.coordinator);
    this.#tidyUp();
  }

  #isDone(): boolean {
    const { state } = this.coordinator;
    const agentsIdle = this.links.every(
      (link) => link.agent.state?.attempts.size === 0 && link.agent.entries.size === 0,
    );
    const nodes = [...(state?.nodes.values() ?? [])];
    return agentsIdle && state !== null && state.jobs.size === 0 && nodes.every((node) => node.ended.size === 0);
  }

  /** After a rollback, unknown ranks may wait at a barrier that nobody can open any more: an admin ends them by hand. */
  #tidyUp(): void {
    for (const link of this.links) {
      for (const id of this.coordinator.state?.nodes.get(link.agent.name)?.unknown ?? []) {
        link.agent.machine.killWaitingRunner(id);
        this.#endUnfinished(link, id);
      }
    }
    this.#clock.after(10_000 * Math.min(this.truth.pace, 30), () => this.#tidyUp());
  }

  /**
   * After a rollback, too: what is over on one node while another never heard of its rank, and what never begins because
   * nobody gives it a lease. An admin ends it.
   */
  #endUnfinished(link: Link, id: AttemptId): void {
    const attempt = link.agent.state?.attempts.get(id);
    const lives = this.truth.machines.some((machine) => machine.living().includes(id));
    const isUnbegun = attempt?.entry.wanted.leaseSeconds !== undefined && attempt.report.state === "starting";
    if (!lives && (isUnbegun || attempt?.report.state === "exited")) {
      this.coordinator.dispatch({ type: "unknownEnded", attempt: id });
    }
  }

  #remains(): string {
    const jobs = [...(this.coordinator.state?.jobs ?? [])].map(
      ([key, job]) => `${key} ${job.record.phase} ${job.commit}`,
    );
    const attempts = this.links.flatMap((link) =>
      [...(link.agent.state?.attempts.values() ?? [])].map(
        (one) => `${link.agent.name}:${one.entry.wanted.attempt} ${one.entry.phase} ended=${one.ended}`,
      ),
    );
    return [...jobs, ...attempts].join(", ");
  }

  /** How much was counted, in lines. */
  checkUsage(): number {
    const lines = [...this.#real.usage.values()];
    const agents = this.links.map((link) => [link.agent.name, link.agent.inventory] as const);
    const violations = this.truth.usage.violations(lines, new Map(agents));
    const left = [...(this.coordinator.state?.accounts.keys() ?? [])];
    if (left.length > 0) {
      this.truth.violated(`still counted although nothing is held: ${left.join(", ")}`);
    }
    if (violations.length > 0) {
      this.truth.violated(violations.slice(0, 5).join("; "));
    }
    return lines.length;
  }

  #checkEnds(): void {
    for (const [key, { record }] of this.#real.records) {
      if (record.phase !== "ended") {
        this.truth.violated(`job ${key} is ${record.phase} on disk, but nothing is left to do`);
      }
      if (!this.truth.allows(record)) {
        this.truth.violated(`job ${key} (${record.taskRef}) ended as ${record.end}: ${record.reason}`);
      }
    }
    for (const link of this.links) {
      for (const folder of link.agent.machine.folders.values()) {
        if (folder.state !== "exited") {
          this.truth.violated(`${folder.wanted.attempt} still lives on ${link.agent.name}`);
        }
      }
    }
  }
}
