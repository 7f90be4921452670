/**
 * What the kernel says of one process: its start time and its user ids. Root reads /proc only; it opens nothing that a
 * user could have put there. Called by agent/skylets.ts before a runner is told go and before
 * a skylet is started.
 */
import { readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { Uid } from "../shared/ids.ts";

/**
 * How long a skylet that seems to live has to come back, or to end, before another one is started: two that work on one
 * user's folders at a time would take each other's half-made starts for left-overs.
 */
const returnLimitMs = 10_000;
const lookEveryMs = 50;

export interface ProcessFacts {
  /** Field 22 of /proc/PID/stat, clock ticks since boot: with the pid and the boot id it names one process for ever. */
  startTime: string;
  /** Real, effective, saved and file system uid. */
  uids: number[];
}

/** Field 22 of a /proc/PID/stat line. The second field may hold spaces and brackets, so counting begins after its last bracket. */
export function startTimeOf(stat: string): string | null {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const value = fields[19];
  return value !== undefined && /^[0-9]{1,20}$/.test(value) ? value : null;
}

/** The four numbers of the `Uid:` line of /proc/PID/status. */
export function uidsOf(status: string): number[] {
  const line = /^Uid:\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)$/m.exec(status);
  return line === null ? [] : line.slice(1).map(Number);
}

/** For how long the machine has been up, sleep included, in whole milliseconds. */
export function uptimeMs(): number {
  return Math.floor(Number.parseFloat(readFileSync("/proc/uptime", "utf8")) * 1000);
}

/** Null when there is no such process. At once: the kernel answers from memory, and each start asks several times. */
export function readProcess(pid: number): ProcessFacts | null {
  try {
    const before = readFileSync(`/proc/${pid}/stat`, "utf8");
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    const after = readFileSync(`/proc/${pid}/stat`, "utf8");
    const startTime = startTimeOf(before);
    // Read around the ids, so that all three speak of one process.
    return startTime === null || startTimeOf(after) !== startTime ? null : { startTime, uids: uidsOf(status) };
  } catch {
    return null;
  }
}

/** Why this process is not the runner that was announced; null when it is: it lives, began then, and is wholly this user's. */
export function faultOfRunner(pid: number, startTime: string, uid: Uid): string | null {
  const facts = readProcess(pid);
  if (facts === null) {
    return `its process ${pid} was gone before it could begin`;
  }
  if (facts.startTime !== startTime) {
    return `process ${pid} is another one than was announced`;
  }
  if (facts.uids.length !== 4 || facts.uids.some((one) => one !== uid)) {
    return `process ${pid} does not run as uid ${uid}`;
  }
  return null;
}

/**
 * Whether a process of this user looks like a skylet of the agent with this socket. A user can make one that looks so:
 * it is a hint for whether one may still come back, never proof and never a target for a signal.
 */
async function skyletLives(uid: Uid, socketPath: string): Promise<boolean> {
  const mark = `\0--socket\0${socketPath}\0`;
  for (const name of await readdir("/proc")) {
    if (/^[0-9]+$/.test(name)) {
      const words = await readFile(`/proc/${name}/cmdline`, "utf8").catch(() => "");
      if (words.includes(mark) && readProcess(Number(name))?.uids[0] === uid) {
        return true;
      }
    }
  }
  return false;
}

/** Waits while one seems to live (see skyletLives), at most ten seconds and no longer than until `isOver`. */
export async function untilNoSkylet(uid: Uid, socketPath: string, isOver: () => boolean): Promise<void> {
  const end = performance.now() + returnLimitMs;
  while (!isOver() && performance.now() < end && (await skyletLives(uid, socketPath))) {
    await delay(lookEveryMs);
  }
}
