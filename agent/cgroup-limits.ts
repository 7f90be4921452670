/**
 * Limits on an attempt's cgroup: written before any of its processes is in it, and read back, since only what the kernel
 * says counts. Nothing is created: a file that is missing means that this machine cannot do it, and the attempt is not
 * started. It never touches a group that it was not given. Called by agent/cgroup.ts.
 */
import { mkdir, open, readFile, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Limits, Mechanism } from "../shared/launch-spec.ts";

/** Microseconds in which the CPU time counts; the long one for limits of which the kernel would refuse the share of the short one. */
const periods = { usual: 100_000, long: 1_000_000 } as const;
/** Cores below which the long period is taken, and the shortest time that the kernel takes, in microseconds. */
const smallCores = 0.01;
const quotaMin = 1_000;

const busyTries = 20;
const busyPauseMs = 100;

type Controller = "cpu" | "memory";

/** Without creating it: a group's files are the kernel's. */
async function writeExisting(path: string, text: string): Promise<void> {
  const file = await open(path, "r+");
  try {
    await file.write(text, 0);
  } finally {
    await file.close();
  }
}

function neededFor({ cpuCores, memoryBytes }: Limits): Controller[] {
  return [
    ...(cpuCores === undefined ? [] : ["cpu" as const]),
    ...(memoryBytes === undefined ? [] : ["memory" as const]),
  ];
}

/** A controller that was enabled just now, in this file. */
interface Enabled {
  path: string;
  controller: Controller;
}

/**
 * Groups made in the last of these folders get the files of what the limits need. `folders`: from the outermost on. Says
 * what was not enabled before, in the order in which it was done.
 */
export async function enableFor(folders: readonly string[], limits: Limits): Promise<Enabled[]> {
  const done: Enabled[] = [];
  for (const folder of folders) {
    const path = join(folder, "cgroup.subtree_control");
    for (const controller of neededFor(limits)) {
      const enabled = (await readFile(path, "utf8")).trim().split(/\s+/u);
      if (!enabled.includes(controller)) {
        await enable(path, controller);
        done.push({ path, controller });
      }
    }
  }
  return done;
}

/** A unit that was started just now may not have moved its own process out of the way yet. */
async function enable(path: string, controller: Controller): Promise<void> {
  for (let left = busyTries; ; left -= 1) {
    try {
      return await writeExisting(path, `+${controller}`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EBUSY" || left <= 1) {
        throw error;
      }
      await delay(busyPauseMs);
    }
  }
}

/** Groups in this folder have no limits any more; there are none that need any. */
export async function disableAll(folder: string): Promise<void> {
  for (const controller of ["cpu", "memory"] satisfies Controller[]) {
    await writeExisting(join(folder, "cgroup.subtree_control"), `-${controller}`).catch(() => undefined);
  }
}

/** What `cpu.max` is to hold; never more than asked. */
export function cpuMaxOf(cores: number): string {
  const period = cores < smallCores ? periods.long : periods.usual;
  return `${Math.max(quotaMin, Math.floor(cores * period))} ${period}`;
}

/** Null: there is no limit. */
export function coresOf(text: string): number | null {
  const match = /^(\d{1,15}) (\d{1,15})\n?$/u.exec(text);
  return match === null ? null : Number(match[1]) / Number(match[2]);
}

function bytesOf(text: string): number | null {
  return /^\d{1,15}\n?$/u.test(text) ? Number(text) : null;
}

/** Sets them and says what stands. Throws when one cannot be set, or is not in force afterwards. */
export async function setLimits(group: string, { cpuCores, memoryBytes }: Limits): Promise<Limits> {
  const set: Limits = {};
  if (cpuCores !== undefined) {
    const path = join(group, "cpu.max");
    await writeExisting(path, cpuMaxOf(cpuCores));
    const cores = coresOf(await readFile(path, "utf8"));
    // A microsecond of the period is as fine as it gets.
    if (cores === null || cores > cpuCores + 1e-9) {
      throw new Error("the kernel has not taken cpu.max");
    }
    set.cpuCores = cores;
  }
  if (memoryBytes !== undefined) {
    const path = join(group, "memory.max");
    await writeExisting(join(group, "memory.swap.max"), "0");
    await writeExisting(path, String(memoryBytes));
    const bytes = bytesOf(await readFile(path, "utf8"));
    if (bytes === null || bytes > memoryBytes) {
      throw new Error("the kernel has not taken memory.max");
    }
    // It counts whole pages, so that less than one reads as nothing.
    set.memoryBytes = Math.max(1, bytes);
  }
  return set;
}

const tries: readonly [Mechanism, Limits][] = [
  ["cgroup-cpu", { cpuCores: 1 }],
  ["cgroup-memory", { memoryBytes: 2 ** 30 }],
];

/**
 * What can be limited in groups below the last of these folders: tried on a group of its own. Everything is as it was
 * afterwards, also where jobs without limits run.
 */
export async function tryLimits(folders: readonly string[]): Promise<Mechanism[]> {
  const found: Mechanism[] = [];
  const folder = folders.at(-1);
  for (const [mechanism, limits] of folder === undefined ? [] : tries) {
    const group = join(folder ?? "", "probe");
    let enabled: Enabled[] = [];
    try {
      await mkdir(group, { recursive: true, mode: 0o755 });
      enabled = await enableFor(folders, limits);
      // Made anew: the files come with the group where the controller was not enabled before.
      await rmdir(group);
      await mkdir(group, { mode: 0o755 });
      await setLimits(group, limits);
      found.push(mechanism);
    } catch {
      // This machine cannot do it.
    } finally {
      await rmdir(group).catch(() => undefined);
      for (const { path, controller } of enabled.reverse()) {
        await writeExisting(path, `-${controller}`).catch(() => undefined);
      }
    }
  }
  return found;
}
