/**
 * Questions for files to the coordinator through the agent's socket (shared/files.ts), one after another. What comes is
 * bounded and checked: a chunk must have the hash that was asked for. A coordinator or agent that is away is waited for
 * with a limit; a fault that it names ends the job's files. Called by upload.ts.
 */
import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { type FilesQuestion, filesFrameKinds, filesFramePayloadMax } from "../../../shared/files.ts";
import { type AgentAddress, dial } from "../control.ts";
import { FilesFault, shown } from "./fault.ts";

/** Without any byte for this long the connection is given up and made anew. */
const idleLimitMs = 60_000;
/** Without any answer for this long in all, the files are given up. */
const awayLimitMs = 10 * 60_000;
const pauseFirstMs = 100;
const pauseMaxMs = 2_000;
/** After this long a waiting job says so in its log. */
const sayAfterMs = 5_000;

/** The connection was lost; the same can be asked again. */
class Lost extends Error {}

interface Frame {
  kind: number;
  bytes: Buffer;
}

export class Questions {
  readonly #address: AgentAddress;
  readonly #attempt: string;
  readonly #say: (line: string) => void;
  #socket: Socket | null = null;
  #pieces: AsyncIterator<Buffer> | null = null;
  #rest: Buffer[] = [];
  #restBytes = 0;

  constructor(address: AgentAddress, attempt: string, say: (line: string) => void) {
    this.#address = address;
    this.#attempt = attempt;
    this.#say = say;
  }

  /** The manifest's text in pieces: all of it is asked for again when the connection is lost on the way. */
  async manifest(id: string): Promise<Buffer[]> {
    return await this.#until(async () => {
      const pieces: Buffer[] = [];
      const hash = createHash("sha256");
      await this.#ask({ get: "manifest", id });
      for (;;) {
        // oxlint-disable-next-line no-await-in-loop -- frames come one after another
        const { kind, bytes } = await this.#frame();
        if (kind === filesFrameKinds.end) {
          break;
        }
        this.#expect(kind, filesFrameKinds.manifest);
        hash.update(bytes);
        pieces.push(bytes);
      }
      if (hash.digest("hex") !== id) {
        throw new FilesFault("The list of the uploaded files came damaged. Launch again.");
      }
      return pieces;
    });
  }

  /**
   * Hands out these chunks in order, once each. `take` runs before the next one is read. After a lost connection only what
   * is still missing is asked for again.
   */
  async chunks(hashes: readonly string[], take: (hash: string, bytes: Buffer) => Promise<void> | void): Promise<void> {
    let done = 0;
    while (done < hashes.length) {
      // oxlint-disable-next-line no-await-in-loop -- one question after another
      await this.#until(async () => {
        await this.#ask({ get: "chunks", hashes: hashes.slice(done) });
        while (done < hashes.length) {
          const wanted = hashes[done] as string;
          // oxlint-disable-next-line no-await-in-loop -- frames come one after another
          const { kind, bytes } = await this.#frame();
          this.#expect(kind, filesFrameKinds.chunk);
          const chunk = bytes.subarray(32);
          if (bytes.subarray(0, 32).toString("hex") !== wanted || sha256(chunk) !== wanted) {
            throw new FilesFault("A part of the uploaded files came damaged. Launch again.");
          }
          done += 1;
          // oxlint-disable-next-line no-await-in-loop -- what is written holds up what is read
          await take(wanted, chunk);
        }
        this.#expect((await this.#frame()).kind, filesFrameKinds.end);
      });
    }
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = null;
    this.#pieces = null;
    [this.#rest, this.#restBytes] = [[], 0];
  }

  /** Does it again, with pauses, as long as only the connection is the cause. */
  async #until<T>(act: () => Promise<T>): Promise<T> {
    const begin = performance.now();
    let said = false;
    for (let pause = pauseFirstMs; ; pause = Math.min(pauseMaxMs, pause * 2)) {
      try {
        // oxlint-disable-next-line no-await-in-loop -- one try after another
        return await act();
      } catch (error) {
        this.close();
        if (error instanceof FilesFault) {
          throw error;
        }
        const waited = performance.now() - begin;
        if (waited > awayLimitMs) {
          throw new FilesFault("The uploaded files did not come: the coordinator could not be reached. Launch again.");
        }
        if (waited > sayAfterMs && !said) {
          said = true;
          this.#say("the coordinator cannot be reached; waiting for it");
        }
        // oxlint-disable-next-line no-await-in-loop -- a pause between tries
        await delay(pause);
      }
    }
  }

  async #ask(question: FilesQuestion): Promise<void> {
    if (this.#socket === null || this.#socket.destroyed) {
      this.close();
      this.#socket = await dial(this.#address, { type: "hello", role: "files", attempt: this.#attempt });
      this.#socket.setTimeout(idleLimitMs, () => this.#socket?.destroy());
      this.#pieces = this.#socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    }
    this.#socket.write(`${JSON.stringify(question)}\n`);
  }

  #expect(kind: number, wanted: number): void {
    if (kind !== wanted) {
      throw new FilesFault(
        "The coordinator's answer about the uploaded files is not understood. Ask the admin to update.",
      );
    }
  }

  /** The next frame; a fault that the other side names is thrown. */
  async #frame(): Promise<Frame> {
    const head = await this.#take(5);
    const length = head.readUInt32BE(1);
    if (length > filesFramePayloadMax) {
      throw new FilesFault("The coordinator's answer about the uploaded files is too long. Ask the admin to update.");
    }
    const frame = { kind: head.readUInt8(0), bytes: await this.#take(length) };
    if (frame.kind === filesFrameKinds.fault) {
      throw new FilesFault(`The uploaded files cannot be given: ${shown(frame.bytes.toString("latin1"))}`);
    }
    return frame;
  }

  async #take(length: number): Promise<Buffer> {
    while (this.#restBytes < length) {
      // oxlint-disable-next-line no-await-in-loop -- pieces come one after another
      const next = (await this.#pieces?.next().catch(() => null)) ?? null;
      if (next === null || next.done === true) {
        throw new Lost("the connection ended");
      }
      this.#rest.push(next.value);
      this.#restBytes += next.value.length;
    }
    const all = this.#rest.length === 1 ? (this.#rest[0] as Buffer) : Buffer.concat(this.#rest);
    this.#rest = [all.subarray(length)];
    this.#restBytes = all.length - length;
    return all.subarray(0, length);
  }
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
