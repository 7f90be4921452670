/**
 * Reads the frames of a log stream: one byte kind, four bytes big-endian length, payload. The bytes come from a user's
 * skylet, so nothing about them is trusted: an unknown kind, a payload over the limit or bytes after the end frame are
 * errors. Memory is bounded by one frame: payload bytes of output are passed on as they come. Called by logs.ts.
 */
import { logFrameKinds, logFramePayloadMax } from "../../shared/skylet-wire.ts";

/** What a log stream says. Output may arrive in smaller pieces than its frames; pid and end are whole. */
export type LogPiece =
  | { kind: "setup" | "run"; bytes: Buffer }
  | { kind: "pid"; pid: number }
  /** Complete when `fault` is null; otherwise why the output ends here. */
  | { kind: "end"; fault: string | null };

const headBytes = 5;
/** A pid is short; a fault is a sentence. */
const pidBytesMax = 10;
const faultBytesMax = 4096;

/** A stream that does not keep to the format. */
export class LogFrameError extends Error {
  override readonly name = "LogFrameError";
}

/** Turns chunks into pieces, whatever the chunks' borders are. One parser belongs to one stream. */
export class LogFrameParser {
  #head: Buffer = Buffer.alloc(0);
  #kind = 0;
  #missing = 0;
  #whole: Buffer[] = [];
  #ended = false;

  /** The pieces that this chunk completes. Throws LogFrameError; the stream is then useless. */
  push(chunk: Buffer): LogPiece[] {
    const pieces: LogPiece[] = [];
    let offset = 0;
    while (offset < chunk.length) {
      if (this.#ended) {
        throw new LogFrameError("bytes after the end of a log stream");
      }
      if (this.#kind === 0) {
        const taken = Math.min(headBytes - this.#head.length, chunk.length - offset);
        this.#head = Buffer.concat([this.#head, chunk.subarray(offset, offset + taken)]);
        offset += taken;
        if (this.#head.length === headBytes) {
          this.#begin();
        }
      } else {
        const taken = Math.min(this.#missing, chunk.length - offset);
        this.#take(chunk.subarray(offset, offset + taken), pieces);
        offset += taken;
      }
      if (this.#kind !== 0 && this.#missing === 0) {
        this.#finish(pieces);
      }
    }
    return pieces;
  }

  #begin(): void {
    const kind = this.#head[0] ?? 0;
    const length = this.#head.readUInt32BE(1);
    this.#head = Buffer.alloc(0);
    const limit = limitOf(kind);
    if (limit === null) {
      throw new LogFrameError(`unknown kind of log frame: ${kind}`);
    }
    if (length > limit) {
      throw new LogFrameError(`a log frame of ${length} bytes is over the limit of ${limit}`);
    }
    this.#kind = kind;
    this.#missing = length;
    this.#whole = [];
  }

  #take(bytes: Buffer, pieces: LogPiece[]): void {
    this.#missing -= bytes.length;
    if (this.#kind === logFrameKinds.setup) {
      pieces.push({ kind: "setup", bytes });
    } else if (this.#kind === logFrameKinds.run) {
      pieces.push({ kind: "run", bytes });
    } else {
      this.#whole.push(bytes);
    }
  }

  #finish(pieces: LogPiece[]): void {
    if (this.#kind === logFrameKinds.pid) {
      const text = Buffer.concat(this.#whole).toString("latin1");
      if (!/^[1-9][0-9]{0,9}$/.test(text)) {
        throw new LogFrameError("a log frame holds a pid that is none");
      }
      pieces.push({ kind: "pid", pid: Number(text) });
    } else if (this.#kind === logFrameKinds.end) {
      const fault = Buffer.concat(this.#whole).toString("utf8");
      this.#ended = true;
      pieces.push({ kind: "end", fault: fault === "" ? null : fault });
    }
    this.#kind = 0;
  }
}

function limitOf(kind: number): number | null {
  switch (kind) {
    case logFrameKinds.setup:
    case logFrameKinds.run:
      return logFramePayloadMax;
    case logFrameKinds.pid:
      return pidBytesMax;
    case logFrameKinds.end:
      return faultBytesMax;
    default:
      return null;
  }
}
