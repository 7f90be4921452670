/** Cuts: any bytes are cut within the limits, a change moves few cuts, and the cuts are the same for ever. */
import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { chunkBytes } from "../../shared/files.ts";
import { chunkLength } from "./cut.ts";

/** Bytes without a pattern, the same for the same seed. */
function noise(length: number, seed: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let state = seed | 1;
  for (let at = 0; at + 4 <= length; at += 4) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes.writeInt32LE(state, at);
  }
  bytes.fill(1, length - (length % 4));
  return bytes;
}

function lengthsOf(bytes: Buffer): number[] {
  const lengths: number[] = [];
  for (let at = 0; at < bytes.length; at += lengths.at(-1) ?? 0) {
    lengths.push(chunkLength(bytes, at, bytes.length));
  }
  return lengths;
}

function hashesOf(bytes: Buffer): string[] {
  let at = 0;
  return lengthsOf(bytes).map((length) => {
    const hash = createHash("sha256")
      .update(bytes.subarray(at, at + length))
      .digest("hex");
    at += length;
    return hash;
  });
}

const data = noise(24 * 1024 * 1024, 7);
const before = new Set(hashesOf(data));

describe("cutting", () => {
  it("keeps to the limits whatever the bytes are", () => {
    const flat = Buffer.alloc(10 * 1024 * 1024);
    for (const bytes of [data, flat, noise(chunkBytes.min + 1, 3)]) {
      const lengths = lengthsOf(bytes);
      expect(lengths.reduce((sum, length) => sum + length, 0)).toBe(bytes.length);
      expect(Math.max(...lengths)).toBeLessThanOrEqual(chunkBytes.max);
      expect(Math.min(...lengths.slice(0, -1), chunkBytes.max)).toBeGreaterThan(chunkBytes.min);
    }
    const usual = data.length / before.size;
    expect(usual).toBeGreaterThan(chunkBytes.usual / 2);
    expect(usual).toBeLessThan(chunkBytes.usual * 2);
  });

  it("does not depend on how much of the file is in memory", () => {
    const whole = chunkLength(data, 0, data.length);
    expect(chunkLength(data.subarray(0, chunkBytes.max), 0, chunkBytes.max)).toBe(whole);
    const shifted = Buffer.concat([Buffer.alloc(100), data.subarray(0, chunkBytes.max)]);
    expect(chunkLength(shifted, 100, shifted.length)).toBe(whole);
  });

  it("changes at most three chunks when a byte is put in, taken out or changed", () => {
    fc.assert(
      fc.property(fc.nat({ max: data.length - 1 }), fc.nat({ max: 255 }), fc.nat({ max: 2 }), (at, value, kind) => {
        const [head, tail] = [data.subarray(0, at), data.subarray(kind === 0 ? at : at + 1)];
        const changed = Buffer.concat([head, ...(kind === 2 ? [] : [Buffer.from([value])]), tail]);
        expect(hashesOf(changed).filter((hash) => !before.has(hash)).length).toBeLessThanOrEqual(3);
      }),
      { numRuns: 12 },
    );
  });

  it("is the same in every version: other cuts would send every large file again", () => {
    expect(lengthsOf(data).slice(0, 4)).toMatchInlineSnapshot(`
      [
        268204,
        918503,
        1992141,
        1169837,
      ]
    `);
  });
});
