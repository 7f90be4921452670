/** The terminal as commands see it: what is drawn over itself makes room for what is printed, and for questions. */
import { PassThrough } from "node:stream";
import { expect, it } from "vitest";
import { createScreen } from "./screen.ts";

function terminal(): { screen: ReturnType<typeof createScreen>; shown: () => string; type: (text: string) => void } {
  const stdin = Object.assign(new PassThrough(), { isTTY: true });
  const stderr = Object.assign(new PassThrough(), { isTTY: true, columns: 80 });
  let shown = "";
  stderr.on("data", (chunk: Buffer) => {
    shown += chunk.toString("utf8");
  });
  const screen = createScreen({ stdin, stdout: new PassThrough(), stderr, env: {} });
  return { screen, shown: () => shown, type: (text) => void stdin.write(text) };
}

it("a line that is printed takes the place of the progress", () => {
  const { screen, shown } = terminal();
  screen.progress.show(1, 2, "working");
  screen.note("done");
  expect(shown()).toMatch(/working\r\u001b\[Kdone\n$/);
});

it("nothing is drawn over a question", async () => {
  const { screen, shown, type } = terminal();
  screen.progress.show(0, 0, "before");
  const answer = screen.ask("Which? ");
  screen.progress.show(0, 0, "meanwhile");
  type("this\n");
  expect(await answer).toBe("this");
  expect(shown()).not.toContain("meanwhile");
  screen.progress.show(0, 0, "afterwards");
  expect(shown()).toContain("afterwards");
});
