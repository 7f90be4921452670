/**
 * Puts the output of a job's ranks together as one text, each line with the prefix that says whose it is. Bytes are
 * never decoded, changed or dropped. One rank passes through at once, so its text depends on its log files alone and a
 * cut download can be resumed by counting bytes; of several ranks whole lines are kept together. Called by logs.ts.
 */

const newline = 0x0a;
const carriageReturn = 0x0d;

/** A line of several ranks that is longer than this is written in parts. */
const lineBytesMax = 1024 * 1024;

const cyan = "\u001b[36m";
const reset = "\u001b[0m";

/** `prefix` as it stands before a line: in cyan if wanted, then a space. */
export function prefixBytes(prefix: string, colors: boolean): Buffer {
  return Buffer.from(colors ? `${cyan}${prefix}${reset} ` : `${prefix} `);
}

/**
 * Writes prefixes at line starts. A line is what ends in `\n`; `\r` passes through. When another source writes while a
 * line is open, the line is ended first, so that no two sources share one.
 */
export class LineWriter {
  #open: string | null = null;

  /** The bytes to send for these bytes of this source. `source` says whose line it is, `prefix` what stands before it. */
  write(source: string, prefix: Buffer, bytes: Buffer): Buffer {
    if (bytes.length === 0) {
      return bytes;
    }
    const parts: Buffer[] = [];
    if (this.#open !== null && this.#open !== source) {
      parts.push(Buffer.from("\n"));
      this.#open = null;
    }
    let offset = 0;
    while (offset < bytes.length) {
      const end = bytes.indexOf(newline, offset);
      const next = end === -1 ? bytes.length : end + 1;
      if (this.#open === null) {
        parts.push(prefix);
      }
      parts.push(bytes.subarray(offset, next));
      this.#open = end === -1 ? source : null;
      offset = next;
    }
    return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
  }

  /** The bytes to send for a line of our own, which has no prefix. */
  line(text: string): Buffer {
    const lead = this.#open === null ? "" : "\n";
    this.#open = null;
    return Buffer.from(`${lead}${text}\n`);
  }
}

/** Collects the bytes of one source until a line (or a step of a progress bar) is whole. */
export class LineCollector {
  #parts: Buffer[] = [];
  #size = 0;

  /** The whole lines that these bytes complete, in one buffer, or null. What is over 1 MB is given out as it is. */
  push(bytes: Buffer): Buffer | null {
    const end = Math.max(bytes.lastIndexOf(newline), bytes.lastIndexOf(carriageReturn)) + 1;
    if (end > 0) {
      this.#parts.push(bytes.subarray(0, end));
      const whole = this.flush();
      this.#keep(bytes.subarray(end));
      return whole;
    }
    this.#keep(bytes);
    return this.#size > lineBytesMax ? this.flush() : null;
  }

  /** What is left of an unfinished line, or null. */
  flush(): Buffer | null {
    const whole = this.#parts.length === 0 ? null : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#size = 0;
    return whole;
  }

  #keep(bytes: Buffer): void {
    if (bytes.length > 0) {
      this.#parts.push(bytes);
      this.#size += bytes.length;
    }
  }
}
