/**
 * An agent in the simulator: the real core with a ledger on a disk that survives it, on a machine that may lose power.
 * Ledger writes take time and may be lost when the agent is killed before they were answered. Driven by world.ts.
 */
import { initialAgentState, reduceAgent } from "../../agent/core/reduce.ts";
import type { AgentEffect, AgentEvent, AgentState, LedgerEntry } from "../../agent/core/state.ts";
import { type FromAgent, type Inventory, reportSchema } from "../../shared/agent-wire.ts";
import type { AttemptId, Uid } from "../../shared/ids.ts";
import type { Limits } from "../../shared/launch-spec.ts";
import { type FromSkylet, toSkyletSchema } from "../../shared/skylet-wire.ts";
import { entrySchema } from "../wire/protocol-1/ledger.ts";
import { Machine } from "./machine.ts";
import type { Truth } from "./truth.ts";

export class SimAgent {
  readonly name: string;
  readonly machine: Machine;
  readonly entries = new Map<AttemptId, LedgerEntry>();
  identity: { stateId: string; epoch: number } | null = null;
  state: AgentState | null = null;
  life = 0;
  readonly #truth: Truth;
  inventory: Inventory;
  readonly #send: (message: FromAgent) => void;
  #writes: LedgerEntry[] = [];
  #renewalAt: number | null = null;
  /** Users whose skylet is connected to this life of the agent, or on its way. */
  #joined = new Set<Uid>();

  constructor(truth: Truth, name: string, inventory: Inventory, send: (message: FromAgent) => void) {
    this.#truth = truth;
    this.name = name;
    this.inventory = inventory;
    this.#send = send;
    this.machine = new Machine(truth, name);
    if (inventory.accelerators.length > 0) {
      this.#spoil();
    }
  }

  /** Accelerators fail and are well again until the storm is over; none stays faulty. */
  #spoil(): void {
    const { clock, chance, pace } = this.#truth;
    clock.after(chance.between(5_000, 60_000) * pace, () => {
      if (this.#truth.calm) {
        return;
      }
      const device = chance.pick(this.inventory.accelerators).index;
      this.#setFault(device, "fallen off the bus");
      clock.after(chance.between(500, 20_000) * pace, () => this.#setFault(device, null));
      this.#spoil();
    });
  }

  #setFault(device: number, fault: string | null): void {
    this.#truth.note(`${this.name} device ${device}: ${fault ?? "well"}`);
    const accelerators = this.inventory.accelerators.map((one) => {
      if (one.index !== device) {
        return one;
      }
      const { index, kind, memoryMb } = one;
      return fault === null ? { index, kind, memoryMb } : { index, kind, memoryMb, fault };
    });
    this.inventory = { ...this.inventory, accelerators };
    if (this.state !== null) {
      this.dispatch({ type: "inventoryChanged", inventory: this.inventory, warnings: [] });
    }
  }

  start(): void {
    this.#truth.note(`${this.name} agent starts`);
    this.state = initialAgentState({
      node: this.name,
      bootId: this.machine.bootId,
      inventory: this.inventory,
      warnings: [],
      identity: this.identity,
      entries: [...this.entries.values()],
    });
    this.machine.hear = (uid, message) => this.#fromSkylet(uid, message);
    this.dispatch({ type: "resumed" });
    for (const uid of this.machine.skylets.keys()) {
      this.#join(uid);
    }
  }

  kill(): void {
    this.#truth.note(`${this.name} agent is killed`);
    this.life += 1;
    this.state = null;
    this.machine.hear = null;
    this.#renewalAt = null;
    this.#joined.clear();
    for (const entry of this.#writes) {
      if (this.#truth.chance.happens(0.5)) {
        this.entries.set(entry.wanted.attempt, entry);
      }
    }
    this.#writes = [];
  }

  reboot(): void {
    this.kill();
    for (const id of this.entries.keys()) {
      this.#truth.disturb(id);
    }
    this.machine.reboot();
  }

  killSkylet(uid: Uid): void {
    this.#truth.note(`${this.name} skylet of ${uid} is killed`);
    this.machine.killSkylet(uid);
    this.#joined.delete(uid);
    this.dispatch({ type: "skyletGone", uid });
  }

  dispatch(event: AgentEvent): void {
    if (this.state === null) {
      return;
    }
    this.#truth.note(`${this.name} < ${JSON.stringify(event).slice(0, 140)}`);
    for (const effect of reduceAgent(this.state, event)) {
      this.#carryOut(effect);
    }
  }

  #carryOut(effect: AgentEffect): void {
    switch (effect.type) {
      case "saveLedger":
        return this.#save(effect.entry);
      case "dropLedger":
        this.entries.delete(effect.attempt);
        return undefined;
      case "saveIdentity": {
        const { stateId, epoch } = effect;
        return this.#later(1, 20, () => {
          this.identity = { stateId, epoch };
          this.dispatch({ type: "identitySaved", stateId, epoch });
        });
      }
      case "ensureSkylet":
        return this.#ensure(effect.uid);
      case "sendSkylet":
        return this.#order(effect.uid, effect.message);
      case "sendReport":
        return this.#send(reportSchema.parse(effect.report));
      case "sendRenew":
        return this.#send({ type: "renew", id: effect.id });
      case "renewAfter":
        return this.#renewAfter(effect.ms);
      case "refuse":
        return this.#send({ type: "refused", reason: effect.reason, stateId: effect.stateId });
      case "retryLater":
        return this.#later(2000, 2000, () => this.dispatch({ type: "retryDue", uid: effect.uid }));
      default:
        return undefined;
    }
  }

  #renewAfter(ms: number): void {
    const { clock } = this.#truth;
    const at = clock.now + Math.round(ms);
    if (this.#renewalAt !== null && this.#renewalAt <= at) {
      return;
    }
    this.#renewalAt = at;
    this.#later(ms, ms, () => {
      if (this.#renewalAt === at) {
        this.#renewalAt = null;
        this.dispatch({ type: "renewDue", uptimeMs: clock.now });
      }
    });
  }

  #save(entry: LedgerEntry): void {
    this.#writes.push(entry);
    this.#later(1, 15, () => {
      this.#writes = this.#writes.filter((one) => one !== entry);
      this.entries.set(entry.wanted.attempt, entry);
      // A rollback must find every attempt that uses nothing new.
      if (entry.wanted.leaseSeconds === undefined && entry.wanted.limits === undefined) {
        entrySchema.parse(entry);
      }
      this.dispatch({ type: "ledgerSaved", attempt: entry.wanted.attempt });
    });
  }

  #ensure(uid: Uid): void {
    if (this.#joined.has(uid)) {
      return;
    }
    if (!this.#truth.calm && this.#truth.chance.happens(0.03)) {
      this.#later(10, 200, () => {
        const fault = this.#truth.chance.happens(0.5) ? "refused" : "passing";
        if (fault === "refused") {
          for (const id of this.state?.attempts.keys() ?? []) {
            this.#truth.disturb(id);
          }
        }
        this.dispatch({ type: "skyletFailed", uid, error: "su did not answer in time.", fault });
      });
      return;
    }
    this.#later(20, 200, () => {
      if (!this.machine.skylets.has(uid)) {
        this.machine.spawnSkylet(uid);
      }
      this.#join(uid);
    });
  }

  /** The skylet's connection: it lists its folders as they are when it is ready. */
  #join(uid: Uid): void {
    if (this.#joined.has(uid)) {
      return;
    }
    this.#joined.add(uid);
    const skylet = this.machine.skylets.get(uid);
    this.#later(1, 30, () => {
      if (this.#joined.has(uid) && this.machine.skylets.get(uid) === skylet) {
        this.dispatch({ type: "skyletReady", uid, attempts: this.machine.list(uid) });
      }
    });
  }

  #order(uid: Uid, message: unknown): void {
    const order = toSkyletSchema.parse(message);
    const skylet = this.machine.skylets.get(uid);
    this.#truth.clock.after(2, () => {
      if (skylet === undefined || this.machine.skylets.get(uid) !== skylet) {
        return;
      }
      this.machine.order(uid, order);
      if (order.type === "retire") {
        this.#joined.delete(uid);
        this.dispatch({ type: "skyletGone", uid });
      }
    });
  }

  #fromSkylet(uid: Uid, message: FromSkylet): void {
    const { life } = this;
    if (!this.#joined.has(uid) || this.state?.skylets.get(uid)?.state !== "ready") {
      return;
    }
    this.#truth.clock.after(2, () => {
      if (life !== this.life || !this.#joined.has(uid)) {
        return;
      }
      switch (message.type) {
        case "prepared":
          return this.dispatch({ ...message, type: "runnerPrepared", uid, ...this.#limit(message.attempt) });
        case "failed":
          return this.dispatch({ type: "runnerFailed", uid, attempt: message.attempt, error: message.error });
        case "changed":
          return this.dispatch({ type: "runnerChanged", uid, attempt: message.attempt });
        case "gone":
          return this.dispatch({ type: "attemptGone", uid, attempt: message.attempt });
        default:
          return undefined;
      }
    });
  }

  /** Sets the attempt's limits, which only a machine is asked to that can. */
  #limit(id: AttemptId): { limits?: Limits } {
    const limits = this.state?.attempts.get(id)?.entry.wanted.limits;
    if (limits === undefined) {
      return {};
    }
    if (this.inventory.mechanisms === undefined) {
      this.#truth.violated(`${this.name} is to limit ${id}, which it cannot`);
    }
    this.machine.limited.add(id);
    return { limits };
  }

  #later(low: number, high: number, run: () => void): void {
    const { life } = this;
    this.#truth.clock.after(this.#truth.chance.between(low, high), () => {
      if (life === this.life) {
        run();
      }
    });
  }
}
