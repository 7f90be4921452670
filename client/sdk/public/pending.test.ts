/**
 * Requests of one process: an id as soon as the cluster has taken the call, the result for whoever asks, as often as asked.
 */
import { expect, test } from "vitest";
import { SkyError } from "../../../shared/errors.ts";
import { get } from "./api.ts";
import { ResourcesMismatchError, ValueError } from "./exceptions.ts";
import { begin, latestPending, pendingId } from "./pending.ts";

const idOf = (digit: string): string => `${digit.repeat(8)}-0000-4000-8000-000000000000`;

/** A promise and how it ends. */
function later<T>(): { promise: Promise<T>; resolve: (value: T) => void; reject: (error: unknown) => void } {
  let resolve: (value: T) => void = () => undefined;
  let reject: (error: unknown) => void = () => undefined;
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}

test("the id is there before the result, and the result for everybody who asks", async () => {
  const work = later<number>();
  const id = await begin(null, async (accepted) => {
    await Promise.resolve();
    accepted(idOf("a"));
    return work.promise;
  });
  expect(id).toBe(idOf("a"));
  expect(latestPending()).toBe(id);
  const asked = [get(id), get(id.slice(0, 8)), get(id.toUpperCase())];
  work.resolve(7);
  expect(await Promise.all(asked)).toEqual([7, 7, 7]);
});

test("what goes wrong before the cluster has taken it is raised at once, later by get", async () => {
  const refused = begin(null, async () => {
    await Promise.resolve();
    throw new SkyError("ValueError", "wrong", "do this");
  });
  await expect(refused).rejects.toMatchObject({ name: "ValueError", message: "wrong", hint: "do this" });

  const id = await begin(null, async (accepted) => {
    await Promise.resolve();
    accepted(idOf("b"));
    throw new SkyError("ResourcesMismatchError", "too much");
  });
  await expect(get(id)).rejects.toBeInstanceOf(ResourcesMismatchError);
  await expect(get(id)).rejects.toMatchObject({ message: "too much" });
});

test("what needs no cluster has an id too", async () => {
  const id = await begin(null, async () => "done");
  expect(id).toMatch(/^[0-9a-f-]{36}$/);
  expect(await get(id)).toBe("done");
});

test("a part of an id that begins two is none", async () => {
  await begin(null, async (accepted) => {
    await Promise.resolve();
    accepted(`${idOf("c").slice(0, -1)}1`);
    accepted(`${idOf("c").slice(0, -1)}2`);
  });
  expect(pendingId(idOf("c").slice(0, 8))).toBeNull();
  expect(pendingId(`${idOf("c").slice(0, -1)}2`)).toBe(`${idOf("c").slice(0, -1)}2`);
});

test.each([["no id at all"], [""], ["abc"], ["g".repeat(36)], ["a".repeat(37)], [5]])("%s is no id", async (id) => {
  await expect(get(id as string)).rejects.toBeInstanceOf(ValueError);
});
