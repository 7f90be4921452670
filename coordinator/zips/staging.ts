/**
 * Zips on their way in: SkyPilot's Python client sends one in pieces, several at a time and in any order, which lie below
 * the state folder until all are there. Every name on the disk is a uid, a checked hash or a number. Each user's pieces
 * are bounded and what nobody goes on with is removed. Called by zips.ts.
 */
import { createWriteStream } from "node:fs";
import { appendFile, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { messageOf, SkyError } from "../../shared/errors.ts";
import type { Uid } from "../../shared/ids.ts";

/** SkyPilot's client cuts at 100 MiB. */
export const zipPieceBytesMax = 128 * 1024 * 1024;
export const zipPiecesMax = 10_000;
/** Zips of one user that may be on their way. */
const zipsPerUserMax = 8;
const forgottenMs = 24 * 3_600_000;
const copyBytes = 1024 * 1024;
/** Bytes of a piece after which the disk is looked at again. */
const lookBytes = 1024 * 1024;

/** One piece: which of how many, of which zip. */
export interface ZipPiece {
  blobId: string;
  index: number;
  total: number;
}

/** What a user has on the way, known as long as pieces of theirs are coming. */
interface Staged {
  bytes: number;
  coming: number;
  ready: Promise<void>;
}

export class ZipStaging {
  readonly #root: string;
  readonly #staged = new Map<Uid, Staged>();
  #drafts = 0;

  /** `root`: a folder of our own. */
  constructor(root: string) {
    this.#root = root;
  }

  folder(uid: Uid, blobId: string): string {
    return join(this.#root, String(uid), blobId);
  }

  /**
   * Writes one piece. Returns the pieces that are still missing. Throws SkyError when the user has more on the way than
   * `bytesMax`, or the piece is too large, or `requireDisk` does.
   */
  async receive(
    uid: Uid,
    piece: ZipPiece,
    body: Readable,
    bytesMax: number,
    requireDisk: () => Promise<void>,
  ): Promise<number[]> {
    const staged = this.#enter(uid);
    try {
      await staged.ready;
      return await this.#receive(uid, piece, body, { bytesMax, staged, requireDisk });
    } finally {
      staged.coming -= 1;
      if (staged.coming === 0) {
        this.#staged.delete(uid);
      }
    }
  }

  /** Several pieces come at once: they are counted together. */
  #enter(uid: Uid): Staged {
    const known = this.#staged.get(uid);
    if (known !== undefined) {
      known.coming += 1;
      return known;
    }
    const staged: Staged = { bytes: 0, coming: 1, ready: Promise.resolve() };
    staged.ready = this.#bytes(uid).then((bytes) => {
      staged.bytes = bytes;
    });
    this.#staged.set(uid, staged);
    return staged;
  }

  async #receive(
    uid: Uid,
    piece: ZipPiece,
    body: Readable,
    { bytesMax, staged, requireDisk }: { bytesMax: number; staged: Staged; requireDisk: () => Promise<void> },
  ): Promise<number[]> {
    const folder = this.folder(uid, piece.blobId);
    await this.#requireRoom(uid, piece.blobId);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const draft = join(folder, `draft-${process.pid}-${(this.#drafts += 1)}`);
    let bytes = 0;
    let looked = 0;
    const counted = async function* (source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
      for await (const chunk of source) {
        bytes += chunk.length;
        staged.bytes += chunk.length;
        if (bytes > zipPieceBytesMax || staged.bytes > bytesMax) {
          const text = `You may have ${Math.floor(bytesMax / 1e6)} MB of uploads.`;
          throw new SkyError("ValueError", text, "An admin can raise files.quota_gb_per_user.");
        }
        if (bytes - looked >= lookBytes) {
          looked = bytes;
          await requireDisk();
        }
        yield chunk;
      }
    };
    try {
      await pipeline(body, counted, createWriteStream(draft, { mode: 0o600, flags: "wx" }));
      await rename(draft, join(folder, `piece-${piece.index}`));
    } catch (error) {
      await rm(draft, { force: true });
      staged.bytes -= bytes;
      throw error instanceof SkyError ? error : failed(error);
    }
    const there = new Set(await readdir(folder));
    return Array.from({ length: piece.total }, (_, index) => index).filter((index) => !there.has(`piece-${index}`));
  }

  /** Joins all pieces; returns the path of the zip. */
  async join(uid: Uid, blobId: string, total: number): Promise<string> {
    const folder = this.folder(uid, blobId);
    const zip = join(folder, "zip");
    await rm(zip, { force: true });
    for (let index = 0; index < total; index += 1) {
      const piece = join(folder, `piece-${index}`);
      if (index === 0) {
        await rename(piece, zip);
      } else {
        await append(zip, piece);
        await rm(piece);
      }
    }
    return zip;
  }

  async remove(uid: Uid, blobId: string): Promise<void> {
    await rm(this.folder(uid, blobId), { recursive: true, force: true });
  }

  /** Removes what nobody has added to for a day. */
  async sweep(now: number): Promise<void> {
    for (const uid of await names(this.#root)) {
      for (const blobId of await names(join(this.#root, uid))) {
        const folder = join(this.#root, uid, blobId);
        const stats = await stat(folder).catch(() => null);
        if (stats !== null && now - stats.mtimeMs > forgottenMs) {
          await rm(folder, { recursive: true, force: true });
        }
      }
    }
  }

  async #requireRoom(uid: Uid, blobId: string): Promise<void> {
    const zips = await names(join(this.#root, String(uid)));
    if (!zips.includes(blobId) && zips.length >= zipsPerUserMax) {
      throw new SkyError(
        "ServerUnavailableError",
        `You have ${zips.length} unfinished uploads.`,
        "Finish or stop those; what is left of one is removed after a day.",
      );
    }
  }

  async #bytes(uid: Uid): Promise<number> {
    const own = join(this.#root, String(uid));
    let bytes = 0;
    for (const blobId of await names(own)) {
      for (const name of await names(join(own, blobId))) {
        bytes += (await stat(join(own, blobId, name)).catch(() => null))?.size ?? 0;
      }
    }
    return bytes;
  }
}

function failed(error: unknown): SkyError {
  const text = `A piece of the upload was not stored: ${messageOf(error)}.`;
  return new SkyError("ServerUnavailableError", text, "Try again.");
}

async function names(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}

async function append(to: string, from: string): Promise<void> {
  const file = await open(from);
  const buffer = Buffer.allocUnsafe(copyBytes);
  try {
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, copyBytes, null);
      if (bytesRead === 0) {
        return;
      }
      await appendFile(to, buffer.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
}
