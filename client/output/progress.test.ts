/** The line as a terminal gets it, and that scripts get nothing. */
import { expect, it } from "vitest";
import { createProgress, progressText } from "./progress.ts";

function recorder(isTTY: boolean) {
  const written: string[] = [];
  return { stream: { isTTY, columns: 40, write: (text: string) => written.push(text) }, written };
}

it("shows a bar, the count and what is done, within the width", () => {
  expect(progressText(5, 10, "agent : the unit", 80)).toBe("[##########..........] 5/10 agent : the unit");
  expect(progressText(0, 0, "x", 80)).toBe("[....................] 0 x");
  expect(progressText(12, 10, "more than was known", 80)).toContain("] 10/10 ");
  expect(progressText(1, 10, "x".repeat(200), 40)).toHaveLength(39);
});

it("prints no control characters of a text", () => {
  expect(progressText(1, 2, "a\u001b[2Jb\nc", 80)).toMatch(/ a \[2Jb c$/);
});

it("is drawn over itself on a terminal and taken away once", () => {
  const { stream, written } = recorder(true);
  const progress = createProgress(stream);
  progress.show(1, 2, "one");
  progress.show(2, 2, "two");
  progress.clear();
  progress.clear();
  expect(written).toHaveLength(3);
  expect(written.every((text) => text.startsWith("\r\u001b[K"))).toBe(true);
});

it("writes nothing where there is no terminal", () => {
  const { stream, written } = recorder(false);
  const progress = createProgress(stream);
  progress.show(1, 2, "one");
  progress.clear();
  expect(written).toEqual([]);
});

it("says who is waited for only where nothing shows how far the work is", () => {
  const { stream, written } = recorder(true);
  const progress = createProgress(stream);
  progress.wait("waiting", "1s");
  progress.show(1, 2, "one");
  progress.wait("waiting", "2s");
  progress.endWait();
  expect(written).toEqual(["\r\u001b[K[....................] 1s waiting", "\r\u001b[K[##########..........] 1/2 one"]);
  progress.clear();
  progress.wait("waiting", "3s");
  progress.endWait();
  expect(written.slice(-2)).toEqual([expect.stringMatching(/ 3s waiting$/), "\r\u001b[K"]);
});
