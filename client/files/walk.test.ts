/** What a source holds: names as bytes, links as links, what is ignored, what cannot be read. */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { entryOf, manifestOf } from "./manifest.ts";
import { walkSource } from "./walk.ts";

let folder: string;
let warnings: string[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sky-walk-"));
  warnings = [];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Makes files (with their own names as content) and, for names that end in `/`, folders. */
function make(...names: string[]): void {
  for (const name of names) {
    const path = join(folder, name);
    mkdirSync(name.endsWith("/") ? path : join(path, ".."), { recursive: true });
    if (!name.endsWith("/")) {
      writeFileSync(path, name);
    }
  }
}

function write(name: string, text: string): void {
  make(name);
  writeFileSync(join(folder, name), text);
}

async function pathsOf(source = folder): Promise<string[]> {
  const { found } = await walkSource(source, (text) => warnings.push(text));
  return found.map(({ type, path }) => (type === "dir" ? `${path}/` : path));
}

function git(...args: string[]): void {
  const who = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
  execFileSync("git", ["-C", folder, ...who, ...args], { stdio: "ignore" });
}

describe("a source", () => {
  it("is listed in the order of its paths' bytes, each folder before what is in it", async () => {
    make("b", "a/x", "a/y/z", "a-b", "A", "é", "empty/");
    expect(await pathsOf()).toEqual(
      ["/", "A", "a/", "a-b", "a/x", "a/y/", "a/y/z", "b", "empty/", "é"].map((path) =>
        Buffer.from(path).toString("latin1"),
      ),
    );
  });

  it("keeps links as links, wherever they lead, and modes", async () => {
    make("file", "dir/");
    symlinkSync("/nowhere/at all", join(folder, "gone"));
    symlinkSync("..", join(folder, "dir/loop"));
    chmodSync(join(folder, "file"), 0o4751);
    const { found } = await walkSource(folder, () => undefined);
    const entries = found.map((one) => entryOf(one, []));
    expect(entries).toContainEqual({ type: "link", path: "gone", target: "/nowhere/at all" });
    expect(entries).toContainEqual({ type: "link", path: "dir/loop", target: ".." });
    expect(entries).toContainEqual(expect.objectContaining({ path: "file", mode: 0o751, size: 4 }));
  });

  it("may hold names that are no text, line breaks, and backslashes", async () => {
    const odd = Buffer.concat([Buffer.from(folder), Buffer.from([0x2f, 0x61, 0xff, 0x62])]);
    writeFileSync(odd, "x");
    make('a\n"b\\c');
    symlinkSync(Buffer.from([0xfe]), join(folder, "to"));
    const { found } = await walkSource(folder, () => undefined);
    const entries = found.map((one) => entryOf(one, []));
    expect(entries).toContainEqual(expect.objectContaining({ path: "Yf9i", bytes: true }));
    expect(entries).toContainEqual(expect.objectContaining({ path: 'a\n"b\\c' }));
    expect(entries).toContainEqual({ type: "link", path: "dG8=", bytes: true, target: "/g==" });
    const text = Buffer.concat(manifestOf(entries, folder).pieces).toString("utf8");
    expect(text.trimEnd().split("\n")).toHaveLength(4);
  });

  it("may be one file, or a link that the person wrote down", async () => {
    make("one");
    symlinkSync("one", join(folder, "link"));
    expect(await pathsOf(join(folder, "one"))).toEqual([""]);
    expect(await pathsOf(join(folder, "link"))).toEqual([""]);
    await expect(pathsOf(join(folder, "none"))).rejects.toThrow(/Cannot upload .*none: /);
    await expect(pathsOf("/dev/null")).rejects.toThrow("neither a file nor a folder");
  });

  it("leaves pipes and sockets out, and says so", async () => {
    execFileSync("mkfifo", [join(folder, "pipe")]);
    expect(await pathsOf()).toEqual(["/"]);
    expect(warnings).toEqual([expect.stringMatching(/pipe is a pipe and is not uploaded\.$/)]);
  });
});

describe("what is left out", () => {
  it(".skyignore decides alone, also in folders below, with the rules of git", async () => {
    write(".skyignore", "*.log\n!keep.log\n/top\ndata/**/big\nBuild/\n# comment\n");
    write("sub/.skyignore", "!again.log\nown\n");
    write(".gitignore", "kept-by-git-only\n");
    make("a.log", "keep.log", "top", "sub/top", "sub/again.log", "sub/own", "sub/x.log", "own");
    make("data/1/2/big", "data/small", "Build/x", "build", "kept-by-git-only");
    expect(await pathsOf()).toEqual([
      ...["/", ".gitignore", ".skyignore", "build", "data/", "data/1/", "data/1/2/", "data/small", "keep.log"],
      ...["kept-by-git-only", "own", "sub/", "sub/.skyignore", "sub/again.log", "sub/top"],
    ]);
  });

  it("without one, what git ignores; never what git tracks", async () => {
    git("init", "-q");
    write(".gitignore", "*.o\nout/\n");
    write("sub/.gitignore", "*.tmp\n");
    write(".git/info/exclude", "private\n");
    make("a.o", "tracked.o", "out/x", "sub/y.tmp", "sub/y.o", "private", "new/z.o", "new/z.c");
    git("add", "-f", "tracked.o");
    const paths = (await pathsOf()).filter((path) => !path.startsWith(".git/"));
    expect(paths).toEqual(["/", ".gitignore", "new/", "new/z.c", "sub/", "sub/.gitignore", "tracked.o"]);
    expect(await pathsOf()).toContain(".git/HEAD");
  });

  it("the same in a folder of a repository, and in a repository inside it", async () => {
    git("init", "-q");
    write(".gitignore", "*.o\n");
    make("part/a.o", "part/a.c", "part/inner/b.o", "part/inner/b.tmp");
    execFileSync("git", ["init", "-q", join(folder, "part/inner")]);
    write("part/inner/.gitignore", "*.tmp\n");
    const paths = await pathsOf(join(folder, "part"));
    expect(paths.filter((path) => !path.startsWith("inner/.git/"))).toEqual([
      ...["/", "a.c", "inner/", "inner/.gitignore", "inner/b.o"],
    ]);
  });

  it("outside a repository the .gitignore files are read as they stand", async () => {
    write(".gitignore", "*.o\n");
    write("sub/.gitignore", "!b.o\nc\n");
    make("a.o", "sub/a.o", "sub/b.o", "sub/c", "c");
    expect(await pathsOf()).toEqual(["/", ".gitignore", "c", "sub/", "sub/.gitignore", "sub/b.o"]);
  });
});
