/**
 * Where a file is cut into chunks: at places that its content chooses (a rolling "gear" hash of the last 32 bytes), so
 * that a byte put in or changed moves only the cuts near it and the other chunks keep their names. Pure. The table and
 * the masks must never change: with others every large file would be sent again. Called by client/files/read-file.ts.
 */
import { chunkBytes } from "../../shared/files.ts";

/**
 * Cuts are rare before the usual length and likely after it, so that lengths are close to it (FastCDC's normalization).
 * High bits, since only these have seen many bytes: each step shifts the hash by one of its 32.
 */
const rareMask = 0xfffffc00 | 0;
const likelyMask = 0xffffe000 | 0;

/** 256 fixed numbers without a pattern (xorshift32 from a constant). */
function gearTable(): Int32Array {
  const table = new Int32Array(256);
  let state = 0x9e3779b9 | 0;
  for (let index = 0; index < table.length; index += 1) {
    for (let round = 0; round < 4; round += 1) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
    }
    table[index] = state;
  }
  return table;
}

const gear = gearTable();

/** The first end in [from, to) at which the hash has no bit of the mask; -1: none. `hash` is that of the bytes before. */
function findCut(
  bytes: Uint8Array,
  from: number,
  to: number,
  mask: number,
  hash: number,
): { at: number; hash: number } {
  let value = hash;
  for (let at = from; at < to; at += 1) {
    value = ((value << 1) + (gear[bytes[at] as number] as number)) | 0;
    if ((value & mask) === 0) {
      return { at: at + 1, hash: value };
    }
  }
  return { at: -1, hash: value };
}

/**
 * The length of the chunk that begins at `start`. `end` is the end of what is known of the file; it must be the file's
 * own, or at least `chunkBytes.max` after `start`.
 */
export function chunkLength(bytes: Uint8Array, start: number, end: number): number {
  const left = end - start;
  if (left <= chunkBytes.min) {
    return left;
  }
  const usual = Math.min(start + chunkBytes.usual, end);
  const last = Math.min(start + chunkBytes.max, end);
  const rare = findCut(bytes, start + chunkBytes.min, usual, rareMask, 0);
  if (rare.at >= 0) {
    return rare.at - start;
  }
  const likely = findCut(bytes, usual, last, likelyMask, rare.hash);
  return (likely.at >= 0 ? likely.at : last) - start;
}
