/**
 * A table of SHA-256 digests with a few numbers for each, in flat memory: about 60 bytes an entry, where a Map of strings
 * takes several times that. Entries are numbered in the order in which they came and are never taken out. Pure; it must
 * not matter to it which digests somebody chose. Used by the index of a user's chunks and by the check of manifests.
 */
import { randomInt } from "node:crypto";

export const digestBytes = 32;
/** Entries of a block; memory grows by whole blocks, so that nothing large is ever copied. */
const blockEntries = 8192;
/** Parts that grow each by itself, so that no growth takes long. */
const shardCount = 64;
const firstSlots = 16;

interface Shard {
  /** Entry plus one; 0 is free. At least twice as many as entries. */
  slots: Uint32Array;
  size: number;
}

export class DigestTable {
  readonly #columns: number;
  /** Odd and drawn, so that nobody can choose digests that share a slot. */
  readonly #factors = [randomInt(2 ** 32) | 1, randomInt(2 ** 32) | 1] as const;
  readonly #keys: Buffer[] = [];
  readonly #values: Uint32Array[] = [];
  readonly #shards: Shard[] = Array.from({ length: shardCount }, () => ({
    slots: new Uint32Array(firstSlots),
    size: 0,
  }));
  #size = 0;

  /** `columns`: numbers (0 to 2^32 − 1) that each entry has; 0 at first. */
  constructor(columns: number) {
    this.#columns = columns;
  }

  /** Entries are 0 to size − 1. */
  get size(): number {
    return this.#size;
  }

  /** The entry of this digest, or −1. */
  find(digest: Uint8Array): number {
    const mixed = this.#mix(digest, 0);
    const { slots } = this.#shardOf(mixed);
    return (slots[this.#slotIn(slots, mixed, digest)] as number) - 1;
  }

  /** The entry of this digest, a new one when there is none. */
  add(digest: Uint8Array): number {
    const mixed = this.#mix(digest, 0);
    const shard = this.#shardOf(mixed);
    const slot = this.#slotIn(shard.slots, mixed, digest);
    const known = shard.slots[slot] as number;
    if (known > 0) {
      return known - 1;
    }
    const at = this.#size % blockEntries;
    if (at === 0) {
      this.#keys.push(Buffer.alloc(blockEntries * digestBytes));
      this.#values.push(new Uint32Array(blockEntries * this.#columns));
    }
    this.#keys.at(-1)?.set(digest, at * digestBytes);
    this.#size += 1;
    shard.slots[slot] = this.#size;
    shard.size += 1;
    if (shard.size * 2 >= shard.slots.length) {
      this.#grow(shard);
    }
    return this.#size - 1;
  }

  /** The digest of an entry; a view. */
  digest(entry: number): Buffer {
    const start = (entry % blockEntries) * digestBytes;
    return this.#block(entry).subarray(start, start + digestBytes);
  }

  get(entry: number, column: number): number {
    return this.#values[Math.floor(entry / blockEntries)]?.[(entry % blockEntries) * this.#columns + column] as number;
  }

  set(entry: number, column: number, value: number): void {
    const block = this.#values[Math.floor(entry / blockEntries)] as Uint32Array;
    block[(entry % blockEntries) * this.#columns + column] = value;
  }

  #block(entry: number): Buffer {
    return this.#keys[Math.floor(entry / blockEntries)] as Buffer;
  }

  #shardOf(mixed: number): Shard {
    return this.#shards[mixed >>> 26] as Shard;
  }

  /** 32 bits of the digest that begins at `at`. */
  #mix(bytes: Uint8Array, at: number): number {
    const word = (from: number): number =>
      (bytes[from] as number) |
      ((bytes[from + 1] as number) << 8) |
      ((bytes[from + 2] as number) << 16) |
      ((bytes[from + 3] as number) << 24);
    const mixed = Math.imul(word(at), this.#factors[0]) + Math.imul(word(at + 8), this.#factors[1]);
    return mixed ^ (mixed >>> 15);
  }

  /** The slot that has this digest, or the free one where it belongs. */
  #slotIn(slots: Uint32Array, mixed: number, digest: Uint8Array): number {
    const mask = slots.length - 1;
    for (let slot = mixed & mask; ; slot = (slot + 1) & mask) {
      const known = slots[slot] as number;
      if (known === 0 || this.#holds(known - 1, digest)) {
        return slot;
      }
    }
  }

  #holds(entry: number, digest: Uint8Array): boolean {
    const start = (entry % blockEntries) * digestBytes;
    return this.#block(entry).compare(digest, 0, digestBytes, start, start + digestBytes) === 0;
  }

  #grow(shard: Shard): void {
    const slots = new Uint32Array(shard.slots.length * 2);
    const mask = slots.length - 1;
    for (const known of shard.slots) {
      if (known > 0) {
        let slot = this.#mix(this.#block(known - 1), ((known - 1) % blockEntries) * digestBytes) & mask;
        while (slots[slot] !== 0) {
          slot = (slot + 1) & mask;
        }
        slots[slot] = known;
      }
    }
    shard.slots = slots;
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
