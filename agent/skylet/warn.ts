/**
 * Tells a job that it will be ended soon: SIGUSR1, once, to those of its processes that catch it, so that a warning never
 * ends anything. What catches it only by accident is left out: every interactive bash and every bash with a trap for its
 * exit catch all signals that end a program, and die of this one; Node.js opens its debugger. Called by attempts.ts.
 */
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  readSync,
  writeFileSync,
} from "node:fs";
import { basename, join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { isAlive, type ProcessStat, processesOf } from "./processes.ts";
import { attemptFiles } from "./runner-script.ts";

export interface WarnOrder {
  /** The attempt's folder; holds the mark that it was warned. */
  folder: string;
  runner: { pid: number; startTime: string };
  /** Aborted when the attempt ends or goes on after all. */
  cancelled: AbortSignal;
}

/** Numbers of SIGUSR1 and SIGUSR2 on Linux (all that this runs on: x64 and arm64). */
const usr1 = 10;
const usr2 = 12;
/** Between two looks for somebody who catches it; doubled each time up to the longest. */
const firstPauseMs = 500;
const longestPauseMs = 30_000;
/** Bytes of a script that are searched for its trap: the search may take the square of it, and holds up the skylet. */
const scriptBytesMax = 16 * 1024;
/** Here-documents, comments and quoted text: what stands there is not a command of this shell. */
const notCommands = /<<-?\s{0,8}(['"]?)(\w{1,64})\b\1[\s\S]*?\n\s*\2\n|(?<=^|\s)#.*|'[^']*'|"(?:\\[\s\S]|[^"\\])*"/gm;
const trapsIt = /(?<![-\w$])trap\s[^\n;|&]*(?<![-\w])(?:SIG)?USR1\b/i;

/**
 * Returns when the warning was sent, or will not be. A program that has only begun may catch the signal a little later, so
 * it is looked for again until somebody does.
 */
export async function warnProcesses(order: WarnOrder): Promise<void> {
  for (let pause = firstPauseMs; !order.cancelled.aborted; pause = Math.min(longestPauseMs, pause * 2)) {
    const { pid, startTime } = order.runner;
    const found = await processesOf(order.folder, isAlive(pid, startTime) ? pid : null);
    const catching = found.filter((each) => each.pid !== pid && catchesWarning(each.pid));
    if (catching.length > 0 && !order.cancelled.aborted) {
      if (mark(order.folder)) {
        catching.forEach(tell);
      }
      return;
    }
    await delay(pause, undefined, { signal: order.cancelled }).catch(() => undefined);
  }
}

/** Made just before the signals: whoever finds it does not send them again. False when it is there already. */
function mark(folder: string): boolean {
  try {
    writeFileSync(join(folder, attemptFiles.warned), "", { flag: "wx", mode: 0o600 });
    return true;
  } catch {
    return false;
  }
}

function tell(each: ProcessStat): void {
  if (each.pid > 1 && isAlive(each.pid, each.startTime)) {
    try {
      process.kill(each.pid, "SIGUSR1");
    } catch {
      // It has ended meanwhile, or it is not the user's.
    }
  }
}

/** The process has a handler of its own for the signal, as far as can be told from outside. */
export function catchesWarning(pid: number): boolean {
  try {
    const line = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? "0";
    const caught = BigInt(`0x${line}`);
    const catches = (signal: number): boolean => ((caught >> BigInt(signal - 1)) & 1n) === 1n;
    if (!catches(usr1)) {
      return false;
    }
    const program = basename(readlinkSync(`/proc/${pid}/exe`)).replace(/ \(deleted\)$/, "");
    if (program === "node" || program === "nodejs") {
      return false;
    }
    return program !== "bash" || !catches(usr2) || trapsWarning(scriptOf(pid));
  } catch {
    return false;
  }
}

/** The text of a shell script sets a trap for the signal, as far as its words tell. */
export function trapsWarning(script: string): boolean {
  return trapsIt.test(script.slice(0, scriptBytesMax).replace(notCommands, "''"));
}

/** What a bash runs: the command or the file that its arguments name, or else the file that it holds open. */
function scriptOf(pid: number): string {
  const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(1);
  const first = words.find((word) => word !== "" && !/^[-+]/.test(word));
  if (words.some((word) => /^-[a-z]*c[a-z]*$/i.test(word))) {
    return first ?? "";
  }
  return readStart(first === undefined ? `/proc/${pid}/fd/255` : resolve(readlinkSync(`/proc/${pid}/cwd`), first));
}

/** The file's beginning; empty when it is none or cannot be read. Never waits for a pipe. */
function readStart(path: string): string {
  let fd: number | null = null;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!fstatSync(fd).isFile()) {
      return "";
    }
    const buffer = Buffer.alloc(scriptBytesMax);
    return buffer.toString("utf8", 0, readSync(fd, buffer, 0, scriptBytesMax, 0));
  } catch {
    return "";
  } finally {
    if (fd !== null) {
      closeSync(fd);
    }
  }
}
