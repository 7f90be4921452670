/**
 * What is said about one node: why nothing is planned on it, what an admin has decided, and what admins should know of
 * the machine. Pure sentences from the state, without a clock of their own. Called by explain.ts and the views.
 */
import type { NodeState } from "./state.ts";

/** Clocks that are further apart than this are worth a warning, in milliseconds; less can be the way of the message. */
const skewMaxMs = 2_000;
/** Free space for the agent's ledger, in GiB, below which the admin is warned. */
const diskFreeMinGb = 1;
/** Accelerators that one warning names. */
const faultyNamed = 8;

/** `1d 2h`, `1h 30m`, `5m 10s`, `7s`: the two largest parts. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "m"],
    [seconds % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  const shown = first < 0 ? parts.slice(-1) : parts.slice(first, first + 2).filter(([count]) => count > 0);
  return shown.map(([count, unit]) => `${count}${unit}`).join(" ");
}

/** `is drained by root: new disks (what runs there ends in 1h 30m)`; null while no admin has said anything. */
export function adminText(node: NodeState, now: number): string | null {
  const { state, reason, by, deadline } = node.admin;
  if (state === "open") {
    return null;
  }
  const who = by === null ? "" : ` by ${by}`;
  const why = reason === null ? "" : `: ${reason}`;
  const until = deadline === null || deadline <= now ? "" : ` (what runs there ends in ${span(deadline - now)})`;
  return `is ${state === "draining" ? "drained" : "removed"}${who}${why}${until}`;
}

/** Why the coordinator does not know how the node is; null while it does. */
export function silenceText(node: NodeState, now: number): string | null {
  if (node.refusal !== null) {
    return "refuses this coordinator until an admin confirms it";
  }
  if (node.lastReportAt === null) {
    return "has not reported yet";
  }
  if (node.connected && node.heard) {
    return null;
  }
  const seconds = Math.max(0, Math.round((now - node.lastReportAt) / 1000));
  return node.connected ? "is just coming back" : `is unreachable (last report ${seconds} s ago)`;
}

/** Why nothing is planned on this node; null when it takes jobs. */
export function unavailableText(node: NodeState, now: number): string | null {
  return adminText(node, now) ?? silenceText(node, now);
}

/** One text for each fault, with the accelerators that have it: `H100 2 (0000:3a:00.0) gets no jobs: …`. */
function faultTexts(node: NodeState): string[] {
  const byFault = new Map<string, string[]>();
  for (const { index, kind, pci, fault } of node.inventory?.accelerators ?? []) {
    if (fault !== undefined) {
      const name = `${kind} ${index}${pci === undefined ? "" : ` (${pci})`}`;
      byFault.set(fault, [...(byFault.get(fault) ?? []), name]);
    }
  }
  return [...byFault].map(([fault, names]) => {
    const more = names.length > faultyNamed ? ` and ${names.length - faultyNamed} more` : "";
    return `${names.slice(0, faultyNamed).join(", ")}${more} ${names.length === 1 ? "gets" : "get"} no jobs: ${fault}`;
  });
}

/** What the node warns of, what is wrong with its accelerators, and what its vitals say. */
export function warningsOf(node: NodeState): string[] {
  const warnings = node.refusal === null ? [...node.warnings] : [node.refusal, ...node.warnings];
  warnings.push(...faultTexts(node));
  const { vitals } = node;
  if (vitals !== null && Math.abs(vitals.skewMs) >= skewMaxMs) {
    const seconds = Math.round(Math.abs(vitals.skewMs) / 100) / 10;
    const side = vitals.skewMs > 0 ? "ahead of" : "behind";
    warnings.push(`Its clock is ${seconds} s ${side} the head's. Let both follow a time server (chrony, timesyncd).`);
  }
  if (vitals !== null && vitals.diskFreeGb !== null && vitals.diskFreeGb < diskFreeMinGb) {
    const free = Math.round(vitals.diskFreeGb * 100) / 100;
    warnings.push(`Only ${free} GiB are free where its agent keeps its ledger; at 0 no job starts there.`);
  }
  return warnings;
}
