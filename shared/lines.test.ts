import { describe, expect, it } from "vitest";
import * as z from "zod";
import { encodeFrame, FrameError, LineReader, parseFrame } from "./lines.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("LineReader", () => {
  it("gives the same lines however the bytes are cut", () => {
    const all = bytes("eins\n\nzwölf €\nrest");
    for (let size = 1; size <= all.length; size += 1) {
      const reader = new LineReader(20);
      const lines: string[] = [];
      for (let at = 0; at < all.length; at += size) {
        lines.push(...reader.push(all.subarray(at, at + size)));
      }
      expect(lines).toEqual(["eins", "", "zwölf €"]);
    }
  });

  it("allows a line of exactly the limit and refuses one byte more, with or without its newline", () => {
    expect(new LineReader(5).push(bytes("1234\n"))).toEqual(["1234"]);
    expect(() => new LineReader(5).push(bytes("12345\n"))).toThrow(FrameError);
    const reader = new LineReader(5);
    reader.push(bytes("123"));
    expect(() => reader.push(bytes("45"))).toThrow(FrameError);
  });

  it("refuses bytes that are not UTF-8", () => {
    expect(() => new LineReader(10).push(new Uint8Array([0xff, 0x0a]))).toThrow("not UTF-8");
  });

  it("leaves the bytes after the first line alone", () => {
    const reader = new LineReader(10);
    expect(reader.pushFirst(bytes("ab"))).toBeNull();
    const first = reader.pushFirst(new Uint8Array([0x63, 0x0a, 0xff, 0x0a, 0x00]));
    expect(first?.line).toBe("abc");
    expect(first?.rest).toEqual(new Uint8Array([0xff, 0x0a, 0x00]));
  });
});

describe("parseFrame", () => {
  const schema = z.strictObject({ a: z.strictObject({ b: z.int() }) });

  it("names the place of a fault and never what was received", () => {
    expect(parseFrame(schema, '{"a":{"b":1}}')).toEqual({ a: { b: 1 } });
    expect(() => parseFrame(schema, '{"a":{"b":"secret"}}')).toThrow("a frame is not valid (invalid_type at 'a.b')");
    expect(() => parseFrame(schema, "secret")).toThrow(/^a frame is not JSON$/);
  });

  it("refuses extra keys, also one named __proto__, and endless nesting", () => {
    expect(() => parseFrame(schema, '{"a":{"b":1},"c":1}')).toThrow(FrameError);
    expect(() => parseFrame(schema, '{"a":{"b":1},"__proto__":{"x":1}}')).toThrow(FrameError);
    expect(() => parseFrame(schema, "[".repeat(500_000) + "]".repeat(500_000))).toThrow(FrameError);
  });
});

describe("encodeFrame", () => {
  it("refuses what the other end would refuse", () => {
    expect(new TextDecoder().decode(encodeFrame({ a: "ä" }, 11))).toBe('{"a":"ä"}\n');
    expect(() => encodeFrame({ a: "ä" }, 10)).toThrow(FrameError);
  });
});
