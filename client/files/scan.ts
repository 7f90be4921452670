/**
 * From a source on this machine to its manifest and to where the bytes of each chunk are: walks, reads what is new,
 * remembers it. It sends nothing. Called by client/files/upload.ts.
 */
import type { ManifestEntry } from "../../shared/files.ts";
import { setImmediate as turn } from "node:timers/promises";
import { ReadCache } from "./cache.ts";
import { type Manifest, entryOf, manifestOf } from "./manifest.ts";
import { type Chunk, readChunks } from "./read-file.ts";
import { type Found, type Walked, walkSource } from "./walk.ts";

/** Where a chunk's bytes can be read. */
export interface ChunkPlace {
  /** As bytes in latin1. */
  path: string;
  /** The source itself is a file, and perhaps a link to one. */
  isRoot: boolean;
  position: number;
  length: number;
}

export interface Scan {
  manifest: Manifest;
  /** By hash; each hash once, in the order of the files. */
  places: Map<string, ChunkPlace>;
  files: number;
  /** Of all files. */
  bytes: number;
}

export interface ScanOptions {
  /** The folder of the caches; null: remember nothing. */
  cacheFolder: string | null;
  warn: (text: string) => void;
  /** Bytes of files that were read, of those that have to be. */
  onRead(done: number, total: number): void;
}

type FoundFile = Extract<Found, { type: "file" }>;

/** Files between which others get a turn. */
const turnFiles = 64;

function isFile(one: Found): one is FoundFile {
  return one.type === "file";
}

function fullPath(walked: Walked, path: string): string {
  return path === "" ? walked.root : `${walked.root}/${path}`;
}

/** The chunks of every file by its path; what was read anew is put into the found entry too. */
async function chunksOf(walked: Walked, files: FoundFile[], options: ScanOptions): Promise<Map<string, Chunk[]>> {
  const known = new Map<string, Chunk[]>();
  const cache =
    options.cacheFolder === null
      ? null
      : ReadCache.open(options.cacheFolder, Buffer.from(walked.root, "latin1").toString("utf8"));
  const unread: FoundFile[] = [];
  for (const file of files) {
    const chunks = cache?.find(file.path, file.facts) ?? null;
    if (chunks === null) {
      unread.push(file);
    } else {
      known.set(file.path, chunks);
    }
  }
  const total = unread.reduce((sum, file) => sum + file.facts.size, 0);
  let done = 0;
  try {
    for (const [index, file] of unread.entries()) {
      const readAt = Date.now();
      const read = await readChunks(fullPath(walked, file.path), file.path === "", (bytes) => {
        done += bytes;
        options.onRead(Math.min(done, total), total);
      });
      file.facts = read.facts;
      known.set(file.path, read.chunks);
      cache?.add(file.path, read.facts, read.chunks, readAt);
      if (index % turnFiles === 0) {
        await turn();
      }
    }
  } finally {
    // Also after a failure: what was read need not be read again.
    cache?.save();
  }
  return known;
}

/** Scans a source, an absolute path. Throws SkyError. */
export async function scanSource(source: string, options: ScanOptions): Promise<Scan> {
  const walked = await walkSource(source, options.warn);
  const files = walked.found.filter(isFile);
  const chunks = await chunksOf(walked, files, options);
  const places = new Map<string, ChunkPlace>();
  let bytes = 0;
  for (const file of files) {
    let position = 0;
    for (const { hash, length } of chunks.get(file.path) ?? []) {
      if (!places.has(hash)) {
        places.set(hash, { path: fullPath(walked, file.path), isRoot: file.path === "", position, length });
      }
      position += length;
    }
    bytes += position;
  }
  const entries: ManifestEntry[] = walked.found.map((one) => entryOf(one, chunks.get(one.path) ?? []));
  return { manifest: manifestOf(entries, source), places, files: files.length, bytes };
}
