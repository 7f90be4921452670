/**
 * One line in the log for each step in the life of a rank: accepted, handed to the user's skylet, let go, ended, stopped,
 * gone. They are what `sky admin logs` shows of this machine, so each names user, job and attempt. It decides nothing and
 * keeps only what it needs to say each thing once. Called by agent/loop.ts with what the core asks for.
 */
import type { AttemptId, Uid } from "../shared/ids.ts";
import type { AgentEffect, LedgerEntry, LedgerPhase } from "./core/state.ts";
import type { UserFields, UserLog } from "./user-log.ts";

interface Known {
  uid: Uid;
  job: number;
  rank: number;
  phase: LedgerPhase;
  stopping: boolean;
}

export class JobFacts {
  private readonly log: UserLog;
  private readonly known = new Map<AttemptId, Known>();

  /** `entries`: what the ledger held at the start; of these the beginning was said in an earlier life. */
  constructor(log: UserLog, entries: readonly LedgerEntry[]) {
    this.log = log;
    for (const entry of entries) {
      this.learn(entry);
    }
  }

  /** An effect of the core that is carried out now. */
  note(effect: AgentEffect): void {
    if (effect.type === "saveLedger") {
      this.saved(effect.entry);
    } else if (effect.type === "dropLedger") {
      this.say(effect.attempt, {}, "nothing of it is left here; what it held is free");
      this.known.delete(effect.attempt);
    } else if (effect.type === "sendSkylet") {
      const { message } = effect;
      if (message.type === "start") {
        this.say(message.wanted.attempt, {}, "the user's skylet is to prepare it");
      } else if (message.type === "mayRun") {
        this.say(message.attempt, {}, "its run script may begin: every rank is set up");
      } else if (message.type === "stop") {
        this.stopping(message.attempt);
      }
    }
  }

  private learn(entry: LedgerEntry): Known {
    const { attempt, uid, jobId: job, rank } = entry.wanted;
    const known = { uid, job, rank, phase: entry.phase, stopping: false };
    this.known.set(attempt, known);
    return known;
  }

  private saved(entry: LedgerEntry): void {
    const { wanted, phase, pid, setupExit, runExit, fault } = entry;
    const before = this.known.get(wanted.attempt);
    if (before === undefined) {
      this.learn(entry);
      const { devices, cpus, memoryGb } = wanted.grant;
      this.say(wanted.attempt, { devices: devices.join(","), cpus, memoryGb }, "accepted: it is to run here");
    }
    if (phase !== "accepted" && before?.phase !== phase) {
      const known = before ?? this.learn(entry);
      known.phase = phase;
      const text = phase === "go" ? "its runner is checked and let go" : "it has ended";
      this.say(wanted.attempt, phase === "go" ? { pid } : { setupExit, runExit, fault }, text);
    }
  }

  /** A stop is repeated to each skylet that comes; it is said once. */
  private stopping(attempt: AttemptId): void {
    const known = this.known.get(attempt);
    if (known?.stopping === false) {
      known.stopping = true;
      this.say(attempt, {}, "the coordinator has named it as ended: what is left of it is stopped");
    }
  }

  private say(attempt: AttemptId, fields: UserFields, text: string): void {
    const known = this.known.get(attempt);
    if (known !== undefined) {
      const { uid, job, rank } = known;
      this.log.fact(uid, { job, attempt, rank, ...fields }, text);
    }
  }
}
