/**
 * The only place of the doctor that touches the machine: runs tools with an argument list, a fixed environment, no input
 * and a time limit, and reads small files of the kernel's and root's. It must never open anything below a folder that a
 * user can write: what concerns a user's files is asked as that user, through a login. Checks get it as `Probes`; tests
 * give them answers that were recorded.
 */
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { open, readdir, readlink } from "node:fs/promises";
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

const toolLimitMs = 10_000;
const outputBytesMax = 2 * 1024 * 1024;
const fileBytesMax = 1024 * 1024;
const entriesMax = 10_000;
/** Between TERM, which sudo and su pass on, and KILL for whatever is left. */
const killAfterMs = 2_500;
/** How long output is still taken after a tool has ended. */
const lateOutputMs = 1_000;
const toolsAtOnce = 6;
const fixedEnv = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8" };

export interface ToolAnswer {
  /** Exit code; 128 + number when a signal ended it. */
  code: number;
  stdout: string;
  stderr: string;
  /** Milliseconds that it took. */
  ms: number;
}

/** A probe that gave no answer. A check that does not expect it becomes `unknown` with this text. */
export class ProbeFault extends Error {
  override readonly name = "ProbeFault";
  readonly kind: "missing" | "slow" | "failed";

  constructor(kind: "missing" | "slow" | "failed", message: string) {
    super(message);
    this.kind = kind;
  }
}

export interface Probes {
  /** Runs a tool. Throws ProbeFault when it is not there, does not end within `limitMs` (10 s) or prints over 2 MB. */
  tool(argv: readonly [string, ...string[]], limitMs?: number): Promise<ToolAnswer>;
  /** A file's text, at most 1 MB; null: there is none. */
  file(path: string): Promise<string | null>;
  /** Names in a folder, sorted; null: there is none. */
  list(path: string): Promise<string[] | null>;
  /** Where a link of root's or the kernel's leads; null: there is none. */
  link(path: string): Promise<string | null>;
  /** The first line that a server says on TCP within `limitMs`. Throws ProbeFault when nothing answers. */
  greeting(host: string, port: number, limitMs: number): Promise<string>;
}

function isAbsent(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENOTDIR";
}

function cannotRead(path: string, error: unknown): ProbeFault {
  return new ProbeFault("failed", `${path} cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)})`);
}

async function file(path: string): Promise<string | null> {
  try {
    const handle = await open(path, "r");
    try {
      const buffer = Buffer.alloc(fileBytesMax);
      let length = 0;
      // Files of the kernel give what they like at a time.
      for (;;) {
        const { bytesRead } = await handle.read(buffer, length, fileBytesMax - length);
        length += bytesRead;
        if (bytesRead === 0 || length === fileBytesMax) {
          return buffer.toString("utf8", 0, length);
        }
      }
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (isAbsent(error)) {
      return null;
    }
    throw cannotRead(path, error);
  }
}

async function list(path: string): Promise<string[] | null> {
  try {
    return (await readdir(path)).sort().slice(0, entriesMax);
  } catch (error) {
    if (isAbsent(error)) {
      return null;
    }
    throw cannotRead(path, error);
  }
}

async function link(path: string): Promise<string | null> {
  try {
    return await readlink(path);
  } catch (error) {
    if (isAbsent(error) || (error as NodeJS.ErrnoException).code === "EINVAL") {
      return null;
    }
    throw cannotRead(path, error);
  }
}

function greeting(host: string, port: number, limitMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    let text = "";
    const fail = (why: string): void => {
      socket.destroy();
      reject(new ProbeFault("failed", why));
    };
    const timer = setTimeout(() => fail(`no answer within ${limitMs / 1000} seconds`), limitMs);
    socket.once("error", (error: NodeJS.ErrnoException) => fail(error.code ?? error.message));
    socket.once("end", () => fail("it closed the connection without a word"));
    socket.once("close", () => clearTimeout(timer));
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      if (text.includes("\n") || text.length > 1000) {
        socket.destroy();
        resolve(text.split("\n")[0]?.trim() ?? "");
      }
    });
  });
}

/** Start times of a process and of all below it, by pid; what a login starts leaves sudo's group, but not its tree. */
function treeOf(root: number): Map<number, string> {
  const parents = new Map<number, { parent: number; start: string }>();
  for (const name of readdirSync("/proc")) {
    if (/^[0-9]+$/.test(name)) {
      const found = statOf(Number(name));
      if (found !== null) {
        parents.set(Number(name), found);
      }
    }
  }
  const tree = new Map<number, string>();
  const isBelow = (pid: number): boolean => {
    let at: number | undefined = pid;
    for (let depth = 0; at !== undefined && depth < 100; depth += 1) {
      if (at === root) {
        return true;
      }
      at = parents.get(at)?.parent;
    }
    return false;
  };
  for (const [pid, { start }] of parents) {
    if (isBelow(pid)) {
      tree.set(pid, start);
    }
  }
  return tree;
}

function statOf(pid: number): { parent: number; start: string } | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return { parent: Number(fields[1]), start: fields[19] ?? "" };
  } catch {
    return null;
  }
}

function sendTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended meanwhile.
  }
}

/** Trees that are being ended; the doctor may not go before they are. */
const endings = new Set<Promise<void>>();

/** TERM to the tool, then KILL to all that is left of its tree: a session of a user is in no group of the tool's. */
function endTree(pid: number): void {
  const tree = treeOf(pid);
  sendTo(pid, "SIGTERM");
  const ending = delay(killAfterMs).then(() => {
    for (const [each, start] of tree) {
      if (statOf(each)?.start === start) {
        sendTo(each, "SIGKILL");
      }
    }
    endings.delete(ending);
  });
  endings.add(ending);
}

/** Resolves when nothing is left of the tools that were given up. */
export async function untilEnded(): Promise<void> {
  await Promise.all(endings);
}

function run(argv: readonly [string, ...string[]], limitMs: number): Promise<ToolAnswer> {
  const [program, ...args] = argv;
  return new Promise((resolve, reject) => {
    const begun = performance.now();
    const child = spawn(program, args, {
      env: fixedEnv,
      cwd: "/",
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    const kept: { stdout: Buffer[]; stderr: Buffer[] } = { stdout: [], stderr: [] };
    let bytes = 0;
    const giveUp = (kind: "slow" | "failed", why: string): void => {
      clearTimeout(timer);
      // The number of one that has ended may be another process' by now.
      if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
        endTree(child.pid);
      }
      // Whoever still holds the other ends of the pipes is not waited for.
      child.stdout.destroy();
      child.stderr.destroy();
      reject(new ProbeFault(kind, why));
    };
    const timer = setTimeout(
      () => giveUp("slow", `'${shown(argv)}' did not end within ${limitMs / 1000} seconds`),
      limitMs,
    );
    for (const name of ["stdout", "stderr"] as const) {
      child[name].on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > outputBytesMax) {
          giveUp("failed", `'${shown(argv)}' printed more than 2 MB`);
        } else {
          kept[name].push(chunk);
        }
      });
    }
    child.once("error", (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      const isMissing = error.code === "ENOENT";
      const why = isMissing ? `${program} is not installed` : `${program} cannot be run (${error.code})`;
      reject(new ProbeFault(isMissing ? "missing" : "failed", why));
    });
    child.once("exit", () => {
      // What it has left in the background may hold its output open for as long as it likes.
      setTimeout(() => {
        child.stdout.destroy();
        child.stderr.destroy();
      }, lateOutputMs).unref();
    });
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      resolve({
        code: code ?? (signal === "SIGKILL" ? 137 : 143),
        stdout: Buffer.concat(kept.stdout).toString("utf8"),
        stderr: Buffer.concat(kept.stderr).toString("utf8"),
        ms: performance.now() - begun,
      });
    });
  });
}

/** The beginning of a command line, for people. */
function shown(argv: readonly string[]): string {
  return argv.join(" ").slice(0, 100);
}

/** The machine itself. Few tools run at one time, so that a doctor's visit is no load. */
export function machineProbes(): Probes {
  let running = 0;
  const waiting: (() => void)[] = [];
  const tool: Probes["tool"] = async (argv, limitMs = toolLimitMs) => {
    if (running >= toolsAtOnce) {
      await new Promise<void>((resolve) => waiting.push(resolve));
    }
    running += 1;
    try {
      return await run(argv, limitMs);
    } finally {
      running -= 1;
      waiting.shift()?.();
    }
  };
  return { tool, file, list, link, greeting };
}
