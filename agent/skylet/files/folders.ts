/**
 * Folders below one destination, opened one name at a time and never through a link. Files in them are reached through
 * the open folder (`/proc/self/fd/N/name`), so that a link which is put in the way at any moment leads nowhere. It makes
 * folders that are missing and removes nothing but what it is told to. Called by upload.ts.
 */
import { closeSync, constants, lstatSync, mkdirSync, openSync, unlinkSync } from "node:fs";
import { asFault, FilesFault, shown } from "./fault.ts";

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;

/** Something below an open folder, as Node's calls take it; `name` is a string of bytes. */
export type Place = string | Buffer;

export interface FoldersOptions {
  /** Absolute, there already; links on the way to it are the user's choice. */
  root: string;
  /** How the root is called in messages. */
  label: string;
  /** Missing folders are made; false: they are an error. */
  make: boolean;
  /** Of a folder that is made; what else it is to have is set when it is full. */
  modeOf(path: string): number;
  /** Names of unfinished files of an earlier run, removed from each folder that is entered. */
  leftovers: readonly string[];
  /** Something that is no folder stands at this path: true when it may be removed, since an earlier run made it. */
  mayRemove(path: string): boolean;
}

export class Folders {
  readonly #options: FoldersOptions;
  /** The root's first, then one for each name. */
  readonly #descriptors: number[] = [];
  #names: string[] = [];

  constructor(options: FoldersOptions) {
    this.#options = options;
    this.#descriptors.push(openSync(options.root, O_RDONLY | O_DIRECTORY));
    this.#sweep();
  }

  /** The folder at this path, made when it is missing. */
  enter(path: string): FolderAt {
    const names = path === "" ? [] : path.split("/");
    let common = 0;
    while (common < names.length && this.#names[common] === names[common]) {
      common += 1;
    }
    for (const descriptor of this.#descriptors.splice(common + 1)) {
      closeSync(descriptor);
    }
    this.#names = names.slice(0, common);
    for (const name of names.slice(common)) {
      this.#descriptors.push(this.#open(name));
      this.#names.push(name);
      this.#sweep();
    }
    return new FolderAt(this.#last);
  }

  close(): void {
    this.#descriptors.splice(0).forEach((descriptor) => closeSync(descriptor));
    this.#names = [];
  }

  get #last(): number {
    return this.#descriptors.at(-1) as number;
  }

  #open(name: string): number {
    const place = new FolderAt(this.#last).at(name);
    const path = [...this.#names, name].join("/");
    for (let look = 0; look < 3; look += 1) {
      try {
        return openSync(place, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === "ENOENT" && this.#options.make) {
          this.#make(place, path);
        } else if ((code === "ENOTDIR" || code === "ELOOP") && this.#options.mayRemove(path)) {
          unlinkSync(place);
        } else if (code === "ENOTDIR" || code === "ELOOP") {
          throw inTheWay(`${this.#options.label}/${shown(path)}`, place, "a folder");
        } else {
          throw asFault(error, `open the folder ${this.#options.label}/${shown(path)}`);
        }
      }
    }
    throw new FilesFault(`${this.#options.label}/${shown(path)} is changed by somebody else meanwhile. Launch again.`);
  }

  #make(place: Place, path: string): void {
    try {
      mkdirSync(place, { mode: this.#options.modeOf(path) });
    } catch (error) {
      // Somebody else has just made something there: it is looked at again.
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
        throw asFault(error, `make the folder ${this.#options.label}/${shown(path)}`);
      }
    }
  }

  #sweep(): void {
    for (const name of this.#options.leftovers) {
      try {
        unlinkSync(new FolderAt(this.#last).at(name));
      } catch {
        // It is not there.
      }
    }
  }
}

/** An open folder. */
export class FolderAt {
  readonly #descriptor: number;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  get self(): string {
    return `/proc/self/fd/${this.#descriptor}`;
  }

  at(name: string): Place {
    const place = `${this.self}/${name}`;
    // A string of bytes that is not ASCII would be encoded a second time.
    // oxlint-disable-next-line no-control-regex -- exactly the ASCII range
    return /^[\u0000-\u007F]*$/u.test(name) ? place : Buffer.from(place, "latin1");
  }
}

/** What is there now, and what the upload has in its place. */
export function inTheWay(path: string, place: Place, wanted: string): FilesFault {
  let is = "something else";
  try {
    const stat = lstatSync(place);
    is = stat.isSymbolicLink() ? "a symbolic link" : stat.isDirectory() ? "a folder" : "a file";
  } catch {
    // It has gone meanwhile.
  }
  return new FilesFault(
    `${path} is ${is} on this machine, and ${wanted} in the uploaded files. Move one of them away and launch again.`,
  );
}
