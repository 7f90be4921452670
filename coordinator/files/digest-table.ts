/**
 * A table of SHA-256 digests with a few numbers for each, in flat memory: about 60 bytes an entry, where a Map of strings
 * takes several times that. Entries are numbered in the order in which they came and are never taken out. Pure; it must
 * not matter to it which digests somebody chose. Used by the index of a user's chunks and by the check of manifests.
 */
import { randomInt } from "node:crypto";

export const digestBytes = 32;
const firstCapacity = 64;

export class DigestTable {
  readonly #columns: number;
  /** Odd and drawn, so that nobody can choose digests that share a slot. */
  readonly #factors = [randomInt(2 ** 32) | 1, randomInt(2 ** 32) | 1] as const;
  #keys = Buffer.alloc(firstCapacity * digestBytes);
  #values: Uint32Array;
  /** Entry plus one; 0 is free. Always twice as many as there is room for entries. */
  #slots = new Uint32Array(firstCapacity * 2);
  #size = 0;

  /** `columns`: numbers (0 to 2^32 − 1) that each entry has; 0 at first. */
  constructor(columns: number) {
    this.#columns = columns;
    this.#values = new Uint32Array(firstCapacity * columns);
  }

  /** Entries are 0 to size − 1. */
  get size(): number {
    return this.#size;
  }

  /** The entry of this digest, or −1. */
  find(digest: Uint8Array): number {
    return (this.#slots[this.#slotOf(digest)] as number) - 1;
  }

  /** The entry of this digest, a new one when there is none. */
  add(digest: Uint8Array): number {
    let slot = this.#slotOf(digest);
    const known = this.#slots[slot] as number;
    if (known > 0) {
      return known - 1;
    }
    if (this.#size === this.#slots.length / 2) {
      this.#grow();
      slot = this.#slotOf(digest);
    }
    this.#keys.set(digest, this.#size * digestBytes);
    this.#size += 1;
    this.#slots[slot] = this.#size;
    return this.#size - 1;
  }

  /** The digest of an entry; a view that is good until the next `add`. */
  digest(entry: number): Buffer {
    return this.#keys.subarray(entry * digestBytes, (entry + 1) * digestBytes);
  }

  get(entry: number, column: number): number {
    return this.#values[entry * this.#columns + column] as number;
  }

  set(entry: number, column: number, value: number): void {
    this.#values[entry * this.#columns + column] = value;
  }

  /** The slot that has this digest, or the free one where it belongs. */
  #slotOf(digest: Uint8Array): number {
    const mask = this.#slots.length - 1;
    const word = (at: number): number =>
      (digest[at] as number) |
      ((digest[at + 1] as number) << 8) |
      ((digest[at + 2] as number) << 16) |
      ((digest[at + 3] as number) << 24);
    const mixed = Math.imul(word(0), this.#factors[0]) + Math.imul(word(8), this.#factors[1]);
    for (let slot = (mixed ^ (mixed >>> 15)) & mask; ; slot = (slot + 1) & mask) {
      const known = this.#slots[slot] as number;
      if (known === 0 || this.#holds(known - 1, digest)) {
        return slot;
      }
    }
  }

  #holds(entry: number, digest: Uint8Array): boolean {
    const start = entry * digestBytes;
    return this.#keys.compare(digest, 0, digestBytes, start, start + digestBytes) === 0;
  }

  #grow(): void {
    const capacity = this.#slots.length;
    const keys = Buffer.alloc(capacity * digestBytes);
    this.#keys.copy(keys);
    this.#keys = keys;
    const values = new Uint32Array(capacity * this.#columns);
    values.set(this.#values);
    this.#values = values;
    this.#slots = new Uint32Array(capacity * 2);
    for (let entry = 0; entry < this.#size; entry += 1) {
      this.#slots[this.#slotOf(this.digest(entry))] = entry + 1;
    }
  }
}

/** A set of entries' numbers, one bit each. */
export class EntrySet {
  #bits = new Uint8Array(64);

  has(entry: number): boolean {
    return ((this.#bits[entry >>> 3] ?? 0) & (1 << (entry & 7))) !== 0;
  }

  add(entry: number): void {
    const at = entry >>> 3;
    if (at >= this.#bits.length) {
      const grown = new Uint8Array(Math.max(at + 1, this.#bits.length * 2));
      grown.set(this.#bits);
      this.#bits = grown;
    }
    this.#bits[at] = (this.#bits[at] as number) | (1 << (entry & 7));
  }
}
