/**
 * The agent's brain: one event in, the state changed in place, effects out as values. After each change the whole
 * picture of the node is reported while the coordinator's welcome is accepted. It never reads a clock, a file or a
 * process. The loop (agent/loop.ts) and the simulator are its only callers.
 */
import { type Inventory, type Report, restartedFault } from "../../shared/agent-wire.ts";
import { assertNever } from "../../shared/errors.ts";
import type { AttemptId, NodeName } from "../../shared/ids.ts";
import { advance, type Context, newAttempt } from "./attempts.ts";
import { forgetRenewals, onRenewDue, onRenewed, renewSoon } from "./leases.ts";
import { onDesired, onIdentitySaved, onRetireRequested, onWelcomed } from "./orders.ts";
import {
  onAttemptGone,
  onRetryDue,
  onRunnerChanged,
  onRunnerFailed,
  onRunnerPrepared,
  onSkyletFailed,
  onSkyletGone,
  onSkyletReady,
} from "./skylets.ts";
import type { AgentEffect, AgentEvent, AgentState, LedgerEntry, NodeAttempt } from "./state.ts";

/** What start-up has read from the system and the ledger. `identity`: null on a new node. */
export interface AgentStart {
  node: NodeName;
  bootId: string;
  inventory: Inventory;
  warnings: string[];
  identity: { stateId: string; epoch: number } | null;
  entries: LedgerEntry[];
}

/** Takes over the ledger. What had begun before the machine restarted is over; what had not may begin in this boot. */
export function initialAgentState(start: AgentStart): AgentState {
  const attempts = new Map<AttemptId, NodeAttempt>();
  for (const entry of start.entries) {
    let current = entry;
    if (entry.bootId !== start.bootId && entry.phase === "accepted") {
      current = { ...entry, bootId: start.bootId, pid: null, startTime: null };
    } else if (entry.bootId !== start.bootId && entry.phase === "go") {
      current = { ...entry, phase: "exited", fault: restartedFault };
    }
    const attempt = newAttempt(current);
    attempt.unsaved = current !== entry;
    attempts.set(entry.wanted.attempt, attempt);
  }
  return {
    node: start.node,
    bootId: start.bootId,
    inventory: start.inventory,
    warnings: start.warnings,
    stateId: start.identity?.stateId ?? null,
    epoch: start.identity?.epoch ?? 0,
    link: "down",
    welcome: null,
    seq: 0,
    attempts,
    skylets: new Map(),
    renewals: { lastId: 0, asked: new Map() },
  };
}

/** The effects are to be carried out in order. */
export function reduceAgent(state: AgentState, event: AgentEvent): AgentEffect[] {
  const context: Context = { state, effects: [], changed: false };
  apply(context, event);
  if (context.changed && state.link === "accepted") {
    context.effects.push({ type: "sendReport", report: reportOf(state) });
  }
  return context.effects;
}

function reportOf(state: AgentState): Report {
  return {
    type: "report",
    stateId: state.stateId ?? "",
    epoch: state.epoch,
    seq: state.seq,
    inventory: state.inventory,
    attempts: [...state.attempts.values()].map((attempt) => attempt.report),
    warnings: state.warnings,
  };
}

function apply(context: Context, event: AgentEvent): void {
  const { state } = context;
  switch (event.type) {
    case "resumed":
      return advanceEvery(context);
    case "linkUp":
      state.link = "greeted";
      return undefined;
    case "linkDown":
      state.link = "down";
      state.welcome = null;
      return forgetRenewals(context);
    case "welcomed":
      return onWelcomed(context, event.stateId, event.epoch);
    case "identitySaved":
      return onIdentitySaved(context, event.stateId, event.epoch);
    case "identityConfirmed":
      state.stateId = event.stateId;
      state.epoch = event.epoch;
      state.seq = 0;
      return undefined;
    case "desiredReceived":
      return onDesired(context, event.desired);
    case "retireRequested":
      return onRetireRequested(context, event.uid);
    case "renewDue":
      return onRenewDue(context, event.uptimeMs);
    case "renewed":
      return onRenewed(context, event.id);
    case "ledgerSaved":
      return onLedgerSaved(context, event.attempt);
    case "inventoryChanged":
      state.inventory = event.inventory;
      state.warnings = event.warnings;
      context.changed = true;
      return undefined;
    default:
      return applySkylet(context, event);
  }
}

type SkyletEvent = Extract<
  AgentEvent,
  | { type: "skyletReady" | "skyletGone" | "skyletFailed" | "retryDue" }
  | { type: "runnerPrepared" | "runnerFailed" | "runnerChanged" | "attemptGone" }
>;

function applySkylet(context: Context, event: SkyletEvent): void {
  switch (event.type) {
    case "skyletReady":
      onSkyletReady(context, event.uid, event.attempts);
      return renewSoon(context);
    case "skyletGone":
      return onSkyletGone(context, event.uid);
    case "skyletFailed":
      return onSkyletFailed(context, event.uid, event.error, event.fault);
    case "retryDue":
      return onRetryDue(context, event.uid);
    case "runnerPrepared":
      return onRunnerPrepared(context, event.uid, event);
    case "runnerFailed":
      return onRunnerFailed(context, event.uid, event.attempt, event.error);
    case "runnerChanged":
      return onRunnerChanged(context, event.uid, event.attempt);
    case "attemptGone":
      return onAttemptGone(context, event.uid, event.attempt);
    default:
      return assertNever(event);
  }
}

function onLedgerSaved(context: Context, id: AttemptId): void {
  const attempt = context.state.attempts.get(id);
  if (attempt !== undefined) {
    attempt.saving = false;
    advance(context, attempt);
  }
}

function advanceEvery(context: Context): void {
  for (const attempt of context.state.attempts.values()) {
    advance(context, attempt);
  }
}
