/** The gate: never more than its bound, in the order of coming, and a failure gives its place on. */
import { expect, test } from "vitest";
import { Gate } from "./gate.ts";

test("a bound on what happens at once, in order, failures included", async () => {
  const gate = new Gate(3);
  const begun: number[] = [];
  let running = 0;
  let most = 0;
  const work = Array.from({ length: 20 }, (_, index) =>
    gate.run(async () => {
      begun.push(index);
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      if (index % 4 === 0) {
        throw new Error(`no ${index}`);
      }
      return index;
    }),
  );
  expect(gate.waiting).toBe(17);
  const results = await Promise.allSettled(work);
  expect(results.filter((one) => one.status === "rejected")).toHaveLength(5);
  expect(begun).toEqual(Array.from({ length: 20 }, (_, index) => index));
  expect(most).toBe(3);
  expect(gate.waiting).toBe(0);
  expect(await gate.run(async () => "still open")).toBe("still open");
});
