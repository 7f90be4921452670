/**
 * Copies a file or a folder from one side to the other, this machine or the cluster's: links stay links, modes and times
 * are kept, and a file that is there with the same size and time is left alone, so that a copy that was stopped goes on.
 * Each file is written beside its place and renamed. It must never write through a link below the target, nor take a name
 * that leads out of it. Called by client/commands/cp.ts.
 */
import type { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { SkyError } from "../../shared/errors.ts";

export interface SideStats {
  type: "file" | "dir" | "link" | "other";
  mode: number;
  size: number;
  /** Whole seconds since 1970: all that SFTP tells. */
  mtime: number;
}

/** The file system of one side. Paths are joined by `/`; relative ones start where its owner says. */
export interface Side {
  /** For messages: `lab:`, or empty. */
  name: string;
  /** Null: there is nothing. Links are not followed. */
  lstat(path: string): Promise<SideStats | null>;
  /** The same of what a link leads to. */
  stat(path: string): Promise<SideStats | null>;
  list(path: string): Promise<string[]>;
  readlink(path: string): Promise<string>;
  mkdir(path: string, mode: number): Promise<void>;
  symlink(target: string, path: string): Promise<void>;
  chmod(path: string, mode: number): Promise<void>;
  setTime(path: string, mtime: number): Promise<void>;
  /** Takes the place of what is there. */
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  read(path: string): Readable;
  /** Of a new file; fails when it is there. */
  write(path: string, mode: number): Writable;
}

export interface CopyProgress {
  /** A file is being copied; `bytes`: more of it than at the last call. */
  onBytes: (path: string, bytes: number) => void;
  warn: (text: string) => void;
}

export interface Copied {
  files: number;
  bytes: number;
  /** Files that were there already. */
  same: number;
}

const depthMax = 256;

function isSafeName(name: string): boolean {
  return name !== "" && name !== "." && name !== ".." && !/[/\0\ufffd]/.test(name);
}

class Copy {
  readonly copied: Copied = { files: 0, bytes: 0, same: 0 };
  readonly #from: Side;
  readonly #to: Side;
  readonly #progress: CopyProgress;

  constructor(from: Side, to: Side, progress: CopyProgress) {
    this.#from = from;
    this.#to = to;
    this.#progress = progress;
  }

  async any(source: string, target: string, stats: SideStats, depth: number): Promise<void> {
    if (depth > depthMax) {
      throw new SkyError("ValueError", `${this.#from.name}${source} lies more than ${depthMax} folders deep.`);
    }
    switch (stats.type) {
      case "dir":
        return this.#folder(source, target, stats, depth);
      case "link":
        return this.#link(source, target);
      case "file":
        return this.#file(source, target, stats);
      default:
        this.#progress.warn(`${this.#from.name}${source} is neither file, folder nor link and is not copied.`);
    }
  }

  async #folder(source: string, target: string, stats: SideStats, depth: number): Promise<void> {
    // What the person named may be a link to a folder; what lies below it may not.
    const there = depth === 0 ? await this.#to.stat(target) : await this.#to.lstat(target);
    if (there === null) {
      await this.#to.mkdir(target, 0o700 | stats.mode);
    } else if (there.type !== "dir") {
      throw new SkyError("ValueError", `${this.#to.name}${target} is there and is no folder.`, "Move it away first.");
    }
    for (const name of (await this.#from.list(source)).sort()) {
      if (!isSafeName(name)) {
        this.#progress.warn(`${this.#from.name}${source} holds a name that cannot be copied: ${JSON.stringify(name)}.`);
        continue;
      }
      const below = await this.#from.lstat(`${source}/${name}`);
      if (below !== null) {
        await this.any(`${source}/${name}`, `${target}/${name}`, below, depth + 1);
      }
    }
    if (there === null) {
      await this.#to.chmod(target, stats.mode);
    }
  }

  async #link(source: string, target: string): Promise<void> {
    const wanted = await this.#from.readlink(source);
    const there = await this.#to.lstat(target);
    if (there?.type === "link" && (await this.#to.readlink(target)) === wanted) {
      return;
    }
    if (there?.type === "dir") {
      throw new SkyError("ValueError", `${this.#to.name}${target} is a folder there and a link here.`);
    }
    const draft = `${target}.sky-part`;
    await this.#to.unlink(draft).catch(() => undefined);
    await this.#to.symlink(wanted, draft);
    await this.#to.rename(draft, target);
  }

  async #file(source: string, target: string, stats: SideStats): Promise<void> {
    const there = await this.#to.lstat(target);
    if (there?.type === "file" && there.size === stats.size && there.mtime === stats.mtime) {
      if (there.mode !== stats.mode) {
        await this.#to.chmod(target, stats.mode);
      }
      this.copied.same += 1;
      return;
    }
    if (there?.type === "dir") {
      throw new SkyError("ValueError", `${this.#to.name}${target} is a folder there and a file here.`);
    }
    const draft = `${target}.sky-part`;
    await this.#to.unlink(draft).catch(() => undefined);
    try {
      const { onBytes } = this.#progress;
      const counted = async function* (bytes: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
        for await (const piece of bytes) {
          yield piece;
          onBytes(source, piece.length);
        }
      };
      await pipeline(this.#from.read(source), counted, this.#to.write(draft, 0o600));
      await this.#to.chmod(draft, stats.mode);
      await this.#to.setTime(draft, stats.mtime);
      await this.#to.rename(draft, target);
    } catch (error) {
      await this.#to.unlink(draft).catch(() => undefined);
      throw error;
    }
    this.copied.files += 1;
    this.copied.bytes += stats.size;
  }
}

function baseOf(path: string): string {
  const name = path.split("/").findLast((part) => part !== "") ?? "";
  return isSafeName(name) ? name : "";
}

/**
 * Copies `source` to `target`. A source that ends with `/` stands for what is in it; another one goes into a target that
 * is a folder or ends with `/`, under its own name. Rejects with SkyError.
 */
export async function copyBetween(
  from: Side,
  source: string,
  to: Side,
  target: string,
  progress: CopyProgress,
): Promise<Copied> {
  const contents = source.endsWith("/") || baseOf(source) === "";
  const plain = source.replace(/(?<=.)\/+$/, "");
  // The thing that the person named may be a link; what it leads to is meant.
  const stats = await from.stat(plain);
  if (stats === null) {
    throw new SkyError("ValueError", `${from.name}${plain}: there is no such file or folder.`);
  }
  const bare = target.replace(/(?<=.)\/+$/, "");
  const there = await to.stat(bare);
  const into = (there?.type === "dir" || target.endsWith("/")) && !(contents && stats.type === "dir");
  if (into && there === null) {
    await to.mkdir(bare, 0o777);
  }
  const copy = new Copy(from, to, progress);
  await copy.any(plain, into ? `${bare}/${baseOf(plain)}` : bare, stats, 0);
  return copy.copied;
}
