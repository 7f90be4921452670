/**
 * Who owns a world: its name says it (pid, start time and boot of the process that made it), so a world of a dead owner is
 * known by its name alone, and a pid that was given out again is no false owner. Sweeping removes such worlds: their
 * processes (by control group), control groups and folders. Used by world.ts and by vitest before and after the project.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { must } from "../help/run.ts";
import { cacheDir } from "./image.ts";

export const worldsDir = join(cacheDir, "worlds");
const namePattern = /^skyt-(\d+)-(\d+)-([0-9a-f]{8})-[0-9a-f]{6}$/;

function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").slice(0, 8);
}

/** Clock ticks since boot at which a process started; null when there is none. A zombie is none. */
function startTime(pid: number): string | null {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
    return fields[0] === "Z" || fields[0] === "X" ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

/** A new world's name: that of its folder and of its control group. */
export function newWorldName(): string {
  return `skyt-${process.pid}-${startTime(process.pid) ?? "0"}-${bootId()}-${randomBytes(3).toString("hex")}`;
}

function isOrphan(name: string): boolean {
  const [, pid, started, boot] = namePattern.exec(name) ?? [];
  return pid !== undefined && (boot !== bootId() || startTime(Number(pid)) !== started);
}

/**
 * Runs a shell script in a mount namespace of its own, in which the computer's one cgroup2 tree lies at /sys/fs/cgroup,
 * whatever the layout outside.
 */
async function withCgroups(script: string, args: readonly string[]): Promise<string> {
  const all = `mount -t cgroup2 cgroup2 /sys/fs/cgroup && cd /sys/fs/cgroup && ${script}`;
  return await must(["unshare", "--mount", "sh", "-euc", all, "sh", ...args]);
}

/** Ends what still runs in a world's control groups, and removes them and the world's folder. Its mounts are private and gone. */
export async function removeRemains(name: string): Promise<void> {
  if (!namePattern.test(name)) {
    throw new Error(`'${name}' is not the name of a test's world`);
  }
  const script = `if [ -d "$1" ]; then
    echo 1 >"$1/cgroup.kill"
    for _ in $(seq 1000); do grep -q 'populated 0' "$1/cgroup.events" && break; sleep 0.01; done
    find "$1" -depth -type d -exec rmdir {} \\; 2>/dev/null || [ ! -e "$1" ]
  fi`;
  await withCgroups(script, [name]);
  await must(["rm", "-rf", "--one-file-system", join(worldsDir, name)]);
}

/** Removes what worlds of dead owners left behind; returns their names. */
export async function sweep(): Promise<string[]> {
  mkdirSync(worldsDir, { recursive: true, mode: 0o700 });
  const groups = (await withCgroups("ls -d skyt-* 2>/dev/null || true", [])).split("\n");
  const orphans = [...new Set([...readdirSync(worldsDir), ...groups])].filter(isOrphan);
  for (const name of orphans) {
    await removeRemains(name);
  }
  return orphans;
}
