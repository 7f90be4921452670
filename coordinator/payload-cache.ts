/**
 * Payloads that were put or read a moment ago, so that the start of a job needs no further look into the store and the
 * node no question: small ones only, within a bound, the one that was not used for longest goes first. The store stays
 * the truth: whatever is not here is read there. In memory only, as long as the generation lives. Used by store.ts.
 */
import type { Uid } from "../shared/ids.ts";
import type { Payload } from "../shared/job.ts";

/** Payloads of more bytes of JSON are fetched by those who need them. */
export const payloadAtHandBytesMax = 64 * 1024;
const totalBytesMax = 32 * 1024 * 1024;

export class PayloadCache {
  /** The one that was not used for longest first. */
  readonly #kept = new Map<string, { payload: Payload; bytes: number }>();
  #bytes = 0;

  /** `text` is the payload as it is stored. */
  put(uid: Uid, ref: string, payload: Payload, text: string): void {
    const key = `${uid}/${ref}`;
    const bytes = Buffer.byteLength(text);
    this.drop(uid, ref);
    if (bytes > payloadAtHandBytesMax) {
      return;
    }
    this.#kept.set(key, { payload, bytes });
    this.#bytes += bytes;
    for (const [oldest, { bytes: freed }] of this.#kept) {
      if (this.#bytes <= totalBytesMax) {
        break;
      }
      this.#kept.delete(oldest);
      this.#bytes -= freed;
    }
  }

  /** Null: look into the store. What is given out must not be changed. */
  get(uid: Uid, ref: string): Payload | null {
    const key = `${uid}/${ref}`;
    const found = this.#kept.get(key);
    if (found === undefined) {
      return null;
    }
    this.#kept.delete(key);
    this.#kept.set(key, found);
    return found.payload;
  }

  drop(uid: Uid, ref: string): void {
    const key = `${uid}/${ref}`;
    this.#bytes -= this.#kept.get(key)?.bytes ?? 0;
    this.#kept.delete(key);
  }
}
