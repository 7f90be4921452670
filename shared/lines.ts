/**
 * Newline-delimited JSON frames with hard limits: splitting a byte stream into lines, and turning a line into a checked
 * value. Bytes come from machines and users that are not trusted, so anything but a clean frame becomes a FrameError
 * and never another exception. Texts of errors never repeat what was received. Pure; used by both ends of the control
 * channel (coordinator/fleet, agent/link) and of the agent's socket (agent/skylets, agent/skylet).
 */
import type { z } from "zod";

/** A frame that is too long, not UTF-8, not JSON or not what the schema allows. The connection is to be closed. */
export class FrameError extends Error {
  override readonly name = "FrameError";
}

const newline = 0x0a;

/** Cuts a byte stream into lines of at most `bytesMax` bytes, newline included. */
export class LineReader {
  private readonly bytesMax: number;
  /** The beginning of a line whose end has not come yet: the first `length` bytes. Grows by doubling, so tiny chunks cost nothing extra. */
  private held = new Uint8Array(0);
  private length = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** The lines that this chunk completes, without their newlines. Throws FrameError; the reader is not to be used afterwards. */
  push(chunk: Uint8Array): string[] {
    const lines: string[] = [];
    let first = this.pushFirst(chunk);
    while (first !== null) {
      lines.push(first.line);
      first = this.pushFirst(first.rest);
    }
    return lines;
  }

  /** At most one line, and the bytes after it: for connections that become raw after their first frame. Null: not complete yet. */
  pushFirst(chunk: Uint8Array): { line: string; rest: Uint8Array } | null {
    const end = chunk.indexOf(newline);
    const part = end < 0 ? chunk : chunk.subarray(0, end);
    if (this.length + part.length + 1 > this.bytesMax) {
      throw new FrameError(`a frame is longer than ${this.bytesMax} bytes`);
    }
    if (end < 0) {
      this.hold(part);
      return null;
    }
    if (this.length === 0) {
      return { line: decode(part), rest: chunk.subarray(end + 1) };
    }
    this.hold(part);
    const line = decode(this.held.subarray(0, this.length));
    this.held = new Uint8Array(0);
    this.length = 0;
    return { line, rest: chunk.subarray(end + 1) };
  }

  private hold(part: Uint8Array): void {
    const needed = this.length + part.length;
    if (needed > this.held.length) {
      const grown = new Uint8Array(Math.min(this.bytesMax, Math.max(needed, this.held.length * 2)));
      grown.set(this.held.subarray(0, this.length));
      this.held = grown;
    }
    this.held.set(part, this.length);
    this.length = needed;
  }
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new FrameError("a frame is not UTF-8");
  }
}

/** One frame as it goes onto the wire. Throws FrameError when it is longer than `bytesMax`, which the other end would refuse. */
export function encodeFrame(value: unknown, bytesMax: number): Uint8Array {
  const bytes = new TextEncoder().encode(`${JSON.stringify(value)}\n`);
  if (bytes.length > bytesMax) {
    throw new FrameError(`a frame of ${bytes.length} bytes is longer than ${bytesMax} bytes`);
  }
  return bytes;
}

/** A line as a value that the schema allows; FrameError says where it does not, without repeating what was received. */
export function parseFrame<T>(schema: z.ZodType<T>, line: string): T {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new FrameError("a frame is not JSON");
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const place = issue === undefined ? "" : issue.path.map(String).join(".").slice(0, 100);
    throw new FrameError(`a frame is not valid (${issue?.code ?? "unknown"} at '${place}')`);
  }
  return parsed.data;
}
