/**
 * A small real store of uploaded files for the tests of the node's side: trees made from plain descriptions, and answers
 * to the questions of shared/files.ts on a socket, which a test can cut short or falsify. Used by stand-in-agent.ts.
 */
import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { type FilesQuestion, filesFrameKinds, filesQuestionSchema, type ManifestEntry } from "../../shared/files.ts";

export type Tree = Record<
  string,
  { text: string | Buffer; mode?: number; mtime?: number } | { link: string } | { dir: number }
>;

export class FileStore {
  readonly manifests = new Map<string, string>();
  readonly chunks = new Map<string, Buffer>();
  readonly asked: FilesQuestion[] = [];
  /** Called before each chunk; `cut` ends the connection, a text is a fault. */
  disturb: (hash: string, sent: number) => "cut" | "hang" | { fault: string } | null = () => null;
  sent = 0;
  connections = 0;
  readonly #sockets = new Set<Socket>();

  /** Cuts every `cut` bytes. Returns the manifest's id. */
  add(tree: Tree, cut = 4): string {
    return this.addEntries(
      Object.entries(tree).map(([path, given]): ManifestEntry => {
        if ("link" in given) {
          return { type: "link", path, target: given.link };
        }
        if ("dir" in given) {
          return { type: "dir", path, mode: given.dir };
        }
        const bytes = Buffer.from(given.text);
        const { mode = 0o644, mtime = 1_700_000_000_123 } = given;
        return { type: "file", path, mode, mtime, size: bytes.length, chunks: this.addChunks(bytes, cut) };
      }),
    );
  }

  addChunks(bytes: Buffer, cut: number): string[] {
    const hashes: string[] = [];
    for (let at = 0; at < bytes.length; at += cut) {
      const chunk = bytes.subarray(at, at + cut);
      const hash = createHash("sha256").update(chunk).digest("hex");
      this.chunks.set(hash, chunk);
      hashes.push(hash);
    }
    return hashes;
  }

  /** Whatever they are. */
  addEntries(entries: unknown[]): string {
    const text = entries.map((entry) => `${JSON.stringify(entry)}\n`).join("");
    const id = createHash("sha256").update(text).digest("hex");
    this.manifests.set(id, text);
    return id;
  }

  /** Chunks that were asked for so far. */
  get askedChunks(): number {
    return this.asked.reduce((sum, one) => sum + (one.get === "chunks" ? one.hashes.length : 0), 0);
  }

  /** Ends every connection. */
  cut(): void {
    this.#sockets.forEach((socket) => socket.destroy());
  }

  /** Serves a connection whose first bytes after its hello are `rest`. Returns what takes further bytes. */
  serve(socket: Socket): (bytes: Buffer) => Buffer {
    this.connections += 1;
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    return (bytes) => {
      let rest = bytes;
      for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
        this.#answer(socket, filesQuestionSchema.parse(JSON.parse(rest.subarray(0, end).toString())));
        rest = rest.subarray(end + 1);
      }
      return rest;
    };
  }

  #answer(socket: Socket, question: FilesQuestion): void {
    this.asked.push(question);
    if (question.get === "manifest") {
      const text = this.manifests.get(question.id);
      if (text === undefined) {
        socket.end(frame(filesFrameKinds.fault, Buffer.from("it is not kept any more")));
        return;
      }
      const bytes = Buffer.from(text);
      const half = Math.ceil(bytes.length / 2);
      socket.write(frame(filesFrameKinds.manifest, bytes.subarray(0, half)));
      socket.write(frame(filesFrameKinds.manifest, bytes.subarray(half)));
      socket.write(frame(filesFrameKinds.end, Buffer.alloc(0)));
      return;
    }
    for (const hash of question.hashes) {
      const what = this.disturb(hash, this.sent);
      if (what === "cut") {
        socket.destroy();
        return;
      }
      if (what === "hang") {
        return;
      }
      if (what !== null) {
        socket.end(frame(filesFrameKinds.fault, Buffer.from(what.fault)));
        return;
      }
      this.sent += 1;
      const chunk = this.chunks.get(hash) ?? Buffer.alloc(0);
      socket.write(frame(filesFrameKinds.chunk, Buffer.concat([Buffer.from(hash, "hex"), chunk])));
    }
    socket.write(frame(filesFrameKinds.end, Buffer.alloc(0)));
  }
}

function frame(kind: number, bytes: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(kind, 0);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}
