/**
 * The client's end of `sky gate`: the command that is run on the head, and the wait for its mark. What a login shell
 * prints before the mark is thrown away. Used by both transports; the other end is client/ssh/gate.ts.
 */
import type { Duplex, Readable } from "node:stream";
import { gateMark } from "./gate.ts";

const noiseBytesMax = 256 * 1024;
const markLimitMs = 20_000;
const tailBytesMax = 4096;

/** One word for any POSIX shell. */
function quoteWord(word: string): string {
  return /^[A-Za-z0-9_./:@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

export function gateCommand(gate: string, socket: string): string {
  return `${quoteWord(gate)} gate --socket ${quoteWord(socket)}`;
}

/** An exit code that no shell or forced command gives by itself. */
export const noSuchSocket = 68;

/** Exits with `noSuchSocket` where the socket does not exist. Only to say what is wrong. */
export function socketTestCommand(socket: string): string {
  return `test -S ${quoteWord(socket)} || exit ${noSuchSocket}`;
}

/** The end of what was written to stderr, for messages. */
export class Tail {
  private text = "";

  constructor(stream: Readable) {
    stream.on("data", (chunk: Buffer) => {
      this.text = (this.text + chunk.toString("utf8")).slice(-tailBytesMax);
    });
    stream.on("error", () => undefined);
  }

  /** The last lines, in one. */
  lastLines(): string {
    const lines = this.text
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => line !== "");
    return lines.slice(-3).join("; ").slice(-500);
  }
}

/** The command ended, or said nothing in time, before the mark. `code` is null when it is not known. */
export class GateFailed extends Error {
  readonly code: number | null;

  constructor(code: number | null, message: string) {
    super(message);
    this.code = code;
  }
}

/**
 * Resolves when the mark has been read; the stream then starts with the coordinator's first byte. `ended` resolves with
 * the command's exit code; `limitMs`: how long the mark may take. Rejects with GateFailed.
 */
export async function awaitMark(
  stream: Duplex,
  ended: Promise<number | null>,
  limitMs: number = markLimitMs,
): Promise<void> {
  const mark = Buffer.from(gateMark);
  let seen = Buffer.alloc(0);
  let timer: NodeJS.Timeout | undefined;
  await new Promise<void>((resolve, reject) => {
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      stream.off("readable", onReadable);
      settle();
    };
    const onReadable = (): void => {
      for (;;) {
        const chunk = stream.read() as Buffer | null;
        if (chunk === null) {
          return;
        }
        seen = Buffer.concat([seen, chunk]);
        const at = seen.indexOf(mark);
        if (at >= 0) {
          const rest = seen.subarray(at + mark.length);
          finish(() => {
            if (rest.length > 0) {
              stream.unshift(rest);
            }
            resolve();
          });
          return;
        }
        if (seen.length > noiseBytesMax) {
          finish(() => reject(new GateFailed(null, "the login shell prints without end")));
          return;
        }
      }
    };
    timer = setTimeout(() => finish(() => reject(new GateFailed(null, "no answer in time"))), limitMs);
    stream.on("readable", onReadable);
    void ended.then((code) =>
      finish(() => reject(new GateFailed(code, code === null ? "it was ended" : `exit code ${code}`))),
    );
  });
}
