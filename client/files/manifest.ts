/**
 * The text of a manifest: one JSON line for each thing in a source, in the order of the paths' bytes, so that the same
 * tree always has the same text and the same id. Names that are not UTF-8 become base64. Pure. Called by scan.ts.
 */
import { createHash } from "node:crypto";
import { SkyError } from "../../shared/errors.ts";
import { manifestBytesMax, type ManifestEntry } from "../../shared/files.ts";
import type { Chunk } from "./read-file.ts";
import { type Found, pathBytes } from "./walk.ts";

export interface Manifest {
  /** SHA-256 of the text. */
  id: string;
  /** The text, in pieces. */
  pieces: Buffer[];
  bytes: number;
}

const pieceLines = 2000;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Bytes as text when they are UTF-8; null when they are not. */
function decoded(latin1: string): string | null {
  try {
    return utf8.decode(pathBytes(latin1));
  } catch {
    return null;
  }
}

function base64(latin1: string): string {
  return pathBytes(latin1).toString("base64");
}

/** One line's content. `chunks`: of a file. */
export function entryOf(found: Found, chunks: readonly Chunk[]): ManifestEntry {
  const path = decoded(found.path);
  const target = found.type === "link" ? decoded(found.target) : "";
  const place = path === null || target === null ? { path: base64(found.path), bytes: true as const } : { path };
  switch (found.type) {
    case "dir":
      return { type: "dir", ...place, mode: found.mode };
    case "link":
      return { type: "link", ...place, target: "bytes" in place ? base64(found.target) : (target as string) };
    default: {
      const { mtimeMs, size } = found.facts;
      return { type: "file", ...place, mode: found.mode, mtime: mtimeMs, size, chunks: chunks.map(({ hash }) => hash) };
    }
  }
}

/** The manifest of these entries, which are in order. Throws SkyError when it is too large. */
export function manifestOf(entries: readonly ManifestEntry[], source: string): Manifest {
  const hash = createHash("sha256");
  const pieces: Buffer[] = [];
  let bytes = 0;
  for (let at = 0; at < entries.length; at += pieceLines) {
    const lines = entries.slice(at, at + pieceLines).map((entry) => `${JSON.stringify(entry)}\n`);
    const piece = Buffer.from(lines.join(""));
    hash.update(piece);
    bytes += piece.length;
    pieces.push(piece);
  }
  if (bytes > manifestBytesMax) {
    throw new SkyError(
      "ValueError",
      `${source} holds too many files: the list of them would take ${Math.ceil(bytes / 1024 ** 2)} MB.`,
      "Leave out what the task does not need by a .skyignore file.",
    );
  }
  return { id: hash.digest("hex"), pieces, bytes };
}
