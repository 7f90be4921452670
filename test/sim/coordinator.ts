/**
 * A coordinator in the simulator: the real core, with a loop and a store that can be killed between any two steps. It
 * carries out effects as the real loop promises to: writes of one job in order, the event only when the write is on
 * disk. After every event the state must pass the sanity check.
 */
import { initialState } from "../../coordinator/core/initial.ts";
import { reduce } from "../../coordinator/core/reduce.ts";
import { violationsOf } from "../../coordinator/core/sanity.ts";
import { type CoreConfig, type CoreEffect, type CoreEvent, jobKey, type State } from "../../coordinator/core/state.ts";
import { type ToAgent, toAgentSchema } from "../../shared/agent-wire.ts";
import type { JobId, NodeName } from "../../shared/ids.ts";
import type { JobRecord } from "../../shared/job.ts";
import type { UsageLine } from "../../shared/scheduling.ts";
import { checkEnded, checkPlanned } from "./admins.ts";
import { Questions } from "./explained.ts";
import type { DurableStore } from "./store.ts";
import type { Truth } from "./truth.ts";

interface Write {
  id: JobId;
  record: JobRecord;
  /** On disk before the record is. */
  usage?: UsageLine[];
  event: CoreEvent | null;
}

export class SimCoordinator {
  store: DurableStore;
  state: State | null = null;
  life = 0;
  readonly #truth: Truth;
  readonly #config: CoreConfig;
  readonly #send: (node: NodeName, message: ToAgent) => void;
  readonly #cut: (node: NodeName) => void;
  #writes = new Map<string, Write[]>();
  /** A later wish replaces an earlier one. */
  #wakes = 0;
  /** What admins have said of nodes and is not on disk yet, in order. */
  #saves: (CoreEffect & { type: "saveNodeAdmin" })[] = [];
  /** Lines of usage that are not on disk yet, in order. */
  #counts: UsageLine[][] = [];

  readonly #questions: Questions;

  constructor(
    truth: Truth,
    config: CoreConfig,
    store: DurableStore,
    nodes: { send(node: NodeName, message: ToAgent): void; cut(node: NodeName): void },
  ) {
    this.#truth = truth;
    this.#questions = new Questions(truth, 1);
    this.#config = config;
    this.#send = (node, message) => nodes.send(node, message);
    this.#cut = (node) => nodes.cut(node);
    this.store = store;
  }

  start(): void {
    this.store.epoch += 1;
    this.#truth.coordinatorStarts();
    this.state = initialState(this.#config, {
      stateId: this.store.stateId,
      epoch: this.store.epoch,
      nonce: this.#truth.chance.word(8),
      jobs: this.store.unfinished(),
      setups: [...this.store.setups.values()],
      uptime: this.#truth.clock.now,
      now: this.#truth.wallClock(),
      admins: new Map(this.store.admins),
      people: [...this.store.people.values()],
      quotas: new Map(this.store.quotas),
      windows: [...this.store.windows.values()],
    });
    this.#truth.note(`coordinator starts with epoch ${this.store.epoch} on ${this.store.stateId}`);
    this.dispatch({ type: "ticked" });
  }

  /** SIGKILL: the first write of each job under way may or may not have reached the disk. */
  kill(): void {
    this.#truth.note("coordinator is killed");
    this.life += 1;
    this.state = null;
    for (const [write] of this.#writes.values()) {
      if (write !== undefined && this.#truth.chance.happens(0.5)) {
        this.#apply(write);
      } else if (this.#truth.chance.happens(0.5)) {
        this.store.count(write?.usage ?? []);
      }
    }
    this.#writes.clear();
    for (const lines of this.#counts.splice(0)) {
      if (this.#truth.chance.happens(0.5)) {
        this.store.count(lines);
      }
    }
    while (this.#saves.length > 0 && this.#truth.chance.happens(0.5)) {
      this.#applySave();
    }
    this.#saves = [];
  }

  dispatch(event: CoreEvent): void {
    if (this.state === null) {
      return;
    }
    const brief = event.type === "nodeReported" ? reportText(event) : JSON.stringify(event).slice(0, 160);
    this.#truth.note(`C < ${brief}`);
    this.#truth.disturbClock();
    const now = this.#truth.wallClock();
    const effects = reduce(this.state, event, now, this.#truth.clock.now);
    for (const effect of effects) {
      this.#carryOut(effect);
    }
    // A state that was rolled back may hold grants that the nodes have given to others since; the nodes sort that out.
    const isRolledBack = this.#truth.rolledBack.size > 0;
    const violations = violationsOf(this.state).filter((text) => !isRolledBack || !text.includes("granted"));
    if (violations.length > 0) {
      this.#truth.violated(violations.join("; "));
    }
    this.#questions.perhapsAsk(this.state, now);
  }

  #carryOut(effect: CoreEffect): void {
    switch (effect.type) {
      case "commitStart": {
        const { uid, id, record } = effect;
        const attempt = record.attempt as NonNullable<typeof record.attempt>;
        checkPlanned(this.#truth, this.state, record);
        this.#truth.granted(attempt.id, record);
        this.#truth.attempts.set(attempt.id, { taskRef: record.taskRef, setupRef: attempt.setupRef });
        this.#truth.note(
          `C start ${uid}/${id} as ${attempt.id} on ${attempt.ranks.map((rank) => rank.grant.node).join()}`,
        );
        return this.#write({ id, record, event: { type: "startCommitted", uid, id, attempt: attempt.id } });
      }
      case "commitEnd":
        this.#truth.note(`C end ${effect.uid}/${effect.id} ${effect.record.end} ${effect.record.reason}`);
        checkEnded(this.#truth, this.state, effect.record);
        this.#truth.endDecided(effect.record);
        return this.#write({ ...effect, event: { type: "endCommitted", uid: effect.uid, id: effect.id } });
      case "commitRequeue": {
        const { uid, id, record, usage } = effect;
        this.#truth.endDecided(record);
        this.#truth.note(`C gives up ${record.attempt?.id} of ${uid}/${id}`);
        this.#truth.gaveWay += record.shape.preemptible === true && (record.preemptions ?? 0) > 0 ? 1 : 0;
        return this.#write({ id, record, usage: usage ?? [], event: { type: "requeueCommitted", uid, id } });
      }
      case "recordUsage":
        this.#counts.push(effect.lines);
        return this.#later(() => this.store.count(this.#counts.shift() ?? []));
      case "savePerson":
      case "saveQuota":
      case "saveWindow":
        return remember(this.store, effect);
      case "commitUpdate":
        return this.#write({ ...effect, event: null });
      case "tellNode":
        this.#truth.note(`C > ${effect.node} ${tellText(effect.message)}`);
        return this.#send(effect.node, toAgentSchema.parse(effect.message));
      case "saveSetup":
        return keep(this.store.setups, effect.uid, effect.setup);
      case "saveNodeAdmin":
        this.#saves.push(effect);
        return this.#later(() => {
          const saved = this.#applySave();
          if (saved !== undefined) {
            this.dispatch({ type: "nodeAdminSaved", node: saved.node, admin: saved.admin });
          }
        });
      case "cutNode":
        this.#truth.note(`C cuts ${effect.node} off`);
        return this.#cut(effect.node);
      case "wakeAt":
        return this.#wake(effect.at);
      case "saveEpoch":
        this.store.epoch = effect.epoch;
        return undefined;
      case "readJob": {
        const { uid, id, attempt } = effect;
        return this.#later(() => {
          const record = this.store.records.get(jobKey(uid, id))?.record ?? null;
          this.dispatch({ type: "jobRead", uid, id, attempt, record });
        });
      }
      default:
        return undefined;
    }
  }

  #applySave(): (CoreEffect & { type: "saveNodeAdmin" }) | undefined {
    const save = this.#saves.shift();
    if (save !== undefined) {
      this.store.admins.set(save.node, save.admin);
    }
    return save;
  }

  #wake(at: number): void {
    const { life } = this;
    const wake = (this.#wakes += 1);
    this.#truth.clock.after(Math.max(0, at - this.#truth.wallClock()), () => {
      if (life === this.life && wake === this.#wakes) {
        this.dispatch({ type: "ticked" });
      }
    });
  }

  #later(run: () => void): void {
    const { life } = this;
    this.#truth.clock.after(this.#truth.chance.between(1, 20), () => {
      if (life === this.life) {
        run();
      }
    });
  }

  #write(write: Write): void {
    const key = jobKey(write.record.uid, write.id);
    const line = this.#writes.get(key) ?? [];
    this.#writes.set(key, line);
    if (line.push(write) === 1) {
      this.#later(() => this.#finishWrite(key));
    }
  }

  #finishWrite(key: string): void {
    const line = this.#writes.get(key) ?? [];
    const write = line.shift();
    if (write === undefined) {
      return;
    }
    this.#apply(write);
    if (line.length > 0) {
      this.#later(() => this.#finishWrite(key));
    } else {
      this.#writes.delete(key);
    }
    if (write.event !== null) {
      this.dispatch(write.event);
    }
  }

  #apply(write: Write): void {
    this.store.count(write.usage ?? []);
    const key = jobKey(write.record.uid, write.id);
    if (write.event?.type === "startCommitted") {
      this.store.takenAt.set(key, this.#truth.wallClock());
    }
    this.store.write(write.id, write.record);
    if (write.record.phase === "ended" && write.record.attempt !== null) {
      this.#truth.endDurable(write.record.attempt.id);
    }
    for (const { attempt } of write.record.givenUp ?? []) {
      this.#truth.endDurable(attempt);
    }
  }
}

function reportText(event: Extract<CoreEvent, { type: "nodeReported" }>): string {
  const list = event.report.attempts.map((one) => `${one.attempt}:${one.state}`).join(" ");
  return `${event.node} reports seq ${event.report.seq} epoch ${event.report.epoch} [${list}]`;
}

function tellText(message: ToAgent): string {
  if (message.type !== "desired") {
    return JSON.stringify(message).slice(0, 120);
  }
  const wanted = message.wanted.map((one) => `${one.attempt}${one.mayRun ? "" : "(hold)"}`).join(" ");
  return `desired seq ${message.seq} wanted [${wanted}] ended [${message.ended.join(" ")}]`;
}

function remember(store: DurableStore, effect: CoreEffect & { type: "savePerson" | "saveQuota" | "saveWindow" }): void {
  if (effect.type === "savePerson") {
    store.people.set(effect.person.uid, effect.person);
  } else if (effect.type === "saveQuota") {
    keep(store.quotas, effect.subject, effect.quota);
  } else {
    keep(store.windows, effect.id, effect.window);
  }
}

function keep<Key, Value>(map: Map<Key, Value>, key: Key, value: Value | null): void {
  if (value === null) {
    map.delete(key);
  } else {
    map.set(key, value);
  }
}
