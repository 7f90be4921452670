/** Which archives are taken, and what is said when it is not clear. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { findReleases } from "./release.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sky-releases-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function archive(name: string): string {
  const file = join(folder, name);
  mkdirSync(join(file, ".."), { recursive: true });
  writeFileSync(file, "");
  return file;
}

it("takes the archives of all architectures that lie there", () => {
  const x64 = archive("sky-onprem-0.2.0-linux-x64.tar.gz");
  const arm64 = archive("sky-onprem-0.2.0-linux-arm64.tar.gz");
  archive("notes.tar.gz");
  expect(findReleases([], [folder, join(folder, "missing")], "/")).toEqual({
    version: "0.2.0",
    releases: { arm64, x64 },
  });
});

it("prefers the nearer folder, and what was named to both", () => {
  const near = archive("near/sky-onprem-0.2.0-linux-x64.tar.gz");
  const far = archive("far/sky-onprem-0.2.0-linux-x64.tar.gz");
  expect(findReleases([], [join(folder, "near"), join(folder, "far")], "/").releases).toEqual({ x64: near });
  expect(findReleases(["far/sky-onprem-0.2.0-linux-x64.tar.gz"], [join(folder, "near")], folder).releases).toEqual({
    x64: far,
  });
});

it("does not choose between versions", () => {
  archive("sky-onprem-0.2.0-linux-x64.tar.gz");
  archive("sky-onprem-0.3.0-linux-x64.tar.gz");
  expect(() => findReleases([], [folder], "/")).toThrow(/several versions:\n.*0\.2\.0.*\n.*0\.3\.0/);
});

it("says where it looked, and what a named file lacks", () => {
  expect(() => findReleases([], [folder, folder], "/")).toThrow(
    `no release archive (sky-onprem-VERSION-linux-x64.tar.gz) in ${folder}.`,
  );
  expect(() => findReleases(["x.tar.gz"], [], folder)).toThrow(
    `${folder}/x.tar.gz is not named like a release archive.`,
  );
  expect(() => findReleases(["sky-onprem-1.0.0-linux-x64.tar.gz"], [], folder)).toThrow("does not exist");
});
