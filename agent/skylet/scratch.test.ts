/** What is swept of jobs' own folders: what lies in the user's folder, and nothing that a link in its place leads to. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { until } from "../../test/help/until.ts";
import { removeScratch, scratchRoot, sweepScratch } from "./scratch.ts";

let dir: string;
let parent: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "sky-scratch-"));
  parent = dirname(scratchRoot(join(dir, "abcdefgh-1")));
});
afterEach(() => {
  rmSync(parent, { recursive: true, force: true });
  rmSync(dir, { recursive: true, force: true });
});

test("what attempts have left is swept, and the folder with the last of it; those that are known keep theirs", async () => {
  mkdirSync(join(parent, "abcdefgh-1", "home"), { recursive: true, mode: 0o700 });
  mkdirSync(join(parent, "abcdefgh-2"), { mode: 0o700 });
  sweepScratch(dir, (attempt) => attempt === "abcdefgh-2");
  await until(() => !existsSync(join(parent, "abcdefgh-1")), "the sweep");
  expect(existsSync(join(parent, "abcdefgh-2"))).toBe(true);
  await removeScratch(join(dir, "abcdefgh-2"));
  expect(existsSync(parent)).toBe(false);
  sweepScratch(dir, () => false);
});

test("a link in the place of the user's folder is followed by nobody", async () => {
  const precious = join(dir, "precious");
  mkdirSync(join(precious, "abcdefgh-1"), { recursive: true });
  writeFileSync(join(precious, "thesis"), "");
  symlinkSync(precious, parent);
  sweepScratch(dir, () => false);
  await removeScratch(join(dir, "abcdefgh-1"));
  expect([existsSync(join(precious, "thesis")), existsSync(join(precious, "abcdefgh-1"))]).toEqual([true, true]);
});
