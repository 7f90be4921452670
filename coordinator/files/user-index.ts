/**
 * What one user has uploaded, in memory: where each chunk lies, which packs and manifests there are, and what they take.
 * It is read from the user's folder and can be dropped at any time; the folder is the truth. It must never be told of a
 * file before that file is whole and on disk. Used by user-files.ts and sweep.ts.
 */
import { open, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import type { Log } from "../log.ts";
import { DigestTable, digestBytes, EntrySet } from "./digest-table.ts";
import { wholeNames } from "./names.ts";
import { Pace } from "./pace.ts";
import { type Placed, readExactly, readList } from "./pack.ts";

/** Files take whole blocks of a disk; without this, very many tiny ones would cost nothing. */
const blockBytes = 4096;
const manifestPattern = /^[0-9a-f]{64}$/;
const packPattern = /^[0-9a-f]{24}\.pack$/;
/** Ending of the file that lists the chunks of a manifest: their digests, each once. */
export const namesEnding = ".chunks";
/** The number of no pack: its chunk was dropped. */
const gone = 0xffffffff;
/** Sets of named chunks that are kept for nodes that ask. */
const namedSetsMax = 32;
const readBytes = 256 * 1024;
const columns = { pack: 0, offset: 1, length: 2 } as const;

/** What a file of this size takes of a quota. */
export function charged(bytes: number): number {
  return Math.ceil(bytes / blockBytes) * blockBytes;
}

export interface Pack {
  name: string;
  bytes: number;
  /** Milliseconds since 1970. */
  born: number;
}

interface KeptManifest {
  /** With the list of its chunks, as charged. */
  bytes: number;
  usedAt: number;
}

export interface Place {
  pack: number;
  offset: number;
  length: number;
}

export class UserIndex {
  readonly folder: string;
  readonly chunks = new DigestTable(3);
  readonly packs = new Map<number, Pack>();
  readonly manifests = new Map<string, KeptManifest>();
  /** Chunks that the user was told are there since the last sweep: they may be about to be named. */
  asked = new EntrySet();
  /** When that was last said. */
  askedAt = 0;
  #bytes = 0;
  #lastPack = 0;
  readonly #named = new Map<string, EntrySet>();

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Reads the user's folder; there may be none. What is not whole is removed and logged. */
  static async open(folder: string, log: Log): Promise<UserIndex> {
    const index = new UserIndex(folder);
    const pace = new Pace();
    for (const name of await wholeNames(index.packFolder)) {
      const path = join(index.packFolder, name);
      const list = packPattern.test(name) ? await readList(path) : null;
      if (list === null) {
        log.warn({ path }, "an uploaded pack is not whole; removed");
        await rm(path, { force: true, recursive: true });
      } else {
        await index.addPack(name, list.bytes, (await stat(path)).mtimeMs, list.entries);
      }
      await pace.breathe();
    }
    await index.#openManifests();
    return index;
  }

  get packFolder(): string {
    return join(this.folder, "packs");
  }

  get manifestFolder(): string {
    return join(this.folder, "manifests");
  }

  /** What everything takes of the quota. */
  get bytes(): number {
    return this.#bytes;
  }

  packPath({ name }: Pack): string {
    return join(this.packFolder, name);
  }

  manifestPath(id: string): string {
    return join(this.manifestFolder, id);
  }

  /** The chunk's entry, or −1 when it is not there. */
  find(digest: Uint8Array): number {
    const entry = this.chunks.find(digest);
    return entry < 0 || this.chunks.get(entry, columns.pack) === gone ? -1 : entry;
  }

  place(entry: number): Place | null {
    const pack = this.chunks.get(entry, columns.pack);
    const [offset, length] = [this.chunks.get(entry, columns.offset), this.chunks.get(entry, columns.length)];
    return pack === gone ? null : { pack, offset, length };
  }

  /** The user is told at this time that the chunk is there. */
  ask(entry: number, now: number): void {
    this.asked.add(entry);
    this.askedAt = now;
  }

  /** Bytes of a chunk that is there. */
  lengthOf(entry: number): number {
    return this.chunks.get(entry, columns.length);
  }

  /** A pack that is on disk. Its chunks are found there when this resolves. */
  async addPack(name: string, bytes: number, born: number, entries: readonly Placed[]): Promise<void> {
    this.#lastPack += 1;
    const pack = this.#lastPack;
    this.packs.set(pack, { name, bytes, born });
    this.#bytes += charged(bytes);
    const pace = new Pace();
    for (const { digest, offset, length } of entries) {
      if (pace.isDue()) {
        await pace.breathe();
      }
      const entry = this.chunks.add(digest);
      this.chunks.set(entry, columns.pack, pack);
      this.chunks.set(entry, columns.offset, offset);
      this.chunks.set(entry, columns.length, length);
    }
  }

  /** Forgets a pack, and those of these chunks that are found there; its file can be removed then. */
  dropPack(number: number, entries: readonly number[]): void {
    for (const entry of entries) {
      if (this.chunks.get(entry, columns.pack) === number) {
        this.chunks.set(entry, columns.pack, gone);
      }
    }
    this.#bytes -= charged(this.packs.get(number)?.bytes ?? 0);
    this.packs.delete(number);
  }

  /** A manifest that is on disk, with its list of chunks. */
  addManifest(id: string, bytes: number, usedAt: number): void {
    this.dropManifest(id);
    this.manifests.set(id, { bytes, usedAt });
    this.#bytes += bytes;
  }

  dropManifest(id: string): void {
    this.#bytes -= this.manifests.get(id)?.bytes ?? 0;
    this.manifests.delete(id);
    this.#named.delete(id);
  }

  /** It is in use at this moment. */
  async renew(id: string, now: number): Promise<void> {
    const kept = this.manifests.get(id);
    if (kept !== undefined) {
      kept.usedAt = now;
      await utimes(this.manifestPath(id), now / 1000, now / 1000);
    }
  }

  /** The digests of a manifest's chunks, each once; views that are good until the next. */
  async *namesOf(id: string): AsyncGenerator<Buffer, void> {
    const handle = await open(this.manifestPath(id) + namesEnding, "r");
    try {
      const { size } = await handle.stat();
      for (let at = 0; at < size; at += readBytes) {
        const bytes = await readExactly(handle, at, Math.min(readBytes, size - at));
        for (let start = 0; start + digestBytes <= bytes.length; start += digestBytes) {
          yield bytes.subarray(start, start + digestBytes);
        }
      }
    } finally {
      await handle.close();
    }
  }

  /** The entries of a manifest's chunks; null when it is not there, or one of them is missing. */
  async namedBy(id: string): Promise<EntrySet | null> {
    const known = this.#named.get(id);
    if (known !== undefined || !this.manifests.has(id)) {
      return known ?? null;
    }
    const named = new EntrySet();
    const pace = new Pace();
    for await (const digest of this.namesOf(id)) {
      const entry = this.find(digest);
      if (entry < 0) {
        return null;
      }
      named.add(entry);
      if (pace.isDue()) {
        await pace.breathe();
      }
    }
    if (this.#named.size >= namedSetsMax) {
      this.#named.delete(this.#named.keys().next().value ?? "");
    }
    this.#named.set(id, named);
    return named;
  }

  async #openManifests(): Promise<void> {
    const names = await wholeNames(this.manifestFolder);
    const lists = new Set(names.filter((name) => name.endsWith(namesEnding)));
    for (const id of names.filter((name) => !lists.has(name))) {
      if (manifestPattern.test(id) && lists.delete(id + namesEnding)) {
        const [text, list] = [await stat(this.manifestPath(id)), await stat(this.manifestPath(id) + namesEnding)];
        this.addManifest(id, charged(text.size) + charged(list.size), text.mtimeMs);
      } else {
        await rm(this.manifestPath(id), { force: true, recursive: true });
      }
    }
    // A list comes before its manifest: without one it was never announced.
    for (const name of lists) {
      await rm(this.manifestPath(name), { force: true });
    }
  }
}
