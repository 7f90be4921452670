/**
 * What the kernel says about processes: who lives, since when, in which session and cgroup, with which marker in its
 * environment. Reads /proc only and signals nothing. A pid alone is never trusted, only a pid with its start time,
 * because pids are used again. Called by attempts.ts and stop.ts.
 */
import { readdirSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { folderVariable } from "./environment.ts";

export interface ProcessStat {
  pid: number;
  /** One letter: R, S, D, Z … */
  state: string;
  parent: number;
  session: number;
  /** Field 22 of /proc/PID/stat: clock ticks since boot, as text. */
  startTime: string;
}

/** Parses /proc/PID/stat; the command's name may hold blanks and brackets. */
export function parseStat(text: string): ProcessStat | null {
  const close = text.lastIndexOf(")");
  const rest = text.slice(close + 2).split(" ");
  const [state, parent, , session] = rest;
  const startTime = rest[19];
  if (close < 0 || state === undefined || startTime === undefined) {
    return null;
  }
  return { pid: Number.parseInt(text, 10), state, parent: Number(parent), session: Number(session), startTime };
}

/** The process with this pid, or null when there is none or it is only a zombie. */
export function livingProcess(pid: number): ProcessStat | null {
  try {
    const stat = parseStat(readFileSync(`/proc/${pid}/stat`, "latin1"));
    return stat === null || stat.state === "Z" || stat.state === "X" ? null : stat;
  } catch {
    return null;
  }
}

/** True while exactly this process lives. */
export function isAlive(pid: number, startTime: string): boolean {
  return livingProcess(pid)?.startTime === startTime;
}

/** Identity of the machine's present run; changes at each restart. */
export function readBootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}

/** Pids in cgroups (version 2, or systemd's own hierarchy) whose path names the attempt, seen from its runner. */
function cgroupMembers(runnerPid: number, attempt: string): Set<number> {
  const members = new Set<number>();
  try {
    for (const line of readFileSync(`/proc/${runnerPid}/cgroup`, "utf8").trim().split("\n")) {
      const path = line.split(":").slice(2).join(":");
      if (!line.startsWith("0::") || !path.includes(attempt)) {
        continue;
      }
      for (const mount of ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]) {
        try {
          const text = readFileSync(`${mount}${path}/cgroup.procs`, "utf8");
          for (const pid of text.split("\n").filter((entry) => entry !== "")) {
            members.add(Number(pid));
          }
        } catch {
          // The other of the two usual places has it.
        }
      }
    }
  } catch {
    // The runner has ended, or this kernel has no cgroups: session and marker remain.
  }
  return members;
}

async function carriesMarker(pid: number, marker: Buffer): Promise<boolean> {
  try {
    const environment = await readFile(`/proc/${pid}/environ`);
    const at = environment.indexOf(marker);
    return at === 0 || (at > 0 && environment[at - 1] === 0);
  } catch {
    return false;
  }
}

/**
 * Every living process of an attempt, parents before their children: members of the runner's cgroup and session, those
 * that carry the attempt's folder in their environment, and the children of all these. Never this process itself.
 */
export async function processesOf(folder: string, runnerPid: number | null): Promise<ProcessStat[]> {
  const marker = Buffer.from(`${folderVariable}=${folder}\0`);
  const inCgroup = runnerPid === null ? new Set<number>() : cgroupMembers(runnerPid, basename(folder));
  const all = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((name) => livingProcess(Number(name)))
    .filter((stat) => stat !== null && stat.pid !== process.pid) as ProcessStat[];
  const found = new Set<number>();
  for (const stat of all) {
    const related = inCgroup.has(stat.pid) || (runnerPid !== null && stat.session === runnerPid);
    if (related || (await carriesMarker(stat.pid, marker))) {
      found.add(stat.pid);
    }
  }
  addDescendants(all, found);
  const parents = new Map(all.map((stat) => [stat.pid, stat.parent]));
  return all
    .filter((stat) => found.has(stat.pid))
    .map((stat) => ({ stat, depth: depthOf(stat.pid, parents) }))
    .sort((a, b) => a.depth - b.depth)
    .map(({ stat }) => stat);
}

function addDescendants(all: readonly ProcessStat[], found: Set<number>): void {
  let before = -1;
  while (found.size !== before) {
    before = found.size;
    for (const stat of all) {
      if (found.has(stat.parent)) {
        found.add(stat.pid);
      }
    }
  }
}

function depthOf(pid: number, parents: ReadonlyMap<number, number>): number {
  let depth = 0;
  for (let at = parents.get(pid); at !== undefined && at > 1 && depth < 1000; at = parents.get(at)) {
    depth += 1;
  }
  return depth;
}
