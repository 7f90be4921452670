/**
 * Checks a manifest line by line: every entry by the schema, every path for what could lead outside of a destination, and
 * all paths together for being one tree. It keeps a few numbers for each path and no path. It must never let through
 * what a node would have to refuse. Called by user-files.ts.
 */
import { createHash } from "node:crypto";
import { SkyError } from "../../shared/errors.ts";
import { type ManifestEntry, manifestEntriesMax, manifestEntrySchema } from "../../shared/files.ts";
import { DigestTable } from "./digest-table.ts";

const pathBytesMax = 4096;
const nameBytesMax = 255;
const depthMax = 256;
/** Paths and the folders that they imply: each takes about 60 bytes. */
const placesMax = 2 * manifestEntriesMax;
const slash = 0x2f;

/** What a path stands for so far; `folder` may be implied by what lies in it. */
const kinds = { implied: 1, folder: 2, other: 3 } as const;

function refusal(line: number, what: string): SkyError {
  return new SkyError("ValueError", `Line ${line} of the list of files: ${what}.`);
}

export class TreeCheck {
  readonly #kinds = new DigestTable(1);
  #line = 0;

  /** The entry of the next line. Throws SkyError naming the line. */
  next(text: string): ManifestEntry {
    this.#line += 1;
    if (this.#line > manifestEntriesMax) {
      throw new SkyError(
        "ValueError",
        `A tree may have ${manifestEntriesMax} files and folders; this one has more.`,
        "Leave out what the task does not need by a .skyignore file.",
      );
    }
    const entry = this.#parse(text);
    const path = this.#bytesOf(entry.path, entry.bytes === true);
    this.#place(path, entry.type === "dir" ? kinds.folder : kinds.other);
    if (entry.type === "link") {
      this.#checkTarget(this.#bytesOf(entry.target, entry.bytes === true));
    }
    return entry;
  }

  /** A complaint about the line that was read last. */
  complaint(what: string): SkyError {
    return refusal(this.#line, what);
  }

  #parse(text: string): ManifestEntry {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      throw this.complaint("it is not JSON");
    }
    const parsed = manifestEntrySchema.safeParse(value);
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      throw this.complaint(
        `${issue?.path.map(String).join(".") ?? ""}: ${issue?.message ?? "is not valid"}`.slice(0, 300),
      );
    }
    return parsed.data;
  }

  /** The bytes that a text stands for. */
  #bytesOf(text: string, isBase64: boolean): Buffer {
    const bytes = Buffer.from(text, isBase64 ? "base64" : "utf8");
    if (bytes.toString(isBase64 ? "base64" : "utf8") !== text) {
      throw this.complaint(isBase64 ? "a path is not base64" : "a path is not Unicode");
    }
    if (bytes.length > pathBytesMax) {
      throw this.complaint(`a path has more than ${pathBytesMax} bytes`);
    }
    if (bytes.includes(0)) {
      throw this.complaint("a path has a zero byte");
    }
    return bytes;
  }

  #checkTarget(target: Buffer): void {
    if (target.length === 0) {
      throw this.complaint("the link leads nowhere");
    }
  }

  /** Puts a path into the tree, with the folders that it lies in. */
  #place(path: Buffer, kind: number): void {
    this.#checkNames(path);
    const own = this.#kinds.add(keyOf(path));
    const before = this.#kinds.get(own, 0);
    if (before === kinds.implied && kind === kinds.folder) {
      this.#kinds.set(own, 0, kind);
      return;
    }
    if (before !== 0) {
      throw this.complaint(
        before === kinds.implied ? "this path is a folder elsewhere in the list" : "this path is there twice",
      );
    }
    this.#kinds.set(own, 0, kind);
    for (let end = path.length; end > 0; ) {
      end = Math.max(0, path.lastIndexOf(slash, end - 1));
      const folder = this.#kinds.add(keyOf(path.subarray(0, end)));
      const known = this.#kinds.get(folder, 0);
      if (known === kinds.other) {
        throw this.complaint("it lies below something that is no folder");
      }
      if (known !== 0) {
        return;
      }
      this.#kinds.set(folder, 0, kinds.implied);
      if (this.#kinds.size > placesMax) {
        throw this.complaint(`the tree has over ${placesMax} files and folders`);
      }
    }
  }

  #checkNames(path: Buffer): void {
    if (path.length === 0) {
      return;
    }
    let depth = 0;
    for (let start = 0; start <= path.length; depth += 1) {
      const found = path.indexOf(slash, start);
      const end = found < 0 ? path.length : found;
      const length = end - start;
      const isDots = length <= 2 && path.subarray(start, end).every((byte) => byte === 0x2e);
      if (length === 0 || isDots) {
        throw this.complaint("a path has an empty name, '.' or '..', or begins with '/'");
      }
      if (length > nameBytesMax) {
        throw this.complaint(`a name has more than ${nameBytesMax} bytes`);
      }
      start = end + 1;
    }
    if (depth > depthMax) {
      throw this.complaint(`it lies more than ${depthMax} folders deep`);
    }
  }
}

function keyOf(path: Uint8Array): Buffer {
  return createHash("sha256").update(path).digest();
}
