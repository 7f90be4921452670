/**
 * Vendors' tools and the kernel's files as the detection of accelerators asks for them. A tool is run by its absolute
 * path, found in folders that the config names, and only when nobody but root (or the user of a single-user agent) could
 * have put it there; it has a time limit and no input. It must never open anything a user can write. Made by
 * agent/agent.ts; tests hand the detection recorded answers instead.
 */
import { lstat, open, readdir, readlink, realpath } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../shared/errors.ts";
import type { SysfsReader } from "../system/pci.ts";
import { runTool, ToolFault, type ToolResult } from "./spawn.ts";

/** nvidia-smi on eight cards without persistence mode needs some seconds. */
const toolLimitMs = 15_000;
/** From its kill until a tool is given up. */
const lateMs = 1_000;
const fileBytesMax = 64 * 1024;
const entriesMax = 10_000;

export interface Machine extends SysfsReader {
  /** Runs a tool by its name. Null: it is not installed. Throws ToolFault when it is too slow, and when it is not safe to run. */
  tool(name: string, argv: readonly string[]): Promise<ToolResult | null>;
}

async function orNull<T>(reading: Promise<T>): Promise<T | null> {
  return await reading.catch(() => null);
}

/** Why others than `owners` could exchange the file; null: nobody can. `path` has no symbolic links in it. */
async function unsafePart(path: string, owners: readonly number[]): Promise<string | null> {
  for (let part = path; ; part = dirname(part)) {
    const facts = await lstat(part);
    const isSticky = part !== path && (facts.mode & 0o1000) !== 0;
    if (!owners.includes(facts.uid) || ((facts.mode & 0o022) !== 0 && !isSticky)) {
      return part;
    }
    if (part === "/") {
      return null;
    }
  }
}

/** This machine. `folders`: where tools are looked for, the first match counts; `logs`: where they may leave their own. */
export class RealMachine implements Machine {
  readonly #folders: readonly string[];
  readonly #env: Record<string, string>;
  readonly #owners: number[];

  readonly #run: typeof runTool;
  readonly #limitMs: number;
  /** Those that were given up and have not ended, by their names: a driver that hangs holds even what is killed. */
  readonly #stuck = new Map<string, Promise<unknown>>();

  constructor(folders: readonly string[], logs: string, run = runTool, limitMs = toolLimitMs) {
    this.#folders = folders;
    this.#run = run;
    this.#limitMs = limitMs;
    // hl-smi does nothing where it cannot write its log.
    this.#env = { HABANA_LOGS: logs };
    this.#owners = [...new Set([0, process.getuid?.() ?? 0])];
  }

  async tool(name: string, argv: readonly string[]): Promise<ToolResult | null> {
    const path = await this.#find(name);
    if (path === null) {
      return null;
    }
    if (this.#stuck.has(name)) {
      throw new ToolFault(`${name} hangs and cannot be ended: its driver does not answer`, false);
    }
    const running = this.#run(path, [...argv], this.#limitMs, this.#env);
    const late = new AbortController();
    const given = delay(this.#limitMs + lateMs, null, { signal: late.signal }).catch(() => null);
    const answer = await Promise.race([running, given]).finally(() => late.abort());
    if (answer === null) {
      const gone = running.catch(() => undefined).finally(() => this.#stuck.delete(name));
      this.#stuck.set(name, gone);
      throw new ToolFault(`${name} did not end within ${this.#limitMs / 1000} seconds`, false);
    }
    return answer;
  }

  /** Both the place and what a link there leads to must be safe. */
  async #find(name: string): Promise<string | null> {
    for (const folder of this.#folders) {
      const path = join(folder, name);
      const real = await orNull(realpath(path));
      const place = await orNull(realpath(folder));
      if (real === null || place === null) {
        continue;
      }
      const unsafe = (await unsafePart(place, this.#owners)) ?? (await unsafePart(real, this.#owners));
      if (unsafe !== null) {
        throw new Error(`${path} is not run: ${unsafe} is not root's alone (chown root: and chmod go-w mend that)`);
      }
      return real;
    }
    return null;
  }

  async list(path: string): Promise<string[] | null> {
    const names = await orNull(readdir(path));
    return names === null ? null : names.sort().slice(0, entriesMax);
  }

  async link(path: string): Promise<string | null> {
    return await orNull(readlink(path));
  }

  async file(path: string): Promise<string | null> {
    const handle = await orNull(open(path, "r"));
    if (handle === null) {
      return null;
    }
    try {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(fileBytesMax), 0, fileBytesMax, 0);
      return buffer.toString("utf8", 0, bytesRead);
    } catch {
      return null;
    } finally {
      await handle.close();
    }
  }
}

/** As `Machine.tool`; a fault becomes its text. */
export async function askTool(
  machine: Machine,
  name: string,
  argv: readonly string[],
): Promise<ToolResult | string | null> {
  try {
    return await machine.tool(name, argv);
  } catch (error) {
    return messageOf(error).slice(0, 300);
  }
}
