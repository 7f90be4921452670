/**
 * Brings one upload to its destination: only what differs from what is there is fetched and written. Files that are there
 * and not in the upload stay. Nothing outside of the destination is written, and nothing through a link below it. A record
 * says what was written, so that the next run has only to look. Called by main.ts, which holds the claim.
 */
import { chmodSync, closeSync, constants, fchmodSync, lstatSync, mkdirSync, openSync, realpathSync } from "node:fs";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { bytesText } from "../../../shared/units.ts";
import { asFault, FilesFault, shown } from "./fault.ts";
import { Folders } from "./folders.ts";
import { asTree, type Entry, readManifest } from "./manifest.ts";
import type { Questions } from "./questions.ts";
import { readRecord, type TreeRecord, writeRecord, type Written } from "./record.ts";
import { bringChunks, KnownChunks } from "./reuse.ts";
import { type FileEntry, partName, split, TreeWriter, writeLink } from "./writer.ts";

/** A cancel is heard after so many files that were only looked at. */
const turnEvery = 500;
const sayEveryMs = 3_000;

export interface UploadOptions {
  /** Absolute. */
  destination: string;
  /** As the task says it, for messages. */
  label: string;
  manifest: string;
  /** Where the record lies. */
  recordPath: string;
  attempt: string;
  job: number;
  /** The attempt's folder. */
  folder: string;
  /** Attempts whose unfinished files are to be removed. */
  abandoned: readonly string[];
  questions: Questions;
  say: (line: string) => void;
  /** Called with what must be done when the program is told to end. */
  onEnd: (act: () => void) => void;
}

export interface UploadResult {
  /** Files and links that were made or replaced. */
  written: number;
  fetchedBytes: number;
}

/** Where the tree goes: a mount of one file becomes a tree of one name in the folder around it. */
interface Target {
  root: string;
  label: string;
  single: boolean;
  entries: Entry[];
}

export async function bringUpload(options: UploadOptions): Promise<UploadResult> {
  const record = readRecord(options.recordPath, options.destination);
  const target = await targetOf(options, record);
  makeRoot(target.root, target.label);
  return await new Upload(options, target, record).run();
}

async function targetOf(options: UploadOptions, record: TreeRecord | null): Promise<Target> {
  const { destination, label, manifest } = options;
  const around = { root: dirname(destination), label: dirname(label), single: true };
  if (record !== null && record.head.manifest === manifest) {
    const entries = asTree([...record.entries.values()].map(({ entry }) => entry));
    return record.head.single ? { ...around, entries } : { root: destination, label, single: false, entries };
  }
  const entries = await readManifest(pieces(await options.questions.manifest(manifest)));
  const [first] = entries;
  if (first === undefined || first.path !== "" || first.type === "dir") {
    return { root: destination, label, single: false, entries };
  }
  const path = Buffer.from(basename(destination), "utf8").toString("latin1");
  return { ...around, entries: [{ ...first, path }] };
}

// oxlint-disable-next-line require-await -- what reads it takes pieces as they come
async function* pieces(all: Buffer[]): AsyncIterable<Uint8Array> {
  yield* all;
}

function makeRoot(root: string, label: string): void {
  try {
    mkdirSync(root, { recursive: true });
    if (!lstatSync(realpathSync(root)).isDirectory()) {
      throw new FilesFault(
        `${label} is a file on this machine, and a folder is needed. Move it away and launch again.`,
      );
    }
  } catch (error) {
    throw asFault(error, `make the folder ${label}`);
  }
}

class Upload {
  readonly #options: UploadOptions;
  readonly #target: Target;
  readonly #before: TreeRecord | null;
  readonly #after: TreeRecord;
  /** Folders whose mode is known; nobody else looks into them before they are full. */
  readonly #listed: ReadonlySet<string>;
  readonly #folders: Folders;
  readonly #todo: FileEntry[] = [];
  readonly #modes: { path: string; mode: number }[] = [];
  #links = 0;
  #fetched = 0;
  #files = 0;
  #changed = false;

  constructor(options: UploadOptions, target: Target, before: TreeRecord | null) {
    const { destination, attempt, job } = options;
    const { single } = target;
    this.#options = options;
    this.#target = target;
    this.#before = before;
    const head = {
      format: 1 as const,
      destination,
      manifest: null,
      single,
      attempt,
      job,
      host: hostname(),
      folder: options.folder,
      at: Date.now(),
    };
    this.#after = { head, entries: new Map() };
    this.#listed = new Set(target.entries.filter((entry) => entry.type === "dir").map((entry) => entry.path));
    this.#folders = this.#openFolders(true);
  }

  async run(): Promise<UploadResult> {
    const known = new KnownChunks(() => (reading ??= this.#openFolders(false)));
    let reading: Folders | null = null;
    try {
      await this.#look(known);
      await this.#write(known);
      this.#setModes();
      this.#save(this.#options.manifest);
      return { written: this.#files + this.#links, fetchedBytes: this.#fetched };
    } catch (error) {
      this.#save(null);
      throw error;
    } finally {
      this.#folders.close();
      (reading as Folders | null)?.close();
    }
  }

  #openFolders(make: boolean): Folders {
    const { abandoned } = this.#options;
    return new Folders({
      root: this.#target.root,
      label: this.#target.label,
      make,
      modeOf: (path) => (this.#listed.has(path) ? 0o700 : 0o777),
      leftovers: make ? abandoned.map(partName) : [],
      mayRemove: (path) => make && this.#isOurs(path),
    });
  }

  /** It is as an earlier run left it, so it may become something else. */
  #isOurs(path: string): boolean {
    const old = this.#before?.entries.get(path);
    return old !== undefined && old.entry.type !== "dir";
  }

  /** Makes folders and links, and finds the files that differ. */
  async #look(known: KnownChunks): Promise<void> {
    const isSameHost = this.#before?.head.host === hostname();
    for (const { entry, written } of this.#before?.entries.values() ?? []) {
      if (entry.type === "file" && written !== null) {
        known.add(entry.path, entry.chunks, written.lengths);
      }
    }
    for (const [index, entry] of this.#target.entries.entries()) {
      if (index % turnEvery === 0) {
        // oxlint-disable-next-line no-await-in-loop -- lets a cancel in
        await turn();
      }
      this.#lookAt(entry, isSameHost);
    }
  }

  #lookAt(entry: Entry, isSameHost: boolean): void {
    if (entry.type === "dir") {
      this.#lookAtFolder(entry.path, entry.mode);
      this.#after.entries.set(entry.path, { entry, written: null });
      return;
    }
    const { folder, name } = split(entry.path);
    const at = this.#folders.enter(folder);
    if (entry.type === "link") {
      const isNew = writeLink(at, entry, this.#options.attempt, this.#target.label);
      this.#links += isNew ? 1 : 0;
      this.#after.entries.set(entry.path, { entry, written: null });
      return;
    }
    const old = this.#before?.entries.get(entry.path);
    const place = at.at(name);
    const same = old?.entry.type === "file" && sameContent(old.entry, entry) ? (old.written ?? null) : null;
    if (same === null || !isAsWritten(place, same, isSameHost)) {
      this.#todo.push(entry);
      return;
    }
    if (old?.entry.type === "file" && (lstatSync(place).mode & 0o777) !== entry.mode) {
      if (!setMode(place, entry.mode)) {
        this.#todo.push(entry);
        return;
      }
      this.#changed = true;
    }
    this.#after.entries.set(entry.path, { entry, written: same });
  }

  /** Its mode is set at the end, since one that may not be written could not be filled. */
  #lookAtFolder(path: string, mode: number): void {
    const at = this.#folders.enter(path);
    const { mode: now } = lstatSync(`${at.self}/.`);
    const isClosed = (now & 0o700) !== 0o700;
    if (isClosed) {
      chmodSync(`${at.self}/.`, (now & 0o777) | 0o700);
    }
    if (isClosed || (now & 0o777) !== mode) {
      this.#modes.push({ path, mode });
    }
  }

  async #write(known: KnownChunks): Promise<void> {
    const wanted = this.#todo.flatMap((entry) => entry.chunks);
    const total = this.#todo.reduce((sum, entry) => sum + entry.size, 0);
    const writer = new TreeWriter({
      folders: this.#folders,
      label: this.#target.label,
      attempt: this.#options.attempt,
      files: this.#todo,
      onWritten: (entry, written) => {
        this.#after.entries.set(entry.path, { entry, written });
        known.add(entry.path, entry.chunks, written.lengths);
        this.#files += 1;
      },
    });
    this.#options.onEnd(() => {
      writer.abandon();
      this.#save(null);
    });
    const begin = performance.now();
    let said = begin;
    let done = 0;
    let count = 0;
    try {
      writer.begin();
      await bringChunks({
        wanted,
        known,
        questions: this.#options.questions,
        take: async (bytes, isFetched) => {
          writer.take(bytes);
          this.#fetched += isFetched ? bytes.length : 0;
          done += bytes.length;
          count += 1;
          if (count % turnEvery === 0) {
            await turn();
          }
          const now = performance.now();
          if (now - said > sayEveryMs) {
            said = now;
            this.#sayProgress(done, total, (now - begin) / 1000);
          }
        },
      });
    } catch (error) {
      writer.abandon();
      throw error;
    }
  }

  #sayProgress(done: number, total: number, seconds: number): void {
    const rate = `${bytesText(done / seconds)}/s`;
    const { length } = this.#todo;
    this.#options.say(`${this.#files} of ${length} files, ${bytesText(done)} of ${bytesText(total)}, ${rate}`);
  }

  /** The deepest first: a folder that may not be entered any more holds up none above it. */
  #setModes(): void {
    for (const { path, mode } of this.#modes.toReversed()) {
      try {
        chmodSync(`${this.#folders.enter(path).self}/.`, mode);
        this.#changed = true;
      } catch (error) {
        throw asFault(error, `set the mode of ${this.#target.label}/${shown(path)}`);
      }
    }
  }

  /** `manifest`: it is there whole; null: what was written so far is known to the next run. */
  #save(manifest: string | null): void {
    const { head, entries } = this.#after;
    if (manifest === null) {
      for (const [path, old] of this.#before?.entries ?? []) {
        if (!entries.has(path)) {
          entries.set(path, old);
        }
      }
    }
    const isSame = this.#before !== null && this.#before.head.manifest === manifest && manifest !== null;
    if (!isSame || this.#files > 0 || this.#links > 0 || this.#changed) {
      writeRecord(this.#options.recordPath, { head: { ...head, manifest }, entries });
    }
  }
}

function sameContent(one: FileEntry, other: FileEntry): boolean {
  return (
    one.size === other.size &&
    one.mtime === other.mtime &&
    one.chunks.length === other.chunks.length &&
    one.chunks.every((hash, index) => hash === other.chunks[index])
  );
}

/** Never through a link, which somebody may put in the way at any moment; false: it cannot be opened. */
function setMode(place: string | Buffer, mode: number): boolean {
  let descriptor: number;
  try {
    descriptor = openSync(place, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return false;
  }
  try {
    fchmodSync(descriptor, mode);
    return true;
  } finally {
    closeSync(descriptor);
  }
}

/** Nobody has changed it since. Machines that share a home may number its files differently. */
function isAsWritten(place: string | Buffer, written: Written, isSameHost: boolean): boolean {
  try {
    const stat = lstatSync(place);
    const isFile = stat.isFile() && stat.size === written.size && stat.mtimeMs === written.mtimeMs;
    return isFile && (!isSameHost || stat.ino === written.inode);
  } catch {
    return false;
  }
}

/** What records are named by: all links on the way to the destination resolved, as far as it is there, but not itself. */
export function resolved(destination: string): string {
  const missing: string[] = [basename(destination)];
  for (let path = dirname(destination); ; path = dirname(path)) {
    try {
      return join(realpathSync(path), ...missing);
    } catch {
      if (path === dirname(path)) {
        return destination;
      }
      missing.unshift(basename(path));
    }
  }
}
