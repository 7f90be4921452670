/**
 * Reads a zip that SkyPilot's Python client made: every file goes to the user's store as chunks, every entry becomes a
 * line of a manifest. Names are checked and are only ever data: nothing here is written under a name from a zip. Memory
 * is bounded by the number of entries; sizes are counted as they come. Called by zips.ts.
 */
import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import { type Entry, openPromise, type ZipFile } from "yauzl";
import { messageOf, SkyError } from "../../shared/errors.ts";
import { chunkBytes, type ManifestEntry } from "../../shared/files.ts";
import type { Uid } from "../../shared/ids.ts";
import { Pace } from "../files/pace.ts";
import type { FileStore } from "../parts.ts";

export interface ZipLimits {
  entries: number;
  /** Of all files together, unpacked. */
  bytes: number;
}

export interface ZipTree {
  /** What SkyPilot's client names the zip by: SHA-256 over the sorted names and the contents. */
  blobId: string;
  /** By path, in the order of the paths' bytes. Paths are whole ones of the client's machine without the first slash. */
  entries: ManifestEntry[];
}

const pathBytesMax = 4096;
/** As in manifests (files/tree-check.ts). */
const depthMax = 256;
/** Bytes of all names together: they are in memory until the tree is whole. */
const namesBytesMax = 64 * 1024 * 1024;
/** Chunks that are sent to the store together. */
const packBytes = 8 * 1024 * 1024;

function refused(reason: string): SkyError {
  return new SkyError("ValueError", `The uploaded zip cannot be taken: ${reason}.`, "Upload it again.");
}

/** Gathers chunks and gives the store those that it lacks. */
class ChunkSink {
  readonly #store: FileStore;
  readonly #uid: Uid;
  #chunks = new Map<string, Buffer>();
  #bytes = 0;

  constructor(store: FileStore, uid: Uid) {
    this.#store = store;
    this.#uid = uid;
  }

  /** Takes the bytes, which must not change afterwards; returns their hash. */
  async add(bytes: Buffer): Promise<string> {
    const hash = createHash("sha256").update(bytes).digest("hex");
    if (!this.#chunks.has(hash)) {
      this.#chunks.set(hash, bytes);
      this.#bytes += bytes.length;
      if (this.#bytes >= packBytes) {
        await this.flush();
      }
    }
    return hash;
  }

  async flush(): Promise<void> {
    const chunks = this.#chunks;
    this.#chunks = new Map();
    this.#bytes = 0;
    const missing = chunks.size === 0 ? [] : await this.#store.missing(this.#uid, [...chunks.keys()]);
    if (missing.length > 0) {
      await this.#store.putPack(this.#uid, packOf(missing, chunks));
    }
  }
}

async function* packOf(hashes: readonly string[], chunks: ReadonlyMap<string, Buffer>): AsyncGenerator<Uint8Array> {
  for (const hash of new Set(hashes)) {
    const bytes = chunks.get(hash);
    if (bytes !== undefined) {
      const head = Buffer.alloc(36);
      head.write(hash, 0, "hex");
      head.writeUInt32BE(bytes.length, 32);
      yield head;
      yield bytes;
    }
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function decoded(bytes: Uint8Array, what: string): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw refused(`${what} is not UTF-8`);
  }
}

/** The path in an entry's name, without slashes at its ends. Throws when it is not a plain one. */
export function zipPath(name: string): string {
  const path = name.replace(/\/$/, "");
  const parts = path.split("/");
  const isPlain = parts.length <= depthMax && parts.every((part) => part !== "" && part !== "." && part !== "..");
  if (!isPlain || path.includes("\0") || Buffer.byteLength(path) > pathBytesMax) {
    throw refused(`it holds the name '${name.slice(0, 200)}'`);
  }
  return path;
}

/** Reads one zip. */
class ZipReader {
  readonly #zip: ZipFile;
  readonly #sink: ChunkSink;
  readonly #limits: ZipLimits;
  readonly #entries = new Map<string, ManifestEntry>();
  readonly #digests: { name: Buffer; digest: Buffer }[] = [];
  #bytes = 0;
  #namesBytes = 0;

  constructor(zip: ZipFile, sink: ChunkSink, limits: ZipLimits) {
    this.#zip = zip;
    this.#sink = sink;
    this.#limits = limits;
  }

  async read(): Promise<ZipTree> {
    if (this.#zip.entryCount > this.#limits.entries) {
      throw refused(`it holds ${this.#zip.entryCount} entries and ${this.#limits.entries} is the limit`);
    }
    for await (const entry of this.#zip.eachEntry()) {
      await this.#entry(entry);
    }
    await this.#sink.flush();
    const hash = createHash("sha256");
    for (const { name, digest } of this.#digests.sort((one, other) => Buffer.compare(one.name, other.name))) {
      hash.update(name).update(digest);
    }
    return { blobId: hash.digest("hex"), entries: await treeOf(this.#entries) };
  }

  async #entry(entry: Entry): Promise<void> {
    const raw = Buffer.from(entry.fileNameRaw);
    this.#namesBytes += raw.length;
    if (this.#namesBytes > namesBytesMax) {
      throw refused(`the names in it have over ${namesBytesMax / 1024 / 1024} MB together`);
    }
    const name = decoded(raw, "a name in it");
    const path = zipPath(name);
    const attributes = entry.externalFileAttributes >>> 0;
    const isLink = attributes >>> 28 === 0xa;
    const permissions = (attributes >>> 16) & 0o777;
    if (entry.isEncrypted()) {
      throw refused(`'${name.slice(0, 200)}' is encrypted`);
    }
    if (name.endsWith("/") && !isLink) {
      this.#entries.set(path, { type: "dir", path, mode: permissions === 0 ? 0o755 : permissions });
      this.#digests.push({ name: raw, digest: createHash("sha256").digest() });
      return;
    }
    this.#bytes += entry.uncompressedSize;
    if (this.#bytes > this.#limits.bytes) {
      const limit = `${Math.floor(this.#limits.bytes / 1e6)} MB`;
      throw new SkyError("ValueError", `The uploaded files are larger than what you may upload (${limit}).`);
    }
    const digest = createHash("sha256");
    const stream = await this.#zip.openReadStreamPromise(entry);
    if (isLink) {
      this.#entries.set(path, { type: "link", path, target: await linkTarget(stream, entry, digest) });
    } else {
      const chunks = await this.#chunks(stream, digest);
      const mode = permissions === 0 ? 0o644 : permissions;
      const mtime = entry.getLastModDate({ timezone: "UTC" }).getTime();
      this.#entries.set(path, { type: "file", path, mode, mtime, size: entry.uncompressedSize, chunks });
    }
    this.#digests.push({ name: raw, digest: digest.digest() });
  }

  async #chunks(stream: Readable, digest: ReturnType<typeof createHash>): Promise<string[]> {
    const hashes: string[] = [];
    let pieces: Buffer[] = [];
    let bytes = 0;
    const cut = async (): Promise<void> => {
      const whole = Buffer.concat(pieces);
      pieces = [];
      bytes = 0;
      hashes.push(await this.#sink.add(whole));
    };
    for await (const piece of stream) {
      digest.update(piece as Buffer);
      pieces.push(piece as Buffer);
      bytes += (piece as Buffer).length;
      if (bytes >= chunkBytes.usual) {
        await cut();
      }
    }
    if (bytes > 0) {
      await cut();
    }
    return hashes;
  }
}

async function linkTarget(stream: Readable, entry: Entry, digest: ReturnType<typeof createHash>): Promise<string> {
  if (entry.uncompressedSize > pathBytesMax) {
    stream.destroy();
    throw refused("a link in it leads to a name that is too long");
  }
  const pieces: Buffer[] = [];
  for await (const piece of stream) {
    digest.update(piece as Buffer);
    pieces.push(piece as Buffer);
  }
  const target = decoded(Buffer.concat(pieces), "where a link in it leads");
  if (target === "" || target.startsWith("/") || target.includes("\0")) {
    throw refused(`a link in it leads to '${target.slice(0, 200)}'`);
  }
  return target;
}

/**
 * In order, and a tree: nothing lies beneath a file. SkyPilot's client walks into a source that is itself a link to a
 * folder and sends both the link and what lies there: such a link counts as a folder.
 */
async function treeOf(found: ReadonlyMap<string, ManifestEntry>): Promise<ManifestEntry[]> {
  const entries = new Map(found);
  const pace = new Pace();
  for (const path of found.keys()) {
    await pace.breathe();
    for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1)) {
      const above = path.slice(0, at);
      const type = entries.get(above)?.type;
      if (type === "file") {
        throw refused(`'${path.slice(0, 200)}' lies beneath a file`);
      }
      if (type === "link") {
        entries.set(above, { type: "dir", path: above, mode: 0o755 });
      }
    }
  }
  const keyed = [...entries.values()].map((entry) => ({ entry, key: Buffer.from(entry.path) }));
  return keyed.sort((one, other) => Buffer.compare(one.key, other.key)).map(({ entry }) => entry);
}

/** Reads the zip at this path (our own, never one from a zip). Throws SkyError for anything that is wrong with it. */
export async function readZip(path: string, store: FileStore, uid: Uid, limits: ZipLimits): Promise<ZipTree> {
  let zip: ZipFile | null = null;
  try {
    // Raw names, so that a backslash stays what it is on Unix; zipPath checks them.
    zip = await openPromise(path, { decodeStrings: false, validateEntrySizes: true, autoClose: false });
    return await new ZipReader(zip, new ChunkSink(store, uid), limits).read();
  } catch (error) {
    throw error instanceof SkyError ? error : refused(messageOf(error));
  } finally {
    zip?.close();
  }
}
