/** Writes brought together: the newest of each name, one batch at a time, and everybody told of their own. */
import { expect, test } from "vitest";
import { LatestWrites } from "./latest-writes.ts";

/** Batches that were begun, each ended by hand. */
function held() {
  const batches: { values: string[]; end: () => void; fail: (error: Error) => void }[] = [];
  const writes = new LatestWrites<string>(
    (values) =>
      new Promise((resolve, reject) => {
        batches.push({ values, end: resolve, fail: reject });
      }),
  );
  return { batches, writes };
}

const turn = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });

test("what comes while a batch is written leaves together, each name once with its newest value", async () => {
  const { batches, writes } = held();
  const first = writes.put("a", "a1");
  await turn();
  const rest = [writes.put("a", "a2"), writes.put("b", "b1"), writes.put("a", "a3")];
  await turn();
  expect(batches.map((batch) => batch.values)).toEqual([["a1"]]);
  batches[0]?.end();
  await first;
  await turn();
  expect(batches.map((batch) => batch.values)).toEqual([["a1"], ["a3", "b1"]]);
  batches[1]?.end();
  await Promise.all(rest);
  const last = writes.put("c", "c1");
  await turn();
  batches[2]?.end();
  await last;
  expect(batches).toHaveLength(3);
});

test("a failure is told to those whose values it took, and to nobody else", async () => {
  const { batches, writes } = held();
  const first = writes.put("a", "a1");
  const told = expect(first).rejects.toThrow("disk");
  await turn();
  const second = writes.put("b", "b1");
  batches[0]?.fail(new Error("disk"));
  await told;
  await turn();
  expect(batches[1]?.values).toEqual(["b1"]);
  batches[1]?.end();
  await second;
});
