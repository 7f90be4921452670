/** Manifests that nobody may upload: paths that lead elsewhere, trees that are none, entries that are not as described. */
import { describe, expect, it } from "vitest";
import { TreeCheck } from "./tree-check.ts";

const dir = (path: string, more: object = {}): object => ({ type: "dir", path, mode: 0o755, ...more });
const link = (path: string, target = "x", more: object = {}): object => ({ type: "link", path, target, ...more });
const file = (path: string, more: object = {}): object => ({
  ...{ type: "file", path, mode: 0o644, mtime: 1, size: 0, chunks: [] },
  ...more,
});
const base64 = (bytes: Buffer | string): string => Buffer.from(bytes as Buffer).toString("base64");

function read(entries: readonly object[]): number {
  const check = new TreeCheck();
  for (const entry of entries) {
    check.next(JSON.stringify(entry));
  }
  return entries.length;
}

describe("a manifest", () => {
  it.each<[string, object[]]>([
    ["nothing", []],
    ["one file as the root", [file("")]],
    ["folders that are named, before and after what is in them, or not at all", [dir("a"), file("a/b/c"), dir("a/b")]],
    ["links that lead anywhere", [link("a", "/etc/shadow"), link("b", "../../..")]],
    ["odd names", [file("..."), file(" "), file("a\nb"), file("-rf"), file("\u00e9"), file("e\u0301")]],
    ["names that are not UTF-8", [file(base64(Buffer.from([0xff, 0x2f, 0xfe])), { bytes: true })]],
    ["names that differ by case", [file("A"), file("a")]],
  ])("may have %s", (_what, entries) => {
    expect(read(entries)).toBe(entries.length);
  });

  it.each<[string, object[], string]>([
    ["an absolute path", [file("/etc/passwd")], "begins with '/'"],
    ["a way up", [file("a/../../b")], "'..'"],
    ["a way up as bytes", [file(base64("a/../b"), { bytes: true })], "'..'"],
    ["a dot", [file("./a")], "'.'"],
    ["an empty name", [file("a//b")], "an empty name"],
    ["a slash at its end", [dir("a/")], "an empty name"],
    ["a zero byte", [file("a\0b")], "a zero byte"],
    ["half a character", [file("a\ud800")], "is not Unicode"],
    ["base64 that is none", [file("a*", { bytes: true })], "is not base64"],
    ["a name of 256 bytes", [file("é".repeat(128))], "more than 255 bytes"],
    ["a path of more than 4096 bytes", [file("abcdefg/".repeat(600).slice(0, -1))], "more than 4096 bytes"],
    ["very many folders in one another", [file(`${"a/".repeat(300)}b`)], "folders deep"],
    ["a path twice", [file("a"), file("a")], "twice"],
    ["a path twice, once as bytes", [file("a"), file(base64("a"), { bytes: true })], "twice"],
    ["something below a link", [link("a"), file("a/b")], "below something that is no folder"],
    ["something far below a file", [file("a"), file("a/b/c/d")], "below something that is no folder"],
    ["a link where a folder must be", [file("a/b/c"), link("a")], "is a folder elsewhere"],
    ["something beside a root that is a file", [file(""), file("a")], "below something that is no folder"],
    ["a link that leads nowhere", [link("a", "")], "leads nowhere"],
    ["a target with a zero byte", [link("a", "b\0")], "a zero byte"],
    ["a mode with setuid", [file("a", { mode: 0o4755 })], "mode"],
    ["a key that nobody knows", [file("a", { owner: 0 })], "owner"],
    ["a hash that is none", [file("a", { chunks: ["../../x"] })], "chunks"],
    ["a kind that nobody knows", [{ type: "fifo", path: "a" }], "type"],
  ])("with %s is refused, naming the line", (_what, entries, text) => {
    expect(() => read(entries)).toThrow(text);
    expect(() => read(entries)).toThrow(`Line ${entries.length} of the list of files`);
  });

  it("that is not JSON is refused", () => {
    expect(() => new TreeCheck().next("{")).toThrow("Line 1 of the list of files: it is not JSON.");
  });
});
