/**
 * Everything that can be done with one user's uploads: take chunks and manifests, say what is missing, give them out.
 * What is taken is on disk before it is known here, and what is refused or cut off leaves nothing. It must never look
 * outside of this user's folder. Called by store.ts; what nobody needs any more is swept by sweep.ts.
 */
import { createHash } from "node:crypto";
import { type FileHandle, open, rename, rm, utimes } from "node:fs/promises";
import { SkyError } from "../../shared/errors.ts";
import { chunkBytes, manifestBytesMax, manifestLineBytesMax } from "../../shared/files.ts";
import { FrameError, LineReader } from "../../shared/lines.ts";
import { syncFolder } from "../backup/files.ts";
import type { Log } from "../log.ts";
import { DigestTable, digestBytes, EntrySet } from "./digest-table.ts";
import { makeFolder, temporaryEnding } from "./names.ts";
import { bytesInPack, chunksOf, PackWriter, readExactly, writeAll } from "./pack.ts";
import { Pace } from "./pace.ts";
import { TreeCheck } from "./tree-check.ts";
import { charged, namesEnding, UserIndex } from "./user-index.ts";

/** Chunks of one user: their index takes about 60 bytes each. */
const chunksMax = 2_000_000;
const manifestsMax = 50_000;
/** Missing chunks that are named at one time. */
const missingMax = 10_000;
const pieceBytes = 64 * 1024;
const readBytes = 256 * 1024;
/** Chunks that lie together are read together. */
const readTogetherBytes = 4 * 1024 * 1024;
const gapBytes = 4096;

export interface Room {
  quotaBytes: number;
  now(): number;
}

interface Run {
  pack: number;
  start: number;
  end: number;
  chunks: { digest: Buffer; offset: number; length: number }[];
}

export class UserFiles {
  readonly index: UserIndex;
  readonly #room: Room;
  /** Bytes that uploads under way may come to take. */
  #reserved = 0;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(index: UserIndex, room: Room) {
    this.index = index;
    this.#room = room;
  }

  static async open(folder: string, room: Room, log: Log): Promise<UserFiles> {
    return new UserFiles(await UserIndex.open(folder, log), room);
  }

  /** One after another: what decides from which manifests there are, and changes it. */
  alone<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }

  async missing(hashes: readonly string[]): Promise<string[]> {
    const missing: string[] = [];
    const pace = new Pace();
    for (const hash of hashes) {
      const entry = this.index.find(Buffer.from(hash, "hex"));
      if (entry < 0) {
        missing.push(hash);
      } else {
        this.index.ask(entry, this.#room.now());
      }
      if (pace.isDue()) {
        await pace.breathe();
      }
    }
    return missing;
  }

  async putPack(body: AsyncIterable<Uint8Array>): Promise<number> {
    await makeFolder(this.index.packFolder);
    const writer = await PackWriter.create(this.index.packFolder);
    const own = new DigestTable(1);
    let reserved = 0;
    try {
      for await (const { digest, bytes } of chunksOf(body)) {
        const known = this.index.find(digest);
        if (known >= 0) {
          this.index.ask(known, this.#room.now());
        } else if (own.find(digest) < 0) {
          own.add(digest);
          const more = bytesInPack(bytes.length);
          this.#requireRoom(more);
          this.#reserved += more;
          reserved += more;
          await writer.add(digest, bytes);
        }
      }
      const stored = writer.entries.length;
      if (stored === 0) {
        await writer.abandon();
        return 0;
      }
      this.#requireRoom(charged(writer.bytes) - reserved);
      const bytes = await writer.finish();
      await this.index.addPack(writer.name, bytes, this.#room.now(), writer.entries);
      return stored;
    } catch (error) {
      await writer.abandon();
      throw error;
    } finally {
      this.#reserved -= reserved;
    }
  }

  async putManifest(body: AsyncIterable<Uint8Array>): Promise<{ id: string; missing: string[] }> {
    await makeFolder(this.index.manifestFolder);
    const temporary = `${this.index.manifestPath(`upload-${process.hrtime.bigint()}`)}${temporaryEnding}`;
    const handle = await open(temporary, "wx", 0o600);
    try {
      const { id, bytes, missing, named } = await this.#takeManifest(body, handle);
      if (missing.length > 0) {
        return { id, missing };
      }
      await handle.sync();
      return await this.alone(() => this.#keepManifest(temporary, { id, bytes, named }));
    } finally {
      await handle.close();
      await rm(temporary, { force: true });
    }
  }

  /** Whether it is there with all its chunks; it counts as used now. */
  async hasManifest(id: string): Promise<boolean> {
    return this.alone(async () => {
      if ((await this.index.namedBy(id)) === null) {
        return false;
      }
      await this.index.renew(id, this.#room.now());
      return true;
    });
  }

  async *readManifest(id: string): AsyncGenerator<Uint8Array, void> {
    if (!(await this.hasManifest(id))) {
      throw lost(`The uploaded list of files ${id}`);
    }
    const handle = await open(this.index.manifestPath(id), "r");
    try {
      const { size } = await handle.stat();
      for (let at = 0; at < size; at += readBytes) {
        yield await readExactly(handle, at, Math.min(readBytes, size - at));
      }
    } finally {
      await handle.close();
    }
  }

  async *readChunks(
    hashes: readonly string[],
    within: ReadonlySet<string> | undefined,
  ): AsyncGenerator<{ hash: string; bytes: Uint8Array }, void> {
    const named = within === undefined ? null : new Array<EntrySet | null>();
    for (const id of within ?? []) {
      // One after another: all at once they would take the thread for much longer than one piece of work may.
      named?.push(await this.index.namedBy(id));
    }
    const entries = hashes.map((hash) => {
      const entry = this.index.find(Buffer.from(hash, "hex"));
      if (entry < 0 || (named !== null && !named.some((one) => one?.has(entry) === true))) {
        throw lost(`The uploaded chunk ${hash}`);
      }
      return entry;
    });
    for (let at = 0; at < entries.length; ) {
      const { run, bytes } = await this.#readRun(entries, at);
      for (const { digest, offset, length } of run.chunks) {
        yield { hash: digest.toString("hex"), bytes: bytes.subarray(offset - run.start, offset - run.start + length) };
      }
      at += run.chunks.length;
    }
  }

  /** The chunks from `at` on that lie together. A pack that a sweep has just replaced is looked for once more. */
  async #readRun(entries: readonly number[], at: number): Promise<{ run: Run; bytes: Buffer }> {
    for (let tries = 1; ; tries += 1) {
      const run = this.#runFrom(entries, at);
      const pack = run === null ? undefined : this.index.packs.get(run.pack);
      if (run === null || pack === undefined) {
        throw lost("An uploaded chunk");
      }
      try {
        const handle = await open(this.index.packPath(pack), "r");
        try {
          return { run, bytes: await readExactly(handle, run.start, run.end - run.start) };
        } finally {
          await handle.close();
        }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT" || tries > 2) {
          throw error;
        }
      }
    }
  }

  #runFrom(entries: readonly number[], from: number): Run | null {
    let run: Run | null = null;
    for (let at = from; at < entries.length; at += 1) {
      const entry = entries[at] as number;
      const place = this.index.place(entry);
      if (place === null) {
        return run;
      }
      const { pack, offset, length } = place;
      const end = offset + length;
      run ??= { pack, start: offset, end: offset, chunks: [] };
      const isNear = pack === run.pack && offset >= run.end && offset - run.end <= gapBytes;
      if (!isNear || (run.chunks.length > 0 && end - run.start > readTogetherBytes)) {
        return run;
      }
      run.end = end;
      run.chunks.push({ digest: Buffer.from(this.index.chunks.digest(entry)), offset, length });
    }
    return run;
  }

  /** Writes the body to the file while checking it. */
  async #takeManifest(
    body: AsyncIterable<Uint8Array>,
    handle: FileHandle,
  ): Promise<{ id: string; bytes: number; missing: string[]; named: EntrySet }> {
    const [hash, tree, pace] = [createHash("sha256"), new TreeCheck(), new Pace()];
    const lines = new LineReader(manifestLineBytesMax);
    const [missing, named] = [new Set<string>(), new EntrySet()];
    let bytes = 0;
    const take = (line: string): void => this.#takeLine(line, tree, missing, named);
    for await (const whole of body) {
      for (let at = 0; at < whole.length; at += pieceBytes) {
        const piece = whole.subarray(at, at + pieceBytes);
        bytes += piece.length;
        if (bytes > manifestBytesMax) {
          throw new SkyError(
            "ValueError",
            `The list of files may have ${manifestBytesMax / 1024 ** 2} MB; this one has more.`,
            "Leave out what the task does not need by a .skyignore file.",
          );
        }
        this.#requireRoom(charged(bytes));
        hash.update(piece);
        await writeAll(handle, Buffer.from(piece.buffer, piece.byteOffset, piece.length));
        for (const line of linesOf(lines, piece)) {
          take(line);
        }
        await pace.breathe();
      }
    }
    for (const line of linesOf(lines, Buffer.from("\n"))) {
      if (line !== "") {
        take(line);
      }
    }
    return { id: hash.digest("hex"), bytes, missing: [...missing], named };
  }

  #takeLine(line: string, tree: TreeCheck, missing: Set<string>, named: EntrySet): void {
    const entry = tree.next(line);
    if (entry.type !== "file") {
      return;
    }
    let size = 0;
    let isWhole = true;
    for (const chunk of entry.chunks) {
      const found = this.index.find(Buffer.from(chunk, "hex"));
      if (found >= 0) {
        size += this.index.lengthOf(found);
        named.add(found);
        this.index.ask(found, this.#room.now());
      } else {
        isWhole = false;
        if (missing.size < missingMax) {
          missing.add(chunk);
        }
      }
    }
    if (isWhole ? size !== entry.size : entry.chunks.length * chunkBytes.max < entry.size) {
      throw tree.complaint(`the chunks of the file have ${size} bytes, and its size is ${entry.size}`);
    }
  }

  /** Gives a manifest that was checked its name, unless a chunk has gone meanwhile. */
  async #keepManifest(
    temporary: string,
    { id, bytes, named }: { id: string; bytes: number; named: EntrySet },
  ): Promise<{ id: string; missing: string[] }> {
    if ((await this.index.namedBy(id)) !== null) {
      await this.index.renew(id, this.#room.now());
      return { id, missing: [] };
    }
    const names: Buffer[] = [];
    const missing: string[] = [];
    const pace = new Pace();
    for (let entry = 0; entry < this.index.chunks.size; entry += 1) {
      if (named.has(entry)) {
        const digest = Buffer.from(this.index.chunks.digest(entry));
        if (this.index.place(entry) !== null) {
          names.push(digest);
        } else if (missing.length < missingMax) {
          missing.push(digest.toString("hex"));
        }
      }
      if (pace.isDue()) {
        await pace.breathe();
      }
    }
    if (missing.length > 0) {
      return { id, missing };
    }
    const took = charged(bytes) + charged(names.length * digestBytes);
    this.#requireRoom(took);
    if (this.index.manifests.size >= manifestsMax) {
      throw new SkyError("ValueError", `You have ${manifestsMax} uploaded trees, the most that are kept.`, cleanHint);
    }
    await this.#writeNames(id, Buffer.concat(names));
    const now = this.#room.now();
    await utimes(temporary, now / 1000, now / 1000);
    await rename(temporary, this.index.manifestPath(id));
    await syncFolder(this.index.manifestFolder);
    this.index.addManifest(id, took, now);
    return { id, missing: [] };
  }

  /** On disk before its manifest is. */
  async #writeNames(id: string, names: Buffer): Promise<void> {
    const path = this.index.manifestPath(id) + namesEnding;
    await rm(path + temporaryEnding, { force: true });
    const handle = await open(path + temporaryEnding, "wx", 0o600);
    try {
      await writeAll(handle, names);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(path + temporaryEnding, path);
  }

  #requireRoom(bytes: number): void {
    const { quotaBytes } = this.#room;
    const used = this.index.bytes + this.#reserved;
    if (used + bytes > quotaBytes) {
      throw new SkyError(
        "ValueError",
        `Your uploaded files take ${gigabytes(used)} GB and may take ${gigabytes(quotaBytes)} GB; this does not fit in any more.`,
        cleanHint,
      );
    }
    if (this.index.chunks.size >= chunksMax) {
      throw new SkyError(
        "ValueError",
        `Your uploaded files have ${chunksMax} parts, the most that are kept.`,
        cleanHint,
      );
    }
  }
}

const cleanHint =
  "See `sky files`; `sky files clean` forgets what no unfinished job needs. A .skyignore file leaves things out.";

function gigabytes(bytes: number): string {
  return (bytes / 1e9).toFixed(bytes < 1e10 ? 2 : 0);
}

function lost(what: string): SkyError {
  return new SkyError("ValueError", `${what} is not on the coordinator.`, "Launch again: it is uploaded again then.");
}

function linesOf(reader: LineReader, piece: Uint8Array): string[] {
  try {
    return reader.push(piece);
  } catch (error) {
    if (error instanceof FrameError) {
      const most = manifestLineBytesMax / 1024 ** 2;
      throw new SkyError("ValueError", `The list of files has a line that is not UTF-8 or has over ${most} MB.`);
    }
    throw error;
  }
}
