/** Copies between two folders of this machine: what is kept, what goes where, what is refused. */
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { placeOf } from "../commands/cp.ts";
import { type Copied, copyBetween, type Side } from "./copy.ts";
import { localSide } from "./local-side.ts";

let dir: string;
let warnings: string[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "sky-copy-"));
  warnings = [];
  for (const name of ["a/src/sub", "b"]) {
    mkdirSync(join(dir, name), { recursive: true });
  }
  writeFileSync(join(dir, "a/src/file"), "content");
  chmodSync(join(dir, "a/src/file"), 0o640);
  utimesSync(join(dir, "a/src/file"), 1000, 1000);
  writeFileSync(join(dir, "a/src/sub/x"), "x");
  chmodSync(join(dir, "a/src/sub"), 0o500);
  symlinkSync("/etc", join(dir, "a/src/link"));
});
afterEach(() => {
  chmodSync(join(dir, "a/src/sub"), 0o700);
  rmSync(dir, { recursive: true, force: true });
});

function copy(source: string, target: string, from?: Partial<Side>): Promise<Copied> {
  const side = { ...localSide(join(dir, "a"), "lab:"), ...from };
  return copyBetween(side, source, localSide(join(dir, "b")), target, {
    onBytes: () => undefined,
    warn: (text) => warnings.push(text),
  });
}

it("keeps modes, times and links, and leaves nothing beside", async () => {
  expect(await copy("src", "out")).toEqual({ files: 2, bytes: 8, same: 0 });
  const file = statSync(join(dir, "b/out/file"));
  expect([file.mode & 0o777, file.mtimeMs, readFileSync(join(dir, "b/out/file"), "utf8")]).toEqual([
    ...[0o640, 1_000_000, "content"],
  ]);
  expect(readlinkSync(join(dir, "b/out/link"))).toBe("/etc");
  expect(lstatSync(join(dir, "b/out/sub")).mode & 0o777).toBe(0o500);
  expect(readdirSync(join(dir, "b/out"))).toEqual(["file", "link", "sub"]);
  chmodSync(join(dir, "b/out/sub"), 0o700);
});

it("copies again only what is not the same", async () => {
  await copy("src", "out");
  writeFileSync(join(dir, "a/src/file"), "changed");
  expect(await copy("src/", "out")).toEqual({ files: 1, bytes: 7, same: 1 });
  expect(readFileSync(join(dir, "b/out/file"), "utf8")).toBe("changed");
});

it("goes into a folder that is there, or ends with a slash; with a slash at its own end, what is in it does", async () => {
  await copy("src", ".");
  await copy("src", "new/");
  await copy("src/", ".");
  await copy("src/file", "one");
  await copy("src/file", "src");
  expect(readdirSync(join(dir, "b")).sort()).toEqual(["file", "link", "new", "one", "src", "sub"]);
  expect(readdirSync(join(dir, "b/new"))).toEqual(["src"]);
  for (const name of ["b/sub", "b/src/sub", "b/new/src/sub"]) {
    chmodSync(join(dir, name), 0o700);
  }
});

it("never writes through a link that lies in the target, nor takes a name that leads out of it", async () => {
  mkdirSync(join(dir, "outside"));
  mkdirSync(join(dir, "b/out"));
  symlinkSync(join(dir, "outside"), join(dir, "b/out/sub"));
  symlinkSync(join(dir, "outside/file"), join(dir, "b/out/file"));
  await expect(copy("src/", "out")).rejects.toThrow("out/sub is there and is no folder.");
  expect(readFileSync(join(dir, "b/out/file"), "utf8")).toBe("content");
  expect(readdirSync(join(dir, "outside"))).toEqual([]);
  rmSync(join(dir, "b/out/sub"));
  const list = async (path: string): Promise<string[]> =>
    path === "src" ? ["..", "../x", "a/b", "file", "\ufffd"] : [];
  await copy("src", "out2", { list });
  expect(readdirSync(join(dir, "b/out2"))).toEqual(["file"]);
  expect(warnings).toHaveLength(4);
});

it("names what is not there", async () => {
  await expect(copy("none", ".")).rejects.toThrow("lab:none: there is no such file or folder.");
});

it("knows clusters from paths", () => {
  const places = ["lab:", "lab:a/b:c", "./lab:x", "a", "/x:y", "C:/x", "C:\\x", "~/x"].map(
    (word) => placeOf(word).cluster,
  );
  expect(places).toEqual(["lab", "lab", null, null, null, null, null, null]);
});
