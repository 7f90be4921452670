/**
 * Ends every process of one attempt: TERM, grace time, KILL, and a look whether any is left. Parents are signalled
 * before their children, so that a shell knows of its end before its command returns and never reaches the next line.
 * It must never signal a process whose start time has changed, nor the skylet itself. Called by attempts.ts.
 */
import { setTimeout as delay } from "node:timers/promises";
import { isAlive, livingProcess, lookAround, type ProcessStat, processesIn } from "./processes.ts";

export interface StopOrder {
  /** The attempt's folder; named in the environment of its processes. */
  folder: string;
  /** The runner as it was when it was prepared; null when there never was one. */
  runner: { pid: number; startTime: string } | null;
  /** `performance.now()` at which TERM turns into KILL. A second, more urgent stop may bring it forward. */
  killAt: number;
  /** Called once when processes are still there 30 s after the first KILL; trying goes on every second. */
  onStuck: (text: string) => void;
}

/** Milliseconds that the runner is spared after the first KILL, to write the exit code of what was killed. */
const runnerSpareMs = 2000;
const stuckAfterMs = 30_000;

/** Returns when two looks in a row have found no process. */
export async function stopProcesses(order: StopOrder): Promise<void> {
  const told = new Set<string>();
  let emptyLooks = 0;
  let stuck = false;
  for (let looks = 0; emptyLooks < 2; looks += 1) {
    const table = await lookAround();
    const found = processesIn(table, order.folder, sessionOf(order));
    emptyLooks = found.length === 0 ? emptyLooks + 1 : 0;
    const overdueMs = performance.now() - order.killAt;
    for (const each of found) {
      tell(each, told);
      if (overdueMs >= 0 && (each.pid !== order.runner?.pid || overdueMs > runnerSpareMs)) {
        signal(each, "SIGKILL");
      }
    }
    if (overdueMs > stuckAfterMs && !stuck && found.length > 0) {
      stuck = true;
      order.onStuck(stuckText(found));
    }
    if (emptyLooks < 2) {
      await delay(stuck ? 1000 : Math.min(100, 10 + looks * 5));
    }
  }
}

/** The runner's session, unless its pid belongs to another process by now. */
function sessionOf(order: StopOrder): number | null {
  const { runner } = order;
  if (runner === null) {
    return null;
  }
  const now = livingProcess(runner.pid);
  return now === null || now.startTime === runner.startTime ? runner.pid : null;
}

/** TERM, once to each process. */
function tell(each: ProcessStat, told: Set<string>): void {
  const key = `${each.pid}:${each.startTime}`;
  if (!told.has(key)) {
    told.add(key);
    signal(each, "SIGTERM");
  }
}

function signal(each: ProcessStat, name: "SIGTERM" | "SIGKILL"): void {
  if (each.pid <= 1 || each.pid === process.pid || !isAlive(each.pid, each.startTime)) {
    return;
  }
  try {
    process.kill(each.pid, name);
  } catch {
    // It has ended meanwhile, or it is not the user's (sudo): the next look tells.
  }
}

function stuckText(found: readonly ProcessStat[]): string {
  const pids = found.slice(0, 20).map((each) => `${each.pid} (state ${each.state})`);
  return `${found.length} processes did not end 30 s after SIGKILL: ${pids.join(", ")}. State D waits for a device or a file server; others may belong to another account.`;
}
