/**
 * The vocabulary of the agent's core: what is on this node, the events that change it and the effects it asks for. Plain
 * data only: no clock, no file, no process. The ledger's entries are the truth about attempts on this node; they are
 * fsynced before the act they announce. Agent's loop (agent/loop.ts) is the only caller of the reducer.
 */
import type { AttemptReport, Desired, Inventory, Report, WantedAttempt } from "../../shared/agent-wire.ts";
import type { AttemptId, NodeName, Uid } from "../../shared/ids.ts";
import type { Limits } from "../../shared/launch-spec.ts";
import type { SkyletAttempt, ToSkylet } from "../../shared/skylet-wire.ts";

/**
 * How far an attempt has come, as written in the ledger. `accepted`: known, no user code can have run. `go`: written
 * before the runner is told go, so user code may have run. `exited`: over; the report says how.
 */
export type LedgerPhase = "accepted" | "go" | "exited";

export interface LedgerEntry {
  wanted: WantedAttempt;
  phase: LedgerPhase;
  bootId: string;
  pid: number | null;
  startTime: string | null;
  setupExit: number | null;
  runExit: number | null;
  logDir: string | null;
  fault: string | null;
  /** As they stand on its cgroup; absent: none were ordered. */
  limits?: Limits | undefined;
}

/** One attempt in memory: its ledger entry and what is under way. */
export interface NodeAttempt {
  entry: LedgerEntry;
  report: AttemptReport;
  /** A ledger write is under way; nothing that depends on it is done before `ledgerSaved`. */
  saving: boolean;
  /** The entry differs from what was last given to the ledger. */
  unsaved: boolean;
  /** Sent on the present connection to the user's skylet; all false again when that connection ends. */
  sent: { start: boolean; go: boolean; mayRun: boolean; stop: boolean; warn: boolean; leaseUntil: number };
  /** In the coordinator's picture on the present connection. */
  isWanted: boolean;
  /** The last picture says that it will be ended soon; not in the ledger, since it may be taken back. */
  isWarned: boolean;
  /** Uptime in ms until which it may run; null: not renewed in this life of the agent, or it has no lease. */
  leaseUntil: number | null;
  /** Accepted in this life of the agent, and no skylet has gone since: `sent.start` says whether a runner can exist. */
  fresh: boolean;
  /** How often a runner of it ended at its gate and another was asked for, in this life of the agent. */
  repeats: number;
  /** Named as ended by the coordinator: it is being stopped, cleaned and then forgotten. */
  ended: boolean;
  /** Verified: none of its processes is left. */
  gone: boolean;
}

/** A user's skylet. `starting`: asked for, not yet connected and ready. */
export interface SkyletState {
  uid: Uid;
  user: string;
  state: "none" | "starting" | "ready";
  /** Starts in a row that failed; 0 again when one is ready. */
  failures: number;
  /** Retire once the user has no attempts. */
  retire: boolean;
}

/**
 * Why a user's skylet did not come. `refused`: this node will not run anything as that user, which no second try changes.
 * `failed`: the login itself ended with an error. `passing`: it was late or was killed, as on a machine under load.
 */
export type SkyletFault = "refused" | "failed" | "passing";

export interface AgentState {
  node: NodeName;
  bootId: string;
  inventory: Inventory;
  warnings: string[];
  /** The state id and the highest epoch this node has accepted; null and 0 on a new node. Kept in the ledger. */
  stateId: string | null;
  epoch: number;
  /** `accepted`: this connection's welcome was accepted. */
  link: "down" | "greeted" | "accepted" | "refused";
  /** The welcome whose identity is being saved; it is accepted once that is on disk. */
  welcome: { stateId: string; epoch: number } | null;
  seq: number;
  attempts: Map<AttemptId, NodeAttempt>;
  skylets: Map<Uid, SkyletState>;
  /** Requests for renewals on the present connection: when each was asked (uptime in ms), and for what. */
  renewals: { lastId: number; asked: Map<number, { uptimeMs: number; attempts: AttemptId[] }> };
}

/** A runner that waits at its gate. `limits`: what the kernel says of its cgroup; absent: none were ordered. */
export interface Prepared {
  pid: number;
  startTime: string;
  logDir: string;
  limits?: Limits;
}

export type AgentEvent =
  /** Dispatched once after `initialAgentState`, when the adapters can act: goes on with what the ledger holds. */
  | { type: "resumed" }
  | { type: "linkUp" }
  | { type: "welcomed"; stateId: string; epoch: number }
  | { type: "linkDown" }
  | { type: "desiredReceived"; desired: Desired }
  | { type: "retireRequested"; uid: Uid }
  /** The time that `renewAfter` asked for has passed; `uptimeMs`: for how long the machine has been up. */
  | { type: "renewDue"; uptimeMs: number }
  | { type: "renewed"; id: number }
  | { type: "ledgerSaved"; attempt: AttemptId }
  | { type: "identitySaved"; stateId: string; epoch: number }
  /** An admin has confirmed another coordinator's state; it is in the ledger already. Comes before the next `linkUp`. */
  | { type: "identityConfirmed"; stateId: string; epoch: number }
  /** The skylet is connected and has listed every attempt that has a folder. */
  | { type: "skyletReady"; uid: Uid; attempts: SkyletAttempt[] }
  /** Its connection closed. */
  | { type: "skyletGone"; uid: Uid }
  /** It could not be started or did not connect in time; `error` is for people. */
  | { type: "skyletFailed"; uid: Uid; error: string; fault: SkyletFault }
  /** The adapter has checked that the pid belongs to the uid and has this start time, and has set its limits. */
  | ({ type: "runnerPrepared"; uid: Uid; attempt: AttemptId } & Prepared)
  | { type: "runnerFailed"; uid: Uid; attempt: AttemptId; error: string }
  | { type: "runnerChanged"; uid: Uid; attempt: SkyletAttempt }
  /** A few seconds have passed since `retryLater` for this user. */
  | { type: "retryDue"; uid: Uid }
  /** The skylet (and the cgroup, where there is one) says that no process is left. */
  | { type: "attemptGone"; uid: Uid; attempt: AttemptId }
  | { type: "inventoryChanged"; inventory: Inventory; warnings: string[] };

export type AgentEffect =
  /** Write and fsync, then dispatch `ledgerSaved`. */
  | { type: "saveLedger"; entry: LedgerEntry }
  | { type: "dropLedger"; attempt: AttemptId }
  /** Write and fsync the accepted state id and epoch, then dispatch `identitySaved`. */
  | { type: "saveIdentity"; stateId: string; epoch: number }
  /** Start the user's skylet unless one is starting or connected; ends in `skyletReady` or `skyletFailed`. */
  | { type: "ensureSkylet"; uid: Uid; user: string }
  /** The skylet could not be started but is still needed: dispatch `retryDue` after a while. One per user at a time is enough. */
  | { type: "retryLater"; uid: Uid }
  /**
   * The attempt has ended: if it is still there after this time, its skylet does not do its part; end its processes
   * without it where a cgroup tells which they are, then dispatch `attemptGone`.
   */
  | { type: "clearLater"; uid: Uid; attempt: AttemptId; seconds: number }
  | { type: "sendSkylet"; uid: Uid; message: ToSkylet }
  | { type: "sendReport"; report: Report }
  /** Dispatch `renewDue` after this time, unless it is due sooner. */
  | { type: "renewAfter"; ms: number }
  | { type: "sendRenew"; id: number }
  | { type: "refuse"; reason: string; stateId: string | null }
  | { type: "log"; level: "info" | "warn" | "error"; text: string; fields: Record<string, string | number | null> };
