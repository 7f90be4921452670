/**
 * Chunks as the bodies of uploads: reads each from its file, checks that it is still what the manifest says, and puts as
 * many together as one upload may hold. At most one pack for each upload under way is in memory. Called by upload.ts.
 */
import type { FileHandle } from "node:fs/promises";
import { chunkBytes, packBytesMax } from "../../shared/files.ts";
import { hashOf, openSourceFile, readBeginning, readPiece } from "./read-file.ts";
import type { ChunkPlace } from "./scan.ts";
import { shownPath } from "./walk.ts";

/** A file is not what it was when it was scanned: scan again. */
export class FileChanged extends Error {
  constructor(path: string) {
    super(`${shownPath(path)} was changed meanwhile`);
  }
}

/** One upload's body, and the bytes of chunks in it. */
export interface Pack {
  pieces: Uint8Array[];
  bytes: number;
}

const headBytes = 32 + 4;
/** Half of what is allowed: several are on the way at once, and a lost one is sent again as a whole. */
const wantedBytes = packBytesMax / 2;
/** So that a pack of tiny files is no endless list. */
const chunksMax = 20_000;

function headOf(hash: string, length: number): Buffer {
  const head = Buffer.allocUnsafe(headBytes);
  head.write(hash, "hex");
  head.writeUInt32BE(length, 32);
  return head;
}

/** Reads through the chunks in their order; neighbours in one file share one opening of it. */
export class PackReader {
  readonly #chunks: readonly [hash: string, place: ChunkPlace][];
  #next = 0;
  #open: { path: string; file: FileHandle } | null = null;

  constructor(chunks: readonly [hash: string, place: ChunkPlace][]) {
    this.#chunks = chunks;
  }

  /** The next pack; null when there are no more. Must not be called again before it has resolved. Throws FileChanged. */
  async next(): Promise<Pack | null> {
    const pack: Pack = { pieces: [], bytes: 0 };
    let total = 0;
    while (this.#next < this.#chunks.length && total + chunkBytes.max + headBytes <= packBytesMax) {
      const [hash, place] = this.#chunks[this.#next] as [string, ChunkPlace];
      const full = total + headBytes + place.length > wantedBytes || pack.pieces.length >= 2 * chunksMax;
      if (full && pack.pieces.length > 0) {
        break;
      }
      this.#next += 1;
      const bytes = await this.#read(place);
      if (bytes === null || hashOf(bytes) !== hash) {
        throw new FileChanged(place.path);
      }
      pack.pieces.push(headOf(hash, bytes.length), bytes);
      pack.bytes += bytes.length;
      total += headBytes + bytes.length;
    }
    return pack.pieces.length === 0 ? null : pack;
  }

  async #read(place: ChunkPlace): Promise<Buffer | null> {
    if (place.position === 0 && place.length <= chunkBytes.wholeMax) {
      return readBeginning(place.path, place.isRoot, place.length);
    }
    if (this.#open?.path !== place.path) {
      await this.close();
      const file = await openSourceFile(place.path, place.isRoot);
      this.#open = { path: place.path, file };
    }
    return readPiece((this.#open as { file: FileHandle }).file, place.position, place.length);
  }

  async close(): Promise<void> {
    const open = this.#open;
    this.#open = null;
    await open?.file.close();
  }
}
