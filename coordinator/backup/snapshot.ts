/**
 * A point-in-time copy of a running Redis server: the server's child writes all data as an RDB to this connection, as it
 * would for a replica, while the server goes on answering. It needs no room on the server's disk and leaves nothing
 * there. It must never change data. Called by take.ts.
 */
import { connect, type Socket } from "node:net";
import { SkyError } from "../../shared/errors.ts";

/** Milliseconds without a byte after which the server is given up. */
const silenceMs = 60_000;
/** Milliseconds for all of it. */
const limitMs = 3_600_000;
const headerMax = 1000;
const markBytes = 40;
/** What is said before SYNC; a server that does not know one of them answers with an error, which does not matter. */
const hints = ["CLIENT SETNAME sky-backup", "REPLCONF capa eof", "REPLCONF rdb-only 1"];

/** What is still to come: a number of bytes, or everything up to a mark that the server has drawn. */
type Rest = { bytes: number } | { mark: Buffer };

/** Hands the RDB's bytes on, in order. Throws SkyError when the server refuses, falls silent or goes away. */
export async function snapshot(socketPath: string, write: (bytes: Buffer) => Promise<void>): Promise<void> {
  const socket = connect(socketPath);
  socket.setTimeout(silenceMs, () => socket.destroy(new Error(`nothing came for ${silenceMs / 1000} s`)));
  const timer = setTimeout(() => socket.destroy(new Error(`it took longer than ${limitMs / 60_000} minutes`)), limitMs);
  try {
    socket.write(hints.map((line) => `${line}\r\n`).join(""));
    await receive(socket, write);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new SkyError(
      "ServerUnavailableError",
      `The copy of Redis at ${socketPath} was not completed: ${why}.`,
      "Look at the log of sky-redis, then try again. Nothing was changed.",
    );
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

async function receive(socket: Socket, write: (bytes: Buffer) => Promise<void>): Promise<void> {
  let rest: Rest | null = null;
  let held = Buffer.alloc(0);
  let answered = 0;
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    held = Buffer.concat([held, chunk]);
    while (answered < hints.length && held.includes("\n")) {
      held = held.subarray(held.indexOf("\n") + 1);
      answered += 1;
      if (answered === hints.length) {
        // Not earlier: SYNC is refused while an answer is on its way.
        socket.write("SYNC\r\n");
      }
    }
    if (rest === null) {
      const found = header(held);
      if (found === null) {
        continue;
      }
      rest = found.rest;
      held = held.subarray(found.end);
    }
    const taken = take(held, rest);
    if (taken.bytes.length > 0) {
      await write(taken.bytes);
    }
    if (taken.done) {
      return;
    }
    held = held.subarray(taken.bytes.length);
    rest = "bytes" in rest ? { bytes: rest.bytes - taken.bytes.length } : rest;
  }
  throw new Error("the server closed the connection");
}

/** What comes before the data: an error, line feeds to keep alive, then `$…`. */
function header(bytes: Buffer): { rest: Rest; end: number } | null {
  let start = 0;
  for (;;) {
    const end = bytes.indexOf("\n", start);
    if (end < 0) {
      if (bytes.length - start > headerMax) {
        throw new Error("the server does not speak as Redis does");
      }
      return null;
    }
    const line = bytes.toString("latin1", start, end).trim();
    if (line.startsWith("$EOF:") && line.length === markBytes + 5) {
      return { rest: { mark: Buffer.from(line.slice(5), "latin1") }, end: end + 1 };
    }
    if (/^\$\d+$/.test(line)) {
      return { rest: { bytes: Number(line.slice(1)) }, end: end + 1 };
    }
    if (line.startsWith("-")) {
      throw new Error(`the server says: ${line.slice(1, 300)}`);
    }
    start = end + 1;
  }
}

/** What of these bytes belongs to the data, as far as that is certain. */
function take(bytes: Buffer, rest: Rest): { bytes: Buffer; done: boolean } {
  if ("bytes" in rest) {
    return { bytes: bytes.subarray(0, rest.bytes), done: bytes.length >= rest.bytes };
  }
  const at = bytes.indexOf(rest.mark);
  return at >= 0
    ? { bytes: bytes.subarray(0, at), done: true }
    : { bytes: bytes.subarray(0, Math.max(0, bytes.length - markBytes + 1)), done: false };
}
