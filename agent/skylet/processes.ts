/**
 * What the kernel says about processes: who lives, since when, in which session and cgroup, with which marker in its
 * environment. Reads /proc only and signals nothing. A pid alone is never trusted, only a pid with its start time,
 * because pids are used again. Called by attempts.ts and stop.ts.
 */
import { readdirSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
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

/** One look at all processes of the machine, for any number of attempts. */
export interface ProcessTable {
  all: ProcessStat[];
  /** Pids by the attempt's folder that they carry in their environment. */
  carriers: ReadonlyMap<string, number[]>;
}

const markerStart = Buffer.from(`${folderVariable}=`);

/** The folder that the process carries, or null. */
function carriedFolder(pid: number): string | null {
  let environment: Buffer;
  try {
    environment = readFileSync(`/proc/${pid}/environ`);
  } catch {
    return null;
  }
  for (let at = environment.indexOf(markerStart); at >= 0; at = environment.indexOf(markerStart, at + 1)) {
    if (at === 0 || environment[at - 1] === 0) {
      const end = environment.indexOf(0, at);
      return environment.toString("utf8", at + markerStart.length, end < 0 ? undefined : end);
    }
  }
  return null;
}

function readTable(): ProcessTable {
  const all: ProcessStat[] = [];
  const carriers = new Map<string, number[]>();
  for (const name of readdirSync("/proc")) {
    const stat = /^\d+$/.test(name) ? livingProcess(Number(name)) : null;
    if (stat === null || stat.pid === process.pid) {
      continue;
    }
    all.push(stat);
    const folder = carriedFolder(stat.pid);
    if (folder !== null) {
      carriers.set(folder, [...(carriers.get(folder) ?? []), stat.pid]);
    }
  }
  return { all, carriers };
}

/** Looks take at most about this share of the time while somebody keeps asking. */
const pausePerLook = 3;
let looking: Promise<ProcessTable> | null = null;
let lookAgainAt = 0;

/**
 * A look that begins after this call. Those who ask before it begins share it, because it costs milliseconds and many
 * jobs end at a time.
 */
export function lookAround(): Promise<ProcessTable> {
  looking ??= delay(Math.max(0, lookAgainAt - performance.now())).then(() => {
    looking = null;
    const start = performance.now();
    const table = readTable();
    lookAgainAt = performance.now() + pausePerLook * (performance.now() - start);
    return table;
  });
  return looking;
}

/**
 * Every process of an attempt that the look found, parents before their children: members of the runner's cgroup and
 * session, those that carry the attempt's folder in their environment, and the children of all these. Never this process
 * itself.
 */
export function processesIn(table: ProcessTable, folder: string, runnerPid: number | null): ProcessStat[] {
  const found = runnerPid === null ? new Set<number>() : cgroupMembers(runnerPid, basename(folder));
  const all = withNewer(table.all, found);
  for (const stat of all) {
    if (runnerPid !== null && stat.session === runnerPid) {
      found.add(stat.pid);
    }
  }
  for (const pid of table.carriers.get(folder) ?? []) {
    found.add(pid);
  }
  if (found.size === 0) {
    return [];
  }
  addDescendants(all, found);
  const parents = new Map(all.map((stat) => [stat.pid, stat.parent]));
  return all
    .filter((stat) => found.has(stat.pid))
    .map((stat) => ({ stat, depth: depthOf(stat.pid, parents) }))
    .sort((a, b) => a.depth - b.depth)
    .map(({ stat }) => stat);
}

/** The look's processes and those of these that began after it; this process itself is none of them. */
function withNewer(all: ProcessStat[], pids: Set<number>): ProcessStat[] {
  pids.delete(process.pid);
  if (pids.size === 0) {
    return all;
  }
  const seen = new Set(all.map((stat) => stat.pid));
  const newer = [...pids].filter((pid) => !seen.has(pid)).map(livingProcess);
  return [...all, ...newer.filter((stat) => stat !== null)];
}

/** As processesIn, of a look that begins now or a little later. */
export async function processesOf(folder: string, runnerPid: number | null): Promise<ProcessStat[]> {
  return processesIn(await lookAround(), folder, runnerPid);
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
