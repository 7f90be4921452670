/**
 * A small real keeper of uploads for the client's tests: HTTP on a unix socket, the routes and the rules of
 * shared/files.ts, everything in memory; a test can cut connections and take things away. Used by tests only.
 */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { manifestEntrySchema, missingBodySchema, packBytesMax } from "../../shared/files.ts";
import type { HeadStreams } from "../../client/sdk/transport.ts";

export interface FilesHead {
  chunks: Map<string, Buffer>;
  manifests: Map<string, string>;
  /** `POST /onprem/files/pack` and the like, in the order in which they were answered. */
  calls: string[];
  /** Bytes of bodies of packs that came whole. */
  packBytes: number;
  /** Called before a call is answered; true: its connection ends instead. */
  disturb: (path: string) => boolean;
  connect(): Promise<HeadStreams>;
  close(): Promise<void>;
}

async function bodyOf(message: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of message) {
    pieces.push(piece as Buffer);
  }
  return Buffer.concat(pieces);
}

function hashOf(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Takes a pack apart; what is not a pack, or not what it says, is an error. */
function unpack(body: Buffer, into: Map<string, Buffer>): number {
  if (body.length > packBytesMax) {
    throw new Error(`a pack of ${body.length} bytes`);
  }
  let stored = 0;
  for (let at = 0; at < body.length; ) {
    const hash = body.subarray(at, at + 32).toString("hex");
    const bytes = body.subarray(at + 36, at + 36 + body.readUInt32BE(at + 32));
    if (hashOf(bytes) !== hash) {
      throw new Error(`a chunk that is not ${hash}`);
    }
    into.set(hash, bytes);
    stored += 1;
    at += 36 + bytes.length;
  }
  return stored;
}

function missingOf(head: FilesHead, text: string): string[] {
  const hashes = text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => manifestEntrySchema.parse(JSON.parse(line)))
    .flatMap((entry) => (entry.type === "file" ? entry.chunks : []));
  return [...new Set(hashes)].filter((hash) => !head.chunks.has(hash));
}

function answer(head: FilesHead, route: string, body: Buffer): [status: number, value: unknown] {
  const id = route.split("/").at(-1) ?? "";
  if (route === "POST /onprem/files/missing") {
    const { hashes } = missingBodySchema.parse(JSON.parse(body.toString()));
    return [200, { missing: hashes.filter((hash) => !head.chunks.has(hash)) }];
  }
  if (route === "POST /onprem/files/pack") {
    const stored = unpack(body, head.chunks);
    head.packBytes += body.length;
    return [200, { stored }];
  }
  if (route === "POST /onprem/files/manifest") {
    const text = body.toString();
    const missing = missingOf(head, text);
    if (missing.length === 0) {
      head.manifests.set(hashOf(body), text);
    }
    return [200, { id: hashOf(body), missing }];
  }
  const kept = head.manifests.get(id);
  return kept === undefined ? [404, { detail: "no such manifest" }] : [200, { id, missing: missingOf(head, kept) }];
}

export async function startFilesHead(): Promise<FilesHead> {
  const dir = mkdtempSync(join(tmpdir(), "sky-files-head-"));
  const socketPath = join(dir, "api.sock");
  const sockets = new Set<Socket>();
  const server = createServer((message, reply) => {
    const work = async (): Promise<void> => {
      const body = await bodyOf(message);
      const route = `${message.method} ${message.url}`;
      if (head.disturb(route)) {
        message.socket.destroy();
        return;
      }
      head.calls.push(route.replace(/[0-9a-f]{64}$/, "ID"));
      const [status, value] = answer(head, route, body);
      reply.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
    };
    work().catch((error: unknown) => {
      if (!reply.headersSent) {
        reply.writeHead(400).end(JSON.stringify({ detail: String(error) }));
      }
    });
  });
  const head: FilesHead = {
    chunks: new Map(),
    manifests: new Map(),
    calls: [],
    packBytes: 0,
    disturb: () => false,
    async connect() {
      const own = new Set<Socket>();
      return {
        async openStream() {
          const socket = connect(socketPath);
          own.add(socket);
          sockets.add(socket);
          socket.on("error", () => undefined);
          return socket;
        },
        close: () => own.forEach((socket) => void socket.destroy()),
      };
    },
    async close() {
      sockets.forEach((socket) => void socket.destroy());
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(dir, { recursive: true, force: true });
    },
  };
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return head;
}
