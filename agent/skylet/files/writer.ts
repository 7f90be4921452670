/**
 * Writes files below a destination, one after another: each under a temporary name in its own folder, whole, and then
 * renamed, so that nobody sees half of one. Links are made the same way. It must leave no temporary file behind when it is
 * stopped. Called by upload.ts.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  futimesSync,
  lstatSync,
  openSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { asFault, FilesFault, shown } from "./fault.ts";
import { type FolderAt, type Folders, inTheWay, type Place } from "./folders.ts";
import type { Entry } from "./manifest.ts";
import type { Written } from "./record.ts";

export type FileEntry = Extract<Entry, { type: "file" }>;
export type LinkEntry = Extract<Entry, { type: "link" }>;

/** Folder and name of a path of bytes. */
export function split(path: string): { folder: string; name: string } {
  const cut = path.lastIndexOf("/");
  return { folder: path.slice(0, Math.max(0, cut)), name: path.slice(cut + 1) };
}

/** Temporary name of this attempt; no user's file is called like that. */
export function partName(attempt: string): string {
  return `.sky-part-${attempt}`;
}

interface Open {
  entry: FileEntry;
  descriptor: number;
  part: Place;
  lengths: number[];
  size: number;
}

export interface WriterOptions {
  folders: Folders;
  /** How the destination is called in messages. */
  label: string;
  attempt: string;
  files: readonly FileEntry[];
  onWritten(entry: FileEntry, written: Written): void;
}

export class TreeWriter {
  readonly #options: WriterOptions;
  #next = 0;
  #open: Open | null = null;

  constructor(options: WriterOptions) {
    this.#options = options;
  }

  /** Opens the first file; empty ones are finished at once. */
  begin(): void {
    while (this.#open === null && this.#next < this.#options.files.length) {
      const entry = this.#options.files[this.#next] as FileEntry;
      this.#next += 1;
      this.#guard(entry, () => {
        const { folder, name } = split(entry.path);
        const at = this.#options.folders.enter(folder);
        const part = at.at(partName(this.#options.attempt));
        this.#open = { entry, descriptor: openPart(part), part, lengths: [], size: 0 };
        if (entry.chunks.length === 0) {
          this.#finish(at, name);
        }
      });
    }
  }

  /** The next chunk of the present file; after its last one the next file is opened. */
  take(bytes: Buffer): void {
    const open = this.#open;
    if (open === null) {
      throw new FilesFault("More came than the uploaded files hold. Launch again.");
    }
    this.#guard(open.entry, () => {
      for (let at = 0; at < bytes.length; ) {
        at += writeSync(open.descriptor, bytes, at);
      }
      open.size += bytes.length;
      open.lengths.push(bytes.length);
      if (open.lengths.length === open.entry.chunks.length) {
        const { folder, name } = split(open.entry.path);
        this.#finish(this.#options.folders.enter(folder), name);
      }
    });
    this.begin();
  }

  /** Removes what is unfinished. */
  abandon(): void {
    const open = this.#open;
    this.#open = null;
    if (open !== null) {
      try {
        unlinkSync(open.part);
        closeSync(open.descriptor);
      } catch {
        // Its folder has gone.
      }
    }
  }

  #finish(at: FolderAt, name: string): void {
    const { entry, descriptor, part, lengths, size } = this.#open as Open;
    if (size !== entry.size) {
      throw new FilesFault(`The parts of '${shown(entry.path)}' do not make up its size. Launch again.`);
    }
    fchmodSync(descriptor, entry.mode);
    // A time as a number of seconds is a hair too early half of the time, and is cut off, not rounded.
    const seconds = (entry.mtime + 0.0005) / 1000;
    futimesSync(descriptor, seconds, seconds);
    const place = at.at(name);
    replace(part, place, `${this.#options.label}/${shown(entry.path)}`, "a file");
    closeSync(descriptor);
    this.#open = null;
    const { mtimeMs, ino: inode } = lstatSync(place);
    this.#options.onWritten(entry, { size, mtimeMs, inode, lengths });
  }

  #guard(entry: FileEntry, act: () => void): void {
    try {
      act();
    } catch (error) {
      this.abandon();
      throw asFault(error, `write ${this.#options.label}/${shown(entry.path)}`);
    }
  }
}

/** A new file, never one that is there, whatever it is. */
function openPart(part: Place): number {
  const flags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW;
  try {
    return openSync(part, flags, 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
      throw error;
    }
    // Of an earlier run of this attempt.
    unlinkSync(part);
    return openSync(part, flags, 0o600);
  }
}

/** Puts it into its place. An empty folder there gives way, one with something in it does not. */
function replace(part: Place, place: Place, path: string, wanted: string): void {
  try {
    renameSync(part, place);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EISDIR" && code !== "ENOTEMPTY" && code !== "EEXIST") {
      throw error;
    }
    try {
      rmdirSync(place);
    } catch {
      throw inTheWay(path, place, wanted);
    }
    renameSync(part, place);
  }
}

/** Makes a link as it was, wherever it leads; true when it was not there like that. */
export function writeLink(at: FolderAt, entry: LinkEntry, attempt: string, label: string): boolean {
  const { name } = split(entry.path);
  const place = at.at(name);
  try {
    if (readlinkSync(place, "latin1") === entry.target) {
      return false;
    }
  } catch {
    // Something else, or nothing, is there.
  }
  const part = at.at(partName(attempt));
  const path = `${label}/${shown(entry.path)}`;
  try {
    symlinkSync(Buffer.from(entry.target, "latin1"), part);
    replace(part, place, path, "a symbolic link");
  } catch (error) {
    try {
      unlinkSync(part);
    } catch {
      // It is not there.
    }
    throw asFault(error, `make the link ${path}`);
  }
  return true;
}
