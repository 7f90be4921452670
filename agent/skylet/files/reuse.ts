/**
 * The chunks of a tree in the order in which they are written: from files that an earlier run wrote where they still hold
 * them, otherwise asked from the coordinator, many in one question. Every byte is hashed, wherever it came from. Called by
 * upload.ts.
 */
import { closeSync, constants, openSync, readSync } from "node:fs";
import type { Folders } from "./folders.ts";
import { type Questions, sha256 } from "./questions.ts";

/** Hashes in one question: shared/files.ts allows no more. */
const askedMax = 256;

interface Where {
  path: string;
  offset: number;
  length: number;
}

/** Which chunk lies where in files that are there. */
export class KnownChunks {
  readonly #where = new Map<string, Where>();
  readonly #open: () => Folders;

  /** `open`: folders of their own, since reading goes elsewhere than writing. */
  constructor(open: () => Folders) {
    this.#open = open;
  }

  add(path: string, chunks: readonly string[], lengths: readonly number[]): void {
    let offset = 0;
    for (const [index, hash] of chunks.entries()) {
      const length = lengths[index] ?? 0;
      this.#where.set(hash, { path, offset, length });
      offset += length;
    }
  }

  has(hash: string): boolean {
    return this.#where.has(hash);
  }

  /** Null, and forgotten: the file does not hold it any more. */
  read(hash: string): Buffer | null {
    const where = this.#where.get(hash);
    if (where === undefined) {
      return null;
    }
    const bytes = this.#bytesAt(where);
    if (bytes !== null && sha256(bytes) === hash) {
      return bytes;
    }
    this.#where.delete(hash);
    return null;
  }

  #bytesAt({ path, offset, length }: Where): Buffer | null {
    const cut = path.lastIndexOf("/");
    try {
      const place = this.#open()
        .enter(path.slice(0, Math.max(0, cut)))
        .at(path.slice(cut + 1));
      const descriptor = openSync(place, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      try {
        const bytes = Buffer.allocUnsafe(length);
        return readSync(descriptor, bytes, 0, length, offset) === length ? bytes : null;
      } finally {
        closeSync(descriptor);
      }
    } catch {
      return null;
    }
  }
}

export interface ChunkSink {
  /** The chunks of all files, in the order in which they are written. */
  wanted: readonly string[];
  known: KnownChunks;
  questions: Questions;
  /** `isFetched`: it came over the wire. */
  take: (bytes: Buffer, isFetched: boolean) => Promise<void> | void;
}

/** Hands out every wanted chunk, in order. */
export async function bringChunks({ wanted, known, questions, take }: ChunkSink): Promise<void> {
  let next = 0;
  const takeKnown = async (): Promise<void> => {
    for (; next < wanted.length; next += 1) {
      const bytes = known.read(wanted[next] as string);
      if (bytes === null) {
        return;
      }
      // oxlint-disable-next-line no-await-in-loop -- in order
      await take(bytes, false);
    }
  };
  await takeKnown();
  while (next < wanted.length) {
    // Up to the first that is known again, or those between would have to be kept.
    const asked: string[] = [];
    for (let at = next; at < wanted.length && asked.length < askedMax; at += 1) {
      const hash = wanted[at] as string;
      if (at > next && known.has(hash)) {
        break;
      }
      asked.push(hash);
    }
    // oxlint-disable-next-line no-await-in-loop -- one question after another
    await questions.chunks(asked, async (_hash, bytes) => {
      next += 1;
      await take(bytes, true);
    });
    // oxlint-disable-next-line no-await-in-loop -- in order
    await takeKnown();
  }
}
