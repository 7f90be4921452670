/**
 * What lies in a source: files, folders and symbolic links with what a manifest says of them, in the order of their
 * paths' bytes. Links are taken as links and never followed, except the source itself. Names are bytes (latin1 text here),
 * since those of a file system need not be UTF-8. What is neither file, folder nor link is left out with a warning; what
 * cannot be read is an error that names it. Called by client/files/scan.ts.
 */
import { type BigIntStats, lstatSync, readdirSync, readlinkSync, type Stats, statSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { SkyError } from "../../shared/errors.ts";
import { manifestEntriesMax } from "../../shared/files.ts";
import { type IgnoreRules, rulesOf } from "./ignore-rules.ts";

/** What tells whether a file is still the one that was read. */
export interface FileFacts {
  size: number;
  mtimeMs: number;
  ctimeMs: number;
  ino: number;
}

/** One thing in a source. `path`: bytes as latin1, names joined by `/`; empty for the source itself. */
export type Found =
  | { type: "file"; path: string; mode: number; facts: FileFacts }
  | { type: "dir"; path: string; mode: number }
  | { type: "link"; path: string; target: string };

export interface Walked {
  /** The folder or the file, absolute, as bytes in latin1. */
  root: string;
  found: Found[];
}

const warningsMax = 10;

/** On Windows modes mean nothing: what a new file and a new folder have elsewhere. */
function modeOf(stats: Stats): number {
  if (process.platform === "win32") {
    return stats.isDirectory() ? 0o755 : 0o644;
  }
  return stats.mode & 0o777;
}

/** The bytes of a path for a system call. */
export function pathBytes(latin1: string): Buffer {
  return Buffer.from(latin1, "latin1");
}

/** A path as people see it. */
export function shownPath(latin1: string): string {
  return pathBytes(latin1).toString("utf8");
}

export function factsOf(stats: Stats | BigIntStats): FileFacts {
  return {
    size: Number(stats.size),
    mtimeMs: Number(stats.mtimeMs),
    ctimeMs: Number(stats.ctimeMs),
    ino: Number(stats.ino),
  };
}

/** An error of the file system, as a sentence with the way out. */
export function unreadable(path: string, error: unknown): SkyError {
  const code = (error as NodeJS.ErrnoException).code;
  const cause =
    code === "EACCES" || code === "EPERM"
      ? "you may not read it"
      : code === "ENOENT"
        ? "it was removed while it was read"
        : ((error as Error).message ?? "it cannot be read");
  return new SkyError(
    "ValueError",
    `Cannot upload ${shownPath(path)}: ${cause}.`,
    "Make it readable, or name it in a .skyignore file in the folder that is uploaded.",
  );
}

class Walk {
  readonly found: Found[] = [];
  readonly #root: string;
  readonly #warn: (text: string) => void;
  #skipped = 0;

  constructor(root: string, warn: (text: string) => void) {
    this.#root = root;
    this.#warn = warn;
  }

  /** Everything below a folder. `parent` null: it is the source itself. */
  async folder(path: string, parent: { rules: IgnoreRules; name: string } | null): Promise<void> {
    const full = path === "" ? this.#root : `${this.#root}/${path}`;
    let names: string[];
    try {
      names = readdirSync(pathBytes(full), { encoding: "latin1" }).sort();
    } catch (error) {
      throw unreadable(full, error);
    }
    const known = new Set(names);
    const place = shownPath(full);
    const rules =
      parent === null ? rulesOf(place, known, this.#warn) : parent.rules.inside(parent.name, path, place, known);
    const folders: { name: string; path: string }[] = [];
    for (const name of names) {
      const own = path === "" ? name : `${path}/${name}`;
      if (this.#entry(own, shownPath(name), rules)) {
        folders.push({ name: shownPath(name), path: own });
      }
    }
    if (this.found.length >= manifestEntriesMax) {
      throw new SkyError(
        "ValueError",
        `${shownPath(this.#root)} holds more than ${manifestEntriesMax} files.`,
        "Leave out what the task does not need by a .skyignore file, or put data into a volume.",
      );
    }
    await turn();
    for (const folder of folders) {
      await this.folder(folder.path, { rules, name: folder.name });
    }
  }

  /** Takes one thing in; true when it is a folder to go into. */
  #entry(path: string, name: string, rules: IgnoreRules): boolean {
    const full = `${this.#root}/${path}`;
    try {
      const stats = lstatSync(pathBytes(full));
      if (rules.ignores(name, path, stats.isDirectory())) {
        return false;
      }
      if (stats.isDirectory()) {
        this.found.push({ type: "dir", path, mode: modeOf(stats) });
        return true;
      }
      if (stats.isSymbolicLink()) {
        this.found.push({ type: "link", path, target: readlinkSync(pathBytes(full), "latin1") });
      } else if (stats.isFile()) {
        this.found.push({ type: "file", path, mode: modeOf(stats), facts: factsOf(stats) });
      } else {
        this.#skip(full, stats);
      }
      return false;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") {
        // Gone since the folder was listed: then it is not part of it.
        return false;
      }
      throw unreadable(full, error);
    }
  }

  #skip(full: string, stats: Stats): void {
    this.#skipped += 1;
    if (this.#skipped <= warningsMax) {
      const what = stats.isSocket() ? "a socket" : stats.isFIFO() ? "a pipe" : "a device";
      this.#warn(`${shownPath(full)} is ${what} and is not uploaded.`);
    } else if (this.#skipped === warningsMax + 1) {
      this.#warn("More sockets, pipes and devices are not uploaded.");
    }
  }
}

/**
 * Walks a source: a folder, or a file, which is then the only thing with the path "". `warn` hears what is left out.
 * Throws SkyError when there is no such source or something in it cannot be read.
 */
export async function walkSource(source: string, warn: (text: string) => void): Promise<Walked> {
  const root = Buffer.from(source).toString("latin1");
  let stats: Stats;
  try {
    stats = statSync(source);
  } catch (error) {
    throw unreadable(root, error);
  }
  if (stats.isDirectory()) {
    const walk = new Walk(root, warn);
    await walk.folder("", null);
    walk.found.sort((a, b) => (a.path < b.path ? -1 : 1));
    return { root, found: [{ type: "dir", path: "", mode: modeOf(stats) }, ...walk.found] };
  }
  if (stats.isFile()) {
    return { root, found: [{ type: "file", path: "", mode: modeOf(stats), facts: factsOf(stats) }] };
  }
  throw new SkyError("ValueError", `Cannot upload ${source}: it is neither a file nor a folder.`);
}
