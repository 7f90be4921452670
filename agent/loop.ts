/**
 * The agent's one loop and the only caller of its core: events are taken one after the other, all that are there as one
 * batch. The ledger writes of a batch go to the disk together and are awaited before any other effect of it is carried
 * out, in order, and before the next batch is looked at; so nothing that depends on a write happens before it is on disk.
 * It decides nothing itself. Made by agent/main.ts; every adapter hands its events to `dispatch`.
 */
import type { Logger } from "pino";
import type { FromAgent, Report } from "../shared/agent-wire.ts";
import { assertNever, messageOf } from "../shared/errors.ts";
import type { AttemptId, Uid } from "../shared/ids.ts";
import type { ToSkylet } from "../shared/skylet-wire.ts";
import { reduceAgent } from "./core/reduce.ts";
import type { AgentEffect, AgentEvent, AgentState, LedgerEntry } from "./core/state.ts";
import { JobFacts } from "./job-facts.ts";
import type { Identity } from "./ledger.ts";
import type { UserLog } from "./user-log.ts";

const ledgerRetryMs = 1_000;
const skyletRetryMs = 2_000;
/** Events of one batch; what it reports is sent at its end. */
const batchMax = 256;

export interface LoopPorts {
  ledger: {
    save(entry: LedgerEntry): Promise<void>;
    drop(attempt: AttemptId): Promise<void>;
    saveIdentity(identity: Identity): Promise<void>;
  };
  ensureSkylet(uid: Uid, user: string): void;
  sendSkylet(uid: Uid, message: ToSkylet): void;
  sendCoordinator(message: FromAgent): void;
  /** Ends what is left of the attempt without its skylet, where that is possible; `attemptGone` follows. */
  clearAttempt(uid: Uid, attempt: AttemptId): void;
  /** For how long the machine has been up, as runners read it: milliseconds, never rounded up. */
  uptimeMs(): number;
  log: Logger;
  userLog: UserLog;
}

/** What is carried out once the writes of its batch are on disk. */
type OtherEffect = Exclude<AgentEffect, { type: "saveLedger" | "dropLedger" | "sendReport" }>;

export class AgentLoop {
  readonly state: AgentState;
  private readonly ports: LoopPorts;
  private readonly facts: JobFacts;
  private readonly events: { event: AgentEvent; settled: () => void }[] = [];
  private running: Promise<void> | null = null;
  private readonly retries = new Set<Uid>();
  private renewal: { at: number; timer: NodeJS.Timeout } | null = null;
  /** The newest picture that the coordinator has not been sent. */
  private report: Report | null = null;

  constructor(state: AgentState, ports: LoopPorts) {
    this.state = state;
    this.ports = ports;
    this.facts = new JobFacts(
      ports.userLog,
      [...state.attempts.values()].map((attempt) => attempt.entry),
    );
  }

  /** Takes the event after all that came before it. Never throws. */
  dispatch(event: AgentEvent): void {
    void this.settle(event);
  }

  /** As `dispatch`; resolves when the event has been dealt with, so that its sender can be kept from sending more. */
  settle(event: AgentEvent): Promise<void> {
    return new Promise((settled) => {
      this.events.push({ event, settled });
      this.wake();
    });
  }

  private wake(): void {
    // Begun in a turn of its own: an effect may dispatch before `running` is set.
    this.running ??= Promise.resolve()
      .then(() => this.run())
      .finally(() => {
        this.running = null;
        // An event may have come after the last look at the queue and before this.
        if (this.events.length > 0) {
          this.wake();
        }
      });
  }

  /** Resolves when every event so far has been dealt with, those that came of it included. */
  async idle(): Promise<void> {
    while (this.running !== null) {
      await this.running;
    }
  }

  private async run(): Promise<void> {
    while (this.events.length > 0) {
      const batch = this.events.splice(0, batchMax);
      const writes: Promise<void>[] = [];
      const others: OtherEffect[] = [];
      for (const { event } of batch) {
        if (event.type === "linkDown") {
          this.report = null;
        }
        for (const effect of reduceAgent(this.state, event)) {
          this.facts.note(effect);
          if (effect.type === "saveLedger") {
            writes.push(this.save(effect.entry));
          } else if (effect.type === "dropLedger") {
            writes.push(this.drop(effect.attempt));
          } else if (effect.type === "sendReport") {
            // Each report is the whole picture, so of many in a row only the last is sent.
            this.report = effect.report;
          } else {
            others.push(effect);
          }
        }
      }
      await Promise.all(writes);
      for (const effect of others) {
        await this.perform(effect);
      }
      if (this.report !== null) {
        this.ports.sendCoordinator(this.report);
        this.report = null;
      }
      for (const { settled } of batch) {
        settled();
      }
    }
  }

  private async perform(effect: OtherEffect): Promise<void> {
    switch (effect.type) {
      case "saveIdentity":
        return await this.saveIdentity({ stateId: effect.stateId, epoch: effect.epoch });
      case "ensureSkylet":
        return this.ports.ensureSkylet(effect.uid, effect.user);
      case "sendSkylet":
        return this.ports.sendSkylet(effect.uid, effect.message);
      case "sendRenew":
        return this.ports.sendCoordinator({ type: "renew", id: effect.id });
      case "renewAfter":
        return this.renewAfter(effect.ms);
      case "refuse":
        this.ports.log.error({ reason: effect.reason }, "the coordinator is not accepted");
        return this.ports.sendCoordinator({ type: "refused", reason: effect.reason, stateId: effect.stateId });
      case "clearLater":
        return this.clearLater(effect);
      case "retryLater":
        return this.retryLater(effect.uid);
      case "log":
        return this.log(effect);
      default:
        return assertNever(effect);
    }
  }

  private log({ level, fields, text }: Extract<AgentEffect, { type: "log" }>): void {
    const { uid } = fields;
    if (typeof uid === "number") {
      this.ports.userLog.write(level, uid, fields, text);
    } else {
      this.ports.log[level](fields, text);
    }
  }

  /** A full disk must not stop what needs no disk: the write is tried again beside the loop until it succeeds. */
  private async save(entry: LedgerEntry): Promise<void> {
    const attempt = entry.wanted.attempt;
    try {
      await this.ports.ledger.save(entry);
      this.dispatch({ type: "ledgerSaved", attempt });
    } catch (error) {
      this.ports.log.error({ attempt, error: messageOf(error) }, "the ledger cannot be written; trying again");
      setTimeout(() => void this.save(entry), ledgerRetryMs);
    }
  }

  private async drop(attempt: AttemptId): Promise<void> {
    try {
      await this.ports.ledger.drop(attempt);
    } catch (error) {
      this.ports.log.error({ attempt, error: messageOf(error) }, "the ledger cannot be written; trying again");
      setTimeout(() => void this.drop(attempt), ledgerRetryMs);
    }
  }

  private async saveIdentity(identity: { stateId: string; epoch: number }): Promise<void> {
    try {
      await this.ports.ledger.saveIdentity(identity);
      this.dispatch({ type: "identitySaved", ...identity });
    } catch (error) {
      // Nothing is accepted before it is on disk; the next connection's welcome asks again.
      this.ports.log.error(
        { error: messageOf(error) },
        "the ledger cannot be written; this coordinator is not accepted yet",
      );
      setTimeout(() => void this.saveIdentity(identity), ledgerRetryMs);
    }
  }

  private renewAfter(ms: number): void {
    const at = performance.now() + ms;
    if (this.renewal !== null && this.renewal.at <= at) {
      return;
    }
    if (this.renewal !== null) {
      clearTimeout(this.renewal.timer);
    }
    const timer = setTimeout(() => {
      this.renewal = null;
      this.dispatch({ type: "renewDue", uptimeMs: this.ports.uptimeMs() });
    }, ms);
    this.renewal = { at, timer };
    timer.unref();
  }

  private clearLater({ uid, attempt, seconds }: Extract<AgentEffect, { type: "clearLater" }>): void {
    setTimeout(() => {
      if (this.state.attempts.has(attempt)) {
        this.ports.clearAttempt(uid, attempt);
      }
    }, seconds * 1000).unref();
  }

  private retryLater(uid: Uid): void {
    if (this.retries.has(uid)) {
      return;
    }
    this.retries.add(uid);
    setTimeout(() => {
      this.retries.delete(uid);
      this.dispatch({ type: "retryDue", uid });
    }, skyletRetryMs);
  }
}
