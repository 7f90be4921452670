/**
 * Frozen examples of every message between coordinator, agent and skylet. Whoever changes a schema so that one of them
 * no longer parses has changed the protocol, and must say so. Every object in them refuses an extra key, and bytes that
 * were flipped, cut or added are never anything but a clean refusal.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { z } from "zod";
import { frameBytesMax, fromAgentSchema, toAgentSchema } from "../../shared/agent-wire.ts";
import { encodeFrame, FrameError, LineReader, parseFrame } from "../../shared/lines.ts";
import { fromSkyletSchema, skyletHelloSchema, toSkyletSchema } from "../../shared/skylet-wire.ts";

interface Union {
  options: { shape: Record<string, { value?: unknown }> }[];
}

const protocols: { file: string; schema: z.ZodType & Union; key: string }[] = [
  { file: "to-agent", schema: toAgentSchema as never, key: "type" },
  { file: "from-agent", schema: fromAgentSchema as never, key: "type" },
  { file: "skylet-hello", schema: skyletHelloSchema as never, key: "role" },
  { file: "to-skylet", schema: toSkyletSchema as never, key: "type" },
  { file: "from-skylet", schema: fromSkyletSchema as never, key: "type" },
];

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

function examplesOf(file: string): Record<string, Json> {
  return JSON.parse(readFileSync(join(import.meta.dirname, `${file}.json`), "utf8")) as Record<string, Json>;
}

/** Every copy of the value in which one of its objects has the extra key. */
function withExtraKey(value: Json, key: string): Json[] {
  if (Array.isArray(value)) {
    return value.flatMap((item, at) => withExtraKey(item, key).map((changed) => value.with(at, changed)));
  }
  if (value === null || typeof value !== "object") {
    return [];
  }
  const inside = Object.entries(value).flatMap(([name, item]) =>
    withExtraKey(item, key).map((changed) => ({ ...value, [name]: changed })),
  );
  return [Object.fromEntries([...Object.entries(value), [key, 0]]), ...inside];
}

describe.each(protocols)("$file", ({ file, schema, key }) => {
  const examples = examplesOf(file);

  it("has one example of every message, each of which parses to itself", () => {
    const known = schema.options.map((option) => String(option.shape[key]?.value));
    expect(Object.keys(examples).sort()).toEqual([...known].sort());
    for (const [name, example] of Object.entries(examples)) {
      expect((example as Record<string, Json>)[key]).toBe(name);
      expect(parseFrame(schema, JSON.stringify(example))).toEqual(example);
    }
  });

  it("refuses an extra key in every object, and the loss of any key", () => {
    for (const example of Object.values(examples)) {
      for (const extra of ["uid2", "gid", "__proto__", "constructor"]) {
        const changed = withExtraKey(example, extra);
        expect(changed.length).toBeGreaterThan(0);
        for (const one of changed) {
          expect(() => parseFrame(schema, JSON.stringify(one)), `${extra} in ${JSON.stringify(one)}`).toThrow(
            FrameError,
          );
        }
      }
      for (const lost of Object.keys(example as object)) {
        const rest = Object.fromEntries(Object.entries(example as object).filter(([name]) => name !== lost));
        expect(() => parseFrame(schema, JSON.stringify(rest)), `without ${lost}`).toThrow(FrameError);
      }
    }
  });

  it("answers damaged bytes with a clean refusal or a valid message, never with anything else", () => {
    const frames = Object.values(examples).map((example) => encodeFrame(example, frameBytesMax));
    const edit = fc.record({
      kind: fc.constantFrom("flip", "cut", "insert", "repeat"),
      at: fc.nat(),
      byte: fc.nat(255),
      length: fc.integer({ min: 1, max: 40 }),
    });
    fc.assert(
      fc.property(fc.nat(frames.length - 1), fc.array(edit, { minLength: 1, maxLength: 6 }), (which, edits) => {
        let bytes = [...(frames[which] ?? [])];
        for (const { kind, at, byte, length } of edits) {
          const place = bytes.length === 0 ? 0 : at % bytes.length;
          const piece = bytes.slice(place, place + length);
          const added =
            { flip: piece.map((one) => one ^ byte), cut: [], insert: [byte], repeat: [...piece, ...piece] }[kind] ?? [];
          bytes = [...bytes.slice(0, place), ...added, ...bytes.slice(place + (kind === "insert" ? 0 : length))];
        }
        try {
          for (const line of new LineReader(frameBytesMax).push(Uint8Array.from(bytes))) {
            const message = parseFrame(schema, line);
            expect(schema.safeParse(message).success).toBe(true);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(FrameError);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

it("takes the later of two equal keys only where it fits the schema", () => {
  const text = JSON.stringify(examplesOf("to-agent")["openStream"]);
  fc.assert(
    fc.property(fc.constantFrom("uid", "user", "id"), fc.jsonValue(), (name, value) => {
      const doubled = `${text.slice(0, -1)},${JSON.stringify(name)}:${JSON.stringify(value)}}`;
      const result = toAgentSchema.safeParse(JSON.parse(doubled));
      if (result.success) {
        expect(Reflect.get(result.data, name)).toEqual(value);
      }
    }),
  );
});
