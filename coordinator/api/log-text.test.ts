/** How ranks' output is put together: prefixes, progress bars, long lines, and that no byte is lost for any chunking. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LineCollector, LineWriter, prefixBytes } from "./log-text.ts";

const prefix = Buffer.from("(p) ");

function written(chunks: string[]): string {
  const writer = new LineWriter();
  return chunks.map((chunk) => writer.write("a", prefix, Buffer.from(chunk)).toString()).join("");
}

describe("LineWriter", () => {
  it("colours only the prefix", () => {
    expect(prefixBytes("(task, pid=3)", true).toString()).toBe("\u001b[36m(task, pid=3)\u001b[0m ");
    expect(prefixBytes("(task, pid=3)", false).toString()).toBe("(task, pid=3) ");
  });

  it("prefixes each line, also empty ones, and an unfinished one at once", () => {
    expect(written(["one\n\ntwo", " more\n"])).toBe("(p) one\n(p) \n(p) two more\n");
  });

  it("lets carriage returns pass", () => {
    expect(written(["1%\r", "2%\r", "3%\n"])).toBe("(p) 1%\r2%\r3%\n");
  });

  it("ends an open line before another source or a line of our own", () => {
    const writer = new LineWriter();
    const text = [
      writer.write("a", Buffer.from("(a) "), Buffer.from("half")),
      writer.write("b", Buffer.from("(b) "), Buffer.from("whole\n")),
      writer.write("a", Buffer.from("(a) "), Buffer.from("rest")),
      writer.line("done"),
      writer.line("really"),
    ];
    expect(Buffer.concat(text).toString()).toBe("(a) half\n(b) whole\n(a) rest\ndone\nreally\n");
  });

  it("keeps a line of 300,000 characters whole", () => {
    const long = "x".repeat(300_000);
    expect(written([long.slice(0, 1000), long.slice(1000), "\n"])).toBe(`(p) ${long}\n`);
  });

  it("gives the same bytes for every chunking", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom("a", "\n", "\r", "ü", "bc"), { maxLength: 40 }), fc.nat(), (chars, cut) => {
        const bytes = Buffer.from(chars.join(""));
        const at = cut % (bytes.length + 1);
        const writer = new LineWriter();
        const parts = [writer.write("a", prefix, bytes.subarray(0, at)), writer.write("a", prefix, bytes.subarray(at))];
        expect(Buffer.concat(parts).toString("hex")).toBe(new LineWriter().write("a", prefix, bytes).toString("hex"));
      }),
    );
  });
});

describe("LineCollector", () => {
  it("gives whole lines and steps of progress bars, and keeps the rest", () => {
    const collector = new LineCollector();
    expect(collector.push(Buffer.from("ab"))).toBeNull();
    expect(collector.push(Buffer.from("c\nd\ne"))?.toString()).toBe("abc\nd\n");
    expect(collector.push(Buffer.from("f\rg"))?.toString()).toBe("ef\r");
    expect(collector.flush()?.toString()).toBe("g");
    expect(collector.flush()).toBeNull();
  });

  it("does not hold more than a megabyte of an endless line", () => {
    const collector = new LineCollector();
    const chunk = Buffer.alloc(65_536, 0x78);
    let held = 0;
    for (let index = 0; index < 64; index += 1) {
      held += chunk.length - (collector.push(chunk)?.length ?? 0);
      expect(held).toBeLessThanOrEqual(1024 * 1024 + chunk.length);
    }
  });

  it("loses no byte", () => {
    fc.assert(
      fc.property(fc.array(fc.stringMatching(/^[a\n\r]{0,6}$/)), (chunks) => {
        const collector = new LineCollector();
        const out = chunks.map((chunk) => collector.push(Buffer.from(chunk))?.toString() ?? "").join("");
        expect(out + (collector.flush()?.toString() ?? "")).toBe(chunks.join(""));
      }),
    );
  });
});
