/**
 * One cgroup for each attempt, where this machine has a writable cgroup v2 hierarchy (also the hybrid one beside v1): a
 * runner is put into it before any user code runs, and nothing of the attempt can leave it, so "no process is left" can
 * be verified and enforced, and its limits hold for all of it. They lie below the unit that holds running jobs, or where
 * there is none beside the units of the system. Without such a hierarchy all of this does nothing. Called by agent/skylets.ts.
 */
import { mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type AttemptId, attemptIdSchema, type NodeName } from "../shared/ids.ts";
import type { Limits, Mechanism } from "../shared/launch-spec.ts";
import { disableAll, enableFor, setLimits, tryLimits } from "./cgroup-limits.ts";

const killLimitMs = 10_000;
const pollMs = 20;
const placeTries = 3;

/** The mount point of the first cgroup v2 hierarchy in the text of /proc/self/mounts. */
export function cgroup2Mount(mounts: string): string | null {
  for (const line of mounts.split("\n")) {
    const [, mount, type, options] = line.split(" ");
    if (type === "cgroup2" && mount !== undefined && options?.split(",").includes("rw") === true) {
      return mount.replace(/\\040/g, " ");
    }
  }
  return null;
}

export class Cgroups {
  /** `<mount><holder>/sky-onprem-<node>`, without a holder `<mount>/sky-onprem-<node>`; null: this machine has no cgroup v2 that we may write. */
  readonly folder: string | null;
  /** Every place in which a group of an attempt can be, the first for new ones: there may have been no holder when it began. */
  private readonly places: string[];

  private constructor(places: string[]) {
    this.folder = places[0] ?? null;
    this.places = places;
  }

  /**
   * Looks for the hierarchy and tries whether a group can be made in it. Groups are made when needed and leave nothing
   * behind. `holder` is the control group of the unit that holds running jobs; null: there is none. `table`: lists what
   * is mounted.
   */
  static async open(node: NodeName, holder: string | null, table = "/proc/self/mounts"): Promise<Cgroups> {
    const mount = cgroup2Mount(await readFile(table, "utf8").catch(() => ""));
    if (mount === null) {
      return Cgroups.none();
    }
    const plain = join(mount, `sky-onprem-${node}`);
    const held = holder === null ? null : join(mount, holder, `sky-onprem-${node}`);
    if (held !== null && (await isUsable(held))) {
      return new Cgroups([held, plain]);
    }
    return (await isUsable(plain)) ? new Cgroups([plain]) : Cgroups.none();
  }

  /** For `single_user`, where there is nothing to write to. */
  static none(): Cgroups {
    return new Cgroups([]);
  }

  /** What jobs can be limited in here, tried. */
  async mechanisms(): Promise<Mechanism[]> {
    if (this.folder === null) {
      return [];
    }
    const found = await tryLimits([dirname(this.folder), this.folder]);
    await leave(this.folder);
    return found;
  }

  /**
   * Puts the process, and thereby all that it will start, into the attempt's group, after its limits are set there; says
   * how they stand. Throws when the process is gone, or when a limit cannot be set: it is not in the group then.
   */
  async place(attempt: AttemptId, pid: number, limits: Limits | null = null): Promise<Limits | null> {
    if (this.folder === null && limits !== null) {
      throw new Error("this machine has no cgroup v2 that can be used");
    }
    if (this.folder === null) {
      return null;
    }
    const group = join(this.folder, attempt);
    for (let left = placeTries; ; left -= 1) {
      try {
        const set = await this.makeGroup(this.folder, group, limits);
        await writeFile(join(group, "cgroup.procs"), String(pid));
        return set;
      } catch (error) {
        // The last group of the folder was removed, and the folder with it, in the same instant.
        if ((error as NodeJS.ErrnoException).code !== "ENOENT" || left <= 1) {
          throw error;
        }
      }
    }
  }

  private async makeGroup(folder: string, group: string, limits: Limits | null): Promise<Limits | null> {
    if (limits === null) {
      await mkdir(group, { recursive: true, mode: 0o755 });
      return null;
    }
    await mkdir(folder, { recursive: true, mode: 0o755 });
    await enableFor([dirname(folder), folder], limits);
    await mkdir(group, { recursive: true, mode: 0o755 });
    return await setLimits(group, limits);
  }

  /**
   * Takes a process out again that is not the attempt's: it got there because a pid was used again in the same instant. A
   * group whose children have limits takes no process itself, the outermost always does.
   */
  async expel(pid: number): Promise<void> {
    for (let folder = this.folder ?? "/"; folder !== "/"; folder = dirname(folder)) {
      const isOut = await writeFile(join(dirname(folder), "cgroup.procs"), String(pid), { flag: "r+" }).then(
        () => true,
        () => false,
      );
      if (isOut) {
        return;
      }
    }
  }

  /** Removes groups without processes that no attempt of the ledger needs; called at start. */
  async sweep(isKnown: (attempt: string) => boolean): Promise<void> {
    for (const folder of this.places) {
      const names = await readdir(folder, { withFileTypes: true }).catch(() => []);
      for (const name of names) {
        if (name.isDirectory() && attemptIdSchema.safeParse(name.name).success && !isKnown(name.name)) {
          await rmdir(join(folder, name.name)).catch(() => undefined);
        }
      }
      await leave(folder);
    }
  }

  /** Kills what is left of the attempt, waits until it is gone, and removes the group. False: something is still there after ten seconds. */
  async clear(attempt: AttemptId): Promise<boolean> {
    const end = performance.now() + killLimitMs;
    for (const folder of this.places) {
      if (!(await cleared(folder, attempt, end))) {
        return false;
      }
    }
    return true;
  }
}

function ignoreExisting(error: NodeJS.ErrnoException): void {
  if (error.code !== "EEXIST") {
    throw error;
  }
}

async function isUsable(folder: string): Promise<boolean> {
  try {
    await mkdir(folder, { mode: 0o755 }).catch(ignoreExisting);
    await readFile(join(folder, "cgroup.procs"), "utf8");
    await rmdir(folder).catch(() => undefined);
    return true;
  } catch {
    return false;
  }
}

/**
 * Removes the folder of the groups when it is empty. Its unit must be free of controllers then: systemd could start no
 * process in it otherwise. At the top of the hierarchy they are the system's, and stay.
 */
async function leave(folder: string): Promise<void> {
  const isGone = await rmdir(folder).then(
    () => true,
    () => false,
  );
  if (isGone && basename(dirname(folder)).endsWith(".service")) {
    await disableAll(dirname(folder));
  }
}

async function cleared(folder: string, attempt: AttemptId, end: number): Promise<boolean> {
  const group = join(folder, attempt);
  for (;;) {
    const pids = await readPids(group);
    if (pids.length === 0 && (await removed(group))) {
      await leave(folder);
      return true;
    }
    if (performance.now() > end) {
      return false;
    }
    await kill(group, pids);
    await delay(pollMs);
  }
}

/** Every process in the group; groups below it do not exist, because only root could make them. */
async function readPids(group: string): Promise<number[]> {
  const text = await readFile(join(group, "cgroup.procs"), "utf8").catch(() => "");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map(Number);
}

async function removed(group: string): Promise<boolean> {
  try {
    await rmdir(group);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT";
  }
}

async function kill(group: string, pids: number[]): Promise<void> {
  try {
    await writeFile(join(group, "cgroup.kill"), "1");
  } catch {
    // Kernels before 5.14: one by one, again and again, until no new one appears.
    for (const pid of pids.filter((one) => one > 1)) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It ended by itself.
      }
    }
  }
}
