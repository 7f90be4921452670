/**
 * The lines of our own in a job's log text: what is said before, between and after the ranks' output, the ranks'
 * prefixes, and the exit code of the whole. Texts are SkyPilot's, because scripts search for them. Pure: it must never
 * read a clock or the network. Called by logs.ts.
 */
import { exitCodes } from "../../shared/api.ts";
import type { JobId, NodeName } from "../../shared/ids.ts";
import type { JobRecord } from "../../shared/job.ts";
import { statusOf } from "../../shared/job.ts";
import type { State } from "../core/state.ts";

export function waitingLine(nodes: number): string {
  return `├── Waiting for task resources on ${nodes} node${nodes === 1 ? "" : "s"}.`;
}

export const startedLine = "└── Job started. Streaming logs... (Ctrl-C to exit log streaming; job will not be killed)";

/** What a reader sees of a rank's place: its label, its address, and whether the cluster has one node only. */
export interface RankPlace {
  rank: number;
  /** `head` or `workerN`. */
  label: string;
  address: string;
  singleNodeCluster: boolean;
}

/** The place of a rank that runs on this node. A node that has left the cluster's config is shown by its name. */
export function placeOf(state: State, node: NodeName, rank: number): RankPlace {
  const known = state.nodes.get(node);
  const configured = state.config.nodes.find((candidate) => candidate.name === node);
  const labelOfIndex = (index: number): string => (index === 0 ? "head" : `worker${index}`);
  return {
    rank,
    label: known === undefined ? node : labelOfIndex(known.index),
    address: configured?.address ?? known?.inventory?.address ?? node,
    singleNodeCluster: state.config.nodes.length === 1,
  };
}

/** The prefix of a rank's lines, without colour. */
export function prefixOf(kind: "setup" | "run", place: RankPlace, jobName: string | null, pid: number): string {
  const isHead = place.label === "head";
  if (kind === "setup") {
    return isHead ? `(setup pid=${pid})` : `(setup pid=${pid}, ip=${place.address})`;
  }
  if (place.singleNodeCluster) {
    return `(${jobName ?? "task"}, pid=${pid})`;
  }
  const ip = isHead ? "" : `, ip=${place.address}`;
  return `(${place.label}, rank=${place.rank}, pid=${pid}${ip})`;
}

/** A rank that was ended because another one failed has no exit code of its own; SkyPilot shows 137 (SIGKILL). */
const killedCode = 137;
const crashedCode = 139;

function failureLines(id: JobId, record: JobRecord): string[] {
  const ranks = record.attempt?.ranks ?? [];
  if (record.end === "FAILED_SETUP") {
    const failed = ranks.filter((rank) => rank.setup && rank.setupExit !== 0);
    const workers = failed.map((rank) => `(pid=${rank.pid ?? "none"}, returncode=${rank.setupExit ?? killedCode})`);
    const list = workers.length === 0 ? "none reported" : workers.join(", ");
    return [`ERROR: Job ${id}'s setup failed. Failed workers: ${list}. See error logs above for more details.`];
  }
  // Without a code of its own it did not fail by itself: the reason says what ended it.
  if (record.end === "FAILED" && ranks.some((rank) => rank.runExit !== null && rank.runExit !== 0)) {
    const codes = ranks.map((rank) => rank.runExit ?? killedCode);
    const lines = [`ERROR: Job ${id} failed with return code list: [${codes.join(", ")}]`];
    if (codes.includes(crashedCode)) {
      lines.push("A return code of 139 means that a process was ended by SIGSEGV (segmentation fault).");
    }
    if (codes.includes(killedCode)) {
      lines.push(
        "A return code of 137 means that a process was killed, often because another node failed or memory ran out.",
      );
    }
    return lines;
  }
  return [];
}

/** What is said after the output of a job that has ended. */
export function endLines(id: JobId, record: JobRecord): string[] {
  const lines = failureLines(id, record);
  // Return codes say more than the reason, which repeats them.
  if (lines.length === 0 && record.end !== "SUCCEEDED" && record.reason !== null) {
    lines.push(record.end === "CANCELLED" ? record.reason : `ERROR: Job ${id}: ${record.reason}`);
  }
  lines.push(`✓ Job finished (status: ${statusOf(record)}).`);
  return lines;
}

/** The code with which `sky logs` ends. */
export function exitCodeOf(record: JobRecord): number {
  if (record.phase !== "ended") {
    return exitCodes.notFinished;
  }
  if (record.end === "SUCCEEDED") {
    return exitCodes.succeeded;
  }
  return record.end === "CANCELLED" ? exitCodes.cancelled : exitCodes.failed;
}
