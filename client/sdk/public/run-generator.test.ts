/**
 * Command generators: the text that is sent works by itself, and what cannot work by itself is refused with its reason.
 */
import { runInNewContext, runInThisContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { readTask } from "../../../shared/task-file.ts";
import { ValueError } from "./exceptions.ts";
import { generatorSource } from "./run-generator.ts";
import { Task } from "./task.ts";

type Generator = Parameters<typeof generatorSource>[0];

/** As a node does it: from text alone, in a place without anything of this program. */
function onNode(source: string, rank: number, ips: string[]): unknown {
  return runInNewContext(`(${source})(${rank}, ${JSON.stringify(ips)})`);
}

const mine = "something of this program";

function named(rank: number, ips: string[]): string | null {
  return rank === 0 ? `serve ${ips.length}` : null;
}

describe("a command generator", () => {
  test.each<[string, Generator]>([
    ["an arrow", (rank, ips) => (rank === 0 ? `serve ${ips.length}` : null)],
    ["a function", named],
    [
      "a function without a name",
      // oxlint-disable-next-line func-names
      function (rank, ips) {
        return rank === 0 ? `serve ${ips.length}` : null;
      },
    ],
    [
      "functions inside it",
      (rank, ips) => {
        const command = (count: number): string => `serve ${count}`;
        return rank === 0 ? command(ips.length) : null;
      },
    ],
  ])("is sent as %s", (_what, generator) => {
    const source = generatorSource(generator);
    expect(onNode(source, 0, ["a", "b"])).toBe("serve 2");
    expect(onNode(source, 1, ["a", "b"])).toBeNull();
  });

  test("whose compiler keeps the names of functions works without it", () => {
    const generator = runInThisContext(
      '(rank) => { const inner = __name(() => "x" + rank, "inner"); return inner(); }',
    );
    expect(onNode(generatorSource(generator as Generator), 3, [])).toBe("x3");
  });

  test("may use what every program has, and may fail without its real addresses", () => {
    expect(generatorSource((_rank, ips) => `echo ${Math.max(1, 2)} ${process.pid} ${ips[5]?.length}`)).toContain(
      "Math",
    );
    expect(generatorSource((_rank, ips) => (ips[5] as string).trim())).toContain("trim");
  });

  const shorthand = {
    run(rank: number): string {
      return String(rank);
    },
  };
  test.each<[string, unknown, RegExp]>([
    ["a native function", Math.max, /native or bound/],
    ["a bound function", named.bind(null), /native or bound/],
    ["a method in shorthand", Object.values(shorthand)[0], /method in shorthand/],
    ["a class", Task, /is a class/],
    ["an asynchronous one", async () => "x", /asynchronous/],
    [
      "a generator function",
      // oxlint-disable-next-line func-names
      function* () {
        yield "x";
      },
      /asynchronous or a generator/,
    ],
    ["one that uses the program around it", () => `echo ${mine}`, /uses '[^']*mine[^']*', which exists only in your/],
    ["a huge one", runInThisContext(`() => "${"x".repeat(300_000)}"`), /over 256 KiB/],
  ])("is refused: %s", (_what, generator, text) => {
    expect(() => new Task({ run: generator as Generator })).toThrow(ValueError);
    expect(() => new Task({ run: generator as Generator })).toThrow(text);
  });

  test("travels in the task's text, in place of run", () => {
    const task = new Task({ name: "two", numNodes: 2, run: named });
    expect(task.run).toBeNull();
    const sent = readTask(task.toYaml(), { file: "sent" });
    expect(sent.run).toBeNull();
    expect(onNode(sent.runGenerator ?? "", 0, ["a"])).toBe("serve 1");
  });
});
