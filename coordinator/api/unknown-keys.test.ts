/** What is told of keys that nobody knows: once each, and never without end. */
import { expect, test } from "vitest";
import { UnknownKeys } from "./unknown-keys.ts";

test("a set of unknown keys is told of once for each route, and a flood of them ends", () => {
  const lines: unknown[] = [];
  const keys = new UnknownKeys({ info: (...line: unknown[]) => void lines.push(line[0]) });
  keys.note("/launch", { task: "", newer: 1, also: 2 }, { task: 0 });
  keys.note("/launch", { also: 3, newer: 4, task: "" }, { task: 0 });
  keys.note("/launch", { task: "" }, { task: 0 });
  keys.note("/exec", { newer: 1, constructor: 1 }, { task: 0 });
  expect(lines).toEqual([
    { path: "/launch", keys: "also newer" },
    { path: "/exec", keys: "constructor newer" },
  ]);
  for (let count = 0; count < 1000; count += 1) {
    keys.note("/exec", { [`key${count}`]: 1 }, {});
  }
  expect(lines).toHaveLength(200);
});
