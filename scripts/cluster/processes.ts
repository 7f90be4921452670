/**
 * The cluster's own processes: started detached, remembered by pid, start time and boot, ended by exactly that. A pid
 * alone is never signalled, since it may belong to somebody else by now. Used by start.ts, stop.ts and dev-cluster.ts.
 */
import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { ClusterError, pathsOf } from "./layout.ts";

/** A process for ever: the same pid with another start time or boot is another process. */
const identitySchema = z.strictObject({ pid: z.int().positive(), start: z.string(), boot: z.string() });
export type Identity = z.infer<typeof identitySchema>;
const pidsSchema = z.record(z.string(), identitySchema);

function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}

/** State letter and start time (field 22) of a process, or null when there is none. */
function stat(pid: number): { state: string; start: string } | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return { state: fields[0] ?? "X", start: fields[19] ?? "" };
  } catch {
    return null;
  }
}

export function identify(pid: number): Identity | null {
  const found = stat(pid);
  return found === null ? null : { pid, start: found.start, boot: bootId() };
}

export function isAlive(identity: Identity): boolean {
  const found = stat(identity.pid);
  return found !== null && found.start === identity.start && !"ZX".includes(found.state) && bootId() === identity.boot;
}

/** Signals exactly this process; a process that is gone is not an error. */
export function signal(identity: Identity, name: NodeJS.Signals): void {
  if (!isAlive(identity)) {
    return;
  }
  try {
    process.kill(identity.pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") {
      throw error;
    }
  }
}

/** Waits until all are gone; false when the limit (milliseconds) passes first. */
export async function gone(identities: Identity[], limitMs: number): Promise<boolean> {
  const end = performance.now() + limitMs;
  while (identities.some(isAlive)) {
    if (performance.now() > end) {
      return false;
    }
    await sleep(20);
  }
  return true;
}

/** TERM, then KILL for what is left after the limit. */
export async function end(identities: Identity[], termLimitMs: number): Promise<void> {
  for (const identity of identities) {
    signal(identity, "SIGTERM");
  }
  if (!(await gone(identities, termLimitMs))) {
    for (const identity of identities) {
      signal(identity, "SIGKILL");
    }
    if (!(await gone(identities, 5_000))) {
      throw new ClusterError(
        `processes ${identities
          .filter(isAlive)
          .map((it) => it.pid)
          .join(", ")} do not end after SIGKILL.`,
      );
    }
  }
}

export function readPids(dir: string): Map<string, Identity> {
  const file = pathsOf(dir).pidsFile;
  if (!existsSync(file)) {
    return new Map();
  }
  return new Map(Object.entries(pidsSchema.parse(JSON.parse(readFileSync(file, "utf8")))));
}

function writePid(dir: string, part: string, identity: Identity): void {
  const file = pathsOf(dir).pidsFile;
  const all = Object.fromEntries(readPids(dir).set(part, identity));
  writeFileSync(`${file}.new`, `${JSON.stringify(all, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** Starts a part in a session of its own with its output appended to log/PART.log, and remembers it. */
export function launch(dir: string, part: string, argv: string[], env: Record<string, string>): Identity {
  const [command, ...args] = argv;
  if (command === undefined) {
    throw new Error("launch: empty argv");
  }
  const log = openSync(join(pathsOf(dir).logDir, `${part.replace(":", "-")}.log`), "a", 0o600);
  try {
    const child = spawn(command, args, { detached: true, stdio: ["ignore", log, log], cwd: "/", env });
    child.on("error", () => {
      // Reported through the missing pid below; without a listener Node would throw out of the event loop.
    });
    child.unref();
    const identity = child.pid === undefined ? null : identify(child.pid);
    if (identity === null) {
      throw new ClusterError(`${command} cannot be started for '${part}'. Is it installed and on the PATH?`);
    }
    writePid(dir, part, identity);
    return identity;
  } finally {
    closeSync(log);
  }
}
