/**
 * A store of uploaded files in memory that keeps the promises of FileStore: every hash is checked, users are apart, a
 * manifest is kept only when all its chunks are there. For tests of what uses a store; nothing but tests may import this.
 */
import { createHash } from "node:crypto";
import { type ManifestEntry, manifestEntrySchema } from "../../shared/files.ts";
import type { Uid } from "../../shared/ids.ts";
import type { FileStore } from "../../coordinator/parts.ts";

function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

async function gathered(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of body) {
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

export class MemoryFileStore implements FileStore {
  readonly chunks = new Map<string, Buffer>();
  readonly manifests = new Map<string, string>();
  quotaBytes = 1e9;

  async missing(uid: Uid, hashes: readonly string[]): Promise<string[]> {
    return hashes.filter((hash) => !this.chunks.has(`${uid}/${hash}`));
  }

  async putPack(uid: Uid, body: AsyncIterable<Uint8Array>): Promise<number> {
    const pack = await gathered(body);
    let stored = 0;
    for (let at = 0; at < pack.length; ) {
      const hash = pack.subarray(at, at + 32).toString("hex");
      const length = pack.readUInt32BE(at + 32);
      const bytes = pack.subarray(at + 36, at + 36 + length);
      if (hashOf(bytes) !== hash) {
        throw new Error("a chunk has another hash than its name");
      }
      this.chunks.set(`${uid}/${hash}`, Buffer.from(bytes));
      at += 36 + length;
      stored += 1;
    }
    return stored;
  }

  async putManifest(uid: Uid, body: AsyncIterable<Uint8Array>): Promise<{ id: string; missing: string[] }> {
    const text = (await gathered(body)).toString();
    const id = hashOf(Buffer.from(text));
    const wanted = linesOf(text).flatMap((entry) => (entry.type === "file" ? entry.chunks : []));
    const missing = await this.missing(uid, wanted);
    if (missing.length === 0) {
      this.manifests.set(`${uid}/${id}`, text);
    }
    return { id, missing };
  }

  async hasManifest(uid: Uid, id: string): Promise<boolean> {
    return this.manifests.has(`${uid}/${id}`);
  }

  async *readManifest(uid: Uid, id: string): AsyncGenerator<Uint8Array> {
    yield Buffer.from(this.manifests.get(`${uid}/${id}`) ?? "");
  }

  async *readChunks(uid: Uid, hashes: readonly string[]): AsyncGenerator<{ hash: string; bytes: Uint8Array }> {
    for (const hash of hashes) {
      const bytes = this.chunks.get(`${uid}/${hash}`);
      if (bytes === undefined) {
        throw new Error("no such chunk");
      }
      yield { hash, bytes };
    }
  }

  async usage(uid: Uid): Promise<{ bytes: number; quotaBytes: number; manifests: number; keepDays: number }> {
    const own = [...this.chunks].filter(([key]) => key.startsWith(`${uid}/`));
    const bytes = own.reduce((sum, [, chunk]) => sum + chunk.length, 0);
    return { bytes, quotaBytes: this.quotaBytes, manifests: this.manifests.size, keepDays: 14 };
  }

  async clean(): Promise<number> {
    return 0;
  }

  /** What a manifest says, and each file's bytes. */
  read(uid: Uid, id: string): { entries: ManifestEntry[]; bytes: Map<string, Buffer> } {
    const entries = linesOf(this.manifests.get(`${uid}/${id}`) ?? "");
    const files = entries.filter((entry) => entry.type === "file");
    const bytesOf = (hash: string): Buffer => this.chunks.get(`${uid}/${hash}`) ?? Buffer.alloc(0);
    return { entries, bytes: new Map(files.map(({ path, chunks }) => [path, Buffer.concat(chunks.map(bytesOf))])) };
  }
}

function linesOf(text: string): ManifestEntry[] {
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.map((line) => manifestEntrySchema.parse(JSON.parse(line)));
}
