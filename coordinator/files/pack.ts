/**
 * One file of chunks: each as its hash, its length and its bytes, as they were uploaded, and at the end a list of where
 * they lie. A pack is written under a temporary name and is whole once it has its own; it is never changed afterwards.
 * It must never be read before its list has been found to be what its hash says. Called by user-files.ts and sweep.ts.
 */
import { createHash, randomBytes } from "node:crypto";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { SkyError } from "../../shared/errors.ts";
import { chunkBytes, packBytesMax } from "../../shared/files.ts";
import { syncFolder } from "../backup/files.ts";
import { digestBytes } from "./digest-table.ts";
import { temporaryEnding } from "./names.ts";
import { Pace } from "./pace.ts";

const headBytes = digestBytes + 4;
const entryBytes = digestBytes + 8;
const magic = Buffer.from("skypack1");
/** The entries' hash, their count, the magic word. */
const tailBytes = digestBytes + 4 + magic.length;
/** Bytes that are collected before they are written. */
const pieceBytes = 1024 * 1024;

/** Bytes that a chunk of this length takes in a pack. */
export function bytesInPack(length: number): number {
  return headBytes + length + entryBytes;
}

export interface Placed {
  digest: Buffer;
  /** Where its bytes begin, and how many they are. */
  offset: number;
  length: number;
}

function refusal(what: string): SkyError {
  return new SkyError("ValueError", `The upload is damaged: ${what}.`, "Nothing of it was kept; send it again.");
}

/** SHA-256 of the bytes. */
export function digestOf(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}

/** The chunks of an upload's body, one at a time in memory, each with the hash that it was found to have. Throws SkyError. */
export async function* chunksOf(
  body: AsyncIterable<Uint8Array>,
): AsyncGenerator<{ digest: Buffer; bytes: Buffer }, void> {
  let total = 0;
  let head = Buffer.alloc(headBytes);
  let headHeld = 0;
  let bytes: Buffer | null = null;
  let held = 0;
  for await (const piece of body) {
    total += piece.length;
    if (total > packBytesMax) {
      throw new SkyError(
        "ValueError",
        `An upload of chunks may have ${packBytesMax / 1024 ** 2} MB; this one has more.`,
      );
    }
    for (let at = 0; at < piece.length; ) {
      if (bytes === null) {
        const part = piece.subarray(at, at + headBytes - headHeld);
        head.set(part, headHeld);
        headHeld += part.length;
        at += part.length;
        if (headHeld < headBytes) {
          break;
        }
        bytes = Buffer.allocUnsafe(checkedLength(head.readUInt32BE(digestBytes)));
        held = 0;
      }
      const part = piece.subarray(at, at + bytes.length - held);
      bytes.set(part, held);
      held += part.length;
      at += part.length;
      if (held === bytes.length) {
        yield checkedChunk(head.subarray(0, digestBytes), bytes);
        head = Buffer.alloc(headBytes);
        headHeld = 0;
        bytes = null;
      }
    }
  }
  if (headHeld > 0) {
    throw refusal("it ends in the middle of a chunk");
  }
}

function checkedLength(length: number): number {
  if (length === 0 || length > chunkBytes.max) {
    throw refusal(`a chunk of ${length} bytes; it may have 1 to ${chunkBytes.max}`);
  }
  return length;
}

function checkedChunk(digest: Buffer, bytes: Buffer): { digest: Buffer; bytes: Buffer } {
  if (!digestOf(bytes).equals(digest)) {
    throw refusal(`a chunk is not what its hash ${digest.toString("hex")} says`);
  }
  return { digest, bytes };
}

/** Writes one pack. Nothing is left behind unless `finish` resolves. */
export class PackWriter {
  readonly #folder: string;
  readonly name: string;
  readonly #handle: FileHandle;
  readonly entries: Placed[] = [];
  #pieces: Buffer[] = [];
  #held = 0;
  #offset = 0;

  private constructor(folder: string, handle: FileHandle, name: string) {
    this.#folder = folder;
    this.#handle = handle;
    this.name = name;
  }

  static async create(folder: string): Promise<PackWriter> {
    const name = `${randomBytes(12).toString("hex")}.pack`;
    return new PackWriter(folder, await open(join(folder, name + temporaryEnding), "wx", 0o600), name);
  }

  /** Bytes of the pack as it would be if it ended here. */
  get bytes(): number {
    return this.#offset + this.entries.length * entryBytes + tailBytes;
  }

  async add(digest: Buffer, bytes: Buffer): Promise<void> {
    const head = Buffer.allocUnsafe(headBytes);
    digest.copy(head);
    head.writeUInt32BE(bytes.length, digestBytes);
    this.entries.push({
      digest: head.subarray(0, digestBytes),
      offset: this.#offset + headBytes,
      length: bytes.length,
    });
    this.#pieces.push(head, bytes);
    this.#held += head.length + bytes.length;
    this.#offset += head.length + bytes.length;
    if (this.#held >= pieceBytes) {
      await this.#flush();
    }
  }

  /** The pack is on disk under its name when this resolves, with so many bytes. */
  async finish(): Promise<number> {
    const list = Buffer.alloc(this.entries.length * entryBytes);
    const pace = new Pace();
    for (const [index, { digest, offset, length }] of this.entries.entries()) {
      if (pace.isDue()) {
        await pace.breathe();
      }
      digest.copy(list, index * entryBytes);
      list.writeUInt32BE(offset, index * entryBytes + digestBytes);
      list.writeUInt32BE(length, index * entryBytes + digestBytes + 4);
    }
    const count = Buffer.alloc(4);
    count.writeUInt32BE(this.entries.length);
    this.#pieces.push(list, digestOf(list), count, magic);
    await this.#flush();
    await this.#handle.sync();
    await this.#handle.close();
    await rename(join(this.#folder, this.name + temporaryEnding), join(this.#folder, this.name));
    await syncFolder(this.#folder);
    return this.#offset + list.length + tailBytes;
  }

  async abandon(): Promise<void> {
    await this.#handle.close().catch(() => {});
    await rm(join(this.#folder, this.name + temporaryEnding), { force: true });
  }

  async #flush(): Promise<void> {
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#held = 0;
    if (pieces.length > 0) {
      await writeAll(this.#handle, Buffer.concat(pieces));
    }
  }
}

/** Writes all of it at the file's present place; a short write goes on where it stopped. */
export async function writeAll(handle: FileHandle, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    at += (await handle.write(bytes, at)).bytesWritten;
  }
}

/** Exactly these bytes of a file. Throws when it has fewer. */
export async function readExactly(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  for (let at = 0; at < length; ) {
    const { bytesRead } = await handle.read(bytes, at, length - at, offset + at);
    if (bytesRead === 0) {
      throw new Error("the file is shorter than it should be");
    }
    at += bytesRead;
  }
  return bytes;
}

/** Where the chunks of a pack lie; null: this is no whole pack. */
export async function readList(path: string): Promise<{ entries: Placed[]; bytes: number } | null> {
  const handle = await open(path, "r");
  try {
    const { size } = await handle.stat();
    if (size < tailBytes) {
      return null;
    }
    const tail = await readExactly(handle, size - tailBytes, tailBytes);
    const count = tail.readUInt32BE(digestBytes);
    const start = size - tailBytes - count * entryBytes;
    if (!tail.subarray(digestBytes + 4).equals(magic) || start < 0) {
      return null;
    }
    const list = await readExactly(handle, start, count * entryBytes);
    if (!digestOf(list).equals(tail.subarray(0, digestBytes))) {
      return null;
    }
    const entries: Placed[] = [];
    const pace = new Pace();
    for (let at = 0; at < list.length; at += entryBytes) {
      entries.push({
        digest: list.subarray(at, at + digestBytes),
        offset: list.readUInt32BE(at + digestBytes),
        length: list.readUInt32BE(at + digestBytes + 4),
      });
      if (pace.isDue()) {
        await pace.breathe();
      }
    }
    return { entries, bytes: size };
  } finally {
    await handle.close();
  }
}
