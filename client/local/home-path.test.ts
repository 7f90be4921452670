/** Paths with `~` by the rules of every system on which the client runs. */
import { posix, win32 } from "node:path";
import { expect, it } from "vitest";
import { absolutePath, expandHome } from "./home-path.ts";

it.each([
  ["~", "/home/ann"],
  ["~/.ssh/id", "/home/ann/.ssh/id"],
  ["~bob/x", "~bob/x"],
  ["~\\x", "~\\x"],
  ["/abs", "/abs"],
])("Linux and macOS: %s", (path, expected) => {
  expect(expandHome(path, "/home/ann", posix)).toBe(expected);
});

it.each([
  ["~", "C:\\Users\\Ann"],
  ["~/.ssh/id", "C:\\Users\\Ann\\.ssh\\id"],
  ["~\\.ssh\\id", "C:\\Users\\Ann\\.ssh\\id"],
  ["D:\\keys\\id", "D:\\keys\\id"],
])("Windows: %s", (path, expected) => {
  expect(expandHome(path, "C:\\Users\\Ann", win32)).toBe(expected);
});

it("relative paths start where the command was typed", () => {
  expect(absolutePath("proj", "/work", "/home/ann", posix)).toBe("/work/proj");
  expect(absolutePath("~/proj", "/work", "/home/ann", posix)).toBe("/home/ann/proj");
  expect(absolutePath(".\\proj", "C:\\work", "C:\\Users\\Ann", win32)).toBe("C:\\work\\proj");
  expect(absolutePath("sub/proj", "C:\\work", "C:\\Users\\Ann", win32)).toBe("C:\\work\\sub\\proj");
  expect(absolutePath("D:/data", "C:\\work", "C:\\Users\\Ann", win32)).toBe("D:\\data");
});
