/**
 * Log streams: a rank's setup and run output from the files in the user's home to the agent, as frames, from an offset,
 * with or without waiting for more. Reads as the user, at most 64 KB at a time, and only when the reader at the other
 * end has taken what was sent. It must never leave the home, nor say "complete" before the rank has ended and all bytes
 * up to the end were sent. Called by main.ts, once for each stream.
 */
import { once } from "node:events";
import { constants, existsSync, type FSWatcher, watch } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { Socket } from "node:net";
import { hostname } from "node:os";
import { join, normalize } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { LogRequest } from "../../shared/agent-wire.ts";
import { messageOf } from "../../shared/errors.ts";
import { logFrameKinds, logFramePayloadMax } from "../../shared/skylet-wire.ts";
import type { LogSource } from "./attempts.ts";
import { type RankFile, readRankFile } from "./log-folder.ts";

/** What a stream needs to know of the attempts. */
export interface LogSources {
  home: string;
  logSource: (attempt: string) => LogSource | null;
  isStarting: (attempt: string) => boolean;
  onChange: (listener: () => void) => () => void;
}

/** Where the kernel tells of no change (NFS, no watch left), files are looked at this often. */
const lookEveryMs = 200;
/** How long a follower waits for an attempt that is not there yet. */
const appearLimitMs = 60_000;

function frame(kind: number, payload: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(5 + payload.length);
  bytes[0] = kind;
  bytes.writeUInt32BE(payload.length, 1);
  payload.copy(bytes, 5);
  return bytes;
}

/** Sends the stream and closes the socket. Never throws; what goes wrong stands in the end frame. */
export async function serveLogs(socket: Socket, request: LogRequest, sources: LogSources): Promise<void> {
  socket.resume();
  socket.once("end", () => socket.destroy());
  let problem = "";
  try {
    problem = await transfer(socket, request, sources);
  } catch (error) {
    problem = `machine '${hostname()}': the log cannot be read: ${messageOf(error)}`;
  }
  if (!socket.destroyed) {
    socket.end(frame(logFrameKinds.end, Buffer.from(problem.slice(0, 2000))));
  }
}

/** Empty when complete. */
async function transfer(socket: Socket, request: LogRequest, sources: LogSources): Promise<string> {
  const place = await locate(socket, request, sources);
  if (place === null) {
    const where = request.logDir === null ? "" : ` in ~/${request.logDir}`;
    return `machine '${hostname()}': no log of rank ${request.rank}${where}; it was moved or removed, or the rank never started there.`;
  }
  const { folder, file } = place;
  const setup = new Tail(join(folder, file.setupLog), logFrameKinds.setup, request.setupOffset);
  const run = new Tail(join(folder, file.runLog), logFrameKinds.run, request.runOffset);
  const alarm = new Alarm([folder, join(folder, "tasks")], sources);
  socket.once("close", () => alarm.ring());
  try {
    await send(socket, frame(logFrameKinds.pid, Buffer.from(String(file.pid))));
    if (request.tailLines !== null) {
      await setup.skipLines(request.tailLines - (await run.skipLines(request.tailLines)));
    }
    while (!socket.destroyed) {
      const ended = sources.logSource(request.attempt)?.ended ?? true;
      await setup.drain(socket);
      await run.drain(socket);
      if (ended || !request.follow) {
        break;
      }
      await alarm.wait();
    }
    return "";
  } finally {
    alarm.close();
    await setup.close();
    await run.close();
  }
}

interface Place {
  folder: string;
  file: RankFile;
}

async function locate(socket: Socket, request: LogRequest, sources: LogSources): Promise<Place | null> {
  const limit = performance.now() + appearLimitMs;
  for (;;) {
    const known = sources.logSource(request.attempt);
    const logDir = known?.logDir ?? (sources.isStarting(request.attempt) ? null : request.logDir);
    if (logDir !== null && logDir !== undefined) {
      const folder = insideHome(sources.home, logDir);
      const file = folder === null ? null : readRankFile(folder, request.rank);
      return folder === null || file === null || file.attempt !== request.attempt ? null : { folder, file };
    }
    if (!request.follow || socket.destroyed || performance.now() > limit) {
      return null;
    }
    await delay(20);
  }
}

/** A path from a request, or null when it would leave the home. */
export function insideHome(home: string, relative: string): string | null {
  const clean = normalize(relative);
  const leaves = clean.startsWith("/") || clean.split("/").includes("..") || clean.includes("\0") || clean === ".";
  return leaves ? null : join(home, clean);
}

async function send(socket: Socket, bytes: Buffer): Promise<void> {
  if (!socket.destroyed && !socket.write(bytes)) {
    // Either the reader has taken it or it is gone; both end the wait.
    const stop = new AbortController();
    const wait = (name: string): Promise<unknown> => once(socket, name, { signal: stop.signal }).catch(() => undefined);
    await Promise.race([wait("drain"), wait("close")]);
    stop.abort();
  }
}

/** One file that grows. It may not exist yet. */
class Tail {
  readonly #path: string;
  readonly #kind: number;
  #offset: number;
  #handle: FileHandle | null = null;

  constructor(path: string, kind: number, offset: number) {
    this.#path = path;
    this.#kind = kind;
    this.#offset = offset;
  }

  async #open(): Promise<FileHandle | null> {
    if (this.#handle === null && existsSync(this.#path)) {
      const handle = await open(this.#path, constants.O_RDONLY | constants.O_NONBLOCK);
      if (!(await handle.stat()).isFile()) {
        await handle.close();
        throw new Error(`${this.#path} is not a file`);
      }
      this.#handle = handle;
    }
    return this.#handle;
  }

  /** Sends everything from the offset to the present end. */
  async drain(socket: Socket): Promise<void> {
    const handle = await this.#open();
    if (handle === null) {
      return;
    }
    while (!socket.destroyed) {
      const left = (await handle.stat()).size - this.#offset;
      if (left <= 0) {
        return;
      }
      const bytes = Buffer.allocUnsafe(5 + Math.min(left, logFramePayloadMax));
      const { bytesRead } = await handle.read(bytes, 5, bytes.length - 5, this.#offset);
      if (bytesRead === 0) {
        return;
      }
      bytes[0] = this.#kind;
      bytes.writeUInt32BE(bytesRead, 1);
      this.#offset += bytesRead;
      await send(socket, bytes.subarray(0, 5 + bytesRead));
    }
  }

  /** Moves the offset forward so that at most the last `lines` lines remain; returns how many there are. */
  async skipLines(lines: number): Promise<number> {
    const handle = await this.#open();
    if (handle === null) {
      return 0;
    }
    const { size } = await handle.stat();
    const found = await lastLines(handle, size, Math.max(0, lines));
    this.#offset = Math.max(this.#offset, found.start);
    return found.lines;
  }

  async close(): Promise<void> {
    await this.#handle?.close().catch(() => undefined);
  }
}

/** Where the last `lines` lines begin, read backwards; an unfinished last line counts as one. */
async function lastLines(handle: FileHandle, size: number, lines: number): Promise<{ start: number; lines: number }> {
  if (lines === 0 || size === 0) {
    return { start: size, lines: 0 };
  }
  const buffer = Buffer.allocUnsafe(logFramePayloadMax);
  let seen = 0;
  // The file's very last byte ends a line or belongs to one; either way it begins none.
  for (let end = size - 1; end > 0; ) {
    const start = Math.max(0, end - buffer.length);
    const { bytesRead } = await handle.read(buffer, 0, end - start, start);
    for (let at = bytesRead - 1; at >= 0; at -= 1) {
      if (buffer[at] === 10) {
        seen += 1;
        if (seen === lines) {
          return { start: start + at + 1, lines };
        }
      }
    }
    end = start;
  }
  return { start: 0, lines: seen + 1 };
}

/** Rings when a watched folder or an attempt has changed, and by itself every 200 ms. */
class Alarm {
  readonly #watchers: FSWatcher[] = [];
  readonly #unsubscribe: () => void;
  #rung = false;
  #wake: (() => void) | null = null;

  constructor(folders: string[], sources: LogSources) {
    this.#unsubscribe = sources.onChange(() => this.ring());
    for (const folder of folders) {
      try {
        const watcher = watch(folder, () => this.ring());
        watcher.on("error", () => watcher.close());
        this.#watchers.push(watcher);
      } catch {
        // No watch left or no such folder: the regular look finds the change.
      }
    }
  }

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  async wait(): Promise<void> {
    if (!this.#rung) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, lookEveryMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#rung = false;
    this.#wake = null;
  }

  close(): void {
    this.#unsubscribe();
    for (const watcher of this.#watchers) {
      watcher.close();
    }
  }
}
