/** The parser of log frames: any chunking gives the same pieces; what is not a frame is refused. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { logFramePayloadMax } from "../../shared/skylet-wire.ts";
import { LogFrameError, LogFrameParser, type LogPiece } from "./log-frames.ts";
import { logFrame } from "../../test/help/api-parts.ts";

/** Joins neighbouring output of one kind, so that only content counts. */
function joined(pieces: LogPiece[]): string[] {
  const lines: string[] = [];
  let last: string | null = null;
  for (const piece of pieces) {
    if (piece.kind === "pid" || piece.kind === "end") {
      lines.push(JSON.stringify(piece));
      last = null;
    } else if (last === piece.kind) {
      lines[lines.length - 1] += piece.bytes.toString("latin1");
    } else {
      lines.push(`${piece.kind}:${piece.bytes.toString("latin1")}`);
      last = piece.kind;
    }
  }
  return lines;
}

function parse(bytes: Buffer, cuts: number[]): LogPiece[] {
  const parser = new LogFrameParser();
  const borders = [0, ...[...cuts].sort((a, b) => a - b), bytes.length];
  return borders.slice(1).flatMap((end, index) => parser.push(bytes.subarray(borders[index] ?? 0, end)));
}

describe("LogFrameParser", () => {
  it("gives the same pieces for every chunking", () => {
    const frame = fc.oneof(
      fc.uint8Array({ maxLength: 50 }).map((bytes) => logFrame("setup", bytes)),
      fc.uint8Array({ maxLength: 50 }).map((bytes) => logFrame("run", bytes)),
      fc.integer({ min: 1, max: 4_000_000 }).map((pid) => logFrame("pid", String(pid))),
    );
    fc.assert(
      fc.property(
        fc.array(frame),
        fc.string({ maxLength: 40 }),
        fc.infiniteStream(fc.nat()),
        (frames, fault, stream) => {
          const bytes = Buffer.concat([...frames, logFrame("end", fault)]);
          const cuts = [...stream.take(12)].map((cut) => cut % (bytes.length + 1));
          const single = parse(
            bytes,
            Array.from({ length: bytes.length }, (_, index) => index),
          );
          expect(joined(parse(bytes, cuts))).toEqual(joined(parse(bytes, [])));
          expect(joined(single)).toEqual(joined(parse(bytes, [])));
        },
      ),
    );
  });

  it("passes output on before its frame is complete", () => {
    const bytes = logFrame("run", "hello");
    expect(joined(new LogFrameParser().push(bytes.subarray(0, 7)))).toEqual(["run:he"]);
  });

  it.each([
    ["an unknown kind", Buffer.from([0x58, 0, 0, 0, 0])],
    ["output over the limit", Buffer.concat([Buffer.from([0x52]), u32(logFramePayloadMax + 1)])],
    ["a long pid", Buffer.concat([Buffer.from([0x50]), u32(11)])],
    ["a pid that is no number", logFrame("pid", "1x")],
    ["an empty pid", logFrame("pid", "")],
    ["pid 0", logFrame("pid", "0")],
    ["bytes after the end", Buffer.concat([logFrame("end", ""), Buffer.from("R")])],
    ["a long fault", Buffer.concat([Buffer.from([0x45]), u32(5000)])],
  ])("refuses %s", (_, bytes) => {
    expect(() => new LogFrameParser().push(bytes)).toThrow(LogFrameError);
  });

  it("never throws anything but its own error on arbitrary bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        try {
          new LogFrameParser().push(Buffer.from(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(LogFrameError);
        }
      }),
    );
  });
});

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
