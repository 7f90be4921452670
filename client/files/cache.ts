/**
 * What the files of a source were when they were last read: size, times, number and chunks, so that unchanged files need
 * not be read again. One file for each source in `~/.sky/onprem/files/`, written beside and renamed, so that several
 * processes may use it at once; its first line is the hash of the rest. It must never make anything wrong: whatever is
 * damaged, too old or too large is as if it were not there. Called by client/files/scan.ts.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { hashOf, type Chunk, sameFacts } from "./read-file.ts";
import type { FileFacts } from "./walk.ts";

const version = 1;
/** Larger ones are not kept: reading them would cost what they save. */
const cacheBytesMax = 256 * 1024 * 1024;
/** Sources that are remembered, and bytes of all together; the least recently used go first. */
const sourcesMax = 100;
const allBytesMax = 1024 * 1024 * 1024;

/** A file that was changed so shortly before it was read may change again without its time changing. */
const tickMs = 50;
const coarseTickMs = 2000;

/** `[path, size, mtimeMs, ctimeMs, ino, hash, length, hash, length …]` */
const entrySchema = z
  .tuple([z.string(), z.number(), z.number(), z.number(), z.number()])
  .rest(z.union([z.string(), z.number()]));
type Entry = z.infer<typeof entrySchema>;

export class ReadCache {
  readonly #folder: string;
  readonly #file: string;
  readonly #old: ReadonlyMap<string, Entry>;
  readonly #new: Entry[] = [];
  #changed = false;

  private constructor(folder: string, file: string, old: ReadonlyMap<string, Entry>) {
    this.#folder = folder;
    this.#file = file;
    this.#old = old;
  }

  /** What is remembered of a source (its absolute path); nothing when there is nothing or it is damaged. */
  static open(folder: string, source: string): ReadCache {
    const file = join(folder, `${hashOf(Buffer.from(source)).slice(0, 32)}.json`);
    return new ReadCache(folder, file, readEntries(file));
  }

  /** The chunks of a file that is as it was; null: read it. */
  find(path: string, facts: FileFacts): Chunk[] | null {
    const entry = this.#old.get(path);
    if (entry === undefined) {
      return null;
    }
    const [, size, mtimeMs, ctimeMs, ino, ...rest] = entry;
    if (!sameFacts(facts, { size, mtimeMs, ctimeMs, ino })) {
      return null;
    }
    const chunks: Chunk[] = [];
    for (let index = 0; index < rest.length; index += 2) {
      chunks.push({ hash: rest[index] as string, length: rest[index + 1] as number });
    }
    this.#new.push(entry);
    return chunks;
  }

  /** Remembers what was read at this moment (milliseconds since 1970). */
  add(path: string, facts: FileFacts, chunks: readonly Chunk[], readAtMs: number): void {
    this.#changed = true;
    const last = Math.max(facts.mtimeMs, facts.ctimeMs);
    const tick = facts.mtimeMs % 1000 === 0 && facts.ctimeMs % 1000 === 0 ? coarseTickMs : tickMs;
    if (last + tick < readAtMs) {
      const { size, mtimeMs, ctimeMs, ino } = facts;
      this.#new.push([path, size, mtimeMs, ctimeMs, ino, ...chunks.flatMap(({ hash, length }) => [hash, length])]);
    }
  }

  /** Keeps what was found and added, nothing else. A disk that is full is no reason to stop. */
  save(): void {
    if (!this.#changed && this.#new.length === this.#old.size) {
      return;
    }
    const temporary = `${this.#file}.${process.pid}.tmp`;
    try {
      const body = JSON.stringify(this.#new);
      if (body.length > cacheBytesMax) {
        rmSync(this.#file, { force: true });
        return;
      }
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      writeFileSync(temporary, `${headOf(body)}\n${body}`, { mode: 0o600 });
      renameSync(temporary, this.#file);
      prune(this.#folder);
    } catch {
      rmSync(temporary, { force: true });
    }
  }
}

function headOf(body: string): string {
  return `sky-files ${version} ${hashOf(Buffer.from(body))}`;
}

function readEntries(file: string): Map<string, Entry> {
  try {
    if (statSync(file).size > cacheBytesMax + 1024) {
      return new Map();
    }
    const text = readFileSync(file, "utf8");
    const at = text.indexOf("\n");
    const body = text.slice(at + 1);
    if (text.slice(0, at) !== headOf(body)) {
      return new Map();
    }
    // Its hash is right, so it is what a program of this version wrote; the form of one entry tells a stranger.
    const entries = JSON.parse(body) as Entry[];
    if (entries.length > 0) {
      entrySchema.parse(entries[0]);
    }
    return new Map(entries.map((entry) => [entry[0], entry]));
  } catch {
    return new Map();
  }
}

/** Removes the least recently written files beyond the limits, and drafts that a killed process left behind. */
function prune(folder: string): void {
  const now = Date.now();
  const kept: { file: string; size: number; at: number }[] = [];
  for (const name of readdirSync(folder)) {
    const file = join(folder, name);
    const stats = statSync(file, { throwIfNoEntry: false });
    if (stats === undefined) {
      continue;
    }
    if (name.endsWith(".json")) {
      kept.push({ file, size: stats.size, at: stats.mtimeMs });
    } else if (name.endsWith(".tmp") && now - stats.mtimeMs > 600_000) {
      rmSync(file, { force: true });
    }
  }
  kept.sort((a, b) => b.at - a.at);
  let bytes = 0;
  kept.forEach(({ file, size }, index) => {
    bytes += size;
    if (index > 0 && (index >= sourcesMax || bytes > allBytesMax)) {
      rmSync(file, { force: true });
    }
  });
}
