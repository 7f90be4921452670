import { expect, it } from "vitest";
import { Turns } from "./turns.ts";

/** Holds the thread. */
function busy(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end) {
    // Nothing else runs: that is what is tested.
  }
}

it("does one user's heavy work with rests in which the others' is done, in order and with its results", async () => {
  const turns = new Turns();
  const done: string[] = [];
  const heavy = [1, 2, 3].map((number) =>
    turns.run(1, () => {
      busy(40);
      done.push(`heavy ${number}`);
      return number;
    }),
  );
  await heavy[0];
  const light = turns.run(2, () => done.push("light"));
  const fault = turns.run(2, () => {
    throw new Error("broken task");
  });
  await expect(fault).rejects.toThrow("broken task");
  await light;
  expect(await Promise.all(heavy)).toEqual([1, 2, 3]);
  expect(done).toEqual(["heavy 1", "light", "heavy 2", "heavy 3"]);
  expect(await turns.run(2, () => "after a fault")).toBe("after a fault");
});
