/**
 * Bodies of uploads for tests: packs, manifests and streams of bytes in awkward pieces. Used by tests only.
 */
import { createHash } from "node:crypto";
import type { ManifestEntry } from "../../shared/files.ts";

export function sha256(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** A pack of these chunks, each under its own hash. */
export function packOf(chunks: readonly Uint8Array[]): Buffer {
  return Buffer.concat(
    chunks.flatMap((bytes) => {
      const head = Buffer.alloc(36);
      head.set(Buffer.from(sha256(bytes), "hex"));
      head.writeUInt32BE(bytes.length, 32);
      return [head, bytes];
    }),
  );
}

/** The bytes in pieces of this size. */
export async function* piecesOf(bytes: Uint8Array | string, size = 1000): AsyncGenerator<Uint8Array, void> {
  const all = Buffer.from(bytes as Uint8Array);
  for (let at = 0; at < all.length; at += size) {
    yield all.subarray(at, at + size);
  }
}

/** A file of these chunks. */
export function fileEntry(path: string, chunks: readonly Uint8Array[]): ManifestEntry {
  const size = chunks.reduce((sum, { length }) => sum + length, 0);
  return { type: "file", path, mode: 0o644, mtime: 1_700_000_000_000, size, chunks: chunks.map((one) => sha256(one)) };
}

export function manifestText(entries: readonly unknown[]): string {
  return entries.map((entry) => `${JSON.stringify(entry)}\n`).join("");
}

export async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stream) {
    pieces.push(Buffer.from(piece));
  }
  return Buffer.concat(pieces);
}
