/**
 * Carries out what the core asks for: writes through the queue and the store, messages through the fleet. Writes of one
 * job happen in the order in which they were asked for, those of different jobs side by side up to a bound. After the
 * first failure nothing more is written or sent, because what was lost decides what would be right. It must never decide
 * anything. Called by coordinator/loop.ts only.
 */
import type { CoreEffect, CoreEvent } from "./core/state.ts";
import { assertNever } from "../shared/errors.ts";
import type { JobId, NodeName, Uid } from "../shared/ids.ts";
import type { ToAgent } from "../shared/agent-wire.ts";
import { type Person, type UsageLine, usageName } from "../shared/scheduling.ts";
import { Gate } from "./gate.ts";
import type { JobFacts } from "./job-facts.ts";
import { LatestWrites } from "./latest-writes.ts";
import type { Log } from "./log.ts";
import { type JobQueue, type Store, StoreUnavailable } from "./parts.ts";

/** Writes that are under way at once; Redis answers them in batches, one flush to disk for many. */
const writesAtOnce = 64;

export interface EffectsOwner {
  queue: JobQueue;
  store: Store;
  log: Log;
  facts: JobFacts;
  tell(node: NodeName, message: ToAgent): void;
  /** Ends a node's connection after what it was told before. */
  cut(node: NodeName, reason: string): void;
  /** What a finished write tells the core. */
  dispatch(event: CoreEvent): void;
  announce(uid: Uid, id: JobId): void;
  wakeAt(time: number): void;
  /** The first write that failed; called once. */
  fail(cause: Error): void;
}

export class Effects {
  readonly #owner: EffectsOwner;
  /** The last write of each job or user that has one under way; it never rejects. */
  readonly #chains = new Map<string, Promise<void>>();
  readonly #gate = new Gate(writesAtOnce);
  /** Messages that must not leave before a new epoch is stored. */
  #held: (() => void)[] = [];
  #epochWrites = 0;
  #stopped: Error | null = null;
  readonly #people: LatestWrites<Person>;
  readonly #usage: LatestWrites<UsageLine>;

  constructor(owner: EffectsOwner) {
    this.#owner = owner;
    const { admin } = owner.store;
    // Not through the gate: writes that have their turn there wait for these.
    this.#people = new LatestWrites((people) => this.#inTurn([() => admin.savePeople(people)]));
    this.#usage = new LatestWrites((lines) => this.#inTurn([() => admin.recordUsage(lines)]));
  }

  /** From here on nothing is written, sent or dispatched; what has been handed to Redis already may still have its effect. */
  stop(cause: Error): void {
    this.#stopped ??= cause;
    this.#held = [];
  }

  /** Starts the effects in order; resolves when every write among them is durable, rejects when one failed. */
  async run(effects: readonly CoreEffect[]): Promise<void> {
    const writes: Promise<void>[] = [];
    for (const effect of effects) {
      const write = this.#start(effect);
      if (write !== null) {
        write.catch(() => {});
        writes.push(write);
      }
    }
    await Promise.all(writes);
  }

  /** The write that the effect makes, if it makes one that somebody may wait for. */
  #start(effect: CoreEffect): Promise<void> | null {
    if (this.#stopped !== null) {
      return Promise.reject(this.#stopped);
    }
    const { queue, store } = this.#owner;
    switch (effect.type) {
      case "commitStart":
        return this.#commitStart(effect);
      case "commitEnd":
        return this.#commitEnd(effect);
      case "commitRequeue":
        return this.#commitRequeue(effect);
      case "commitUpdate": {
        const { uid, id, record } = effect;
        const say = async (): Promise<void> => this.#owner.facts.changed(id, record);
        return this.#write(`${uid}/${id}`, [() => queue.update(uid, id, record), say]);
      }
      case "readJob":
        this.#readJob(effect);
        return null;
      case "saveSetup":
        return this.#write(`${effect.uid}`, [() => store.saveSetup(effect.uid, effect.setup)]);
      case "savePerson":
        return this.#people.put(String(effect.person.uid), effect.person);
      case "saveQuota":
        return this.#write("quotas", [() => store.admin.saveQuota(effect.subject, effect.quota)]);
      case "saveWindow":
        return this.#write("windows", [() => store.admin.saveWindow(effect.id, effect.window)]);
      case "recordUsage":
        return this.#recordUsage(effect.lines);
      case "saveNodeAdmin":
        return this.#saveNodeAdmin(effect);
      case "cutNode":
        this.#send(() => this.#owner.cut(effect.node, effect.reason));
        return null;
      case "saveEpoch":
        return this.#saveEpoch(effect.epoch);
      case "tellNode":
        this.#send(() => this.#owner.tell(effect.node, effect.message));
        return null;
      case "announceJob":
        this.#owner.announce(effect.uid, effect.id);
        return null;
      case "wakeAt":
        this.#owner.wakeAt(effect.at);
        return null;
      case "log":
        this.#owner.log[effect.level](effect.fields, effect.text);
        return null;
      default:
        return assertNever(effect);
    }
  }

  async #commitStart({ uid, id, record }: CoreEffect & { type: "commitStart" }): Promise<void> {
    const { attempt } = record;
    if (attempt === null) {
      throw this.#fail(new Error(`a start of job ${uid}/${id} without an attempt`));
    }
    const { queue } = this.#owner;
    await this.#write(`${uid}/${id}`, [() => queue.start(uid, id, record, attempt.number)]);
    this.#owner.facts.started(id, record);
    this.#owner.dispatch({ type: "startCommitted", uid, id, attempt: attempt.id });
  }

  async #commitRequeue({ uid, id, record, usage }: CoreEffect & { type: "commitRequeue" }): Promise<void> {
    const { queue } = this.#owner;
    const count = (): Promise<void> => this.#recordUsage(usage ?? []);
    await this.#write(`${uid}/${id}`, [count, () => queue.update(uid, id, record), () => queue.putBack(uid, id)]);
    this.#owner.facts.putBack(id, record);
    this.#owner.dispatch({ type: "requeueCommitted", uid, id });
  }

  /** What was used is on disk before the end is: afterwards nobody would know it after a crash. */
  async #commitEnd({ uid, id, record, usage }: CoreEffect & { type: "commitEnd" }): Promise<void> {
    const { queue } = this.#owner;
    await this.#write(`${uid}/${id}`, [
      () => this.#recordUsage(usage ?? []),
      () => queue.end(uid, id, record, record.attempt?.number ?? 0),
    ]);
    this.#owner.facts.ended(id, record);
    this.#owner.dispatch({ type: "endCommitted", uid, id });
  }

  async #recordUsage(lines: readonly UsageLine[]): Promise<void> {
    await Promise.all(lines.map((line) => this.#usage.put(usageName(line), line)));
  }

  async #saveNodeAdmin({ node, admin }: CoreEffect & { type: "saveNodeAdmin" }): Promise<void> {
    await this.#write(`node ${node}`, [() => this.#owner.store.saveNodeAdmin(node, admin)]);
    this.#owner.dispatch({ type: "nodeAdminSaved", node, admin });
  }

  /** Nobody waits for the answer; it comes as an event. In the job's chain, so it sees the writes asked for before. */
  #readJob({ uid, id, attempt }: CoreEffect & { type: "readJob" }): void {
    const read = async (): Promise<void> => {
      const record = await this.#owner.queue.read(uid, id);
      if (this.#stopped === null) {
        this.#owner.dispatch({ type: "jobRead", uid, id, attempt, record });
      }
    };
    this.#write(`${uid}/${id}`, [read]).catch(() => {});
  }

  /** The new epoch is on disk before any message that carries it leaves. */
  async #saveEpoch(epoch: number): Promise<void> {
    this.#epochWrites += 1;
    await this.#write("epoch", [() => this.#owner.store.saveEpoch(epoch)]);
    this.#epochWrites -= 1;
    if (this.#epochWrites === 0) {
      for (const send of this.#held.splice(0)) {
        send();
      }
    }
  }

  #send(send: () => void): void {
    if (this.#epochWrites > 0) {
      this.#held.push(send);
    } else {
      send();
    }
  }

  /** Runs the steps one after another, after all earlier writes of the same chain. */
  #write(chain: string, steps: (() => Promise<void>)[]): Promise<void> {
    const earlier = this.#chains.get(chain) ?? Promise.resolve();
    const write = earlier.then(() => this.#gate.run(() => this.#inTurn(steps)));
    const settled = write.catch(() => {});
    this.#chains.set(chain, settled);
    void settled.then(() => {
      if (this.#chains.get(chain) === settled) {
        this.#chains.delete(chain);
      }
    });
    return write;
  }

  async #inTurn(steps: (() => Promise<void>)[]): Promise<void> {
    try {
      for (const step of steps) {
        if (this.#stopped !== null) {
          throw this.#stopped;
        }
        await step();
      }
      if (this.#stopped !== null) {
        throw this.#stopped;
      }
    } catch (error) {
      throw this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** What callers see is always StoreUnavailable: the coordinator reads everything again and goes on. */
  #fail(cause: Error): StoreUnavailable {
    if (this.#stopped === null) {
      this.stop(cause);
      this.#owner.fail(cause);
    }
    return cause instanceof StoreUnavailable ? cause : new StoreUnavailable(cause.message);
  }
}
