/**
 * Lines out of a stream of bytes, within a maximum. Used for the worker's answers, which end the worker when one is too
 * long, and for what policies print, which is cut.
 */

export class LineReader {
  readonly #onLine: (line: string) => void;
  readonly #bytesMax: number;
  readonly #tooLong: "cut" | (() => void);
  #parts: Buffer[] = [];
  #bytes = 0;

  /** `tooLong`: `cut` leaves out what is beyond the maximum; else it is called, and nothing is kept. */
  constructor(bytesMax: number, onLine: (line: string) => void, tooLong: "cut" | (() => void)) {
    this.#onLine = onLine;
    this.#bytesMax = bytesMax;
    this.#tooLong = tooLong;
  }

  add(chunk: Buffer): void {
    let rest = chunk;
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      this.#keep(rest.subarray(0, end));
      this.#flush();
      rest = rest.subarray(end + 1);
    }
    this.#keep(rest);
  }

  /** Nothing more comes: what is left is a line too. */
  end(): void {
    if (this.#bytes > 0) {
      this.#flush();
    }
  }

  #flush(): void {
    const line = Buffer.concat(this.#parts).toString("utf8");
    this.#parts = [];
    this.#bytes = 0;
    this.#onLine(line);
  }

  #keep(bytes: Buffer): void {
    const room = Math.max(0, this.#bytesMax - this.#bytes);
    if (bytes.length > room && this.#tooLong !== "cut") {
      this.#parts = [];
      this.#bytes = 0;
      this.#tooLong();
      return;
    }
    // A copy, so that a short line does not hold a large chunk.
    this.#parts.push(Buffer.from(bytes.subarray(0, room)));
    this.#bytes += Math.min(bytes.length, room);
  }
}
