/**
 * Reads a file as chunks. A file that changes while it is read is read again a few times and then refused, so that no
 * manifest ever mixes two states of it. At most one window of a file is in memory. Opened without following links: what
 * was a file when the folder was walked must be one now. Called by client/files/scan.ts and client/files/packs.ts.
 */
import { createHash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { SkyError } from "../../shared/errors.ts";
import { chunkBytes } from "../../shared/files.ts";
import { chunkLength } from "./cut.ts";
import { type FileFacts, factsOf, pathBytes, shownPath, unreadable } from "./walk.ts";

export interface Chunk {
  /** SHA-256 in hex. */
  hash: string;
  length: number;
}

export interface ReadFile {
  chunks: Chunk[];
  /** Of the file that was read, and of no other state of it. */
  facts: FileFacts;
  mode: number;
}

/** Twice the longest chunk, so that half of each read is new. */
const windowBytes = 2 * chunkBytes.max;
const triesMax = 5;
const openFlags = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);

export function sameFacts(a: FileFacts, b: FileFacts): boolean {
  return a.size === b.size && a.mtimeMs === b.mtimeMs && a.ctimeMs === b.ctimeMs && a.ino === b.ino;
}

export function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Opens a file of a source. `isRoot`: the source itself, which may be a link that the person wrote down. */
export async function openSourceFile(path: string, isRoot: boolean): Promise<FileHandle> {
  try {
    return await open(pathBytes(path), isRoot ? constants.O_RDONLY : openFlags);
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** Fills the buffer from this place of the file as far as the file goes. */
async function fill(file: FileHandle, buffer: Buffer, offset: number, position: number): Promise<number> {
  let end = offset;
  while (end < buffer.length) {
    const { bytesRead } = await file.read(buffer, end, buffer.length - end, position + end - offset);
    if (bytesRead === 0) {
      break;
    }
    end += bytesRead;
  }
  return end;
}

async function cutFile(file: FileHandle, size: number, progress: (bytes: number) => void): Promise<Chunk[]> {
  const chunks: Chunk[] = [];
  const buffer = Buffer.allocUnsafe(Math.min(size + 1, windowBytes));
  let end = await fill(file, buffer, 0, 0);
  let position = end;
  if (end <= chunkBytes.wholeMax && end < buffer.length) {
    progress(end);
    return end === 0 ? [] : [{ hash: hashOf(buffer.subarray(0, end)), length: end }];
  }
  let start = 0;
  while (start < end) {
    if (end - start < chunkBytes.max && end === buffer.length) {
      buffer.copyWithin(0, start, end);
      const kept = end - start;
      end = await fill(file, buffer, kept, position);
      position += end - kept;
      start = 0;
    }
    const length = chunkLength(buffer, start, end);
    chunks.push({ hash: hashOf(buffer.subarray(start, start + length)), length });
    start += length;
    progress(length);
  }
  return chunks;
}

/**
 * A small file at once: four short calls cost a tenth of what as many promises do, which counts with ten thousand files.
 * Null: it is not small, or does not stand still.
 */
function readSmall(path: string, isRoot: boolean): ReadFile | null {
  let descriptor: number;
  try {
    descriptor = openSync(pathBytes(path), isRoot ? constants.O_RDONLY : openFlags);
  } catch (error) {
    throw unreadable(path, error);
  }
  try {
    const before = fstatSync(descriptor);
    if (!before.isFile() || before.size > chunkBytes.wholeMax) {
      return null;
    }
    const buffer = Buffer.allocUnsafe(before.size + 1);
    let end = 0;
    for (let got = -1; got !== 0 && end < buffer.length; end += got) {
      got = readSync(descriptor, buffer, end, buffer.length - end, end);
    }
    const after = fstatSync(descriptor);
    if (end !== after.size || !sameFacts(factsOf(before), factsOf(after))) {
      return null;
    }
    const chunks = end === 0 ? [] : [{ hash: hashOf(buffer.subarray(0, end)), length: end }];
    return { chunks, facts: factsOf(after), mode: after.mode & 0o777 };
  } catch (error) {
    throw unreadable(path, error);
  } finally {
    closeSync(descriptor);
  }
}

/**
 * The chunks of one state of a file. `progress` hears of the bytes that were read. Throws SkyError when it cannot be
 * read, is no file any more, or never stands still.
 */
export async function readChunks(path: string, isRoot: boolean, progress: (bytes: number) => void): Promise<ReadFile> {
  const small = readSmall(path, isRoot);
  if (small !== null) {
    progress(small.facts.size);
    return small;
  }
  for (let tries = 0; tries < triesMax; tries += 1) {
    const file = await openSourceFile(path, isRoot);
    try {
      const before = await file.stat();
      if (!before.isFile()) {
        throw unreadable(path, new Error("it is no file any more"));
      }
      const chunks = await cutFile(file, before.size, progress);
      const after = await file.stat();
      const total = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      if (sameFacts(factsOf(before), factsOf(after)) && total === after.size) {
        return { chunks, facts: factsOf(after), mode: after.mode & 0o777 };
      }
    } catch (error) {
      throw error instanceof SkyError ? error : unreadable(path, error);
    } finally {
      await file.close();
    }
    await delay(50 * 2 ** tries);
  }
  throw new SkyError(
    "ValueError",
    `Cannot upload ${shownPath(path)}: it changes all the time while it is read.`,
    "Wait until nothing writes to it, or name it in a .skyignore file.",
  );
}

/** The first bytes of a small file, or null when it is not as long any more. */
export function readBeginning(path: string, isRoot: boolean, length: number): Buffer | null {
  let descriptor: number;
  try {
    descriptor = openSync(pathBytes(path), isRoot ? constants.O_RDONLY : openFlags);
  } catch (error) {
    throw unreadable(path, error);
  }
  try {
    const buffer = Buffer.allocUnsafe(length);
    let end = 0;
    for (let got = -1; got !== 0 && end < length; end += got) {
      got = readSync(descriptor, buffer, end, length - end, end);
    }
    return end === length ? buffer : null;
  } catch (error) {
    throw unreadable(path, error);
  } finally {
    closeSync(descriptor);
  }
}

/** These bytes of a file, or null when it is not as long any more. */
export async function readPiece(file: FileHandle, position: number, length: number): Promise<Buffer | null> {
  const buffer = Buffer.allocUnsafe(length);
  return (await fill(file, buffer, 0, position)) === length ? buffer : null;
}
